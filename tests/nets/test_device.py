"""Choosing a device; machines with other devices are played."""

import logging

import pytest
import torch

from cryoclarity.errors import ConfigError
from cryoclarity.nets import device
from cryoclarity.nets.device import choose_device


@pytest.fixture
def machine(monkeypatch):
    """Set what torch says there is, and whether the Apple device can do the work."""

    def there_is(cuda=False, mps=False, problem=None):
        def try_operators(found):
            assert found.type == "mps"
            if problem is not None:
                raise problem

        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: int(cuda))
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(device, "try_operators", try_operators)

    return there_is


@pytest.mark.parametrize(
    ("cuda", "mps", "wanted"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_the_best_there_is(machine, cuda, mps, wanted):
    machine(cuda, mps)
    assert choose_device("auto").type == wanted


def test_the_apple_device_by_name(machine):
    machine(mps=True)
    assert choose_device("mps") == torch.device("mps")
    machine(mps=False)
    with pytest.raises(ConfigError, match="no Apple GPU"):
        choose_device("mps")


@pytest.mark.parametrize("name", ["auto", "mps"])
def test_sums_in_double_precision_go_to_the_cpu(machine, name, caplog):
    machine(mps=True)
    with caplog.at_level(logging.WARNING):
        assert choose_device(name, double=True).type == "cpu"
    assert "float64" in caplog.text


@pytest.mark.parametrize("problem", [NotImplementedError, RuntimeError, TypeError])
def test_an_apple_device_that_lacks_an_operator_leaves_the_work_to_the_cpu(
    machine, problem, caplog
):
    machine(mps=True, problem=problem("avg_pool3d is not there\nmore"))
    with caplog.at_level(logging.WARNING):
        assert choose_device("auto").type == "cpu"
    assert "mps fails (avg_pool3d is not there)" in caplog.text


def test_double_precision_stays_on_cuda(machine):
    machine(cuda=True, mps=True)
    assert choose_device("auto", double=True).type == "cuda"


def test_the_trial_runs_where_all_operators_are():
    device.try_operators(torch.device("cpu"))


def test_the_console_lets_missing_operators_run_on_the_cpu(monkeypatch):
    from cryoclarity.cli.threads import VARIABLES, limit_threads

    for name in (*VARIABLES, "PYTORCH_ENABLE_MPS_FALLBACK"):
        monkeypatch.setenv(name, "1")
    monkeypatch.delenv("PYTORCH_ENABLE_MPS_FALLBACK")
    limit_threads(1)
    import os

    assert os.environ["PYTORCH_ENABLE_MPS_FALLBACK"] == "1"

"""What a user can get wrong: the exit status, no file left, and a line that says what to do."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from cryoclarity.cli.main import main
from cryoclarity.errors import ConfigError, InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.maps import write_map
from cryoclarity.nets.device import choose_device
from cryoclarity.nets.registry import build_network
from cryoclarity.predict.improved import improved_by
from cryoclarity.train.weights import load_weights
from tests.predict.tiny import blob_volume

NARROW = {"name": "unet3d", "channels": [2, 2, 2, 2, 2]}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_map(tmp_path / "mine.mrc", blob_volume((24, 24, 26)))
    return tmp_path


def enhance(weights_folder, *more):
    return main(["enhance", "mine.mrc", "--weights", str(weights_folder), "--device", "cpu", *more])


@pytest.mark.parametrize(
    "more",
    [
        ("--mask-contour", "nan"),
        ("--mask-contour", "inf"),
        ("--max-memory", "inf"),
        ("--voxel-size", "inf"),
        ("--voxel-size", "nan"),
        ("--mask-radius", "inf"),
        ("--resolution", "nan"),
        ("--stride", "0"),
        ("--symmetry", "X7"),
        ("--impose-symmetry",),
        ("--half1", "a.mrc"),
        ("--device", "cuda:0"),
        ("--device", "abacus"),
    ],
)
def test_impossible_values_are_usage_errors(more, here, weights_folder, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = set(here.iterdir())
    assert enhance(weights_folder, *more) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("CONFIG") or "USAGE" in line
    assert set(here.iterdir()) == before


def test_errors_of_the_core_name_file_value_and_remedy(here, weights_folder, capsys):
    write_map(here / "mask.mrc", blob_volume((24, 24, 26), origin=(900.0, 0.0, 0.0)))
    for more, status, words in (
        (("--mask", "mask.mrc"), 3, ("PRED_MASK", "mask.mrc", "--mask-contour")),
        (("--mask", "mask.mrc", "--mask-contour", "0.5"), 3, ("PRED_MASK", "mask.mrc", "ORIGIN")),
        (("--max-memory", "0.0001"), 5, ("PRED_MEMORY", "mine.mrc", "GB", "--max-memory")),
        (("--invert", "--mask", "mine.mrc", "--mask-contour", "0.9"), 3, ("PRED_NO_SIGNAL",)),
    ):
        assert enhance(weights_folder, *more) == status
        (line,) = capsys.readouterr().err.splitlines()
        assert all(word in line for word in words), line
        assert not (here / "mine_enhanced.mrc").exists()


@pytest.mark.parametrize("key", ["state_dict", "model", None])
def test_state_dicts_are_found_in_the_files_that_programs_save(key, tmp_path):
    torch.manual_seed(0)
    state = build_network(NARROW).state_dict()
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save(state if key is None else {key: wrapped, "epoch": 7}, tmp_path / "w.pth")
    network, card = load_weights(tmp_path / "w.pth")
    assert card["published"] and list(network.state_dict()) == list(state)


def refusal(path):
    with pytest.raises(InputError) as caught:
        load_weights(path)
    error = caught.value
    assert error.code == "WEIGHTS_FORMAT" and error.file == str(path) and error.remedy
    assert len(str(error)) < 400 and "\n" not in str(error)
    return str(error)


def test_weights_that_do_not_load_are_refused_in_a_few_words(tmp_path):
    path = tmp_path / "w.pth"
    state = build_network(NARROW).state_dict()
    torch.save({k: v for k, v in state.items() if k != "conv2_1.0.bias"}, path)
    assert "1 missing (conv2_1.0.bias)" in refusal(path)
    torch.save(state | {"extra": torch.zeros(3)}, path)
    assert "1 unknown (extra)" in refusal(path)
    torch.save(state | {"conv2_1.0.bias": torch.zeros(5)}, path)
    assert "of another shape (conv2_1.0.bias)" in refusal(path)
    torch.save({"epoch": 3}, path)
    refusal(path)
    torch.save(build_network(NARROW), path)  # a pickled module may run anything: never loaded
    refusal(path)
    path.write_bytes(b"not weights at all")
    assert "18 bytes" in refusal(path)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("auto").type == "cuda"
    assert choose_device("cuda:0") == torch.device("cuda:0")
    for name in ("cuda:1", "cuda:x"):
        with pytest.raises(ConfigError):
            choose_device(name)


def flat(density):
    return np.where(density > 0.05, density, 0)


def test_outputs_of_other_networks_are_recognised():
    density = blob_volume().density
    assert not improved_by(("from a reconstruction",), density)
    assert "EMReady" in improved_by(("made by EMReady 1.3",), density)
    assert "DeepEMhancer" in improved_by(("DeepEMhancer output",), density)
    assert improved_by(("cryoclarity 0.1.0 enhance abc",), density)
    unit = flat(density / density.max())
    assert "maximum is 1" in improved_by((), unit)
    assert improved_by((), 100 * unit)
    # Masked deposited maps: zeros outside, noise of both signs inside, any unit.
    masked = np.where(density > 0.03, density, 0) + np.where(density < -0.005, density, 0)
    assert not improved_by((), masked)
    assert not improved_by((), 0.07 * unit)
    assert not improved_by((), np.zeros_like(density))


def test_a_second_improvement_is_flagged_in_the_record(here, weights_folder):
    density = flat(blob_volume((24, 24, 26)).density)
    density /= density.max()
    write_map(here / "theirs.mrc", Volume(density, Grid(density.shape, (1.0,) * 3)))
    plain = ["--weights", str(weights_folder), "--device", "cpu", "--no-trust"]
    assert main(["enhance", "theirs.mrc", *plain]) == 0
    found = dict(json.loads((here / "theirs_enhanced.json").read_text())["warnings"])
    assert "negative" in found["W_PRED_ENHANCED"]

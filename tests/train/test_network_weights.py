"""Weights: what loads, what is refused."""

from __future__ import annotations

import json

import pytest
import torch

from cryoclarity.errors import ConfigError, InputError
from cryoclarity.io.files import write_json
from cryoclarity.nets.device import choose_device
from cryoclarity.nets.registry import (
    box_multiple,
    build_network,
    infer_network,
    network_description,
)
from cryoclarity.train.weights import load_weights, save_weights

SCUNET = {"name": "scunet", "dim": 8, "head_dim": 4, "config": [2, 1, 1, 2, 1, 1, 2]}
UNET = {"name": "unet3d", "channels": [2, 4, 4, 6, 8], "regulariser": "batchnorm"}


def saved(folder, settings=SCUNET) -> torch.nn.Module:
    torch.manual_seed(0)
    network = build_network(settings)
    digest = save_weights(folder / "weights.safetensors", network.state_dict())
    card = {"status": "ok", "task": "enhance", "network": network_description(settings)}
    write_json(folder / "card.json", {**card, "weights_sha256": digest})
    return network


def test_folder_and_file_load_alike(tmp_path):
    network = saved(tmp_path)
    for path in (tmp_path, tmp_path / "weights.safetensors"):
        loaded, card = load_weights(path)
        assert card["network"]["dim"] == 8
        for name, tensor in network.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], tensor)


def test_weights_have_the_same_bytes_every_time(tmp_path):
    saved(tmp_path)
    first = (tmp_path / "weights.safetensors").read_bytes()
    saved(tmp_path)
    assert (tmp_path / "weights.safetensors").read_bytes() == first


@pytest.mark.parametrize("settings", [SCUNET, UNET])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_bare_state_dict_is_recognised(tmp_path, settings, prefix):
    torch.manual_seed(1)
    network = build_network(settings)
    state = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    torch.save(state, tmp_path / "model.pth")
    loaded, card = load_weights(tmp_path / "model.pth")
    assert card["published"] is True
    assert card["network"] == network_description(settings) == infer_network(network.state_dict())
    box = torch.randn(1, 1, *(3 * [box_multiple(settings["name"])]))
    with torch.no_grad():
        assert torch.equal(loaded(box), network.eval()(box))
    json.dumps(card, allow_nan=False)


def code_of(path) -> str:
    with pytest.raises(InputError) as caught:
        load_weights(path)
    return caught.value.code


def test_what_is_refused(tmp_path):
    network = saved(tmp_path)
    torch.save({"net": network}, tmp_path / "whole.pth")
    assert code_of(tmp_path / "whole.pth") == "WEIGHTS_FORMAT"
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    assert code_of(tmp_path / "other.pth") == "WEIGHTS_FORMAT"
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    assert code_of(tmp_path / "list.pth") == "WEIGHTS_FORMAT"
    (tmp_path / "text.pth").write_text("not weights")
    assert code_of(tmp_path / "text.pth") == "WEIGHTS_FORMAT"
    state = network.state_dict()
    del state["m_body.1.conv1_1.bias"]
    torch.save(state, tmp_path / "short.pth")
    assert code_of(tmp_path / "short.pth") == "WEIGHTS_FORMAT"
    (tmp_path / "alone").mkdir()
    save_weights(tmp_path / "alone/w.safetensors", network.state_dict())
    assert code_of(tmp_path / "alone/w.safetensors") == "WEIGHTS_FORMAT"
    save_weights(tmp_path / "weights.safetensors", build_network(SCUNET).state_dict())
    assert code_of(tmp_path) == "WEIGHTS_MISMATCH"
    (tmp_path / "weights.safetensors").write_bytes(b"x" * 100)
    assert code_of(tmp_path) == "WEIGHTS_FORMAT"
    assert code_of(tmp_path / "nothing.pth") == "FILE_MISSING"


def test_descriptions_are_complete_and_checked():
    full = network_description({"name": "scunet"})
    assert full["config"] == [2] * 7 and full["dim"] == 32
    with pytest.raises(ConfigError, match="widths"):
        network_description({"name": "scunet", "widths": 3})
    with pytest.raises(ConfigError, match="multiple of head_dim"):
        build_network({"name": "scunet", "dim": 12, "head_dim": 16})


def test_device_names():
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(ConfigError):
        choose_device("abacus")
    if not torch.cuda.is_available():
        assert choose_device("auto").type == "cpu"
        with pytest.raises(ConfigError, match="no GPU"):
            choose_device("cuda")

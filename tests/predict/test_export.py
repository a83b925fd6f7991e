"""Exported programs answer as the networks do."""

import io
import json

import pytest
import torch

from cryoclarity.cli.main import main
from cryoclarity.errors import ConfigError, CryoClarityError
from cryoclarity.nets.registry import build_network
from cryoclarity.predict import export
from tests.predict.tiny import write_weights

NETWORKS = {
    "scunet": ({"name": "scunet", "dim": 4, "head_dim": 2, "config": [2, 0, 0, 0, 0, 0, 0]}, 24),
    "unet3d": ({"name": "unet3d", "channels": [2, 2, 2, 2, 2]}, 16),
    "bands": ({"name": "bands", "channels": [4, 4, 4]}, 8),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_program_answers_as_the_network(name):
    description, box = NETWORKS[name]
    torch.manual_seed(1)
    network = build_network(description).eval()
    exported = export.export_network(network, {"network": description}, box)
    extra = {"card.json": ""}
    program = torch.export.load(io.BytesIO(exported.content), extra_files=extra).module()
    assert json.loads(extra["card.json"]) == {"network": description}
    shape = exported.record["input_shape"][1:]
    assert shape[1:] == [box] * 3
    for batch in (1, 4):
        x = torch.rand(batch, *shape)
        with torch.no_grad():
            wanted = network(x)
            assert (program(x) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    # No file of this machine is named in it, and once more gives the same bytes.
    assert __file__.rpartition("/tests/")[0].encode() not in exported.content
    assert export.export_network(network, {"network": description}, box) == exported


def test_a_program_that_answers_otherwise_is_refused():
    description, box = NETWORKS["bands"]
    network = build_network(description).eval()
    content = export.export_network(network, {"network": description}, box).content
    with torch.no_grad():
        network.last.bias += 1e-3
    shape = (network.down1[0].in_channels, box, box, box)
    assert export.largest_deviation(network, content, shape) > export.TOLERANCE


def test_nothing_is_written_where_it_deviates(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    write_weights(tmp_path / "weights", "resolution")
    with pytest.raises(CryoClarityError, match="off by"):
        export.export_weights(tmp_path / "weights", tmp_path / "net.pt2")
    assert {path.name for path in tmp_path.iterdir()} == {"weights"}


def test_the_command_writes_program_and_record(tmp_path, capsys):
    write_weights(tmp_path / "train" / "resolution_1.0", "resolution")
    out = tmp_path / "net.pt2"
    given = ["export", "--task", "resolution", "--weights", str(tmp_path / "train")]
    assert main([*given, "--out", str(out)]) == 0
    assert "batch x 1 x 16 x 16 x 16" in capsys.readouterr().out
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["largest_relative_deviation"] <= 1e-5
    assert record["card"]["task"] == "resolution"
    assert main([*given, "--out", str(tmp_path / "net.onnx")]) == 2
    assert main([*given, "--out", str(out), "--box", "17"]) == 2


def test_weights_of_another_task_are_refused(tmp_path):
    weights = write_weights(tmp_path / "weights", "resolution")
    with pytest.raises(ConfigError, match="weights are for 'resolution'"):
        export.export_weights(weights, tmp_path / "net.pt2", "enhance")

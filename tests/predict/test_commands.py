"""The script and the console commands: files, exit statuses, one-line errors."""

from __future__ import annotations

import importlib.util
import json

import pytest
from predict.tiny import blob_volume

from cryoclarity.cli.main import main
from cryoclarity.cli.one_map import map_stem
from cryoclarity.io.maps import read_map, write_map


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_map(tmp_path / "mine.map.gz", blob_volume((24, 24, 26)))
    return tmp_path


@pytest.fixture
def script(root):
    path = root / "workflow_scripts" / "predict.py"
    spec = importlib.util.spec_from_file_location("predict_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.mark.parametrize(
    ("task", "suffix"), [("enhance", "_enhanced"), ("resolution", "_resolution")]
)
def test_one_map_gives_four_files_in_this_folder(task, suffix, here, weights_folder, capsys):
    assert main([task, "mine.map.gz", "--weights", str(weights_folder), "--device", "cpu"]) == 0
    stem = f"mine{suffix}"
    names = {path.name for path in here.iterdir()} - {"mine.map.gz"}
    assert names == {f"{stem}{end}" for end in (".mrc", ".json", ".png", ".cxc")}
    assert (here / f"{stem}.png").read_bytes()[:4] == b"\x89PNG"
    commands = (here / f"{stem}.cxc").read_text()
    assert "not for refinement targets, deposition or FSC resolution" in commands
    assert 'open "mine.map.gz"' in commands and f'open "{stem}.mrc"' in commands
    assert f"{stem}.mrc" in capsys.readouterr().out
    record = json.loads((here / f"{stem}.json").read_text())
    assert record["inputs"]["map"]["name"] == "mine.map.gz"


def test_without_weights_it_says_what_to_do(capsys):
    assert main(["enhance", "mine.map.gz"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--weights" in line


def test_the_weights_of_the_project_are_found(here, weights_folder):
    (here / "results").mkdir()
    (here / "results" / "train").symlink_to(weights_folder)
    assert main(["resolution", "mine.map.gz", "--device", "cpu", "--out", "r.mrc.gz"]) == 0
    assert read_map(here / "r.mrc.gz").density.max() > 0
    assert (here / "r.json").exists()


def test_a_table_of_maps_goes_on_after_a_bad_one(here, weights_folder, capsys):
    (here / "bad.mrc").write_bytes(b"no map")
    (here / "maps.tsv").write_text("map\nbad.mrc\nmine.map.gz\n")
    status = main(["resolution", "maps.tsv", "--weights", str(weights_folder), "--device", "cpu"])
    assert status == 3
    assert (here / "mine_resolution.mrc").exists() and not (here / "bad_resolution.mrc").exists()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_script_ends_with_its_statuses(script, here, weights_folder, capsys):
    plain = ["--task", "resolution", "--weights", str(weights_folder), "--device", "cpu"]
    assert script([*plain, "--map", "mine.map.gz", "--out", "o.mrc"]) == 0
    assert script([*plain, "--map", "none.mrc", "--out", "n.mrc"]) == 3
    assert capsys.readouterr().err.startswith("FILE_MISSING")
    assert script([*plain, "--map", "mine.map.gz", "--stride", "-1", "--out", "n.mrc"]) == 2
    assert script([*plain, "--map", "mine.map.gz", "--half1", "a", "--out", "n.mrc"]) == 2
    short = ["--map", "mine.map.gz", "--max-memory", "0.00001", "--out", "n.mrc"]
    assert script([*plain, *short]) == 5
    assert "PRED_MEMORY" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        script(["--task", "resolution", "--out", "n.mrc"])
    assert caught.value.code == 2
    assert not (here / "n.mrc").exists()


def test_published_weights_run_by_the_script(script, here):
    import torch

    from cryoclarity.nets.registry import build_network

    network = build_network({"name": "unet3d", "channels": [2, 2, 2, 2, 2]})
    torch.save(network.state_dict(), here / "bare.pth")
    plain = ["--task", "resolution", "--weights", "bare.pth", "--map", "mine.map.gz"]
    assert script([*plain, "--mode", "published", "--device", "cpu", "--out", "o.mrc"]) == 0
    density = read_map(here / "o.mrc").density
    assert density.shape == (32, 32, 32) and density.max() == 100
    assert script([*plain, "--device", "cpu", "--out", "n.mrc"]) == 2


def test_inspect_and_usage(capsys):
    assert main(["inspect", "mine.map.gz", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "ok"
    with pytest.raises(SystemExit) as caught:
        main(["improve"])
    assert caught.value.code == 2


@pytest.mark.parametrize("name", ["a.mrc", "a.map.gz", "a.MRC", "a.rec"])
def test_stems(name, tmp_path):
    assert map_stem(tmp_path / name) == "a"

"""The script and the console commands: files, exit statuses, one-line errors."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from cryoclarity.cli.main import main
from cryoclarity.cli.one_map import map_stem
from cryoclarity.io.maps import read_map, write_map
from cryoclarity.io.tables import read_table
from tests.predict.tiny import blob_volume


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
def test_one_map_gives_all_its_files_in_this_folder(task, suffix, here, weights_folder, capsys):
    options = ("--weights", str(weights_folder), "--device", "cpu", "--report")
    assert main([task, "mine.map.gz", *options]) == 0
    stem = f"mine{suffix}"
    names = {path.name for path in here.iterdir()} - {"mine.map.gz"}
    endings = [".mrc", ".json", ".png", ".cxc", ".html"] + ["_trust.mrc"] * (task == "enhance")
    assert names == {f"{stem}{end}" for end in endings}
    assert (here / f"{stem}.png").read_bytes()[:4] == b"\x89PNG"
    commands = (here / f"{stem}.cxc").read_text()
    assert "not for refinement targets, deposition or FSC resolution" in commands
    assert 'open "mine.map.gz"' in commands and f'open "{stem}.mrc"' in commands
    assert f"{stem}.mrc" in capsys.readouterr().out
    record = json.loads((here / f"{stem}.json").read_text())
    assert record["inputs"]["map"]["name"] == "mine.map.gz"
    page = (here / f"{stem}.html").read_text()
    assert page.count('class="viewer"') == 1 and f'href="{stem}.cxc"' in page
    assert ("Did it move my map?" in page) is (task == "enhance")


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


def test_trust_goes_with_half_maps_and_a_table_of_residues(here, weights_folder, root):
    volume = blob_volume((24, 24, 26))
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        noise = 0.02 * generator.standard_normal(volume.grid.shape).astype(np.float32)
        write_map(here / f"{name}.mrc", volume.with_density(volume.density + noise))
    (here / "m.pdb").write_text(
        "ATOM      1  CA  ALA A   7      14.300  13.200  13.200  1.00  1.00           C\n"
    )
    halves = ["--half1", "a.mrc", "--half2", "b.mrc", "--weights", str(weights_folder)]
    assert main(["enhance", *halves, "--model", "m.pdb", "--device", "cpu", "--ligand-safe"]) == 0
    trust = read_map(here / "a_enhanced_trust.mrc")
    assert trust.grid == read_map(here / "a_enhanced.mrc").grid
    assert 0 <= trust.density.min() and trust.density.max() <= 1
    (row,) = read_table(here / "a_enhanced_residues.tsv")
    assert (row["chain"], row["resnum"], row["resname"]) == ("A", "7", "ALA")
    assert {"trust", "agreement", "half_maps", "spread"} <= set(row)
    record = json.loads((here / "a_enhanced.json").read_text())["outcome"]["trust"]
    assert record["half_maps"] and not record["resolution_assumed"]
    script = (here / "a_enhanced.cxc").read_text()
    assert 'open "a_enhanced_trust.mrc"' in script and "color sample #2 map #3" in script


def test_dropout_passes_give_a_second_map(here, weights_folder):
    plain = ["--weights", str(weights_folder), "--device", "cpu"]
    assert main(["resolution", "mine.map.gz", *plain, "--passes", "2"]) == 0
    assert (here / "mine_resolution_spread.mrc").stat().st_size == 1024 + 4 * 24 * 24 * 26
    assert json.loads((here / "mine_resolution.json").read_text())["outcome"]["passes"] == 2
    assert main(["enhance", "mine.map.gz", *plain, "--passes", "2"]) == 2
    assert main(["resolution", "mine.map.gz", *plain, "--ligand-safe"]) == 2


def test_an_improved_map_is_recognised(here, weights_folder):
    plain = ["--weights", str(weights_folder), "--device", "cpu", "--no-trust"]
    assert main(["enhance", "mine.map.gz", *plain]) == 0
    assert main(["enhance", "mine_enhanced.mrc", *plain]) == 0
    first, second = (
        json.loads((here / f"{stem}.json").read_text())["warnings"]
        for stem in ("mine_enhanced", "mine_enhanced_enhanced")
    )
    assert "W_PRED_ENHANCED" not in dict(first) and "W_PRED_ENHANCED" in dict(second)


@pytest.mark.parametrize("task", ["enhance", "resolution"])
def test_the_estimate_says_time_and_memory_and_writes_nothing(task, here, weights_folder, capsys):
    before = set(here.iterdir())
    plain = ["--weights", str(weights_folder), "--device", "cpu", "--estimate"]
    assert main([task, "mine.map.gz", *plain]) == 0
    line = capsys.readouterr().out
    assert "s per box" in line and "GB" in line and "boxes" in line
    assert set(here.iterdir()) == before
    assert main([task, "mine.map.gz", *plain, "--mode", "published"]) == 2


def test_sigterm_leaves_no_file(here, weights_folder, monkeypatch):
    from cryoclarity.io import maps
    from cryoclarity.predict.engine import Runner

    plain = ["enhance", "mine.map.gz", "--weights", str(weights_folder), "--device", "cpu"]
    before = set(here.iterdir())

    def stop(*arguments, **more):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    # Once in the middle of the boxes, once in the middle of writing the map.
    for owner, name in ((Runner, "_forward"), (maps.mrcfile, "new")):
        monkeypatch.setattr(owner, name, stop, raising=False)
        with pytest.raises(SystemExit) as caught:
            main(plain)
        assert caught.value.code == 143
        assert set(here.iterdir()) == before
        monkeypatch.undo()
        monkeypatch.chdir(here)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_the_doctor_tries_what_there_is(here, weights_folder, capsys):
    assert main(["doctor", "--weights", str(weights_folder), "--device", "cpu", "--json"]) == 5
    found = json.loads(capsys.readouterr().out)
    works = {Path(row["weights"]).name: row["works"] for row in found["weights"]}
    assert works == {"enhance_1.0": True, "enhance_0.5": False, "resolution_1.0": True}
    assert found["devices"][0]["device"] == "cpu" and found["devices"][0]["works"]
    assert {"torch", "numpy", "gemmi"} <= {row["package"] for row in found["packages"]}
    assert main(["doctor", "--weights", str(weights_folder / "enhance_1.0")]) == 0
    assert "all well" in capsys.readouterr().out
    assert main(["doctor"]) == 5
    assert "no weights" in capsys.readouterr().out


def test_inspect_and_usage(capsys):
    assert main(["inspect", "mine.map.gz", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "ok"
    with pytest.raises(SystemExit) as caught:
        main(["improve"])
    assert caught.value.code == 2


@pytest.mark.parametrize("name", ["a.mrc", "a.map.gz", "a.MRC", "a.rec"])
def test_stems(name, tmp_path):
    assert map_stem(tmp_path / name) == "a"

"""New engines, imported labels, figure and ChimeraX script through the script and the stage."""

from __future__ import annotations

import json
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryoclarity.errors import InputError
from cryoclarity.io.maps import read_map, write_map
from cryoclarity.labels.foreign import import_labels
from cryoclarity.stages.labels import run_entry
from tests.labels.test_label_stage import ALL, GRID, files, job, script

__all__ = ["files"]


def half_words(files) -> tuple:
    return ("--half1", files["half1"], "--half2", files["half2"])


@pytest.mark.parametrize("engine", ["resmap-exact", "fsc"])
def test_engines_by_hand_with_a_figure(engine: str, files, tmp_path: Path) -> None:
    outs = [tmp_path / "a" / "x.mrc", tmp_path / "b" / "x.mrc"]
    for out in outs:
        out.parent.mkdir()
        assert script(*half_words(files), "--engine", engine, "--figure", "--out", out) == 0
    names = sorted(path.name for path in outs[0].parent.iterdir())
    assert names == ["x.codes.mrc", "x.cxc", "x.json", "x.mrc", "x.png"]
    for name in names:
        assert (outs[0].parent / name).read_bytes() == (outs[1].parent / name).read_bytes()
    labels, codes = read_map(outs[0]), read_map(tmp_path / "a" / "x.codes.mrc")
    assert labels.grid.same_frame(GRID)
    assert np.array_equal(codes.density == 1, labels.density > 0)
    record = json.loads((tmp_path / "a" / "x.json").read_text())
    assert record["engine"] == engine
    levels = [level["resolution"] for level in record["detail"]["levels"]]
    assert levels == sorted(levels)
    script_lines = (tmp_path / "a" / "x.cxc").read_text().splitlines()
    colours = next(line for line in script_lines if line.startswith("color sample #1 map #2"))
    values = [float(stop.split(",")[0]) for stop in colours.split("palette ")[1].split(":")]
    assert values == sorted(values)


def test_the_engine_fsc_needs_half_maps(files, tmp_path: Path, capsys) -> None:
    out = tmp_path / "x.mrc"
    assert script("--map", files["map"], "--engine", "fsc", "--out", out) == 2
    assert "half maps" in capsys.readouterr().err and not out.exists()


def test_masked_half_maps_are_answered_by_hand_with_a_warning(files, tmp_path, caplog) -> None:
    inside = read_map(files["masked"]).density != 0
    for name in ("half1", "half2"):
        volume = read_map(files[name])
        write_map(files[name], volume.with_density(volume.density * inside))
    assert script(*half_words(files), "--engine", "fsc", "--out", tmp_path / "x.mrc") == 0
    assert "LABEL_ZERO_BACKGROUND" in caplog.text


@pytest.mark.parametrize("engine", ["resmap-exact", "fsc"])
def test_engines_in_the_workflow(engine: str, files, tmp_path: Path) -> None:
    entry = job(tmp_path, files, ALL, engine=engine, figure=True)
    facts = run_entry(entry)
    assert facts["engine"] == engine and facts["levels"] >= 3
    assert (entry.folder / "local_resolution.png").exists()
    assert 'open "map.map.gz"' in (entry.folder / "local_resolution.cxc").read_text()
    labels = read_map(entry.folder / "local_resolution.mrc").density
    codes = read_map(entry.folder / "local_resolution.codes.mrc").density
    assert np.all(labels[codes != 1] == 0)


def test_a_single_map_takes_the_engine_for_single_maps(files, tmp_path: Path) -> None:
    lenient = {"min_noise_blocks": 1, "min_labelled_voxels": 1, "min_labelled_share": 0.0}
    lenient |= {"min_levels": 1, "max_level_share": 1.0}
    facts = run_entry(job(tmp_path, files, {"map": "map"}, engine="fsc", gates=lenient))
    assert facts["engine"] == "resmap-exact" and facts["source"] == "map"


def test_one_rule_for_labels_of_other_programs() -> None:
    values = np.array([[[0, 100, np.nan, 3.5, -1, np.inf, 250, 7.25]]], np.float32)
    resolution, codes = import_labels(values)
    assert resolution.ravel().tolist() == [0, 0, 0, 3.5, 0, 0, 0, 7.25]
    assert codes.ravel().tolist() == [0, 0, 0, 1, 0, 0, 0, 1]
    mask = np.array([[[1, 1, 1, 1, 0, 0, 0, 0]]])
    assert import_labels(values, mask)[1].ravel().tolist() == [2, 2, 2, 1, 0, 0, 0, 0]
    with pytest.raises(InputError) as caught:
        import_labels(np.full((2, 2, 2), 100))
    assert caught.value.code == "LABEL_EMPTY"


@pytest.mark.filterwarnings("ignore:Data array contains NaN")
@pytest.mark.parametrize("empty", [0.0, 100.0, np.nan], ids=["relion", "resmap", "nan"])
def test_import_by_script(empty: float, files, tmp_path: Path) -> None:
    foreign, out = tmp_path / "locres.mrc", tmp_path / "x.mrc"
    values = np.full(GRID.shape, empty, np.float32)
    values[10:20, 12:30, 8:40] = np.linspace(3, 9, 32, dtype=np.float32)
    with mrcfile.new(foreign) as target:
        target.set_data(values)
        target.voxel_size = 1.1
        target.header.origin.x = -11.0
    assert script("--import", foreign, "--out", out) == 0
    labels, codes = read_map(out), read_map(tmp_path / "x.codes.mrc").density
    assert np.array_equal(codes == 1, np.isfinite(values) & (values > 0) & (values < 100))
    assert np.array_equal(labels.density[codes == 1], values[codes == 1])
    assert np.all(labels.density[codes != 1] == 0)
    assert labels.grid.origin[0] == -11.0

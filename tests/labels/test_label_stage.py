"""The stage and its script: files, frames, exit statuses, gates."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryoclarity.errors import ConfigError, InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.maps import read_map, write_map
from cryoclarity.stages.batch import EntryJob, Upstream
from cryoclarity.stages.labels import run_entry
from tests.labels.generator import half_maps

SCRIPT = Path(__file__).resolve().parents[2] / "workflow_scripts" / "resmap.py"
GRID = Grid((48, 48, 48), (1.1, 1.1, 1.1), (-11.0, 5.5, 22.0))


def script(*words) -> int:
    spec = importlib.util.spec_from_file_location("resmap_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main([str(word) for word in words])


@cache
def halves() -> tuple[np.ndarray, np.ndarray]:
    return half_maps(
        n=48, seed=11, vx=1.1, R=15, bands=[2.6, 3.4, 4.4], c=1.0, colour=1.0, sigma=0.3
    )


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A map, its half maps and a masked copy."""
    volumes = dict(zip(("half1", "half2"), halves(), strict=True))
    volumes["map"] = np.float32(0.5) * (volumes["half1"] + volumes["half2"])
    place = np.indices(GRID.shape) - 23.5
    volumes["masked"] = np.where(np.sum(place**2, axis=0) < 15**2, volumes["map"], 0)
    paths = {name: tmp_path / f"{name}.mrc" for name in volumes}
    for name, density in volumes.items():
        write_map(paths[name], Volume(density.astype(np.float32), GRID))
    return paths


def test_half_maps_by_hand(files, tmp_path: Path) -> None:
    out = tmp_path / "x.mrc"
    status = script(
        *("--half1", files["half1"], "--half2", files["half2"], "--max-res", 4.5, "--out", out)
    )
    assert status == 0
    labels, codes = read_map(out), read_map(tmp_path / "x.codes.mrc")
    record = json.loads((tmp_path / "x.json").read_text())
    assert labels.grid.same_frame(GRID) and codes.grid.same_frame(GRID)
    assert set(np.unique(codes.density)) == {0, 1, 2}
    assert np.array_equal(codes.density == 1, labels.density < 100)
    assert record["source"] == "half_maps"
    assert record["labelled_voxels"] == np.count_nonzero(labels.density < 100)
    assert [level["resolution"] for level in record["detail"]["levels"]] == pytest.approx(
        [2.4, 3.4, 4.4, 5.4][: len(record["detail"]["levels"])]
    )


def test_the_same_bytes_twice_and_from_another_axis_order(files, tmp_path: Path) -> None:
    permuted = tmp_path / "permuted.map"
    with mrcfile.open(files["map"]) as source, mrcfile.new(permuted) as target:
        target.set_data(np.ascontiguousarray(source.data.transpose(2, 0, 1)))
        target.header.mapc, target.header.mapr, target.header.maps = 2, 3, 1
        target.voxel_size = source.voxel_size
        start = source.header.nxstart, source.header.nystart, source.header.nzstart
        target.header.nxstart, target.header.nystart, target.header.nzstart = (
            start[1],
            start[2],
            start[0],
        )
    outs = [tmp_path / name for name in ("a.mrc", "b.mrc", "c.mrc")]
    for source, out in zip((files["map"], files["map"], permuted), outs, strict=True):
        assert script("--map", source, "--max-res", 3, "--out", out) == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert np.array_equal(read_map(outs[0]).density, read_map(outs[2]).density)
    assert read_map(outs[2]).grid.same_frame(GRID)


def test_compressed_output_and_voxel_size(files, tmp_path: Path) -> None:
    out = tmp_path / "y.map.gz"
    words = ("--map", files["map"], "--voxel-size", 2.0, "--max-res", 5, "--out", out)
    assert script(*words) == 0
    assert np.isclose(read_map(out).density.min(), 4.4, atol=1e-3)
    assert (tmp_path / "y.codes.mrc").exists() and (tmp_path / "y.json").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--min-res", 10, "--max-res", 11), "LABEL_NO_NOISE_BLOCKS"),
        (("--min-res", 21, "--max-res", 22), "LABEL_LEVEL_RANGE"),
    ],
)
def test_refusals_by_hand_write_nothing(files, tmp_path: Path, capsys, words, code) -> None:
    out = tmp_path / "none.mrc"
    assert script("--map", files["map"], *words, "--out", out) == 3
    error = capsys.readouterr().err
    assert error.startswith(f"{code}: {files['map']}:") and error.count("\n") == 1
    assert not list(tmp_path.glob("none*"))


def test_non_cubic_and_unequal_halves_are_refused(files, tmp_path: Path, capsys) -> None:
    flat = tmp_path / "flat.mrc"
    grid = Grid((48, 48, 47), GRID.voxel_size, GRID.origin)
    write_map(flat, Volume(np.ascontiguousarray(halves()[0][:, :, :47]), grid))
    out = tmp_path / "none.mrc"
    assert script("--map", flat, "--out", out) == 3
    assert capsys.readouterr().err.startswith("LABEL_NOT_CUBIC")
    assert script("--half1", files["half1"], "--half2", flat, "--out", out) == 3
    assert capsys.readouterr().err.startswith("LABEL_HALVES_DIFFER")


def test_two_times_the_same_half_map_is_refused(files, tmp_path: Path, capsys) -> None:
    words = ("--half1", files["half1"], "--half2", files["half1"], "--out", tmp_path / "none.mrc")
    assert script(*words) == 3
    assert capsys.readouterr().err.startswith("PAIR_HALF_SAME")


def test_a_mask_of_the_whole_box_is_a_mask_and_an_empty_one_is_none(
    files, tmp_path, capsys
) -> None:
    mask, out = tmp_path / "mask.mrc", tmp_path / "none.mrc"
    words = ("--half1", files["half1"], "--half2", files["half2"], "--mask", mask, "--out", out)
    write_map(mask, Volume(np.zeros(GRID.shape, np.float32), GRID))
    assert script(*words) == 3
    assert capsys.readouterr().err.startswith(f"VAL_CONSTANT: {mask}") and not out.exists()
    write_map(mask, Volume(np.ones(GRID.shape, np.float32), GRID))
    assert script(*words) == 0 and out.exists()


def test_a_masked_map_is_answered_by_hand_with_a_warning(files, tmp_path, caplog) -> None:
    out = tmp_path / "masked_labels.mrc"
    assert script("--map", files["masked"], "--max-res", 3, "--out", out) == 0
    assert "LABEL_ZERO_BACKGROUND" in caplog.text


@pytest.mark.parametrize(
    "words",
    [
        ("--half1", "a.mrc"),
        ("--map", "a.mrc", "--half1", "b.mrc"),
        ("--map", "a.mrc", "--p-value", 0.2),
        ("--map", "a.mrc", "--step-res", 0.1),
        ("--map", "a.mrc", "--min-res", -1),
        ("--map", "a.mrc", "--voxel-size", 0),
    ],
)
def test_wrong_usage(words, tmp_path: Path) -> None:
    assert script(*words, "--out", tmp_path / "x.mrc") == 2


def job(tmp_path: Path, files: dict[str, Path], roles: dict[str, str], **spec) -> EntryJob:
    """An entry whose fetched files are compressed copies of `files`."""
    fetch = tmp_path / "fetch"
    fetch.mkdir()
    for name, role in roles.items():
        write_map(fetch / f"{name}.map.gz", read_map(files[role]))
    folder = tmp_path / "work"
    folder.mkdir()
    upstream = {"fetch": Upstream("ok", "", "", fetch)}
    row = {"emdb_id": "EMD-1", "resolution": "3.4"}
    return EntryJob(row=row, spec=spec, upstream=upstream, folder=folder)


ALL = {"map": "masked", "half_map_1": "half1", "half_map_2": "half2"}


def test_entry_uses_its_half_maps(files, tmp_path: Path) -> None:
    entry = job(tmp_path, files, ALL, step_res=0.5, max_res=4.0)
    facts = run_entry(entry)
    assert facts["source"] == "half_maps"
    assert facts["levels"] >= 3
    written = sorted(path.name for path in entry.folder.iterdir())
    stem = "local_resolution"
    assert written == [f"{stem}.codes.mrc", f"{stem}.json", f"{stem}.mrc"]
    record = json.loads((entry.folder / f"{stem}.json").read_text())
    assert record["gates"]["max_zero_share"] == 0.2
    assert record["inputs"]["half1"]["name"] == "half_map_1.map.gz"


@pytest.mark.parametrize(
    ("roles", "spec", "code"),
    [
        ({"map": "masked"}, {}, "LABEL_ZERO_BACKGROUND"),
        (ALL, {"gates": {"max_level_share": 0.1}}, "LABEL_SINGLE_LEVEL"),
        (ALL, {"gates": {"min_labelled_voxels": 10**6}}, "LABEL_FEW"),
        (ALL, {"min_res": 16, "max_res": 17}, "LABEL_LEVEL_RANGE"),
        (ALL, {"gates": {"min_noise_blocks": 10**5}}, "LABEL_NO_NOISE_BLOCKS"),
    ],
)
def test_entries_that_fail_a_gate(files, tmp_path: Path, roles, spec, code) -> None:
    entry = job(tmp_path, files, roles, **({"step_res": 0.5, "max_res": 4.0} | spec))
    with pytest.raises(InputError) as caught:
        run_entry(entry)
    assert caught.value.code == code
    assert not list(entry.folder.iterdir())


def test_levels_without_noise_blocks_end_the_list(files, tmp_path: Path) -> None:
    entry = job(tmp_path, files, ALL, step_res=0.5, max_res=20.0, gates={"min_noise_blocks": 20})
    run_entry(entry)
    record = json.loads((entry.folder / "local_resolution.json").read_text())
    stopped = record["detail"]["stopped"]
    assert stopped is None or stopped.startswith("LABEL_")
    assert min(level["noise_blocks"] for level in record["detail"]["levels"]) >= 20


def test_mixtures_of_filtered_maps_are_no_labels(tmp_path: Path, files) -> None:
    from tests.labels.generator import filtered, quantised, radial_frequency

    keep = radial_frequency(48, 1.1) <= 1 / 3.4
    for name in ("half1", "half2"):
        volume = read_map(files[name])
        low = quantised(filtered(volume.density.astype(np.float64), keep))
        write_map(files[name], volume.with_density(low))
    lenient = {"min_levels": 1, "max_level_share": 1.0, "min_labelled_voxels": 1}
    lenient |= {"min_labelled_share": 0.0, "min_noise_blocks": 1}
    entry = job(tmp_path, files, ALL, gates=lenient)
    facts = run_entry(entry)
    assert "W_LABEL_LOWPASS" in facts["warnings"]
    labels = read_map(entry.folder / "local_resolution.mrc").density
    codes = read_map(entry.folder / "local_resolution.codes.mrc").density
    assert np.all(labels[codes != 1] == 100)
    assert np.count_nonzero(codes == 3) > 0
    levels = np.unique(labels[codes == 1])
    assert len(levels) <= 12


def test_unknown_engine(files, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="engine"):
        run_entry(job(tmp_path, files, ALL, engine="guess"))

"""What a user may ask of the script that has no good answer, or an unusual one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cryoclarity.grid import Grid, Volume
from cryoclarity.io.files import read_json
from cryoclarity.io.maps import read_map, write_map
from tests.labels.test_label_stage import GRID, files, halves, script

__all__ = ["files"]


def half_words(files) -> tuple:
    return ("--half1", files["half1"], "--half2", files["half2"])


def written(path: Path, values: np.ndarray, voxel_size=(1.1, 1.1, 1.1)) -> Path:
    grid = Grid(values.shape, voxel_size, GRID.origin)
    write_map(path, Volume(values.astype(np.float32), grid))
    return path


@pytest.mark.parametrize("engine", ["resmap", "resmap-exact", "fsc"])
@pytest.mark.parametrize("threads", [0, -2])
def test_no_threads_are_wrong_usage(engine, threads, files, tmp_path: Path, capsys) -> None:
    out = tmp_path / "none.mrc"
    words = ("--engine", engine, "--threads", threads, "--out", out)
    assert script(*half_words(files), *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("CONFIG: threads") and error.count("\n") == 1 and not out.exists()


@pytest.mark.parametrize(
    ("words", "status", "start"),
    [
        (("--max-res", 1.5), 3, "LABEL_LEVEL_RANGE"),
        (("--min-res", 6, "--max-res", 5), 3, "LABEL_LEVEL_RANGE"),
        (("--fsc-window", 0.01), 3, "LABEL_LEVEL_RANGE"),
        (("--fsc-window", 1000), 2, "CONFIG: the window"),
    ],
)
def test_fsc_refuses_bands_and_windows_that_hold_nothing(
    words, status, start, files, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "none.mrc"
    assert script(*half_words(files), "--engine", "fsc", *words, "--out", out) == status
    error = capsys.readouterr().err
    assert error.startswith(start) and error.count("\n") == 1
    assert not list(tmp_path.glob("none*"))


def test_fsc_starts_at_the_first_band_that_can_be_judged(files, tmp_path: Path) -> None:
    """A window of a few voxels holds no sample at 1000 A, where all voxels would fail."""
    shares = []
    for name, coarsest in (("a", 15), ("b", 1000)):
        out = tmp_path / f"{name}.mrc"
        words = ("--engine", "fsc", "--max-res", coarsest, "--out", out)
        assert script(*half_words(files), *words) == 0
        record = read_json(tmp_path / f"{name}.json")
        shares.append(record["labelled_share_of_mask"])
        assert record["detail"]["levels"][-1]["threshold"] <= 0.9
    assert shares[1] == pytest.approx(shares[0], abs=0.02)


def test_fsc_keeps_to_the_finest_level(files, tmp_path: Path) -> None:
    for name, finest in (("a", 0), ("b", 3.2)):
        out = tmp_path / f"{name}.mrc"
        words = ("--engine", "fsc", "--min-res", finest, "--out", out)
        assert script(*half_words(files), *words) == 0
    free, held = (read_map(tmp_path / f"{name}.mrc").density for name in "ab")
    labelled = free > 0
    assert free[labelled].min() < 3.2
    assert np.array_equal(held > 0, labelled)
    assert held[labelled].min() == pytest.approx(3.2)
    near = np.abs(held - np.maximum(free, 3.2))[labelled] < 0.1
    assert near.mean() > 0.9


def test_unrelated_half_maps_are_answered_in_bounded_memory(tmp_path: Path) -> None:
    """Their resolution is the box; a window of that width would reach far beyond it."""
    random = np.random.default_rng(4)
    paths = [written(tmp_path / f"{i}.mrc", random.normal(size=(48,) * 3)) for i in (1, 2)]
    out = tmp_path / "x.mrc"
    words = ("--half1", paths[0], "--half2", paths[1], "--engine", "fsc", "--out", out)
    assert script(*words) == 0
    assert read_json(tmp_path / "x.json")["detail"]["window"] <= 48 * 1.1 / 8


def test_a_single_voxel_of_density_is_answered(tmp_path: Path) -> None:
    density = np.zeros((48,) * 3)
    density[5, 5, 5] = 1
    spike = written(tmp_path / "spike.mrc", density)
    assert script("--map", spike, "--out", tmp_path / "x.mrc") == 0
    assert not np.any(read_map(tmp_path / "x.codes.mrc", constant_ok=True).density == 1)


def test_a_single_map_without_background_has_no_noise(files, tmp_path: Path, capsys) -> None:
    mask = written(tmp_path / "mask.mrc", np.ones((48,) * 3))
    out = tmp_path / "none.mrc"
    for engine in ("resmap", "resmap-exact"):
        words = ("--mask", mask, "--engine", engine, "--out", out)
        assert script("--map", files["map"], *words) == 3
        assert capsys.readouterr().err.startswith("LABEL_NO_NOISE_BLOCKS")


def test_unequal_voxel_edges_are_answered_with_a_warning(tmp_path: Path, caplog) -> None:
    pair = [
        written(tmp_path / f"{i}.mrc", h, (1.1, 1.1, 1.3)) for i, h in enumerate(halves(), start=1)
    ]
    words = ("--half1", pair[0], "--half2", pair[1], "--max-res", 3)
    assert script(*words, "--out", tmp_path / "x.mrc") == 0
    assert "W_ANISOTROPIC" in caplog.text


def test_imported_labels_with_any_mask(tmp_path: Path, capsys) -> None:
    values = np.zeros((48,) * 3)
    values[10:30, 10:30, 10:30] = 4 + np.random.default_rng(1).random((20,) * 3)
    labels = written(tmp_path / "labels.mrc", values)
    whole = written(tmp_path / "whole.mrc", np.ones((48,) * 3))
    elsewhere = written(tmp_path / "else.mrc", values == 0)
    assert script("--import", labels, "--mask", whole, "--out", tmp_path / "x.mrc") == 0
    codes = read_map(tmp_path / "x.codes.mrc").density
    assert np.array_equal(codes == 1, values > 0) and np.array_equal(codes == 2, values == 0)
    out = tmp_path / "none.mrc"
    assert script("--import", labels, "--mask", elsewhere, "--out", out) == 3
    assert capsys.readouterr().err.startswith(f"LABEL_EMPTY: {labels}")
    assert script("--import", labels, "--figure", "--out", out) == 2
    assert not list(tmp_path.glob("none*"))

"""The generated maps and the archive's files."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from cryoclarity.demo.archive import write_archive
from cryoclarity.demo.entries import ENTRIES
from cryoclarity.demo.folds import build_fold
from cryoclarity.demo.map_bytes import STYLES, encode_map
from cryoclarity.demo.maps import MapRecipe, gaussian_sum, synthesise
from cryoclarity.errors import ConfigError, InputError
from cryoclarity.io.files import sha256_of, write_bytes
from cryoclarity.io.maps import read_map
from cryoclarity.io.model import read_atoms
from cryoclarity.io.tables import read_table

TABLE = Path(__file__).parents[2] / "config" / "demo_entries.tsv"
RECIPE = MapRecipe(size=48, voxel_size=1.2, best=3.0, spread=3.0, b_factor=60.0, noise=0.12)


@pytest.fixture(scope="module")
def helix():
    return build_fold("one_helix", "maps")


@pytest.fixture(scope="module")
def placed(helix):
    from dataclasses import replace

    return replace(helix, xyz=helix.xyz + 0.5 * RECIPE.size * RECIPE.voxel_size)


@pytest.fixture(scope="module")
def maps(placed):
    return synthesise(placed, RECIPE, "maps")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    rows = [{"emdb_id": "EMD-90003", "pdb_id": "9zac"}, {"emdb_id": "EMD-90009", "pdb_id": "9zai"}]
    out = tmp_path_factory.mktemp("archive")
    return rows, out, write_archive(out, rows)


def test_gaussian_sum_equals_the_direct_sum():
    rng = np.random.default_rng(4)
    xyz, weight = rng.uniform(4, 8, (7, 3)), rng.uniform(1, 8, 7)
    width = rng.uniform(0.8, 1.5, 7)
    found = gaussian_sum(xyz, weight, width, 12, 1.0)
    grid = np.stack(np.meshgrid(*[np.arange(12.0)] * 3, indexing="ij"), axis=-1)[..., ::-1]
    direct = sum(
        w * np.exp(-0.5 * ((grid - r) ** 2).sum(-1) / s**2) / (2 * np.pi * s**2) ** 1.5
        for r, w, s in zip(xyz, weight, width, strict=True)
    )
    assert found == pytest.approx(direct, rel=2e-5, abs=1e-6)


def test_halves_share_the_signal_and_not_the_noise(maps):
    first, second = (half.astype(np.float64) for half in maps.halves)
    solvent = maps.truth == 0
    inside = ~solvent
    assert abs(np.corrcoef(first[solvent], second[solvent])[0, 1]) < 0.3
    assert np.corrcoef(first[inside], second[inside])[0, 1] > 0.9
    ratio = np.std((0.5 * (first - second))[inside]) / np.std((0.5 * (first + second))[inside])
    assert ratio == pytest.approx(RECIPE.noise, rel=0.25)


def test_primary_map_keeps_its_solvent_noise(maps):
    solvent = maps.primary[maps.truth == 0]
    assert np.mean(solvent == 0) < 0.2
    assert solvent.std() > 0


def test_resolution_spreads_inside_the_particle_and_is_worse_outwards(maps):
    inside = maps.truth > 0
    values = maps.truth[inside]
    assert values.min() >= RECIPE.best
    assert values.max() <= RECIPE.best + RECIPE.spread
    assert np.percentile(values, 90) - np.percentile(values, 10) > 0.5 * RECIPE.spread
    grid = np.indices(inside.shape)
    centre = [axis[inside].mean() for axis in grid]
    radius = np.sqrt(sum((a - c) ** 2 for a, c in zip(grid, centre, strict=True)))[inside]
    assert np.corrcoef(radius, values)[0, 1] > 0.2


def test_density_stands_at_the_atoms(maps, placed):
    index = np.rint(placed.xyz[:, ::-1] / RECIPE.voxel_size).astype(int)
    assert maps.primary[tuple(index.T)].mean() > 3 * maps.primary.std()


@pytest.mark.parametrize("style", STYLES)
def test_foreign_headers_read_back(tmp_path, style):
    rng = np.random.default_rng(5)
    density = rng.standard_normal((8, 8, 8)).astype(np.float32)
    start = (0, 0, 0) if style == "plain" else (-5, 7, 11)
    write_bytes(tmp_path / "map.map.gz", encode_map(density, 1.25, start, style))
    volume = read_map(tmp_path / "map.map.gz")
    assert np.array_equal(volume.density, density)
    assert volume.grid.voxel_size == pytest.approx((1.25,) * 3)
    assert volume.grid.origin == pytest.approx(tuple(1.25 * s for s in start))
    assert volume.warnings == ()


def test_archive_has_the_public_paths_and_an_index(archive):
    _, out, index = archive
    for path in (
        "emdb/structures/EMD-90003/map/emd_90003.map.gz",
        "emdb/structures/EMD-90003/other/emd_90003_half_map_1.map.gz",
        "emdb/structures/EMD-90003/other/emd_90003_half_map_2.map.gz",
        "pdb/data/structures/divided/mmCIF/za/9zac.cif.gz",
    ):
        assert (out / path).is_file()
    rows = {row["path"]: row for row in read_table(index)}
    found = {p.relative_to(out).as_posix() for p in out.rglob("*.gz")}
    assert set(rows) == found
    for path, row in rows.items():
        assert int(row["bytes"]) == (out / path).stat().st_size
        assert row["sha256"] == sha256_of(out / path)


def test_model_and_map_of_an_entry_belong_together(archive):
    _, out, _ = archive
    volume = read_map(out / "emdb/structures/EMD-90003/map/emd_90003.map.gz")
    atoms = read_atoms(out / "pdb/data/structures/divided/mmCIF/za/9zac.cif.gz")
    assert set(atoms.kind) == {"protein"}
    index = volume.grid.index_of(atoms.xyz)
    assert index.min() > 12
    assert index.max() < volume.grid.shape[0] - 12
    at_atoms = volume.density[tuple(np.rint(index).astype(int).T)]
    assert (at_atoms.mean() - volume.density.mean()) / volume.density.std() > 3


def test_damaged_entry_is_refused_by_the_reader(archive):
    _, out, _ = archive
    with pytest.raises(InputError) as caught:
        read_map(out / "emdb/structures/EMD-90009/map/emd_90009.map.gz")
    assert caught.value.code == "VAL_NONFINITE"


def test_same_bytes_again(archive, tmp_path):
    rows, out, index = archive
    again = write_archive(tmp_path, rows[1:])
    expected = {row["path"]: row["sha256"] for row in read_table(index)}
    for row in read_table(again):
        assert row["sha256"] == expected[row["path"]]
    packed = (out / "pdb/data/structures/divided/mmCIF/za/9zai.cif.gz").read_bytes()
    assert packed[4:8] == bytes(4)  # no time in the gzip header
    assert b"_atom_site.Cartn_x" in gzip.decompress(packed)


def test_unknown_entry_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="EMD-1"):
        write_archive(tmp_path, [{"emdb_id": "EMD-1", "pdb_id": "1abc"}])


def test_committed_table_names_the_entries():
    rows = read_table(TABLE)
    assert {row["emdb_id"] for row in rows} == set(ENTRIES)
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    splits: dict[str, set[str]] = {}
    fine: dict[str, set[bool]] = {}
    for row in rows:
        entry = ENTRIES[row["emdb_id"]]
        splits.setdefault(row["group"], set()).add(row["split"])
        fine.setdefault(row["split"], set()).add(entry.recipe.voxel_size < 0.8)
        if not entry.damaged:
            assert 2.5 <= float(row["resolution"]) <= 6.0
    assert all(len(found) == 1 for found in splits.values())
    assert all(found == {True, False} for found in fine.values())
    assert {entry.style for entry in ENTRIES.values()} == set(STYLES)

"""Every command that writes maps: valid files, the input's words or the canonical ones."""

import mrcfile
import numpy as np
import pytest

from cryoclarity.demo.map_bytes import STYLES, encode_map
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.maps import read_header, read_map, write_map
from cryoclarity.io.tables import write_table
from tests.gates.zoo import cif_rows, cif_text, map_bytes
from tests.predict.tiny import blob_volume
from tests.scripts import load_script

predict = load_script("predict")
resmap = load_script("resmap")
simulate = load_script("simulate")

PLACE = (-6.5, 2.6, 13.0)  # whole voxels of 1.3 A, said by ORIGIN
START = (-5, 2, 10)


def placed(path, density, voxel=1.3):
    path.write_bytes(
        map_bytes(
            density.astype(np.float32),
            origin=PLACE,
            cell=tuple(n * voxel for n in density.shape[::-1]),
            statistics=(float(density.min()), float(density.max()), float(density.mean())),
        )
    )
    return path


def written_maps(folder, choice, task, weights):
    source = placed(folder / "in.map", blob_volume(voxel=1.3).density)
    out = folder / f"{choice}.mrc"
    extra = [] if task == "enhance" else ["--passes", "2"]
    arguments = ["--task", task, "--weights", weights, "--map", source, "--header", choice]
    assert predict.main([str(word) for word in [*arguments, *extra, "--out", out]]) == 0
    return sorted(folder.glob(f"{choice}*.mrc"))


@pytest.mark.long
@pytest.mark.parametrize("choice", ["input", "canonical"])
@pytest.mark.parametrize("task", ["enhance", "resolution"])
def test_predictions(tmp_path, weights_folder, task, choice):
    check(written_maps(tmp_path, choice, task, weights_folder), choice)


@pytest.mark.parametrize("choice", ["input", "canonical"])
def test_labels(tmp_path, choice):
    rng = np.random.default_rng(4)
    z, y, x = np.indices((36, 36, 36)) - 17.5
    density = rng.normal(size=z.shape) + 9 * np.exp(-(x**2 + y**2 + z**2) / 40)
    source = placed(tmp_path / "in.map", density)
    out = tmp_path / "labels.mrc"
    words = ["--map", source, "--engine", "resmap-exact", "--max-res", "5", "--header", choice]
    assert resmap.main([str(word) for word in [*words, "--out", out]]) == 0
    check([out, tmp_path / "labels.codes.mrc"], choice)


@pytest.mark.parametrize("choice", ["input", "canonical"])
@pytest.mark.parametrize("cell", [None, (0.0, 0.0, 0.0)])
def test_targets(tmp_path, choice, cell):
    source, model = tmp_path / "in.map", tmp_path / "a.cif"
    words = {} if cell is None else {"cell": cell}
    data = np.random.default_rng(0).normal(size=(30, 31, 33)).astype(np.float32)
    source.write_bytes(map_bytes(data, origin=PLACE, **words))
    model.write_text(cif_text(change=lambda _: {"Cartn_z": "25.000"}))
    columns = ("chain", "resnum", "icode", "resname", "atom", "altloc", "element", "resolution_A")
    rows = [
        {
            **{"chain": "A", "resnum": row["auth_seq_id"], "icode": ".", "resname": "ALA"},
            **{"atom": row["label_atom_id"], "altloc": ".", "element": row["type_symbol"]},
            "resolution_A": "3.0",
        }
        for row in cif_rows()
    ]
    write_table(tmp_path / "q.tsv", rows, columns)
    out = tmp_path / "target.mrc"
    words = ["--map", source, "--model", model, "--qscores", tmp_path / "q.tsv", "--out", out]
    assert (simulate.main([str(word) for word in words]) == 0) is (cell is None)
    words += ["--voxel-size", "1.3", "--header", choice]
    assert simulate.main([str(word) for word in words]) == 0
    check([out], choice)


def check(paths, choice):
    assert paths
    for path in paths:
        assert mrcfile.validate(str(path)), path
        header = read_header(path)
        assert header.origin == pytest.approx(PLACE, abs=1e-5)
        assert header.start_index == (START if choice == "canonical" else (0, 0, 0))
        assert any(header.origin_words) is (choice == "input")


@pytest.mark.parametrize("style", STYLES)
def test_maps_of_the_demo_are_valid(tmp_path, style):
    density = np.random.default_rng(1).normal(size=(12, 12, 12)).astype(np.float32)
    start = (0, 0, 0) if style == "plain" else (3, -4, 5)
    path = tmp_path / "a.map"
    path.write_bytes(encode_map(density, 1.5, start, style))
    assert mrcfile.validate(str(path))
    assert np.array_equal(read_map(path).density, density)


@pytest.mark.parametrize("suffix", [".mrc", ".map", ".mrc.gz", ".ccp4"])
@pytest.mark.parametrize("shape", [(8, 8, 8), (9, 12, 31), (30, 8, 9)])
def test_any_grid_makes_a_valid_file(tmp_path, suffix, shape):
    grid = Grid(shape, (0.9, 1.7, 1.1), (-12.34, 0.0, 98765.4))
    density = np.random.default_rng(2).normal(1e4, 1e-2, size=shape).astype(np.float32)
    path = tmp_path / f"a{suffix}"
    write_map(path, Volume(density, grid), label="x" * 200)
    assert mrcfile.validate(str(path))
    assert read_map(path).grid.origin == pytest.approx(grid.origin, abs=1e-2)

"""The scripts and stages qscore and simulate: files in, files out, refusals."""

from __future__ import annotations

import gzip
import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest

from cryoclarity.errors import InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.maps import read_map, write_map
from cryoclarity.io.model import read_atoms, write_mmcif
from cryoclarity.io.tables import read_table, read_table_with_comments, write_table
from cryoclarity.stages import qscore as qscore_stage
from cryoclarity.stages import simulate as simulate_stage
from cryoclarity.stages.batch import EntryJob, Upstream
from cryoclarity.stages.score_table import KEY_COLUMNS
from cryoclarity.targets.kernels import kernel_width
from tests.model.test_density import direct_sum, make_atoms

GRID = Grid((24, 25, 26), (1.0, 1.0, 1.0), (-4.0, 7.0, 2.0))
COLUMNS = (*KEY_COLUMNS, "resolution_A")


def script(root, name):
    """Load the main function of a workflow script."""
    path = root / "workflow_scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"script_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *arguments: module.main([str(a) for a in arguments])


@pytest.fixture
def case(tmp_path):
    """A map and model of 40 glycine-like residues, none near a face."""
    rng = np.random.default_rng(8)
    count = 40
    index = rng.uniform(7.0, 17.0, size=(count, 3))
    atoms = make_atoms(np.round(GRID.position_of(index), 3), ["N", "C", "C", "O"] * 10)
    atoms = replace(
        atoms,
        name=np.array(["N", "CA", "C", "O"] * 10),
        residue_name=np.full(count, "GLY"),
        residue_number=np.repeat(np.arange(1, 11), 4),
        residue_index=np.repeat(np.arange(10), 4),
        kind=np.full(count, "protein"),
    )
    density = direct_sum(atoms.xyz, atoms.atomic_number, np.full(count, 0.8), GRID)
    density += rng.normal(scale=0.02, size=GRID.shape)
    paths = tmp_path / "map.mrc", tmp_path / "model.cif"
    write_map(paths[0], Volume(density.astype(np.float32), GRID))
    write_mmcif(paths[1], atoms, "1ABC")
    return paths


def test_both_scripts(case, root, tmp_path):
    map_path, model_path = case
    table, out = tmp_path / "q.tsv.gz", tmp_path / "target.mrc"
    assert script(root, "qscore")("--map", map_path, "--model", model_path, "--out", table) == 0
    rows, comments = read_table_with_comments(table)
    assert "sigma=0.6" in comments
    assert tuple(rows[0]) == qscore_stage.COLUMNS
    assert [row["atom"] for row in rows[:4]] == ["N", "CA", "C", "O"]
    assert (rows[0]["icode"], rows[0]["altloc"], rows[0]["any_outside"]) == (".", ".", "0")
    arguments = ("--map", map_path, "--model", model_path, "--qscores", table, "--out", out)
    assert script(root, "simulate")(*arguments, "--resolution", 3.0) == 0
    target = read_map(out)
    assert target.grid.same_frame(GRID)
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["parameters"]["kernel"] == "dimaio"
    assert record["parameters"]["cutoff"] == 1e-7
    assert record["parameters"]["sigma"] == 0.6
    assert record["outcome"]["atoms"] == 40
    assert set(record["inputs"]) == {"map", "model", "qscores"}
    first = out.read_bytes()
    assert script(root, "simulate")(*arguments, "--resolution", 3.0) == 0
    assert out.read_bytes() == first


def refused(root, capsys, out, *arguments, name="simulate"):
    status = script(root, name)(*arguments, "--out", out)
    lines = capsys.readouterr().err.strip().splitlines()
    assert not out.exists()
    assert len(lines) == 1
    return status, lines[0].split(":")[0]


def test_sigma_and_keys_are_demanded(case, root, tmp_path, capsys):
    map_path, model_path = case
    table, out = tmp_path / "q.tsv", tmp_path / "t.mrc"
    qscore_stage.run_files(map_path, model_path, table, sigma=0.5)
    arguments = ("--map", map_path, "--model", model_path, "--qscores", table)
    assert refused(root, capsys, out, *arguments) == (3, "SIM_SIGMA")
    text = table.read_text().replace("# sigma=0.5\n", "")
    table.write_text(text)
    assert refused(root, capsys, out, *arguments) == (3, "SIM_SIGMA")
    table.write_text("# sigma=0.4\n" + "\n".join(text.splitlines()[:-3]) + "\n")
    assert refused(root, capsys, out, *arguments) == (3, "SIM_KEYS")
    table.write_text("# sigma=0.4\n" + "\n".join(text.splitlines()[:-2]) + "\n")
    assert script(root, "simulate")(*arguments, "--out", out) == 0
    outcome = json.loads(out.with_suffix(".json").read_text())["outcome"]
    assert outcome["atoms_missing"] == outcome["filled"]["by_residue"] == 2


def test_other_bad_inputs(case, root, tmp_path, capsys):
    map_path, model_path = case
    table, out = tmp_path / "r.tsv", tmp_path / "t.mrc"
    atoms = read_atoms(model_path)
    rows = [dict(zip(COLUMNS, (*key, 3.0), strict=True)) for key in atoms.keys()]
    write_table(table, rows, COLUMNS)
    far = tmp_path / "far.mrc"
    far_grid = Grid((16, 16, 16), (1.0, 1.0, 1.0), (90.0, 90.0, 90.0))
    write_map(far, Volume(np.eye(16, dtype=np.float32)[None].repeat(16, 0), far_grid))
    arguments = ("--model", model_path, "--qscores", table)
    assert refused(root, capsys, out, "--map", far, *arguments) == (3, "SIM_OUTSIDE")
    gone = tmp_path / "gone.cif"
    arguments = ("--map", map_path, "--model", gone)
    assert refused(root, capsys, out, *arguments, "--qscores", table) == (3, "FILE_MISSING")
    assert refused(root, capsys, out, *arguments, name="qscore") == (3, "FILE_MISSING")
    write_table(table, rows, COLUMNS[:-1])
    arguments = ("--map", map_path, "--model", model_path, "--qscores", table)
    assert refused(root, capsys, out, *arguments) == (3, "SIM_KEYS")
    assert script(root, "simulate")(*arguments, "--grid", "-1", "--out", out) == 2


def test_values_of_the_map_are_not_used(case, tmp_path):
    map_path, model_path = case
    table, out = tmp_path / "r.tsv", tmp_path / "t.mrc"
    rows = [
        dict(zip(COLUMNS, (*key, 2.0 + 0.1 * i), strict=True))
        for i, key in enumerate(read_atoms(model_path).keys())
    ]
    write_table(table, rows, COLUMNS)
    raw = bytearray(map_path.read_bytes())
    raw[1024:] = np.full(GRID.size, np.nan, dtype=np.float32).tobytes()
    map_path.write_bytes(raw)
    settings = simulate_stage.SimulationSettings(kernel="molmap")
    simulate_stage.run_files(map_path, model_path, table, out, settings)
    atoms = read_atoms(model_path)
    width = kernel_width(2.0 + 0.1 * np.arange(40), "molmap")
    expected = direct_sum(atoms.xyz, atoms.atomic_number * atoms.occupancy, width, GRID)
    assert np.abs(read_map(out).density - expected).max() <= 1e-5 * expected.max()


def test_other_spacing_keeps_the_origin(case, tmp_path):
    map_path, model_path = case
    table, out = tmp_path / "q.tsv", tmp_path / "t.mrc"
    qscore_stage.run_files(map_path, model_path, table)
    settings = simulate_stage.SimulationSettings(grid=0.5)
    simulate_stage.run_files(map_path, model_path, table, out, settings)
    assert read_map(out).grid.same_frame(Grid((47, 49, 51), (0.5,) * 3, GRID.origin))


@pytest.mark.parametrize("target", ["a_molmap", "b_molmap", "c_dimaio"])
def test_reference_targets(shared, tmp_path, target):
    folder = shared / "reference" / "qscore"
    with np.load(folder / f"target_{target}.npz") as reference:
        density, voxel, origin = (reference[name] for name in ("density", "voxel", "origin"))
    frame, out = tmp_path / "frame.mrc", tmp_path / "t.mrc"
    write_map(frame, Volume(density, Grid(density.shape, tuple(voxel), tuple(origin))))
    settings = simulate_stage.SimulationSettings(kernel=target.split("_")[1])
    table = folder / "syn_resolution.tsv.gz"
    simulate_stage.run_files(frame, folder / "syn_model.pdb", table, out, settings)
    assert np.abs(read_map(out).density - density).max() <= 1e-5 * density.max()


def test_script_on_reference_case(shared, root, tmp_path):
    folder = shared / "reference" / "qscore"
    out = tmp_path / "q.tsv"
    arguments = ("--map", folder / "syn_map.map.gz", "--model", folder / "syn_model.pdb")
    assert script(root, "qscore")(*arguments, "--sigma", 0.4, "--out", out) == 0
    for found, expected in zip(read_table(out), read_table(folder / "q_syn.tsv.gz"), strict=True):
        for column in (*KEY_COLUMNS, "element", "x", "y", "z", "n_points"):
            assert found[column] == expected[column]
        assert float(found["Q"]) == pytest.approx(float(expected["Q_mapq_sigma0.4"]), abs=1e-4)


def test_entry_of_the_workflow(case, tmp_path):
    fetch = tmp_path / "fetch"
    fetch.mkdir()
    for path, name in zip(case, ("map.map.gz", "model.cif.gz"), strict=True):
        (fetch / name).write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    upstream = {"fetch": Upstream("ok", "", "", fetch)}
    row = {"emdb_id": "EMD-1", "resolution": "3.0"}
    folders = [tmp_path / name for name in ("qscore", "simulate")]
    for folder in folders:
        folder.mkdir()
    job = EntryJob(row, {"sigma": 0.6, "altloc": "all"}, upstream, folders[0], 1)
    assert qscore_stage.run_entry(job)["atoms"] == 40
    upstream["qscore"] = Upstream("ok", "", "", folders[0])
    spec = {"kernel": "dimaio", "q_map": "cubic", "smooth": "half", "sigma": 0.6}
    simulate_stage.run_entry(EntryJob(row, spec, upstream, folders[1], 1))
    assert sorted(path.name for path in folders[1].iterdir()) == ["target.json", "target.mrc"]
    with pytest.raises(InputError, match="SIM_SIGMA"):
        simulate_stage.run_entry(EntryJob(row, spec | {"sigma": 0.4}, upstream, folders[1], 1))

"""The shared archive of real maps and the shared models pass the gates as their tables say."""

import csv
import gzip
import hashlib
import struct
from dataclasses import replace

import numpy as np
import pytest

from cryoclarity.gates.inspector import inspect_file
from cryoclarity.gates.map_gate import check_map_content
from cryoclarity.gates.pair_gate import (
    best_frame,
    fit_atoms,
    fit_scores,
    frame_scores,
    judge_fit,
    usual_frame,
)
from cryoclarity.io.maps import read_map
from cryoclarity.io.model import read_atoms, read_model

REFUSED = {"EMD-8216": "HDR_CELL_ANGLES", "EMD-3001": "HDR_CELL_ANGLES"}
WARNED = {"EMD-6374": ["W_STAMP"], "EMD-1155": ["W_M_NOT_N"]}
SAMPLE_STEP = 9


def table(path):
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_all_maps(shared):
    rows = table(shared / "archive" / "manifest.tsv")
    assert len(rows) == 20
    for row in rows:
        verdict = inspect_file(str(shared / "archive" / row["map_path"]))
        entry = row["emdb_id"]
        assert verdict["code"] == REFUSED.get(entry, ""), entry
        if entry in REFUSED:
            continue
        assert verdict["warnings"] == WARNED.get(entry, []), entry
        assert "x".join(map(str, verdict["grid"])) == row["grid"]
        assert verdict["voxel_size"] == pytest.approx([float(row["voxel_A"])] * 3, abs=1e-4)
        assert verdict["mode"] == int(row["mode"])
        assert "".join(map(str, verdict["axes"])) == row["axes"]
        origin = np.array(numbers(row["origin"]))
        if not origin.any():
            start = np.array(numbers(row["nstart"]))
            stored = [verdict["axes"].index(axis) for axis in (1, 2, 3)]
            origin = start[stored] * verdict["voxel_size"]
        assert verdict["origin"] == pytest.approx(origin, abs=1e-3)


def numbers(text):
    return [float(item) for item in text.strip("[]").split(",")]


def test_masks_without_a_cell(shared):
    folder = shared / "archive" / "emdb/structures/EMD-1703/masks"
    for path in folder.iterdir():
        assert inspect_file(str(path))["code"] == "HDR_CELL"


def test_all_archive_models(shared):
    for row in table(shared / "archive" / "manifest.tsv"):
        if row["model_path"] == "-":
            continue
        path = shared / "archive" / row["model_path"]
        assert inspect_file(str(path))["status"] == "ok", row["emdb_id"]
        assert len(read_atoms(path).heavy()) == int(row["atoms"])


def check_models(shared, rows):
    for row in rows:
        path = shared / "models" / row["file"]
        model = read_model(path)
        atoms = model.atoms
        assert len(atoms.heavy()) == int(row["heavy_atoms"]), row["id"]
        assert model.models == int(row["n_models"])
        assert model.entry_id in ("", row["id"])
        assert inspect_file(str(path))["status"] == "ok", row["id"]


def test_a_sample_of_models(shared):
    check_models(shared, table(shared / "models" / "models.tsv")[::SAMPLE_STEP])


@pytest.mark.long
def test_all_models(shared):
    check_models(shared, table(shared / "models" / "models.tsv"))


def test_atoms_keep_the_order_of_the_file(shared):
    """Waters at the end of a file belong to chains that started it: parsers gather them."""
    for name in ("1a9n.pdb.gz", "1brs.pdb.gz"):
        path = shared / "models" / name
        with gzip.open(path, "rt") as handle:
            lines = [line for line in handle if line[:6] in ("ATOM  ", "HETATM")]
        atoms = read_atoms(path)
        expected = np.array([[float(line[a : a + 8]) for a in (30, 38, 46)] for line in lines])
        assert np.array_equal(atoms.xyz, expected)
        assert atoms.name.tolist() == [line[12:16].strip() for line in lines]
        assert atoms.chain.tolist() == [line[21].strip() for line in lines]
        first_of_residue = np.flatnonzero(np.diff(atoms.residue_index, prepend=-1))
        assert np.all(np.diff(atoms.residue_index[first_of_residue]) > 0)


def test_content_hash_does_not_depend_on_axis_order(shared):
    path = shared / "archive" / "emdb/structures/EMD-5623/map/emd_5623.map.gz"  # axes 3,2,1
    raw = gzip.decompress(path.read_bytes())
    columns, rows, sections = struct.unpack("<3i", raw[:12])
    offset = 1024 + struct.unpack("<i", raw[92:96])[0]
    values = np.frombuffer(raw, "<f4", columns * rows * sections, offset)
    # Columns are z here, sections x.
    zyx = values.reshape(sections, rows, columns).transpose(2, 1, 0)
    digest = hashlib.sha256(b"MAP1" + struct.pack("<3i", sections, rows, columns))
    digest.update(zyx.astype("<f4").tobytes())
    assert check_map_content(path).content_sha256 == digest.hexdigest()


def test_pairs_of_the_archive_lie_as_measured(shared):
    """Every real pair passes; copies turned, shifted and mirrored stay as far behind as known."""
    for row in table(shared / "archive" / "manifest.tsv"):
        if row["model_path"] == "-":
            continue
        entry, resolution = row["emdb_id"], float(row["resolution_A"])
        volume = read_map(shared / "archive" / row["map_path"])
        atoms = read_atoms(shared / "archive" / row["model_path"])
        scores = fit_scores(volume, atoms, resolution)
        refusals, warnings = judge_fit(scores, resolution)
        assert refusals == []
        assert scores.z == pytest.approx(float(row["overlay_z"]), abs=0.02), entry
        rotated, shifted, mirrored = (
            score / scores.z for score in (scores.z_rotated, scores.z_shifted, scores.z_mirrored)
        )
        assert 0.03 < shifted < 0.47, entry
        if entry == "EMD-8249":  # 35 A: a blob in all poses
            assert (rotated, mirrored) == pytest.approx((1.0, 1.0), abs=0.005)
            assert [code for code, _ in warnings] == ["W_FIT_AMBIGUOUS"]
        else:
            assert 0.05 < rotated < 0.39 and 0.07 < mirrored < 0.51, entry
            assert warnings == []
        frames = frame_scores(volume, atoms)
        usual = usual_frame(volume.header)
        assert frames[usual] == pytest.approx(scores.z)
        assert best_frame(frames, usual) == usual


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda xyz, centre: xyz + np.array([6.0, 6.0, 0.0]), "PAIR_NO_FIT"),
        (lambda xyz, centre: (xyz - centre) * (-1, 1, 1) + centre, "PAIR_HAND"),
        (lambda xyz, centre: xyz + np.array([60.0, 0.0, 0.0]), "PAIR_OUTSIDE"),
    ],
)
@pytest.mark.parametrize("entry", ["EMD-6374", "EMD-6272", "EMD-20026"])
def test_real_models_in_the_wrong_place(shared, entry, change, code):
    row = next(row for row in table(shared / "archive" / "manifest.tsv") if row["emdb_id"] == entry)
    volume = read_map(shared / "archive" / row["map_path"])
    atoms = read_atoms(shared / "archive" / row["model_path"])
    moved = replace(atoms, xyz=change(atoms.xyz, fit_atoms(atoms).mean(axis=0)))
    resolution = float(row["resolution_A"])
    refusals, _ = judge_fit(fit_scores(volume, moved, resolution), resolution)
    assert code in [error.code for error in refusals]

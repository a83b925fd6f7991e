"""Our numbers and files beside those of programs that are not ours: cctbx, servalcat, gemmi.

The programs go into an environment of their own, ``.judges`` in the repository's folder, at the
first run. ``make judges`` prints the table of what was compared.
"""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path

import gemmi
import mrcfile
import numpy as np
import pytest
from scipy.stats import spearmanr

from cryoclarity.evaluate.fsc import fsc
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.maps import read_map, write_map
from cryoclarity.io.model import read_atoms
from cryoclarity.scoring import qscore

pytestmark = pytest.mark.judges
PROGRAMS = ("cctbx-base==2025.11", "servalcat==0.4.142")
# Map, model, resolution; small real pairs of different kinds.
PAIRS = {
    "EMD-6374": ("emd_6374", "jb/pdb3jb0", 2.9),
    "EMD-20353": ("emd_20353", "pj/pdb6pj6", 2.2),
    "EMD-5778": ("emd_5778", "j5/pdb3j5p", 3.28),
}


@pytest.fixture(scope="session")
def judges(root):
    """Folder of the programs' environment; made at first use."""
    folder = root / ".judges"
    if not (folder / ".ready").is_file():
        steps = (
            [sys.executable, "-m", "venv", str(folder)],
            [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *PROGRAMS],
        )
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"the programs cannot be installed: {done.stderr.strip()[-200:]}")
        (folder / ".ready").touch()
    return folder / "bin"


def cctbx(judges, *arguments):
    script = Path(__file__).with_name("cctbx_judge.py")
    command = [str(judges / "python"), str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def plain(source, folder, name):
    path = folder / name
    path.write_bytes(gzip.decompress(source.read_bytes()))
    return path


def note(verdicts, what, ours, theirs, allowed):
    verdicts.append((what, ours, theirs, abs(ours - theirs), allowed))


@pytest.fixture(params=PAIRS)
def pair(request, shared, tmp_path):
    stem, model, resolution = PAIRS[request.param]
    archive = shared / "archive"
    number = stem.removeprefix("emd_")
    source = archive / "emdb" / "structures" / f"EMD-{number}" / "map" / f"{stem}.map.gz"
    models = archive / "pdb" / "data" / "structures" / "divided" / "pdb"
    return (
        request.param,
        plain(source, tmp_path, f"{stem}.map"),
        plain(models / f"{model}.ent.gz", tmp_path, "model.pdb"),
        resolution,
    )


def script(root, name, *arguments):
    command = [sys.executable, f"workflow_scripts/{name}", *map(str, arguments)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)


def test_correlations_beside_cctbx(pair, judges, root, tmp_path, verdicts):
    name, map_path, model, resolution = pair
    out = tmp_path / "evaluation.json"
    options = ("--map", map_path, "--model", model, "--resolution", resolution, "--out", out)
    script(root, "evaluate.py", *options)
    ours = json.loads(out.read_text())
    theirs = cctbx(judges, "scores", map_path, model, resolution)
    for key in ("CC_box", "CC_mask", "CC_volume", "CC_peaks"):
        note(verdicts, f"{name} {key}, cctbx", ours[key], theirs[key], 0.02)
    for key in ("CC_box", "CC_mask", "CC_volume"):
        assert ours[key] == pytest.approx(theirs[key], abs=0.02), key


def test_q_scores_beside_cctbx(pair, judges, verdicts, monkeypatch):
    """MapQ draws 8 points per shell, cctbx here 32: the noise of 8 points bounds the agreement.

    So the rule is compared at 32 points on both sides, and what 8 points make of it is printed.
    """
    name, map_path, model, resolution = pair
    theirs = cctbx(judges, "scores", map_path, model, resolution)["Q"]
    volume, atoms = read_map(map_path), read_atoms(model).heavy()
    columns = (atoms.chain, atoms.residue_number, atoms.insertion_code, atoms.name, atoms.altloc)
    keys = [".".join(map(str, key)) for key in zip(*columns, strict=True)]
    second = np.array([theirs.get(key, np.nan) for key in keys])
    ranks = {}
    for points in (8, 32):
        monkeypatch.setattr(qscore, "POINTS_WANTED", points)
        scores = qscore.q_scores(volume.density, volume.grid, atoms.xyz)
        known = np.isfinite(second) & ~scores.any_outside
        assert known.sum() > 0.8 * len(atoms)
        first = scores.q_score[0][known]
        ranks[points] = spearmanr(first, second[known]).statistic
        what = f"{name} mean Q, {points} points, cctbx"
        note(verdicts, what, first.mean(), second[known].mean(), 0.03)
        what = f"{name} Q at {points} points, rank correlation"
        note(verdicts, what, ranks[points], 1.0, 0.05 if points == 32 else np.nan)
        assert first.mean() == pytest.approx(second[known].mean(), abs=0.03)
    assert ranks[32] >= 0.95
    assert ranks[8] >= 0.9


def test_half_map_fsc_beside_servalcat(judges, tmp_path, verdicts):
    rng = np.random.default_rng(7)
    shape, voxel = (64, 64, 64), 1.2
    frequency = np.sqrt(
        sum(f**2 for f in np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij"))
    )
    signal = np.fft.ifftn(np.fft.fftn(rng.normal(size=shape)) * np.exp(-60 * frequency**2)).real
    grid = Grid(shape, (voxel,) * 3, (0.0, 0.0, 0.0))
    halves = []
    for number in (1, 2):
        density = (signal + 0.1 * rng.normal(size=shape)).astype(np.float32)
        write_map(tmp_path / f"half{number}.mrc", Volume(density, grid))
        halves.append(density)
    command = [judges / "servalcat", "fsc", "--halfmaps", "half1.mrc", "half2.mrc"]
    subprocess.run(
        [*command, "-o", "fsc.csv", "--csv"], cwd=tmp_path, check=True, capture_output=True
    )
    (found,) = tmp_path.glob("fsc*.csv")
    with found.open() as handle:
        rows = list(csv.DictReader(handle))[1:]  # its first shell pools two of ours
    theirs = np.array([float(row["fsc_half"]) for row in rows])
    numbers = np.array([int(row[""]) for row in rows])  # radius in voxels of Fourier space
    curve = fsc(*halves, (voxel,) * 3).correlation
    known = numbers < len(curve) - 1  # at Nyquist the programs count the edge differently
    theirs, ours = theirs[known], curve[numbers[known] - 1]
    assert len(ours) > 20
    shells = np.abs(theirs - ours)
    worst = int(shells.argmax())
    note(verdicts, "half-map FSC, worst shell, servalcat", ours[worst], theirs[worst], 1e-3)
    assert shells.max() < 1e-3


def blob_map(kind):
    """A Gaussian at a known place, in a frame of some kind; returns volume and place."""
    voxel = (1.0, 1.25, 1.5) if kind == "anisotropic" else (1.2, 1.2, 1.2)
    start = np.array([7, -5, 11])
    grid = Grid((30, 28, 26), voxel, tuple(float(x) for x in start * voxel))
    centre = np.array(grid.origin) + np.array(voxel) * (11, 14, 16)
    index = np.indices(grid.shape)[::-1].reshape(3, -1).T
    position = np.array(grid.origin) + index * voxel
    density = np.exp(-0.5 * np.sum((position - centre) ** 2, axis=1) / 2.0**2)
    return Volume(density.reshape(grid.shape).astype(np.float32), grid), centre


def as_deposited(path, volume, kind):
    """Write a file as other programs leave it: NSTART only, ORIGIN only, both, or other axes."""
    start = np.rint(np.array(volume.grid.origin) / volume.grid.voxel_size).astype(int)
    data, order = volume.density, (1, 2, 3)
    if kind == "permuted":
        data, order = volume.density.transpose(2, 1, 0), (3, 2, 1)
    with mrcfile.new(path) as file:
        file.set_data(np.ascontiguousarray(data))
        cell = np.array(volume.density.shape[::-1]) * volume.grid.voxel_size
        file.header.cella.x, file.header.cella.y, file.header.cella.z = cell
        file.header.mapc, file.header.mapr, file.header.maps = order
        size = volume.density.shape[::-1]
        file.header.mx, file.header.my, file.header.mz = size
        words = start[[axis - 1 for axis in order]] if kind != "origin" else (0, 0, 0)
        file.header.nxstart, file.header.nystart, file.header.nzstart = words
        if kind in ("origin", "both"):
            place = file.header.origin
            place.x, place.y, place.z = volume.grid.origin


@pytest.mark.parametrize("kind", ["nstart", "origin", "both", "permuted", "anisotropic"])
@pytest.mark.parametrize("canonical", [False, True], ids=["kept", "canonical"])
def test_written_maps_lie_where_every_reader_puts_them(kind, canonical, judges, tmp_path, verdicts):
    volume, centre = blob_map(kind)
    deposited, written = tmp_path / "deposited.mrc", tmp_path / "written.mrc"
    as_deposited(deposited, volume, kind)
    found = read_map(deposited)
    assert found.grid.origin == pytest.approx(volume.grid.origin, abs=1e-4)
    write_map(written, found, canonical=canonical)
    assert mrcfile.validate(str(written))
    native = canonical or kind in ("nstart", "permuted", "anisotropic")
    if native:
        value = gemmi_value(written, centre)
        note(verdicts, f"density at the blob, gemmi ({kind})", 1.0, value, 1e-3)
        assert value == pytest.approx(1.0, abs=1e-3)
    shifted = [centre, centre + np.array([1.2, 0, 0]), centre - np.array([0, 0, 1.5])]
    points = [",".join(f"{x:.6f}" for x in point) for point in shifted]
    values = cctbx(judges, "density", written, *points)
    if native or kind == "both":
        note(verdicts, f"density at the blob, cctbx ({kind})", 1.0, values[0], 1e-3)
        assert values[0] == pytest.approx(1.0, abs=1e-3)
        assert max(values[1:]) < values[0]
    assert words_origin(written) == pytest.approx(volume.grid.origin, abs=1e-3)


def gemmi_value(path, point):
    """Density at a position as gemmi places a whole map: by NSTART alone, periodic."""
    found = gemmi.read_ccp4_map(str(path))
    found.setup(0.0)
    return found.grid.interpolate_value(gemmi.Position(*point), order=3)


def words_origin(path):
    """Origin by the words that mrcfile exposes: ORIGIN, or NSTART times the voxel size."""
    with mrcfile.open(path, header_only=True) as file:
        header = file.header
        origin = [float(header.origin[axis]) for axis in "xyz"]
        start = [int(header[f"n{axis}start"]) for axis in "xyz"]
        voxel = [float(file.voxel_size[axis]) for axis in "xyz"]
    return origin if any(origin) else [n * v for n, v in zip(start, voxel, strict=True)]

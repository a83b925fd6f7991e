"""Q-scores against a literal loop over the rule, against reference tables, and by symmetry."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoclarity.errors import InputError
from cryoclarity.grid import Grid
from cryoclarity.io.maps import read_map
from cryoclarity.io.tables import read_table
from cryoclarity.scoring import qscore
from cryoclarity.scoring.qscore import q_scores
from cryoclarity.scoring.sphere import spiral_points

REFERENCES = (
    ("q_EMD-6272_3j9s", "emd_6272"),
    ("q_EMD-5778_3j5p", "emd_5778"),
    ("q_EMD-6374_3jb0", "emd_6374"),
    ("q_EMD-30342_7cecA", "emd_30342"),
    ("q_EMD-20353_6pj6", "emd_20353"),
    ("q_syn", None),
)


def loop_points(count):
    """Spiral points by the recursion, one at a time."""
    points, azimuth = [], 0.0
    for k in range(1, count + 1):
        height = -1 + 2 * (k - 1) / (count - 1)
        if k in (1, count):
            azimuth = 0.0
        else:
            azimuth = (azimuth + 3.6 / math.sqrt(count * (1 - height**2))) % (2 * math.pi)
        polar = math.acos(height)
        points.append(
            (
                math.sin(polar) * math.cos(azimuth),
                math.sin(polar) * math.sin(azimuth),
                math.cos(polar),
            )
        )
    return points


def loop_value(density, grid, point):
    """Trilinear value, 0 outside the hull of the voxel centres."""
    place = [(p - o) / v for p, o, v in zip(point, grid.origin, grid.voxel_size, strict=True)]
    size = grid.shape[::-1]
    if any(u < 0 or u > n - 1 for u, n in zip(place, size, strict=True)):
        return 0.0, True
    low = [min(math.floor(u), n - 2) for u, n in zip(place, size, strict=True)]
    t = [u - i for u, i in zip(place, low, strict=True)]
    total = 0.0
    for corner in np.ndindex(2, 2, 2):
        weight = math.prod(f if c else 1 - f for f, c in zip(t, corner, strict=True))
        x, y, z = (i + c for i, c in zip(low, corner, strict=True))
        total += weight * float(density[z, y, x])
    return total, False


def loop_q(density, grid, atoms, i, sigma):
    """Q-score of one atom by plain loops: (Q, entries, empty shells, any outside)."""
    centre, outside = loop_value(density, grid, atoms[i])
    values, radii, empty = [centre] * 8, [0.0] * 8, 0
    radius = 0.1
    while radius < 2.001:
        for attempt in range(50):
            kept = []
            for u in loop_points(8 + 2 * attempt):
                point = [a + radius * b for a, b in zip(atoms[i], u, strict=True)]
                if all(math.dist(point, other) >= 0.9 * radius for other in atoms):
                    kept.append(point)
            if len(kept) >= 8:
                break
        else:
            kept, empty = [], empty + 1
        for point in kept:
            value, out = loop_value(density, grid, point)
            values.append(value)
            radii.append(radius)
            outside |= out
        radius += 0.1
    d = np.array(values) - np.mean(values)
    g = np.exp(-0.5 * (np.array(radii) / sigma) ** 2)
    g -= g.mean()
    scale = math.sqrt((d @ d) * (g @ g))
    return (d @ g / scale if scale else 0.0), len(values), empty, outside


@pytest.fixture(scope="module")
def case():
    """A noisy map of a small cluster; some atoms near or beyond a face, one fully enclosed."""
    rng = np.random.default_rng(5)
    grid = Grid((14, 15, 16), (1.0, 1.1, 0.9), (-3.0, 2.0, 5.5))
    cage = np.array(spiral_points(24)) * 1.3
    centre = np.array([[3.0, 9.0, 12.0]])
    near_faces = [[-2.5, 3.0, 6.0], [30.0, 9.0, 12.0]]
    atoms = np.concatenate((centre, centre + cage[::2], near_faces))
    atoms = np.round(np.concatenate((atoms, [[3.0, 9.4, 12.1], [8.0, 14.0, 17.0]])), 3)
    density = rng.normal(size=grid.shape).astype(np.float32)
    return density, grid, atoms


def test_same_as_loops(case):
    density, grid, atoms = case
    scores = q_scores(density, grid, atoms, sigma=(0.6, 0.4))
    for i in range(len(atoms)):
        for j, sigma in enumerate((0.6, 0.4)):
            expected, entries, empty, outside = loop_q(density, grid, atoms.tolist(), i, sigma)
            assert scores.q_score[j, i] == pytest.approx(expected, abs=1e-12)
        assert scores.points[i] == entries
        assert scores.empty_shells[i] == empty
        assert scores.any_outside[i] == outside
    assert scores.empty_shells[0] > 0  # the caged atom loses its outer shells
    assert scores.any_outside.sum() >= 2


def test_sphere_points():
    for count in (8, 10, 57, 106):
        points = spiral_points(count)
        np.testing.assert_allclose(points, loop_points(count), atol=1e-12)
        np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1.0, atol=1e-14)
    assert points[0][2] == -1.0
    assert points[-1][2] == 1.0


def test_radii_are_sums_of_the_step():
    radii, radius = [], 0.1
    while radius < 2.001:
        radii.append(radius)
        radius += 0.1
    assert qscore.SHELL_RADII.tolist() == radii


@pytest.mark.parametrize(("table", "name"), REFERENCES)
def test_reference_tables(shared, table, name):
    folder = shared / "reference" / "qscore"
    path = folder / "syn_map.map.gz"
    if name is not None:
        path = next((shared / "archive").rglob(f"{name}.map.gz"))
    rows = read_table(folder / f"{table}.tsv.gz")
    volume = read_map(path)
    position = np.array([[float(row[axis]) for axis in "xyz"] for row in rows])
    scores = q_scores(volume.density, volume.grid, position, sigma=(0.6, 0.4))
    for found, column in zip(scores.q_score, ("Q_mapq", "Q_mapq_sigma0.4"), strict=True):
        error = np.abs(found - [float(row[column]) for row in rows])
        assert error.max() <= 0.05
        assert (error <= 1e-4).mean() >= 0.998
        assert np.median(error) < 1e-6
    assert (scores.points == [int(row["n_points"]) for row in rows]).mean() >= 0.998


def test_half_a_voxel_is_seen(shared):
    rows = read_table(shared / "reference" / "qscore" / "q_EMD-30342_7cecA.tsv.gz")[:1500]
    volume = read_map(next((shared / "archive").rglob("emd_30342.map.gz")))
    position = np.array([[float(row[axis]) for axis in "xyz"] for row in rows])
    shift = [0.5 * volume.grid.voxel_size[0], 0.0, 0.0]
    straight = q_scores(volume.density, volume.grid, position).q_score.mean()
    shifted = q_scores(volume.density, volume.grid, position + shift).q_score.mean()
    assert straight - shifted > 0.015


def smooth_case(seed):
    rng = np.random.default_rng(seed)
    grid = Grid((20, 20, 20), (1.0, 1.0, 1.0))
    density = rng.normal(size=grid.shape)
    return density, grid, rng.uniform(3.0, 16.0, size=(25, 3))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.floats(0.01, 100.0), st.floats(-50.0, 50.0), st.integers(0, 50))
def test_scale_and_offset_change_nothing(scale, offset, seed):
    density, grid, atoms = smooth_case(seed)
    plain = q_scores(density, grid, atoms)
    assert not plain.any_outside.any()
    changed = q_scores(scale * density + offset, grid, atoms)
    np.testing.assert_allclose(changed.q_score, plain.q_score, atol=1e-9)
    np.testing.assert_allclose(q_scores(-density, grid, atoms).q_score, -plain.q_score, atol=1e-12)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 1000))
def test_order_and_chunks_change_nothing(seed):
    density, grid, atoms = smooth_case(seed)
    order = np.random.default_rng(seed).permutation(len(atoms))
    plain = q_scores(density, grid, atoms)
    np.testing.assert_allclose(
        q_scores(density, grid, atoms[order]).q_score, plain.q_score[:, order], atol=1e-12
    )
    part = q_scores(density, grid, atoms[:7], neighbours=atoms)
    np.testing.assert_allclose(part.q_score, plain.q_score[:, :7], atol=1e-12)


def test_gaussian_of_the_reference_width_scores_one():
    grid = Grid((60, 60, 60), (0.1, 0.1, 0.1), (-3.0, -3.0, -3.0))
    z, y, x = np.meshgrid(*[np.arange(60) * 0.1 - 3.0] * 3, indexing="ij")
    density = np.exp(-0.5 * (x**2 + y**2 + z**2) / 0.6**2)
    score = q_scores(density, grid, np.array([[0.02, 0.0, -0.03]])).q_score[0, 0]
    assert score > 0.998


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_constant_map_scores_zero(value):
    grid = Grid((12, 12, 12), (1.0, 1.0, 1.0))
    density = np.full(grid.shape, value, dtype=np.float32)
    scores = q_scores(density, grid, np.array([[5.3, 5.7, 6.1]]))
    assert scores.q_score[0, 0] == 0.0


def test_atoms_on_one_spot_do_not_disturb_each_other():
    density, grid, atoms = smooth_case(1)
    one = q_scores(density, grid, atoms[:1])
    two = q_scores(density, grid, np.repeat(atoms[:1], 2, axis=0))
    assert two.q_score.tolist() == [[one.q_score[0, 0]] * 2]


def test_no_atoms():
    density, grid, _ = smooth_case(1)
    assert q_scores(density, grid, np.zeros((0, 3))).q_score.shape == (1, 0)


def test_bad_voxels_and_sigma_are_refused():
    density, grid, atoms = smooth_case(1)
    with pytest.raises(ValueError, match="sigma"):
        q_scores(density, grid, atoms, sigma=0.0)
    density[3, 4, 5] = np.nan
    with pytest.raises(InputError) as caught:
        q_scores(density, grid, atoms)
    assert caught.value.code == "VAL_NONFINITE"

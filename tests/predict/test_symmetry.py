"""Symmetric particles: how much is lost is measured, and can be put back."""

from __future__ import annotations

import numpy as np
import pytest

from cryoclarity.errors import ConfigError
from cryoclarity.grid import Grid, Volume
from cryoclarity.predict.common import PredictSettings
from cryoclarity.predict.enhance import enhance
from cryoclarity.predict.symmetry import average, operators, symmetry_cc, symmetry_loss
from tests.predict.tiny import Identity, model_of


def particle(group, size=36):
    """Blobs at the orbit of random points about voxel n // 2, on weak symmetric noise."""
    generator = np.random.default_rng(4)
    turns = [np.eye(3), *operators(group)]
    middle = np.array([size // 2] * 3)
    index = np.indices((size,) * 3)
    density = np.zeros((size,) * 3)
    for point in generator.uniform(-9, 9, (5, 3)):
        for turn in turns:
            centre = middle + turn @ point
            square = sum((i - c) ** 2 for i, c in zip(index, centre, strict=True))
            density += np.exp(-0.5 * square / 1.8**2)
    return Volume(density.astype(np.float32), Grid(density.shape, (1.0,) * 3))


@pytest.mark.parametrize(("group", "order"), [("C4", 4), ("D2", 4), ("C3", 3), ("d3", 6)])
def test_operators_form_the_group(group, order):
    turns = [np.eye(3), *operators(group)]
    assert len(turns) == order
    for first in turns:
        assert np.linalg.det(first) == pytest.approx(1)
        for second in turns:
            assert any(np.allclose(first @ second, third) for third in turns)


@pytest.mark.parametrize("group", ["C1", "Z4", "C0", "C4x", ""])
def test_other_groups_are_refused(group):
    with pytest.raises(ConfigError):
        operators(group)


@pytest.mark.parametrize(("group", "bound"), [("C4", 1e-5), ("D2", 1e-5), ("C3", 0.01)])
def test_a_symmetric_particle_correlates_with_itself_turned(group, bound):
    volume = particle(group)
    inside = volume.density > 0.1
    assert symmetry_cc(volume.density, operators(group), inside) > 1 - bound
    assert symmetry_cc(volume.density, operators("C5"), inside) < 0.9


class Uneven(Identity):
    """Strengthens one side of every box: no symmetry survives that."""

    def forward(self, x):
        weight = x.new_ones(x.shape[-1])
        weight[: len(weight) // 2] = 1.6
        return x * weight


@pytest.mark.parametrize("group", ["C4", "D2"])
def test_the_loss_is_measured_and_averaging_restores_it(group):
    volume = particle(group)
    settings = PredictSettings(device="cpu", symmetry=group)
    kept = enhance(volume, model_of(Identity()), settings).facts["symmetry"]
    assert kept["cc_before"] > 0.999 and abs(kept["cc_lost"]) < 0.01 and not kept["imposed"]
    broken = enhance(volume, model_of(Uneven(), box=48), settings).facts["symmetry"]
    assert broken["cc_lost"] > 0.05
    settings = PredictSettings(device="cpu", symmetry=group, impose_symmetry=True)
    found = enhance(volume, model_of(Uneven(), box=48), settings)
    assert symmetry_loss(volume.density, found.density, operators(group))["cc_after"] > 0.99
    assert found.facts["symmetry"]["imposed"]


def test_the_average_of_a_symmetric_map_is_the_map():
    volume = particle("C4")
    found = average(volume.density, operators("C4"))
    assert np.abs(found - volume.density)[4:-4, 4:-4, 4:-4].max() < 1e-4


def test_unequal_voxels_cannot_be_turned():
    volume = particle("C4")
    skewed = Volume(volume.density, Grid(volume.grid.shape, (1.0, 1.0, 1.2)))
    with pytest.raises(ConfigError):
        enhance(skewed, model_of(Identity()), PredictSettings(device="cpu", symmetry="C4"))

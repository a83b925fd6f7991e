"""Selection, crop, rotation, box; ranges and seeds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from cryoclarity.degrade.parameters import (
    COARSE_SHIFT,
    BoxSettings,
    ImprovementRanges,
    ResolutionRanges,
)
from cryoclarity.degrade.placement import place, random_rotation, seed_of
from cryoclarity.errors import InputError
from tests.degrade.models import SMALL_BOX, small_model


def test_rotations_are_proper_and_uniform() -> None:
    rng = np.random.default_rng(1)
    turned = np.stack([random_rotation(rng) for _ in range(2000)])
    identity = turned @ turned.transpose(0, 2, 1)
    np.testing.assert_allclose(identity, np.broadcast_to(np.eye(3), identity.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turned), 1.0)
    # Uniform rotations send a vector evenly over the sphere: mean 0, second moment 1/3.
    assert np.abs(turned.mean(axis=0)).max() < 0.06
    assert np.abs((turned**2).mean(axis=0) - 1 / 3).max() < 0.04


def test_a_placed_model_is_the_model_turned() -> None:
    atoms = small_model()
    box = BoxSettings(max_edge=160, margin=9.0, max_atoms=10**6, voxel_size=0.9)
    placed = place(atoms, np.random.default_rng(2), box)
    heavy = atoms.heavy()
    assert len(placed.weight) == len(heavy)
    some = np.random.default_rng(3).integers(0, len(heavy), 40)
    np.testing.assert_allclose(pdist(placed.atoms.xyz[some]), pdist(heavy.xyz[some]), atol=1e-6)
    np.testing.assert_allclose(placed.position * 0.9, placed.atoms.xyz[:, ::-1], atol=1e-4)
    room = np.array(placed.shape) - 1 - placed.position.max(axis=0)
    assert placed.position.min() * 0.9 > 8.0 and room.min() * 0.9 > 8.0
    assert all(edge % 2 == 0 for edge in placed.shape)


@pytest.mark.parametrize("cubic", [False, True])
def test_large_models_are_cropped_to_a_ball_that_fits(cubic) -> None:
    box = BoxSettings(max_edge=40, margin=7.0, max_atoms=300, cubic=cubic)
    placed = place(small_model(), np.random.default_rng(4), box)
    assert 100 <= len(placed.weight) <= 300
    assert max(placed.shape) <= 40
    assert placed.shape == (40, 40, 40) or not cubic
    assert placed.position.min() > 5.0
    assert (np.array(placed.shape) - 1 - placed.position.max(axis=0)).min() > 5.0


def test_carboxyls_are_known() -> None:
    placed = place(small_model("four_helices"), np.random.default_rng(5), SMALL_BOX)
    rows = zip(placed.atoms.residue_name, placed.atoms.name, strict=True)
    wanted = [
        (residue, name) in {("ASP", "CG"), ("ASP", "OD1"), ("ASP", "OD2"),
                            ("GLU", "CD"), ("GLU", "OE1"), ("GLU", "OE2")}
        for residue, name in rows
    ]  # fmt: skip
    assert placed.carboxyl.tolist() == wanted
    assert any(wanted)


def test_a_model_without_atoms_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        place(small_model().take(np.arange(20)), np.random.default_rng(6), SMALL_BOX)
    assert caught.value.code == "MOD_TOO_SMALL"


def test_seeds_differ_by_model_and_draw() -> None:
    seeds = {tuple(seed_of(s, m, d)) for s in (1, 2) for m in ("1aki", "1cbs") for d in (0, 1)}
    assert len(seeds) == 8
    assert seed_of(1, "1aki", 0) == seed_of(1, "1aki", 0)


def test_draws_stay_in_their_ranges() -> None:
    rng = np.random.default_rng(7)
    ranges = ResolutionRanges.wide()
    draws = [ranges.draw(rng) for _ in range(300)]
    for name in ("best", "spread", "snr", "sharpening", "original_voxel"):
        low, high = getattr(ranges, name)
        values = np.array([getattr(draw, name) for draw in draws])
        assert values.min() >= low and values.max() <= high
        assert np.ptp(values) > 0.9 * (high - low) or name == "snr"
    middle = np.median([draw.snr for draw in draws])
    assert middle == pytest.approx(np.sqrt(4 * 40), rel=0.2)


def test_half_of_the_spectra_rise_and_half_do_not() -> None:
    rng = np.random.default_rng(8)
    draws = [ImprovementRanges().draw(rng) for _ in range(800)]
    blunt = np.array([draw.blunt for draw in draws])
    rise = np.array([draw.log_gain[-1] - draw.log_gain[0] for draw in draws])
    assert blunt.mean() == pytest.approx(0.5, abs=0.05)
    assert rise[~blunt].mean() == pytest.approx(1.0, abs=0.15)
    assert rise[blunt].mean() == pytest.approx(-0.4, abs=0.15)
    zones = np.array([draw.zone for draw in draws])
    assert (zones > 0).mean() == pytest.approx(0.75, abs=0.05)
    assert set(zones.tolist()) == {0.0, 2.0, 3.0, 4.0, 5.0, 8.0}


def test_coarse_maps_are_displaced_less() -> None:
    fine = ImprovementRanges().draw(np.random.default_rng(9), 3.0)
    coarse = ImprovementRanges().draw(np.random.default_rng(9), 5.5)
    assert coarse.shift == pytest.approx(COARSE_SHIFT * fine.shift)
    assert replace(coarse, shift=fine.shift, resolution=3.0) == fine


@pytest.mark.parametrize(
    "make",
    [
        lambda: ResolutionRanges(best=(5.0, 3.0)),
        lambda: ResolutionRanges(snr=(0.0, 3.0)),
        lambda: ImprovementRanges(solvent=(1.0, 0.0)),
        lambda: BoxSettings(margin=60.0),
        lambda: BoxSettings(voxel_size=0.0),
    ],
)
def test_impossible_settings_are_refused(make) -> None:
    with pytest.raises(ValueError):
        make()

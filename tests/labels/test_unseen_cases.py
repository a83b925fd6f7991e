"""The parity engine against a literal run of the method, on cases no reference covers."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from cryoclarity.errors import InputError
from cryoclarity.labels.resmap import ResmapParameters, local_resolution
from tests.labels.generator import filtered, half_maps, quantised, radial_frequency
from tests.labels.plain_resmap import plain_local_resolution

BANDS = [2.4, 3.2, 4.4]


@cache
def halves(n: int, radius: float, voxel_size: float, limit: float = 0.0):
    """Half maps of a small ball; with a limit in angstrom, cut there."""
    pair = half_maps(
        n=n, seed=n, vx=voxel_size, R=radius, bands=BANDS, c=1.0, colour=1.0, sigma=0.35
    )
    if limit:
        keep = radial_frequency(n, voxel_size) <= 1 / limit
        pair = tuple(quantised(filtered(h.astype(np.float64), keep)) for h in pair)
    return pair


def ball(n: int, radius: float) -> np.ndarray:
    place = np.indices((n, n, n)) - np.array([n // 2 - 1, n // 2, n // 2 + 1]).reshape(3, 1, 1, 1)
    return (np.sum(place**2, axis=0) < radius**2).astype(np.float32)


LONG = pytest.mark.long
CASES = {
    # name: edge, radius, voxel size, cut at, half maps, radius of a mask, parameters
    "n40": (40, 9, 1.0, 0, False, 0, {"max_res": 3.0}),
    "n40-halves-p-step": (
        40,
        10,
        1.0,
        0,
        True,
        0,
        {"p_value": 0.01, "max_res": 3.0, "step_res": 0.4},
    ),
    "n41-p": (41, 10, 1.3, 0, False, 0, {"p_value": 0.001, "step_res": 0.7, "max_res": 5.0}),
    "n45-mask": (45, 11, 0.9, 0, True, 9, {"step_res": 0.25, "max_res": 3.0}),
    "filtered-halves-mask": (72, 18, 1.0, 3.6, True, 16, {"step_res": 0.5, "max_res": 7.0}),
    "n164-halves": (164, 17, 1.0, 0, True, 0, {"max_res": 3.0}),
    "n165-single": (165, 16, 1.0, 0, False, 0, {"max_res": 3.0}),
    "n176-filtered": (176, 30, 1.0, 4.0, False, 0, {"max_res": 5.0}),
    "n200-filtered": (200, 34, 1.0, 4.0, False, 0, {}),
    "n168-filtered-halves-mask": (168, 30, 1.0, 3.4, True, 26, {}),
    "n161-halves": (161, 16, 1.06, 0, True, 14, {"p_value": 0.02}),
}
HEAVY = ("n164-halves", "n165-single", "n176-filtered", "n200-filtered",
         "n168-filtered-halves-mask")  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=LONG if name in HEAVY else ()) for name in CASES]
)
def test_labels_equal_the_literal_run(name: str) -> None:
    n, radius, voxel_size, limit, both, mask_radius, parameters = CASES[name]
    pair = halves(n, radius, voxel_size, limit)
    maps = pair if both else (np.float32(0.5) * (pair[0] + pair[1]),)
    mask = ball(n, mask_radius) if mask_radius else None
    plain = plain_local_resolution(maps, voxel_size, mask, **parameters)
    found = local_resolution(maps, voxel_size, ResmapParameters(**parameters), mask)
    assert found.low_pass.factor == pytest.approx(plain["factor"])
    assert (plain["factor"] > 0) == (limit > 0)
    assert np.array_equal(found.mask, plain["mask"])
    spread = plain["whitened"].std()
    assert np.abs(found.whitened - plain["whitened"]).max() < 2e-4 * spread
    for level, expected in zip(found.levels, plain["levels"], strict=True):
        assert level.resolution == pytest.approx(expected["resolution"])
        assert (level.noise_blocks, level.tested) == (
            expected["blocks"], pytest.approx(expected["tested"], rel=2e-3)
        )  # fmt: skip
        assert level.variance == pytest.approx(expected["variance"], rel=1e-4)
        assert level.threshold_uncorrected == pytest.approx(expected["uncorrected"], rel=1e-5)
    same = found.level_index == plain["index"]
    assert same[plain["mask"]].mean() >= 0.997
    assert np.count_nonzero(found.level_index != 255) > 100


def test_no_noise_block_ends_both() -> None:
    maps = (halves(40, 9, 1.0)[0],)
    with pytest.raises(FloatingPointError):
        plain_local_resolution(maps, 1.0, min_res=9.0, max_res=9.0)
    with pytest.raises(InputError) as caught:
        local_resolution(maps, 1.0, ResmapParameters(min_res=9.0, max_res=9.0))
    assert caught.value.code == "LABEL_NO_NOISE_BLOCKS"

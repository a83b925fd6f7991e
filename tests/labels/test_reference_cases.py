"""Parity with the original program on its reference runs."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from cryoclarity.labels.resmap import ResmapParameters, local_resolution
from tests.labels.generator import digest, header_voxel_size, reference_inputs

OWN = Path(__file__).resolve().parents[1] / "data" / "resmap"
SMALL = ("syn64", "syn64half", "odd57", "mask72", "lpf80")


@cache
def run(folder: Path, name: str):
    case = json.loads((folder / f"{name}.json").read_text())
    with np.load(folder / f"{name}.npz") as stored:
        reference = dict(stored)
    inputs = reference_inputs(case)
    for role, expected in case["input_sha256_float32"].items():
        assert digest(inputs[role]) == expected, f"{name}: {role} was not generated faithfully"
    maps = tuple(volume for role, volume in inputs.items() if role != "mask")
    result = local_resolution(
        maps,
        header_voxel_size(case["generator"]),
        ResmapParameters(**case["parameters"]),
        mask=inputs.get("mask"),
    )
    return case, reference, result


@pytest.fixture(params=[*SMALL, "big168"])
def outcome(request):
    if request.param in SMALL:
        return run(OWN, request.param)
    return run(request.getfixturevalue("shared") / "reference" / "resmap", request.param)


def test_labels_agree_with_the_original(outcome) -> None:
    case, reference, result = outcome
    key = "level_index" if "level_index" in reference else "level_index_downsampled"
    mask = np.unpackbits(reference["mask0"])[: result.mask.size].reshape(result.mask.shape) == 1
    same = reference[key] == result.level_index
    assert np.array_equal(mask, result.mask)
    assert same[mask].mean() >= 0.997
    assert same.mean() >= 0.9995
    assert [level.resolution for level in result.levels] == pytest.approx(case["levels_A"])


def test_scalars_agree_with_the_original(outcome) -> None:
    case, reference, result = outcome
    original = case["original"]
    assert result.low_pass.factor == pytest.approx(original["lpf"]["LPFfactor"], abs=1e-9)
    assert result.data_mask_voxels == original["dataMask_voxels"]
    assert result.voxel_size == pytest.approx(original["vxSize"], rel=1e-6)
    np.testing.assert_allclose(result.noise.spectrum, reference["bg_spectrum"], rtol=1e-4)
    coefficients = result.whitening.coefficients
    np.testing.assert_allclose(coefficients, original["pcoef"], rtol=1e-3, atol=5e-5)
    plane = result.whitened[result.mask.shape[0] // 2]
    error = np.abs(plane - reference["prewhitened_plane"]).max()
    assert error <= 1e-4 * original["data_pw_std"]
    for level, expected in zip(result.levels, original["levels"], strict=True):
        assert level.radius == expected["r"]
        assert level.noise_blocks == expected["n_blocks"]
        assert level.variance == pytest.approx(expected["variance"], rel=1e-4)
        assert level.trace == pytest.approx(expected["trace_lambda_d"], rel=1e-6)
        eigenvalues = np.sort(expected["eigenvalues"])[::-1]
        np.testing.assert_allclose(level.eigenvalues, eigenvalues, atol=1e-6)
        uncorrected = expected["thr_uncorrected"]
        assert level.threshold_uncorrected == pytest.approx(uncorrected, rel=1e-5)
        assert level.threshold == pytest.approx(expected["thr_fdr"], rel=1e-4)
        assert abs(level.above_uncorrected - expected["kmax"]) <= 2
        assert abs(level.assigned - expected["assigned"]) <= 2 + expected["kmax"] / 500


def test_filtered_map_comes_back_to_the_input_grid() -> None:
    _, reference, result = run(OWN, "lpf80")
    np.testing.assert_allclose(
        result.resolution, reference["out_f16"].astype(np.float32), rtol=1e-3
    )
    labels = result.resolution[result.codes == 1]
    levels = [level.resolution for level in result.levels]
    # No interpolated value counts as a label; the mixtures are many.
    assert np.abs(labels[:, None] - np.array(levels)).min(axis=1).max() < 1e-4
    assert np.count_nonzero(result.codes == 3) > 0.1 * np.count_nonzero(result.codes == 1)
    assert np.all(result.resolution[result.codes == 3] < 100)
    assert np.all(result.resolution[(result.codes == 0) | (result.codes == 2)] == 100)


def test_codes_tell_outside_from_failed() -> None:
    _, _, result = run(OWN, "mask72")
    assert np.array_equal(result.codes > 0, result.mask)
    assert np.array_equal(result.codes == 1, result.resolution < 100)
    assert np.count_nonzero(result.codes == 2) > 0

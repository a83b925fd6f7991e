"""Map-model metrics: parity with independent reference values, invariances and bad input."""

import json

import numpy as np
import pytest

from cryoclarity.errors import ConfigError, InputError
from cryoclarity.evaluate.metrics import map_metrics
from cryoclarity.evaluate.reference import ModelReference
from cryoclarity.grid import Grid
from cryoclarity.io.maps import read_map
from cryoclarity.io.model import read_atoms
from cryoclarity.model.density import gaussian_density

PAIRS = ("emd_6272.map.gz", "emd_6374.map.gz")
CORRELATIONS = ("CC_box", "CC_mask", "CC_volume", "CC_peaks")


@pytest.fixture(scope="module", params=PAIRS)
def parity(request, shared):
    content = json.loads((shared / "reference" / "qscore" / "metrics.json").read_text())
    expected = content[request.param]
    archive = shared / "archive"
    volume = read_map(next(archive.rglob(expected["map"])))
    atoms = read_atoms(next(archive.rglob(expected["model"])))
    reference = ModelReference.of_model(atoms, volume.grid, expected["d_min"])
    return volume, reference, map_metrics(volume.density, reference), expected


def test_correlations_match_the_reference(parity):
    _, _, metrics, expected = parity
    assert metrics.values["n_inside"] == expected["n_inside"]
    for key in CORRELATIONS:
        assert metrics.values[key] == pytest.approx(expected[key], abs=1e-4), key


def test_fsc_matches_the_reference(parity):
    _, _, metrics, expected = parity
    for name, key in (("model", "fsc_unmasked"), ("model_masked", "fsc_masked")):
        for threshold, crossing in (("0.5", "d05"), ("0.143", "d0143")):
            value = metrics.values[f"d_fsc_{name}_{threshold}"]
            assert value == pytest.approx(expected[key][crossing], abs=2e-3)
    np.testing.assert_allclose(metrics.fsc.frequency, expected["fsc_s"], atol=1e-6)
    up_to_resolution = metrics.fsc.frequency <= 1 / expected["d_min"]
    for curve, key in (
        (metrics.fsc, "fsc_unmasked_curve"),
        (metrics.fsc_masked, "fsc_masked_curve"),
    ):
        difference = np.abs(curve.correlation - expected[key])
        assert difference[up_to_resolution].max() < 5e-3
        mean = np.mean(np.asarray(expected[key])[up_to_resolution])
        assert curve.mean_up_to(expected["d_min"]) == pytest.approx(mean, abs=1e-3)


def test_soft_mask_matches_the_reference(parity):
    _, reference, _, expected = parity
    total = reference.soft_mask.sum(dtype=np.float64)
    assert total == pytest.approx(expected["soft_mask_sum"], rel=1e-5)


def test_q_mean_is_that_of_the_reference_table(parity):
    _, _, metrics, expected = parity
    known = {"emd_6272.map.gz": 0.6196, "emd_6374.map.gz": 0.6974}[expected["map"]]
    assert metrics.values["Q_mean"] == pytest.approx(known, abs=1e-4)
    law = {2.6: 0.6669, 2.9: 0.6010}[expected["d_min"]]
    assert metrics.values["Q_expected"] == pytest.approx(law, abs=2e-3)


@pytest.fixture(scope="module")
def synthetic(shared):
    folder = shared / "reference" / "qscore"
    volume = read_map(folder / "syn_map.map.gz")
    atoms = read_atoms(folder / "syn_model.pdb")
    return volume, ModelReference.of_model(atoms, volume.grid, 3.0)


def test_scale_and_offset_change_nothing(synthetic):
    volume, reference = synthetic
    first = map_metrics(volume.density, reference, target=volume.density).values
    scaled = (7.0 * volume.density).astype(np.float32)
    second = map_metrics(scaled, reference, target=volume.density).values
    for key, value in first.items():
        assert second[key] == pytest.approx(value, abs=2e-4), key
    assert first["SSIM"] == pytest.approx(1.0)
    assert first["CC_target_mask"] == pytest.approx(1.0)


def test_the_model_map_itself_is_perfect_up_to_its_resolution(synthetic):
    _, reference = synthetic
    values = map_metrics(reference.model_density.astype(np.float32), reference).values
    for key in CORRELATIONS:
        assert values[key] == pytest.approx(1.0, abs=1e-6)
    assert values["mean_fsc_model"] == pytest.approx(1.0, abs=0.02)


def test_model_outside_the_map_is_refused(synthetic):
    volume, reference = synthetic
    far = Grid(volume.grid.shape, volume.grid.voxel_size, (5000.0, 0.0, 0.0))
    with pytest.raises(InputError) as caught:
        ModelReference.of_model(reference.atoms, far, 3.0)
    assert caught.value.code == "EVAL_NO_MODEL"


def test_bad_values_are_refused(synthetic):
    volume, reference = synthetic
    with pytest.raises(InputError) as caught:
        map_metrics(np.zeros_like(volume.density), reference)
    assert caught.value.code == "VAL_CONSTANT"
    broken = volume.density.copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(InputError) as caught:
        map_metrics(broken, reference)
    assert caught.value.code == "VAL_NONFINITE"
    with pytest.raises(ConfigError):
        ModelReference.of_model(reference.atoms, volume.grid, 0.0)


def test_scores_against_a_target_match_the_reference(parity):
    volume, reference, _, expected = parity
    atoms = reference.atoms
    # Uniform resolution d, standard deviation of DiMaio's Gaussian, weight Z times occupancy.
    d = expected["target"]["resolution"]
    width = np.full(len(atoms), (2.4 + 0.8 * d) / (np.pi * np.sqrt(2.0)))
    weight = atoms.atomic_number * atoms.occupancy
    target = gaussian_density(atoms.xyz, weight, width, volume.grid)
    values = map_metrics(volume.density, reference, target=target).values
    for key in ("SSIM", "SSIM_mask", "CC_target_box", "CC_target_mask"):
        assert values[key] == pytest.approx(expected["target"][key], abs=1e-3), key

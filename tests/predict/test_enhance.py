"""Improved maps in default mode."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from cryoclarity.density.masks import automatic_mask, default_contour, suggest_contour
from cryoclarity.density.shift import relative_shift
from cryoclarity.errors import InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.predict.common import PredictSettings, looks_inverted
from cryoclarity.predict.enhance import enhance, reference_maps
from cryoclarity.predict.model import dataset_for
from cryoclarity.predict.region import Region
from tests.predict.tiny import Identity, Smooth, blob_volume, model_of

CPU = PredictSettings(device="cpu")


def correlation(a, b):
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def sphere_mask(volume, radius=8.0, shift=(0.0, 0.0, 0.0)):
    """A binary sphere about the middle of a volume, on a grid moved by `shift` (x, y, z)."""
    grid = volume.grid
    index = np.indices(grid.shape).reshape(3, -1).T
    middle = grid.position_of((np.asarray(grid.shape) - 1) / 2)
    moved = Grid(grid.shape, grid.voxel_size, tuple(np.asarray(grid.origin) + shift))
    distance = np.linalg.norm(moved.position_of(index) - middle, axis=1)
    return Volume((distance < radius).reshape(grid.shape).astype(np.float32), moved)


@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), (-13.37, 4.21, 100.9)])
@pytest.mark.parametrize("stride", [5, 12, 40])
def test_an_identity_network_gives_back_map_and_amplitude(origin, stride):
    volume = blob_volume(origin=origin)
    found = enhance(volume, model_of(Identity()), PredictSettings(device="cpu", stride=stride))
    inside = automatic_mask(volume.density)
    error = (found.density - volume.density)[inside]
    assert found.density.shape == volume.density.shape
    assert np.abs(error).max() < 0.02 * volume.density.max()
    assert found.facts["amplitude"]["fitted"]


def test_the_fit_is_least_squares_inside_the_mask():
    volume = blob_volume()
    found = enhance(volume, model_of(Smooth()), CPU)
    raw = enhance(volume, model_of(Smooth()), PredictSettings(device="cpu", amplitude="network"))
    inside = automatic_mask(volume.density)
    slope, offset = np.polyfit(raw.density[inside], volume.density[inside], 1)
    assert np.allclose(found.density, slope * raw.density + offset, atol=1e-4)
    again = np.polyfit(found.density[inside], volume.density[inside], 1)
    assert np.allclose(again, (1, 0), atol=1e-3)


def test_network_units_do_not_follow_the_scale_of_the_input():
    volume = blob_volume()
    settings = PredictSettings(device="cpu", amplitude="network")
    one = enhance(volume, model_of(Smooth()), settings)
    ten = enhance(volume.with_density(10 * volume.density), model_of(Smooth()), settings)
    assert np.abs(one.density - ten.density).max() < 1e-5


def test_a_mask_without_contour_removes_the_outside():
    """The published contour 0 keeps everything; half of the maximum does not."""
    volume = blob_volume()
    mask = sphere_mask(volume)
    found = enhance(volume, model_of(Identity()), CPU, Region(mask=mask))
    assert found.facts["mask"]["contour"] == 0.5
    far = sphere_mask(volume, 14.0).density == 0
    assert not found.density[far].any()
    assert correlation(found.density[mask.density > 0], volume.density[mask.density > 0]) > 0.99


def test_a_mask_is_placed_by_its_position():
    """Equal sizes, other origin: the published rule ignores the offset."""
    volume = blob_volume()
    shift = (4.4, 0.0, -3.3)
    straight = enhance(volume, model_of(Smooth()), CPU, Region(mask=sphere_mask(volume)))
    moved = enhance(volume, model_of(Smooth()), CPU, Region(mask=sphere_mask(volume, shift=shift)))
    assert correlation(straight.density, moved.density) > 0.999
    with pytest.raises(InputError) as caught:
        far = sphere_mask(volume, shift=(500.0, 0.0, 0.0))
        enhance(volume, model_of(Smooth()), CPU, Region(mask=far))
    assert caught.value.code == "PRED_MASK"


def test_the_zone_of_a_model_and_its_inverse_share_the_map():
    volume = blob_volume()
    atoms = volume.grid.position_of((np.asarray(volume.grid.shape) - 1) / 2)[None]
    inside = Region(positions=atoms, radius=6.0).inside(volume.grid)
    outside = Region(positions=atoms, radius=6.0, invert=True).inside(volume.grid)
    assert inside.sum() * volume.grid.voxel_size[0] ** 3 == pytest.approx(905, rel=0.05)
    assert np.array_equal(inside, ~outside)
    found = enhance(volume, model_of(Identity()), CPU, Region(positions=atoms, radius=6.0))
    assert found.facts["mask"]["kind"] == "model"
    assert not found.density[:4].any()


def test_a_density_is_no_mask_unless_a_contour_is_given():
    volume = blob_volume()
    assert default_contour(volume.density) is None
    with pytest.raises(InputError) as caught:
        Region(mask=volume).inside(volume.grid)
    assert caught.value.code == "PRED_MASK"
    assert Region(mask=volume, contour=0.3).inside(volume.grid).any()


def test_maps_without_signal_are_refused():
    volume = blob_volume()
    with pytest.raises(InputError) as caught:
        enhance(volume.with_density(-np.abs(volume.density) - 1), model_of(Identity()), CPU)
    assert caught.value.code == "PRED_NO_SIGNAL"


def test_inverted_contrast_is_noticed_and_can_be_undone():
    volume = blob_volume()
    dark = volume.with_density(-volume.density)
    assert looks_inverted(dark.density) and not looks_inverted(volume.density)
    warned = enhance(dark, model_of(Identity()), CPU)
    assert [code for code, _ in warned.warnings] == ["W_PRED_INVERTED"]
    turned = enhance(dark, model_of(Identity()), PredictSettings(device="cpu", invert=True))
    assert not turned.warnings
    assert np.array_equal(turned.density, enhance(volume, model_of(Identity()), CPU).density)


def test_voxels_far_too_coarse_are_refused_before_any_memory_is_taken():
    coarse = Volume(blob_volume().density, Grid((30, 26, 28), (40.0,) * 3))
    with pytest.raises(InputError) as caught:
        enhance(coarse, model_of(Identity()), CPU)
    assert caught.value.code == "PRED_MEMORY"
    blurred = Volume(blob_volume((10, 10, 10)).density, Grid((10, 10, 10), (4.0,) * 3))
    warnings = enhance(blurred, model_of(Identity()), CPU).warnings
    assert [code for code, _ in warnings] == ["W_PRED_UNTRAINED"]


def test_empty_boxes_are_skipped_and_stay_empty():
    small = blob_volume((24, 24, 24), voxel=1.0).density
    density = np.zeros((24, 24, 96), np.float32)
    density[:, :, :24] = small * (small > 0.05)
    volume = Volume(density, Grid(density.shape, (1.0,) * 3))
    settings = PredictSettings(device="cpu", amplitude="network")
    found = enhance(volume, model_of(Smooth(), box=24), settings)
    assert (found.facts["boxes"], found.facts["boxes_predicted"]) == (7, 2)
    assert np.abs(found.density[:, :, 48:]).max() < 1e-5 * found.density.max()


def test_maps_smaller_than_a_box_are_padded():
    volume = blob_volume(shape=(9, 11, 10))
    found = enhance(volume, model_of(Identity(), box=24), CPU)
    assert found.density.shape == (9, 11, 10)
    assert correlation(found.density, volume.density) > 0.99


def test_a_network_that_contradicts_the_input_is_not_turned_inside_out():
    class Negative(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv3d(1, 1, 1)

        def forward(self, x):
            return -x

    found = enhance(blob_volume(), model_of(Negative()), CPU)
    assert not found.facts["amplitude"]["fitted"]


def test_the_fine_network_serves_small_voxels():
    """The published switch is at exactly 1: 0.9999 means eight times the boxes."""
    assert dataset_for("enhance", Grid((8, 8, 8), (0.9999,) * 3)) == "enhance_1.0"
    assert dataset_for("enhance", Grid((8, 8, 8), (0.79999995,) * 3)) == "enhance_1.0"
    assert dataset_for("enhance", Grid((8, 8, 8), (1.2, 0.7, 1.2))) == "enhance_0.5"
    assert dataset_for("resolution", Grid((8, 8, 8), (0.6,) * 3)) == "resolution_1.0"


def test_reference_maps_are_on_the_grid_of_the_input():
    volume = blob_volume(voxel=1.3)
    frequency = np.array([0.0, 0.5])
    flat = reference_maps(volume, model_of(Identity()), (frequency, np.ones(2)))
    assert set(flat) == {"roundtrip", "clipped", "radial_filter"}
    assert np.abs(flat["roundtrip"] - volume.density).max() < 0.02
    assert np.allclose(flat["radial_filter"], flat["clipped"], atol=1e-4)
    scale = volume.density.max()
    assert np.abs(flat["clipped"] * scale - np.clip(volume.density, 0, None)).max() < 0.05


def test_the_suggested_contour_lies_between_solvent_and_molecule():
    volume = blob_volume()
    level = suggest_contour(volume.density)
    assert 0.02 < level < 0.5 * volume.density.max()
    assert suggest_contour(-np.ones((4, 4, 4), np.float32)) == 0


class Shifting(Identity):
    """A network that moves every map by a tenth of a voxel along x."""

    def forward(self, x):
        return 0.9 * x + 0.1 * x.roll(1, dims=-1)


def test_a_shift_by_the_network_is_taken_back():
    place = np.indices((32, 32, 32)) - 15.5
    density = np.exp(-np.sum(place**2, axis=0) / 18).astype(np.float32)
    volume = Volume(density, Grid(density.shape, (1.0,) * 3))
    settings = PredictSettings(device="cpu", amplitude="network")
    found = enhance(volume, model_of(Shifting(), box=24), settings)
    assert found.facts["shift_taken_back_a"] == pytest.approx(0.1, abs=0.01)
    assert np.abs(relative_shift(density, found.density)).max() < 0.01

"""The published programs, their references, and their faults beside the default mode."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cryoclarity.boxes.tiling import axis_starts, cut_box
from cryoclarity.density.normalise import percentile_scale
from cryoclarity.density.resample import network_grid, resample
from cryoclarity.errors import InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.predict.common import PredictSettings
from cryoclarity.predict.engine import Runner, Tiling, predict_tiles
from cryoclarity.predict.enhance import enhance
from cryoclarity.predict.model import dataset_for
from cryoclarity.predict.published import (
    PublishedSettings,
    back_to_voxel,
    blend_uniform,
    coin_toss,
    join_cubes,
    pad_cube,
    published_enhance,
    published_frame,
    published_resolution,
    published_starts,
    run_published,
    split_cubes,
    to_grid,
)
from cryoclarity.predict.region import Region
from tests.predict.tiny import Identity, blob_volume, model_of

CPU = torch.device("cpu")
SETTINGS = PublishedSettings(device="cpu")


def header(voxel, shape, start=(0, 0, 0), origin=(0.0, 0.0, 0.0)):
    cell = tuple(n * v for n, v in zip(shape[::-1], voxel, strict=True))
    return SimpleNamespace(
        cell=cell, intervals=shape[::-1], start_index=start, origin_words=origin, labels=()
    )


def published_volume(shape=(30, 26, 28), voxel=1.25, start=(0, 0, 0), origin=(0.0, 0.0, 0.0)):
    volume = blob_volume(shape, voxel)
    words = header((voxel,) * 3, shape, start, origin)
    place = origin if any(origin) else tuple(s * voxel for s in start)
    return Volume(volume.density, Grid(shape, (voxel,) * 3, place), words)


def run(volume, settings=SETTINGS, **more):
    return published_enhance(volume, Runner(Identity(), CPU, 4), settings, **more)[0]


@pytest.fixture(scope="module")
def reference(shared):
    folder = shared / "reference" / "networks"
    facts = json.loads((folder / "pipeline_case1.json").read_text())
    arrays = np.load(folder / "pipeline_case1.npz")
    density = arrays["map_in"].astype(np.float32)
    voxel = tuple(facts["voxel_size_float32_xyz"])
    words = SimpleNamespace(
        cell=tuple(facts["cell_float32_xyz"]),
        intervals=density.shape[::-1],
        start_index=tuple(facts["nstart_xyz"]),
        origin_words=tuple(facts["origin_xyz"]),
    )
    return Volume(density, Grid(density.shape, voxel), words), arrays, facts


def test_everything_before_the_network_equals_the_reference(reference):
    volume, arrays, facts = reference
    work = to_grid(volume.density, *published_frame(volume), facts["grid_A"])
    assert list(work.density.shape) == facts["grid_shape_zyx"]
    assert list(work.start[::-1]) == facts["grid_nstart_xyz"]
    assert np.allclose(work.shift[::-1], facts["origin_shift_xyz"], atol=1e-9)
    step = facts["sub_step"]
    assert np.abs(work.density[::step, ::step, ::step] - arrays["grid_sub"]).max() < 1e-5
    assert percentile_scale(work.density) == pytest.approx(facts["maximum"], rel=1e-7)
    starts = list(published_starts(work.density.shape, facts["stride"]))
    kept = [s for s in starts if cut_box(work.density, s, facts["box"]).max() > 0]
    assert len(starts) == facts["boxes_total"]
    assert np.array_equal(kept, arrays["positions"])


def test_the_frame_of_the_result_equals_the_reference(reference):
    volume, _, facts = reference
    voxel, origin = published_frame(volume)
    work = to_grid(volume.density, voxel, origin, facts["grid_A"])
    result = back_to_voxel(np.ones_like(work.density), work.start, facts["grid_A"], voxel)
    assert list(result.grid.shape) == facts["out_shape_zyx"]
    steps = np.array(result.grid.origin) / result.grid.voxel_size
    assert np.allclose(steps, facts["out_nstart_xyz"], atol=1e-6)
    # Fault D3: these planes are lost.
    empty = [~(np.moveaxis(result.density, a, 0)[[0, -1]]).any(axis=(1, 2)) for a in range(3)]
    assert [e.tolist() for e in empty] == [[False, True], [True, True], [True, True]]


@pytest.mark.long
def test_the_whole_run_equals_the_reference(reference):
    from cryoclarity.nets.filler import fill, scunet_values
    from cryoclarity.nets.registry import build_network

    volume, arrays, facts = reference
    network = build_network({"name": "scunet", "drop_path_rate": 0.0})
    fill(network, scunet_values, facts["filler_seed"])
    result, _ = published_enhance(volume, Runner(network, CPU, 4), SETTINGS)
    assert np.abs(result.density - arrays["out"]).max() < 1e-4


@pytest.mark.long
def test_the_resolution_run_equals_the_reference(shared):
    from cryoclarity.nets.filler import fill, unet3d_values
    from cryoclarity.nets.registry import build_network

    case = np.load(shared / "reference" / "networks" / "unet3d_case3_published_map_run.npz")
    network = fill(build_network({"name": "unet3d"}), unet3d_values, int(case["seed"]))
    before = tuple(case["remainder_before"].tolist())
    found, raw = published_resolution(case["map"], Runner(network, CPU, 400), before)
    assert np.abs(raw - case["output_raw"]).max() < 2e-5
    assert np.abs(found - case["output_published"]).max() < 2e-5


def test_cubes_of_the_resolution_run_equal_the_reference(shared):
    case = np.load(shared / "reference" / "networks" / "unet3d_case3_published_map_run.npz")
    padded = pad_cube(case["normalised"], tuple(case["remainder_before"].tolist()))
    assert np.array_equal(padded, case["padded"])
    cubes = split_cubes(padded)
    assert len(cubes) == case["n_cubes"]
    assert np.array_equal(cubes[3], padded[:16, 16:, 16:])
    assert np.array_equal(join_cubes(cubes, padded.shape), padded)


def test_the_coin_is_tossed_by_a_seed_or_not_at_all():
    assert coin_toss(None) == (False, False, False)
    assert coin_toss(4) == coin_toss(4)
    assert len({coin_toss(seed) for seed in range(20)}) > 1


def test_contour_zero_keeps_everything_in_published_mode_only():
    """D1."""
    volume = published_volume()
    mask = volume.with_density(np.where(volume.density > 0.5, 1, 0).astype(np.float32))
    found = run(volume, mask=mask)
    plain = run(volume)
    kept = np.count_nonzero(found.density) / np.count_nonzero(plain.density)
    assert kept > 0.9
    half = run(volume, PublishedSettings(device="cpu", mask_contour=0.5), mask=mask)
    assert np.count_nonzero(half.density) < 0.5 * np.count_nonzero(plain.density)
    settings = PredictSettings(device="cpu")
    ours = enhance(volume, model_of(Identity()), settings, Region(mask=mask))
    assert np.count_nonzero(ours.density) < 0.5 * ours.density.size


def test_large_strides_leave_holes_in_published_mode_only():
    """D2: 96 voxels in steps of 48 cover an eighth of the volume."""
    covered = np.zeros((96,) * 3, bool)
    for start in published_starts(covered.shape, 48):
        covered[tuple(slice(max(s, 0), max(s + 48, 0)) for s in start)] = True
    assert covered.mean() == pytest.approx(0.125)
    assert axis_starts(96, 48, 48)[-1] == 48
    flat = np.ones((60, 50, 97), np.float32)
    ours, _ = predict_tiles(
        Runner(Identity(), CPU, 4), flat, Tiling(48, 48), lambda cut: cut, lambda cut, start: True
    )
    assert np.abs(ours - 1).max() < 1e-6


def test_faces_and_frame_are_lost_in_published_mode_only():
    """D3 and D4: zero planes, and a lattice moved by up to half a voxel."""
    volume = published_volume(origin=(0.5, 0.0, 0.0))
    volume = volume.with_density(volume.density + 1)
    found = run(volume)
    assert not found.density[-1].any()
    assert abs(found.grid.origin[0] - 0.5) > 0.4
    ours = enhance(volume, model_of(Identity(), box=24), PredictSettings(device="cpu"))
    assert ours.density.shape == volume.density.shape and ours.density[-1].any()
    assert np.abs(ours.density - volume.density).max() < 0.05 * volume.density.max()


def test_the_origin_is_counted_twice_in_published_mode_only():
    """D5: ORIGIN and NSTART that mean the same."""
    volume = published_volume(start=(8, -4, 16), origin=(10.0, -5.0, 20.0))
    assert published_frame(volume)[1] == (40.0, -10.0, 20.0)
    assert run(volume).grid.origin == pytest.approx((20.0, -10.0, 40.0))
    ours = volume.with_density(
        enhance(volume, model_of(Identity()), PredictSettings(device="cpu")).density
    )
    assert ours.grid.origin == (10.0, -5.0, 20.0) and ours.header is volume.header
    assert np.corrcoef(ours.density.ravel(), volume.density.ravel())[0, 1] > 0.999


def test_the_fine_grid_is_taken_below_exactly_one_in_published_mode():
    """D7."""
    volume = published_volume((12, 12, 12), voxel=0.9999)
    settings = PublishedSettings(device="cpu", stride=24)
    facts = published_enhance(volume, Runner(Identity(), CPU, 4), settings)[1]
    assert facts["network_grid"]["voxel_size"] == 0.5
    assert dataset_for("enhance", volume.grid) == "enhance_1.0"


def wave(voxel, period, shape=(40, 40, 40)):
    """A wave along x on a positive ground, and its header words."""
    x = np.arange(shape[2]) * voxel
    density = np.broadcast_to(2 + np.cos(2 * np.pi * x / period), shape).astype(np.float32)
    return Volume(density, Grid(shape, (voxel,) * 3), header((voxel,) * 3, shape))


def test_detail_beyond_the_grid_is_folded_back_in_published_mode_only():
    """D8: 0.3 A voxels on the 0.5 A grid; a wave of 0.8 A comes back as one of 1.33 A."""
    volume = wave(0.3, 0.8)
    published = to_grid(volume.density, *published_frame(volume), 0.5).density
    inner = (slice(4, -4),) * 3
    assert published[inner].std() > 0.3
    ours = resample(volume.density, volume.grid, network_grid(volume.grid, 0.5))
    assert ours[inner].std() < 0.05


def test_voxels_near_box_faces_count_as_much_as_centres_in_published_mode_only():
    """D10: the published mean takes a face's error whole, from fewer boxes at the map's edge."""
    covered = np.zeros(96, int)
    for z, _, _ in set(published_starts((96, 12, 12), 12)):
        covered[max(z, 0) : max(z + 48, 0)] += 1
    assert covered[0] == 2 and covered[48] == 4

    class Faces(Identity):
        def forward(self, x):
            wrong = torch.zeros_like(x)
            wrong[..., 0] = wrong[..., -1] = 50
            return x + wrong

    density = np.ones((12, 12, 96), np.float32)
    starts = list(published_starts(density.shape, 12))
    plain = blend_uniform(density, starts, Runner(Faces(), CPU, 4), 1.0)[..., 24:72] / 100
    assert np.abs(plain - 1).max() > 0.1
    ours, _ = predict_tiles(
        Runner(Faces(), CPU, 4), density, Tiling(48, 24), lambda cut: cut, lambda cut, start: True
    )
    assert np.abs(ours[..., 24:72] - 1).max() / 50 < 0.01


def test_amplitude_is_lost_in_published_mode_only():
    """D9: the result is in units of 100."""
    volume = published_volume()
    assert run(volume).density.max() == pytest.approx(100, rel=0.05)
    ours = enhance(volume, model_of(Identity()), PredictSettings(device="cpu"))
    assert ours.density.max() == pytest.approx(volume.density.max(), rel=0.05)


def test_a_moved_mask_of_equal_size_is_misplaced_in_published_mode_only():
    """D16."""
    volume = published_volume(start=(12, 0, 0))
    mask = np.where(volume.density > 0.5, 1, 0).astype(np.float32)
    contour = PublishedSettings(device="cpu", mask_contour=0.5)
    right = run(volume, contour, mask=volume.with_density(mask))
    moved = published_volume(start=(16, 0, 0)).with_density(mask)
    assert np.array_equal(run(volume, contour, mask=moved).density, right.density)
    settings, model = PredictSettings(device="cpu"), model_of(Identity())
    there, here = (
        enhance(volume, model, settings, Region(mask=mask_map)).density > 0.2
        for mask_map in (moved, volume.with_density(mask))
    )
    middle = [np.argwhere(found).mean(axis=0) for found in (there, here)]
    assert (middle[0] - middle[1])[2] > 1  # 4 voxels further along x, as far as there is density
    small = moved.with_density(mask)
    small = Volume(mask[:, :, :20], Grid((30, 26, 20), (1.25,) * 3), small.header)
    with pytest.raises(InputError) as caught:
        outside = header((1.25,) * 3, (30, 26, 20), start=(-40, 0, 0))
        run(volume, contour, mask=Volume(small.density, small.grid, outside))
    assert caught.value.code == "PRED_MASK"


def test_bare_state_dicts_run_and_a_wrong_task_is_refused(tmp_path):
    from cryoclarity.nets.registry import build_network

    torch.manual_seed(0)
    network = build_network({"name": "unet3d", "channels": [2, 2, 2, 2, 2]})
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    volume = published_volume((20, 18, 9))
    result, facts = run_published("resolution", tmp_path / "weights.pth", volume, SETTINGS)
    assert result.grid.shape == (32, 32, 32)
    assert (result.density[:6] == 100).all() and facts["network"]["name"] == "unet3d"
    with pytest.raises(InputError) as caught:
        run_published("enhance", tmp_path / "weights.pth", volume, SETTINGS)
    assert caught.value.code == "WEIGHTS_MISMATCH"


def test_published_refuses_what_has_no_signal():
    volume = published_volume()
    with pytest.raises(InputError) as caught:
        run(volume.with_density(-np.abs(volume.density) - 1))
    assert caught.value.code == "PRED_NO_SIGNAL"

"""Trust, spread and what is kept of the input: do they point at what is wrong?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from cryoclarity.boxes.augment import ROTATIONS
from cryoclarity.errors import ConfigError
from cryoclarity.grid import Grid, Volume
from cryoclarity.nets.registry import build_network
from cryoclarity.predict import agreement
from cryoclarity.predict.agreement import local_correlation, low_pass_sigma
from cryoclarity.predict.dropout import DropoutRunner
from cryoclarity.predict.engine import Runner, TileCount, Tiling, predict_sections
from cryoclarity.predict.enhance import PredictSettings, enhance
from cryoclarity.predict.ligands import missing_support
from cryoclarity.predict.passes import Pass, further_passes, turned, turned_back
from cryoclarity.predict.resolution import local_resolution
from cryoclarity.predict.trust import reliable_limit, residue_table
from tests.predict.tiny import Identity, Smooth, blob_volume, model_of

TRUST = PredictSettings(device="cpu", trust=True, resolution=5.0, trust_parts=True)
CPU = torch.device("cpu")


def two_blobs(shape=(32, 32, 64)):
    """One blob in each half along x."""
    index = np.indices(shape)
    density = np.zeros(shape)
    for x in (16, 48):
        square = sum((i - c) ** 2 for i, c in zip(index, (16, 16, x), strict=True))
        density += np.exp(-0.5 * square / 3.0**2)
    noise = 0.002 * np.random.default_rng(0).standard_normal(shape)
    return Volume((density + noise).astype(np.float32), Grid(shape, (1.0,) * 3))


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_a_box_turned_and_back_is_the_same(rotation):
    box = np.random.default_rng(1).standard_normal((5, 5, 5)).astype(np.float32)
    look = Pass(0, rotation)
    assert np.array_equal(turned_back(turned(box, look), look), box)


@pytest.mark.parametrize("look", [Pass(5), Pass(0, ROTATIONS[9]), Pass(3, ROTATIONS[7])])
def test_a_pass_of_an_exact_network_gives_back_the_map(look):
    density = np.random.default_rng(1).standard_normal((17, 9, 25)).astype(np.float32)
    runner, tiling = Runner(Identity(), CPU, 3), Tiling(12, 5)
    parts = predict_sections(
        runner, density, tiling, lambda cut: cut, lambda cut, start: True, TileCount(), look
    )
    found = np.concatenate([part.copy() for part in parts])
    assert found.shape == density.shape and np.abs(found - density).max() < 1e-5


def test_further_passes_differ_and_keep_the_hand():
    passes = further_passes(6, 24)
    assert len(set(passes)) == 6 and passes[0] == Pass(offset=12)
    assert further_passes(2, 24) == passes[:2]


def test_an_exact_network_is_trusted_where_there_is_density():
    volume = two_blobs()
    found = enhance(volume, model_of(Identity()), TRUST)
    assert found.maps["trust"].shape == volume.density.shape
    inside = volume.density > 0.2
    assert found.maps["trust"][inside].min() > 0.95
    assert 0 <= found.maps["trust"].min() and found.maps["trust"].max() <= 1
    assert found.trust.facts["passes"] == 2
    again = enhance(volume, model_of(Identity()), TRUST)
    assert np.array_equal(again.maps["trust"], found.maps["trust"])


class Corner(Identity):
    """Adds density that depends on where in the box a voxel lies."""

    def forward(self, x):
        wrong = torch.zeros_like(x)
        wrong[..., ::4] = 0.7
        return x + wrong * (x > 0.05)


def test_what_depends_on_the_choice_of_boxes_is_not_trusted():
    volume = two_blobs()
    inside = volume.density > 0.2
    found = enhance(volume, model_of(Corner()), TRUST)
    sane = enhance(volume, model_of(Smooth()), TRUST)
    wrong = found.trust.parts["spread"][inside].mean() / 255
    assert wrong < 0.9 < sane.trust.parts["spread"][inside].mean() / 255


class Second(Identity):
    """Makes density up: a copy of the first blob half a map away. Only for whole-map boxes."""

    def forward(self, x):
        strong = x.clamp(min=0.1) - 0.1
        return strong + torch.roll(strong, 32, dims=4)


def test_invented_density_is_not_trusted():
    volume = two_blobs()
    only = volume.density.copy()
    only[:, :, 32:] = volume.density[:, :, :32].min()
    found = enhance(volume.with_density(only), model_of(Second(), box=64), TRUST)
    assert found.density[16, 16, 48] > 0.3
    assert found.maps["trust"][16, 16, 16] > 0.8
    assert found.maps["trust"][16, 16, 48] < 0.3


def test_half_maps_that_disagree_lower_the_trust():
    volume = two_blobs()
    other = volume.density.copy()
    other[:, :, 32:] = 0.002 * np.random.default_rng(4).standard_normal(other[:, :, 32:].shape)
    halves = (volume, volume.with_density(other))
    mean = volume.with_density((volume.density + other) / 2)
    found = enhance(mean, model_of(Identity()), TRUST, half_maps=halves)
    assert set(found.trust.parts) == {"spread", "agreement", "half_maps"}
    assert found.trust.facts["passes"] == 2 and found.trust.facts["half_maps"]
    assert found.maps["trust"][16, 16, 16] > 0.9
    assert found.maps["trust"][16, 16, 48] < 0.5


def test_the_compared_band_is_stated_or_assumed():
    grid = Grid((8, 8, 8), (1.3,) * 3)
    assert reliable_limit(grid, 1.0, 4.0) == (4.0, False)
    assert reliable_limit(grid, 1.0, 1.0) == (2.6, False)
    assert reliable_limit(grid, 1.0, None) == (4.0, True)


def test_local_correlation_against_a_direct_sum():
    generator = np.random.default_rng(3)
    a, b = generator.standard_normal((2, 21, 21, 21))
    b += 0.5 * a
    offset = np.arange(-10, 11)
    gauss = np.exp(-0.5 * (offset / 2.0) ** 2)
    gauss[np.abs(offset) > 8] = 0
    weight = gauss[:, None, None] * gauss[:, None] * gauss
    weight /= weight.sum()
    mean = [(weight * v).sum() for v in (a, b)]
    cov = (weight * (a - mean[0]) * (b - mean[1])).sum()
    var = [(weight * (v - m) ** 2).sum() for v, m in zip((a, b), mean, strict=True)]
    expected = cov / np.sqrt(var[0] * var[1])
    found = local_correlation(a.astype(np.float32), b.astype(np.float32), 2.0)
    assert found[10, 10, 10] == pytest.approx(expected, rel=0.05)
    assert not local_correlation(a, np.zeros_like(a), 2.0).any()


def test_the_low_pass_falls_to_one_over_e_at_its_resolution():
    wave = np.cos(2 * np.pi * np.arange(120) / 10.0)
    smooth = gaussian_filter(wave, low_pass_sigma(10.0, 1.0))
    assert smooth[60] == pytest.approx(np.exp(-1), abs=0.01)


def test_slabs_leave_no_seam(monkeypatch):
    a, b = np.random.default_rng(3).standard_normal((2, 40, 9, 8)).astype(np.float32)
    whole = local_correlation(a, b, 1.5, before=0.8)
    monkeypatch.setattr(agreement, "SLAB_SECTIONS", 7)
    assert np.abs(local_correlation(a, b, 1.5, before=0.8) - whole).max() < 1e-5


def test_a_row_per_residue_names_the_untrusted_one():
    from cryoclarity.io.atoms import Atoms

    volume = two_blobs()
    only = volume.density.copy()
    only[:, :, 32:] = only[:, :, :32].min()
    found = enhance(volume.with_density(only), model_of(Second(), box=64), TRUST)
    text = np.array(["A", "A", "A"])
    atoms = Atoms(
        xyz=np.array([[16.0, 16, 16], [48, 16, 16], [900, 0, 0]]),
        element=np.array(["C"] * 3),
        atomic_number=np.full(3, 6),
        name=np.array(["CA"] * 3),
        residue_name=np.array(["ALA", "GLY", "SER"]),
        chain=text,
        residue_number=np.array([1, 2, 3]),
        insertion_code=np.array([""] * 3),
        altloc=np.array([""] * 3),
        occupancy=np.ones(3),
        b_iso=np.ones(3),
        kind=np.array(["protein"] * 3),
        residue_index=np.arange(3),
    )
    rows = residue_table(found.trust, atoms)
    assert [row["resname"] for row in rows] == ["ALA", "GLY"]
    assert float(rows[0]["trust"]) > 0.8 > 0.3 > float(rows[1]["trust"])
    assert rows[0]["icode"] == "."


class Eraser(Identity):
    """Takes away what is weak: a ligand beside a protein."""

    def forward(self, x):
        return x * (x > 0.45)


def test_the_ligand_safe_option_brings_back_what_was_erased():
    volume = two_blobs()
    density = volume.density.copy()
    density[:, :, 32:] *= 0.4
    weak = volume.with_density(density)
    plain = enhance(weak, model_of(Eraser()), PredictSettings(device="cpu"))
    safe = enhance(weak, model_of(Eraser()), PredictSettings(device="cpu", ligand_safe=True))
    ligand = density[:, :, 32:] > 0.2
    assert plain.density[:, :, 32:][ligand].mean() < 0.15
    kept = safe.density[:, :, 32:][ligand]
    assert np.abs(kept - density[:, :, 32:][ligand]).mean() < 0.05
    strong = density > 0.9
    assert np.array_equal(safe.density[strong], plain.density[strong])
    assert 0 < safe.facts["share_kept_from_input"] < 0.2
    units = PredictSettings(device="cpu", ligand_safe=True, amplitude="network")
    raw = enhance(weak, model_of(Eraser()), units).density
    assert np.corrcoef(raw[:, :, 32:][ligand], density[:, :, 32:][ligand])[0, 1] > 0.95


def test_nothing_is_blended_back_into_solvent_or_a_good_result():
    volume = blob_volume()
    voxel = volume.grid.voxel_size_zyx
    assert not missing_support(volume.density, volume.density, voxel).any()
    zeros = np.zeros_like(volume.density)
    assert not missing_support(zeros, zeros, voxel).any()


def dropping():
    torch.manual_seed(2)
    network = build_network({"name": "unet3d", "channels": [4, 4, 4, 4, 4]}).eval()
    with torch.no_grad():  # within the limits of the labels
        network.deconv1_2[-1].weight.mul_(0.01)
        network.deconv1_2[-1].bias.fill_(6.0)
    return network


def test_dropout_follows_the_rate_and_neither_batch_nor_order():
    boxes = np.random.default_rng(1).standard_normal((5, 16, 16, 16)).astype(np.float32)
    one = DropoutRunner(dropping(), CPU, 1, seed=7)(boxes)
    many = DropoutRunner(dropping(), CPU, 3, seed=7)(boxes)
    assert np.abs(one - many).max() < 1e-4 * np.abs(one).max()
    other = DropoutRunner(dropping(), CPU, 3, seed=700)(boxes)
    plain = Runner(dropping(), CPU, 3)(boxes)
    assert np.abs(one - other).max() > 0 and np.abs(one - plain).max() > 0

    class Only(Identity):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.25)

        def forward(self, x):
            return self.drop(x)

    ones = np.ones((2, 16, 16, 16), np.float32)
    kept = DropoutRunner(Only(), CPU, 2, seed=0)(ones)
    assert set(np.unique(kept)) == {0.0, np.float32(4 / 3)}
    assert (kept == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert not np.array_equal(kept[0], kept[1])


def test_the_spread_of_dropout_passes_is_their_standard_deviation():
    volume = blob_volume((24, 24, 24), voxel=1.0)
    model = model_of(dropping(), "resolution", box=16)
    settings = PredictSettings(device="cpu", passes=4)
    found = local_resolution(volume, model, settings)
    spread = found.maps["spread"]
    assert spread.shape == volume.density.shape
    inside = found.density > 0
    assert not spread[~inside].any() and 1e-4 < spread[inside].mean() < 0.1
    again = local_resolution(volume, model, PredictSettings(device="cpu", passes=4, batch_size=3))
    assert np.allclose(again.maps["spread"], spread, atol=1e-5)
    plain = local_resolution(volume, model, PredictSettings(device="cpu"))
    assert np.array_equal(plain.density, found.density) and not plain.maps
    assert found.facts["passes"] == 4 and found.facts["median_spread_a"] is not None


def test_a_spread_needs_two_passes_and_a_network_with_dropout():
    volume = blob_volume((24, 24, 24), voxel=1.0)
    for network, passes in ((dropping(), 1), (Smooth(), 4)):
        model = model_of(network, "resolution", box=16)
        with pytest.raises(ConfigError):
            local_resolution(volume, model, PredictSettings(device="cpu", passes=passes))

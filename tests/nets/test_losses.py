"""Losses against direct sums and another library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from cryoclarity.nets.label_transform import LabelTransform
from cryoclarity.nets.losses import (
    EnhanceLoss,
    ResolutionLoss,
    gaussian_window,
    masked_mean,
    ssim_map,
)


def pair(side: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first = rng.random((side, side, side))
    return first, np.clip(first + 0.2 * rng.standard_normal(first.shape), 0, 1)


def direct_ssim(a: np.ndarray, b: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """The definition as loops over windows, float64, no rearrangement."""
    line = gaussian_window(size, sigma)
    weight = line[:, None, None] * line[None, :, None] * line
    count = a.shape[0] - size + 1
    result = np.empty((count,) * 3)
    for z, y, x in np.ndindex(result.shape):
        cut = (slice(z, z + size), slice(y, y + size), slice(x, x + size))
        u, v = a[cut], b[cut]
        mu, nu = (weight * u).sum(), (weight * v).sum()
        s_uu = (weight * (u - mu) ** 2).sum()
        s_vv = (weight * (v - nu) ** 2).sum()
        s_uv = (weight * (u - mu) * (v - nu)).sum()
        level = (2 * mu * nu + 1e-4) / (mu**2 + nu**2 + 1e-4)
        result[z, y, x] = level * (2 * s_uv + 9e-4) / (s_uu + s_vv + 9e-4)
    return result


@pytest.mark.parametrize("size", [7, 11])
def test_ssim_is_the_direct_sum(size):
    a, b = pair(12)
    wanted = direct_ssim(a, b, size, 1.5)
    found = ssim_map(torch.from_numpy(a), torch.from_numpy(b), size, 1.5).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    single = ssim_map(torch.from_numpy(a).float(), torch.from_numpy(b).float(), size, 1.5)
    np.testing.assert_allclose(single.numpy(), wanted, atol=2e-5)
    assert single.mean().item() == pytest.approx(wanted.mean(), abs=1e-6)


def test_ssim_agrees_with_scikit_image():
    a, b = pair(16, 2)
    _, full = structural_similarity(
        a,
        b,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )  # its Gaussian window is always 11 wide at this sigma
    found = ssim_map(torch.from_numpy(a), torch.from_numpy(b), 11, 1.5).numpy()
    np.testing.assert_allclose(found, full[5:-5, 5:-5, 5:-5], atol=1e-10)


def test_ssim_scales_with_the_data_range():
    a, b = map(torch.from_numpy, pair(10))
    scaled = ssim_map(100 * a, 100 * b, data_range=100.0)
    torch.testing.assert_close(scaled, ssim_map(a, b), rtol=1e-9, atol=1e-9)


def test_ssim_survives_an_offset_in_float32():
    a, b = pair(12)
    a, b = 0.5 + 1e-2 * a, 0.5 + 1e-2 * b
    wanted = direct_ssim(a, b, 7, 1.5).mean()
    found = ssim_map(torch.from_numpy(a).float(), torch.from_numpy(b).float()).mean().item()
    assert found == pytest.approx(wanted, abs=1e-5)


def test_ssim_gradient():
    a, b = (torch.from_numpy(x)[None, None] for x in pair(8))
    a.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: ssim_map(x, b, 5, 1.5).mean(), (a,))


def test_constant_boxes_are_finite():
    box = torch.full((2, 1, 8, 8, 8), 0.3, requires_grad=True)
    value = ssim_map(box, box.detach()).mean()
    value.backward()
    assert value.item() == pytest.approx(1.0, abs=1e-6)
    assert box.grad.abs().max() < 1e-4


def test_ssim_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="differ"):
        ssim_map(torch.zeros(8, 8, 8), torch.zeros(8, 8, 9))
    with pytest.raises(ValueError, match="smaller"):
        ssim_map(torch.zeros(5, 8, 8), torch.zeros(5, 8, 8))
    with pytest.raises(ValueError, match="even"):
        gaussian_window(6, 1.5)


def test_enhance_loss_is_the_sum_of_its_terms_also_under_autocast():
    a, b = (torch.from_numpy(x)[None, None].float() for x in pair(12))
    loss, terms = EnhanceLoss(beta=0.1)(a, {"target": b})
    error = (a - b).abs()
    l1 = torch.where(error < 0.1, 0.5 * error**2 / 0.1, error - 0.05).mean()
    assert terms["l1"].item() == pytest.approx(l1.item(), rel=1e-5)
    assert loss.item() == pytest.approx(l1.item() + 1 - terms["ssim"].item(), rel=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again, _ = EnhanceLoss(beta=0.1)(a, {"target": b})
    assert again.item() == loss.item()


def test_masked_loss_counts_labelled_voxels_only():
    output = torch.zeros(1, 1, 4, 4, 4, requires_grad=True)
    target = torch.full_like(output, 0.5).detach()
    mask = torch.zeros_like(target, dtype=torch.uint8)
    mask[..., :2] = 1
    target[..., 3] = 1e6
    loss, terms = ResolutionLoss()(output, {"target": target, "mask": mask})
    assert loss.item() == pytest.approx(0.125)
    assert terms["abs"].item() == pytest.approx(0.5)
    empty, _ = ResolutionLoss()(output, {"target": target, "mask": torch.zeros_like(mask)})
    empty.backward()
    assert empty.item() == 0
    assert torch.isfinite(output.grad).all()


def test_censored_voxels_cost_only_when_the_answer_is_too_good():
    target, mask = torch.ones(1, 1, 2, 2, 2), torch.full((1, 1, 2, 2, 2), 2, dtype=torch.uint8)
    batch = {"target": target, "mask": mask}
    assert ResolutionLoss(censored=1.0)(target + 3, batch)[0].item() == 0
    assert ResolutionLoss(censored=1.0)(target - 1, batch)[0].item() == pytest.approx(0.5)
    assert ResolutionLoss(censored=0.0)(target - 1, batch)[0].item() == 0


def test_masked_mean_of_nothing_is_zero():
    assert masked_mean(torch.ones(3), torch.zeros(3)).item() == 0


def test_label_transform_goes_there_and_back():
    resolution = np.array([2.5, 4.0, 9.0])
    for kind in ("log2", "angstrom"):
        labels = LabelTransform(kind, 1.7, 0.4, 2.0, 10.0)
        np.testing.assert_allclose(labels.decode(labels.encode(resolution)), resolution)
        assert labels.decode(np.array([100.0]))[0] == 10.0
    assert LabelTransform("log2").encode(np.array([8.0]))[0] == 3.0
    with pytest.raises(ValueError, match="log2"):
        LabelTransform("ln")

"""SCUNet against the published definition: names, values, gradients, and what it must refuse."""

from __future__ import annotations

import csv
import hashlib
import json

import numpy as np
import pytest
import torch

from cryoclarity.nets.filler import fill, filler_input, scunet_values
from cryoclarity.nets.scunet import SCUNet, shift_masks, window_codes


def relative_rms(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)))


@pytest.fixture(scope="module")
def parity(root) -> dict:
    return json.loads((root / "tests/data/networks/parity.json").read_text())["scunet"]


@pytest.fixture(scope="module")
def network() -> SCUNet:
    return SCUNet().eval()


@pytest.fixture(scope="module")
def case2(network, parity) -> dict:
    """Outputs in both precisions and gradients of 0.5 mean(output^2) at filler weights."""
    fill(network, scunet_values, parity["seed"])
    box = torch.from_numpy(filler_input(tuple(parity["shape"]), parity["seed"], parity["factor"]))
    with torch.no_grad():
        single = network(box).numpy()
    network.double().zero_grad()
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    output = network(box.double())
    (0.5 * output.square().mean()).backward()
    norms = {name: p.grad.norm().item() for name, p in network.named_parameters()}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.endswith(".eps"))
    network.float().zero_grad()
    return {"single": single, "double": output.detach().numpy(), "norms": norms}


def test_layout_is_the_published_one(network, parity):
    state = network.state_dict()
    layout = "\n".join(f"{k} {'x'.join(map(str, v.shape))}" for k, v in state.items())
    assert hashlib.sha256(layout.encode()).hexdigest() == parity["layout_sha256"]
    assert len(state) == parity["entries"]
    assert sum(v.numel() for v in state.values()) == parity["values"] == 4_729_084
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert trainable == parity["trainable"]
    assert all(v.is_contiguous() for v in state.values())


def test_filler_weights_have_the_stated_bytes(network, parity):
    fill(network, scunet_values, parity["filler_seed"])
    state = network.state_dict()
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(state[name].numpy().tobytes())
    assert digest.hexdigest() == parity["filler_sha256"]


def test_sampled_outputs_and_gradients(case2, parity):
    step = parity["step"]
    wanted = np.array(parity["output"])
    for kind, bound in (("double", 1e-12), ("single", 3e-6)):
        found = case2[kind][:, :, ::step, ::step, ::step].ravel()[parity["index"]]
        assert np.sqrt(np.mean((found - wanted) ** 2)) / parity["rms"] < bound
    for name, norm in parity["gradient_norms"].items():
        assert case2["norms"][name] == pytest.approx(norm, rel=1e-8)


def test_whole_reference_case_of_24(case2, shared):
    reference = np.load(shared / "reference/networks/scunet_case2_24b2.npz")["y64_sub"]
    assert relative_rms(case2["double"][:, :, ::2, ::2, ::2], reference) < 1e-12
    assert relative_rms(case2["single"][:, :, ::2, ::2, ::2], reference) < 3e-6
    table = shared / "reference/networks/scunet_case2_24b2_grads.tsv"
    with table.open() as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    assert len(rows) == len(case2["norms"]) == 386
    for row in rows:
        assert case2["norms"][row["name"]] == pytest.approx(float(row["grad_l2"]), rel=1e-8)


@pytest.mark.parametrize(
    ("precision", "bound"),
    [(torch.float32, 3e-6), pytest.param(torch.float64, 1e-12, marks=pytest.mark.long)],
)
def test_whole_reference_case_of_48(network, shared, precision, bound):
    reference = np.load(shared / "reference/networks/scunet_case1_48.npz")["y64_sub"]
    fill(network.to(precision), scunet_values, 7)
    box = torch.from_numpy(filler_input((1, 1, 48, 48, 48), 7)).to(precision)
    with torch.no_grad():
        found = network(box)[:, :, ::4, ::4, ::4].numpy()
    network.float()
    assert relative_rms(found, reference) < bound


def narrow(**arguments) -> SCUNet:
    torch.manual_seed(0)
    return SCUNet(dim=8, head_dim=4, config=(2, 1, 1, 2, 1, 1, 2), **arguments).eval()


def test_axes_may_differ_and_are_treated_alike():
    # Position tables set to zero, everything is symmetric under an exchange of axes but the
    # kernels: exchange those as well and the output must follow.
    network, exchanged = narrow(), narrow()
    with torch.no_grad():
        for (name, first), second in zip(
            network.named_parameters(), exchanged.parameters(), strict=True
        ):
            if name.endswith("relative_position_params"):
                second.copy_(first.transpose(1, 3))
            elif first.ndim == 5 and first.shape[-1] > 1:
                second.copy_(first.transpose(2, 4))
        box = torch.randn(1, 1, 24, 24, 48)
        assert network(box).shape == box.shape
        difference = network(box).transpose(2, 4) - exchanged(box.transpose(2, 4))
    assert difference.abs().max() < 1e-5


def test_a_box_that_is_no_multiple_of_24_is_refused():
    with pytest.raises(ValueError, match="multiple of 24"):
        narrow()(torch.zeros(1, 1, 24, 24, 32))


def test_batch_members_do_not_see_each_other():
    network = narrow()
    boxes = torch.randn(3, 1, 24, 24, 24)
    with torch.no_grad():
        together = network(boxes)
        alone = torch.cat([network(box[None]) for box in boxes])
    assert (together - alone).abs().max() < 1e-5


def test_shift_masks_forbid_pairs_across_the_seam_only():
    masks = shift_masks()
    assert masks.shape == (8, 27, 27)
    assert (masks[0] == 0).all()
    # Last along all axes: the 27 tokens fall into 8 groups of 8, 4, 2 and 1 token.
    visible = (masks[7] == 0).sum(dim=1)
    assert sorted(visible.tolist()) == sorted([8] * 8 + [4] * 12 + [2] * 6 + [1])
    codes = window_codes((1, 2, 2), torch.device("cpu"))
    assert codes.tolist() == [4, 5, 6, 7]


def test_drop_path_acts_in_training_only():
    network = narrow(drop_path_rate=0.5)
    box = torch.randn(2, 1, 24, 24, 24)
    with torch.no_grad():
        assert torch.equal(network(box), network(box))
        network.train()
        assert not torch.equal(network(box), network(box))


def test_residual_output_starts_near_the_identity_with_the_same_names():
    plain, residual = narrow(), narrow(residual=True)
    assert list(plain.state_dict()) == list(residual.state_dict())
    box = torch.rand(1, 1, 24, 24, 24)
    with torch.no_grad():
        assert (residual(box) - box - 0.1 * plain(box)).abs().max() < 1e-6


def test_convolution_only_ablation_has_no_attention():
    assert not any("trans_block" in name for name in narrow(attention=False).state_dict())


def test_half_precision_keeps_the_statistics_wide():
    network = narrow()
    box = torch.randn(1, 1, 24, 24, 24)
    with torch.no_grad():
        exact = network(box)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = network(box).float()
    assert ((half - exact).square().mean() / exact.square().mean()).sqrt() < 0.03

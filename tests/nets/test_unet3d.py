"""The 3-D U-Net against the published definition."""

from __future__ import annotations

import csv
import hashlib
import json

import numpy as np
import pytest
import torch

from cryoclarity.nets.filler import fill, filler_input, unet3d_values
from cryoclarity.nets.unet3d import UNet3D


@pytest.fixture(scope="module")
def parity(root) -> dict:
    return json.loads((root / "tests/data/networks/parity.json").read_text())["unet3d"]


def layout_hash(network: UNet3D) -> str:
    lines = [
        f"{name} {'x'.join(map(str, tensor.shape)) or 'scalar'}"
        for name, tensor in network.state_dict().items()
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@pytest.fixture(scope="module")
def case1(parity) -> dict:
    with torch.device("meta"):
        network = UNet3D()
    network = fill(network.to_empty(device="cpu"), unet3d_values, parity["seed"]).eval()
    box = torch.from_numpy(filler_input(tuple(parity["shape"]), parity["seed"]))
    with torch.no_grad():
        single = network(box).numpy()
        double = network.double()(box.double()).numpy()
    count = sum(tensor.numel() for tensor in network.state_dict().values())
    return {"single": single, "double": double, "count": count, "layout": layout_hash(network)}


def test_layout_is_the_published_one(case1, parity):
    assert case1["count"] == parity["values"] == 103_524_417
    assert case1["layout"] == parity["layout_sha256"]
    with torch.device("meta"):
        batch_norm = UNet3D(regulariser="batchnorm")
    assert layout_hash(batch_norm) == parity["layout_batchnorm_sha256"]
    assert sum(p.numel() for p in batch_norm.parameters()) == parity["trainable_batchnorm"]
    state = batch_norm.state_dict().values()
    assert sum(tensor.numel() for tensor in state) == parity["values_batchnorm"]


def test_sampled_outputs(case1, parity):
    wanted = np.array(parity["output"])
    assert np.abs(case1["double"].ravel()[parity["index"]] - wanted).max() < 1e-11
    assert np.abs(case1["single"].ravel()[parity["index"]] - wanted).max() < 2e-5


def test_whole_dropout_case(case1, shared):
    reference = np.load(shared / "reference/networks/unet3d_case1_dropout_eval.npz")
    assert np.abs(case1["double"] - reference["output_f64"]).max() < 1e-11
    assert np.abs(case1["single"] - reference["output_f32"]).max() < 2e-5


@pytest.mark.long
@pytest.mark.parametrize(
    ("file", "regulariser", "seed"),
    [
        ("unet3d_case1_dropout_eval.npz", "dropout", 101),
        ("unet3d_case2_batchnorm_eval.npz", "batchnorm", 202),
    ],
)
def test_both_variants_with_gradients_and_filler_bytes(shared, file, regulariser, seed):
    folder = shared / "reference/networks"
    reference = np.load(folder / file)
    network = fill(UNet3D(regulariser=regulariser), unet3d_values, seed).eval()
    if seed == 101:
        with (folder / "unet3d_state_dict.tsv").open() as handle:
            rows = {row["name"]: row for row in csv.DictReader(handle, delimiter="\t")}
        for name, tensor in network.state_dict().items():
            digest = hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
            assert digest == rows[name]["sha256_float32_seed101_gain_sqrt2"]
    box = torch.from_numpy(reference["input"])
    with torch.no_grad():
        assert np.abs(network(box).numpy() - reference["output_f32"]).max() < 2e-5
    output = network.double()(box.double())
    assert np.abs(output.detach().numpy() - reference["output_f64"]).max() < 1e-11
    target = torch.from_numpy(reference["target"]).double()
    labelled = (target != 100.0).double()
    loss = (labelled * (output - target) ** 2).mean()
    assert loss.item() == pytest.approx(float(reference["published_mse_f64"]), rel=1e-10)
    loss.backward()
    norms = dict(zip(map(str, reference["param_names"]), reference["grad_l2_f64"], strict=True))
    for name, parameter in network.named_parameters():
        assert parameter.grad.norm().item() == pytest.approx(norms[name], rel=1e-8)


def test_root_leaves_out_dead_taps_without_changing_anything():
    torch.manual_seed(3)
    network = UNet3D(channels=(2, 3, 4, 5, 6)).double().eval()
    box = torch.randn(2, 1, 16, 16, 16, dtype=torch.float64)
    root = torch.randn(2, 5, 1, 1, 1, dtype=torch.float64)
    from cryoclarity.nets.unet3d import run_root

    assert torch.allclose(run_root(network.conv_root1, root), network.conv_root1(root), atol=1e-14)
    network(box).sum().backward()
    gradient = network.conv_root1[0].weight.grad.clone()
    assert gradient[:, :, 1, 1, 1].abs().max() > 0
    gradient[:, :, 1, 1, 1] = 0
    assert gradient.abs().max() == 0


def test_narrow_variants_and_refusals():
    torch.manual_seed(0)
    network = UNet3D(channels=(2, 4, 4, 4, 4), regulariser="batchnorm")
    assert network(torch.randn(2, 1, 16, 32, 16)).shape == (2, 1, 16, 32, 16)
    with pytest.raises(ValueError, match="multiple of 16"):
        network(torch.zeros(1, 1, 16, 16, 20))
    with pytest.raises(ValueError, match="5"):
        UNet3D(channels=(2, 4))
    with pytest.raises(ValueError, match="regulariser"):
        UNet3D(regulariser="none")


def test_initialisation_is_kaiming_uniform_with_zero_biases():
    torch.manual_seed(0)
    network = UNet3D(channels=(4, 8, 8, 8, 8))
    weight = network.conv2_1[0].weight
    bound = np.sqrt(6 / weight[0].numel())
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / np.sqrt(3), rel=0.1)
    assert all(p.abs().max() == 0 for n, p in network.named_parameters() if n.endswith("bias"))

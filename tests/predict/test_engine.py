"""The tiler: independent of batch size, complete at every stride, and modest with memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoclarity.boxes.blend import BLENDS
from cryoclarity.errors import ResourceError
from cryoclarity.nets.registry import build_network
from cryoclarity.predict.engine import (
    Runner,
    Tiling,
    batch_within,
    default_batch,
    memory_bytes,
    predict_tiles,
)
from cryoclarity.predict.onednn import prefer_onednn
from tests.predict.tiny import Identity, Smooth

CPU = torch.device("cpu")
SMALL_SCUNET = {"name": "scunet", "dim": 16, "head_dim": 8, "config": [1] * 7}
SMALL_UNET = {"name": "unet3d", "channels": [4, 4, 4, 4, 4]}


def everything(cut, start):
    return True


def run(network, density, tiling, batch=1, wanted=everything):
    return predict_tiles(Runner(network, CPU, batch), density, tiling, lambda cut: cut, wanted)


@given(
    shape=st.tuples(st.integers(3, 22), st.integers(3, 22), st.integers(3, 22)),
    stride=st.integers(3, 12),
    blend=st.sampled_from(BLENDS),
)
@settings(max_examples=15, deadline=None)
def test_an_identity_network_gives_back_the_map(shape, stride, blend):
    density = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    found, count = run(Identity(), density, Tiling(8, stride, blend))
    assert found.shape == shape
    assert np.abs(found - density).max() < 1e-5
    assert count.predicted == count.total


def test_the_batch_size_does_not_matter():
    density = np.random.default_rng(2).standard_normal((20, 17, 25)).astype(np.float32)
    one, _ = run(Smooth(), density, Tiling(8, 4))
    many, _ = run(Smooth(), density, Tiling(8, 4), batch=7)
    assert np.abs(one - many).max() < 1e-6


def test_skipped_boxes_count_as_zero():
    density = np.zeros((8, 8, 24), np.float32)
    density[:, :, :4] = 1
    found, count = run(
        Identity(), density, Tiling(8, 8, "uniform"), wanted=lambda cut, start: cut.max() > 0
    )
    assert (count.total, count.predicted) == (3, 1)
    assert np.array_equal(found, density)


def test_gaussian_blending_shows_no_seam():
    """Errors at box faces: the published mean shows them, Gaussian weights do not."""

    class Faces(Identity):
        def forward(self, x):
            wrong = torch.zeros_like(x)
            wrong[..., 0] = wrong[..., -1] = 1
            return x + wrong

    flat = np.zeros((8, 8, 40), np.float32)
    uniform, _ = run(Faces(), flat, Tiling(8, 4, "uniform"))
    gaussian, _ = run(Faces(), flat, Tiling(8, 4, "gaussian"))
    inside = slice(8, -8)
    assert uniform[..., inside].max() >= 0.5
    assert gaussian[..., inside].max() < 0.05


class Hungry(Identity):
    """Runs out of memory for more than `most` boxes at once."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("allocate")
        return super().forward(x)


def test_an_exhausted_memory_halves_the_batch():
    density = np.random.default_rng(2).standard_normal((16, 16, 16)).astype(np.float32)
    runner = Runner(Hungry(2), CPU, 8)
    found, _ = predict_tiles(runner, density, Tiling(8, 4), lambda cut: cut, everything)
    assert runner.batch_size == 2
    assert np.abs(found - density).max() < 1e-5
    with pytest.raises(ResourceError) as caught:
        run(Hungry(0), density, Tiling(8, 4))
    assert caught.value.code == "PRED_MEMORY"


def test_other_errors_of_a_network_are_not_taken_for_memory():
    class Broken(Identity):
        def forward(self, x):
            raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        run(Broken(), np.ones((8, 8, 8), np.float32), Tiling(8, 4))


def test_a_memory_limit_shrinks_the_batch_or_refuses():
    need = memory_bytes(1000, 1000, 8, 4, 2)
    assert batch_within(need, 16, (1000, 1000, 8, 4)) == 2
    assert batch_within(None, 16, (1000, 1000, 8, 4)) == 16
    with pytest.raises(ResourceError):
        batch_within(1000, 16, (1000, 1000, 8, 4))


def test_batches_on_a_cpu_stay_within_its_cache():
    assert default_batch(CPU, 48) == default_batch(CPU, 24) == 1
    assert default_batch(CPU, 16) == 4


@pytest.mark.parametrize("description", [SMALL_SCUNET, SMALL_UNET])
def test_direct_convolutions_change_nothing_but_rounding(description):
    network = build_network(description).eval()
    names = list(network.state_dict())
    boxes = torch.rand(1, 1, 48, 48, 48, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        before = network(boxes)
        prefer_onednn(network)
        after = network(boxes)
    assert (before - after).abs().max() < 1e-5 * before.abs().max()
    assert list(network.state_dict()) == names
    # Learning and double precision go the usual way.
    network(boxes[..., :24, :24, :24] if "dim" in description else boxes).sum().backward()
    assert next(network.parameters()).grad is not None
    assert network.double()(boxes.double()).dtype == torch.float64

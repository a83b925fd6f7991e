"""The checks of what a network makes up: each finds the network that does it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from cryoclarity.cli.main import main
from cryoclarity.density.masks import automatic_mask
from cryoclarity.grid import Grid
from cryoclarity.io.maps import write_map
from cryoclarity.predict.challenges import (
    fill_hole,
    hole_around,
    hole_in_middle,
    mirrored,
    randomise_phases,
)
from cryoclarity.predict.enhance import PredictSettings, enhance
from cryoclarity.stages.check import (
    Case,
    check_deletion,
    check_halves,
    check_mirror,
    check_noise,
    check_phases,
)
from tests.predict.tiny import Identity, blob_volume, model_of

UNITS = PredictSettings(device="cpu", amplitude="network")


def grainy():
    """A chiral blob map with detail at all frequencies."""
    volume = blob_volume((36, 36, 36), voxel=1.0)
    detail = gaussian_filter(np.random.default_rng(1).standard_normal((36,) * 3), 0.8)
    density = volume.density * (1 + 2 * detail)
    return volume.with_density(density.astype(np.float32))


def case_of(network, resolution=5.0):
    volume = grainy()

    def predict(density):
        return enhance(volume.with_density(density), model_of(network, box=36), UNITS).density

    inside = automatic_mask(volume.density)
    return Case(volume, predict(volume.density), predict, inside, resolution)


class Remembering(nn.Module):
    """Answers the first map whatever it is shown afterwards."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.ones(1, 1, 1, 1, 1))
        self.memory = None

    def forward(self, x):
        if self.memory is None:
            self.memory = x.clone()
        return self.memory.expand_as(x)


class Loud(Identity):
    """Turns every whisper into structure."""

    def forward(self, x):
        return (x > 0.2).float() + 0.1 * x


def test_an_identity_network_passes():
    case = case_of(Identity())
    assert check_noise(case).figure == pytest.approx(1, abs=0.1)
    phases = check_phases(case)
    assert phases.verdict == "PASS" and phases.figure < 0.2
    assert check_deletion(case, None).verdict == "PASS"
    mirror = check_mirror(case)
    assert mirror.verdict == "PASS" and mirror.figure > 0.999
    halves = check_halves(case, (case.volume, case.volume))
    assert halves.verdict == "PASS" and abs(halves.figure) < 0.1


def test_a_network_that_answers_from_memory_is_found():
    case = case_of(Remembering())
    for check in (check_phases(case), check_deletion(case, None), check_mirror(case)):
        assert check.verdict == "WARN", check.name
    other = case.volume.with_density(mirrored(case.volume.density))
    assert check_halves(case, (other, other)).verdict == "WARN"


def test_a_network_that_hears_voices_is_found():
    assert check_noise(case_of(Loud())).verdict == "WARN"


def test_what_cannot_be_checked_is_skipped():
    assert check_halves(case_of(Identity()), None).verdict == "SKIP"
    assert check_phases(case_of(Identity(), resolution=1.0)).verdict == "SKIP"


def test_random_phases_keep_amplitudes_and_what_lies_below():
    density = grainy().density
    changed = randomise_phases(density, (1.0,) * 3, 6.0, 3)
    before, after = np.fft.fftn(density), np.fft.fftn(changed)
    assert np.allclose(np.abs(before), np.abs(after), atol=1e-2)
    axis = np.fft.fftfreq(36)
    below = sum(np.meshgrid(axis**2, axis**2, axis**2)) < 6.0**-2
    assert np.allclose(before[below], after[below], atol=1e-2)
    assert np.corrcoef(before[~below].real, after[~below].real)[0, 1] < 0.1
    noise = randomise_phases(density, (1.0,) * 3, math.inf, 3)
    assert noise.mean() == pytest.approx(density.mean(), rel=1e-3)


def test_holes_spare_what_stays():
    grid = Grid((20, 20, 20), (1.0,) * 3)
    gone, kept = np.array([[10.0, 10, 10]]), np.array([[15.0, 10, 10]])
    hole = hole_around(gone, kept, grid)
    assert hole[10, 10, 10] and not hole[10, 10, 12]
    assert hole_around(gone, kept[:0], grid).sum() > hole.sum()
    inside = np.zeros(grid.shape, bool)
    inside[4:16, 4:16, 4:16] = True
    ball = hole_in_middle(inside, grid)
    assert ball[9, 9, 9] and ball.sum() == pytest.approx(inside.sum() / 10, rel=0.15)
    density = inside + 0.01 * np.random.default_rng(0).standard_normal(grid.shape)
    filled = fill_hole(density.astype(np.float32), ball, inside, 1)
    assert (
        np.abs(filled[ball]).max() < 0.1 and filled[5, 5, 5] == density.astype(np.float32)[5, 5, 5]
    )


def test_the_command_writes_record_and_page(tmp_path, monkeypatch, weights_folder, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_map(tmp_path / "m.mrc", blob_volume((24, 24, 24), voxel=1.0))
    plain = ["--weights", str(weights_folder), "--device", "cpu", "--resolution", "4"]
    assert main(["check-hallucination", "m.mrc", *plain]) == 0
    record = json.loads((tmp_path / "m_hallucination.json").read_text())
    verdicts = [check["verdict"] for check in record["checks"]]
    assert len(verdicts) == 5 and set(verdicts) <= {"PASS", "WARN", "SKIP"}
    assert (tmp_path / "m_hallucination.png").read_bytes()[:4] == b"\x89PNG"
    assert capsys.readouterr().out.count("\n") == 7
    assert main(["check-hallucination", "m.mrc", *plain, "--mode", "published"]) == 2

"""The adapter of the real program, against a stand-in in all its moods."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from cryoclarity.errors import ConfigError, InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.files import read_json
from cryoclarity.io.maps import read_map, write_map
from cryoclarity.labels import binary
from cryoclarity.labels.resmap import ResmapParameters
from cryoclarity.stages.labels import LabelInputs, LabelSettings, run_files

FAKE = Path(__file__).with_name("fake_resmap.py")
XVFB = """#!/bin/sh
echo "$*" > "$FAKE_ROOT/xvfb.log"
echo 57 > "/proc/self/fd/$2"
exec sleep 600
"""
XDOTOOL = """#!/bin/sh
echo "$DISPLAY $*" >> "$FAKE_ROOT/xdotool.log"
if [ "$1" = search ]; then echo 4194307; else touch "$FAKE_CLOSED"; fi
"""


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def resmap(tmp_path: Path, monkeypatch) -> Path:
    """Install the stand-ins for ResMap, Xvfb and xdotool on the search path."""
    tools = tmp_path / "bin"
    tools.mkdir()
    executable(tools / "Xvfb", XVFB)
    executable(tools / "xdotool", XDOTOOL)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("FAKE_ROOT", str(tmp_path))
    monkeypatch.setenv("FAKE_CLOSED", str(tmp_path / "closed"))
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(binary, "_POLL_SECONDS", 0.05)
    shebang = f"#!{sys.executable} -IS\n"
    return executable(tools / "ResMap", shebang + FAKE.read_text())


@pytest.fixture
def density() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(16, 16, 16)).astype(np.float32)


def run(maps, **settings) -> binary.BinaryResult:
    parameters = ResmapParameters(**settings.pop("parameters", {}))
    return binary.run_binary(
        maps, 1.0, parameters, binary=binary.find_binary(), seconds=20, **settings
    )


def test_single_map(resmap: Path, tmp_path: Path, density) -> None:
    result = run((density,), parameters={"step_res": 0.5, "max_res": 3.1})
    assert set(np.unique(result.resolution)) == set(np.float32([2.2, 2.7, 3.2, 100]))
    assert result.resolution[0, 0, 0] == 100
    assert result.version == "1.1.4"
    assert len(result.sha256) == 64
    assert result.command[:3] == ("ResMap", "--noguiSingle", "map.mrc")
    assert "--stepRes=0.5" in result.command
    calls = (tmp_path / "xdotool.log").read_text().splitlines()
    assert calls[0] == ":57 search --name Figure [0-9]+"
    assert ":57 key --window 4194307 ctrl+w" in calls


def test_half_maps_with_a_mask(resmap: Path, density) -> None:
    result = run((density, density), mask=np.ones_like(density) - (density > 1))
    assert result.command[1:5] == ("--noguiSplit", "half1.mrc", "half2.mrc", "--maskVol=mask.mrc")


@pytest.mark.parametrize(
    ("mood", "code", "message"),
    [
        ("crash", "LABEL_BINARY_FAILED", "exit 1: FloatingPointError: invalid value"),
        ("nothing", "LABEL_BINARY_OUTPUT", "not written"),
        ("truncated", "LABEL_BINARY_OUTPUT", "FILE_TRUNCATED"),
        ("all100", "LABEL_EMPTY", "no voxel got a value"),
    ],
)
def test_mishaps(resmap: Path, monkeypatch, density, mood: str, code: str, message: str) -> None:
    monkeypatch.setenv("FAKE_MOOD", mood)
    with pytest.raises(InputError, match=message) as caught:
        run((density,))
    assert caught.value.code == code


def test_a_single_value_is_an_answer(resmap: Path, monkeypatch, density) -> None:
    monkeypatch.setenv("FAKE_MOOD", "single")
    assert set(np.unique(run((density,)).resolution)) == set(np.float32([2.2, 100]))


def test_a_hanging_program_is_stopped(resmap: Path, monkeypatch, density) -> None:
    monkeypatch.setenv("FAKE_MOOD", "hang")
    with pytest.raises(InputError) as caught:
        binary.run_binary((density,), 1.0, ResmapParameters(), binary=resmap, seconds=0.5)
    assert caught.value.code == "LABEL_BINARY_TIMEOUT"


def test_no_display(resmap: Path, density) -> None:
    (resmap.parent / "xdotool").unlink()
    with pytest.raises(InputError) as caught:
        run((density,))
    assert caught.value.code == "LABEL_BINARY_NO_DISPLAY"


def test_a_server_that_does_not_start(resmap: Path, density) -> None:
    executable(resmap.parent / "Xvfb", "#!/bin/sh\nexit 1\n")
    with pytest.raises(InputError, match="Xvfb did not start"):
        run((density,))


def test_the_callers_display_serves_where_no_server_is(resmap, tmp_path, monkeypatch, density):
    (resmap.parent / "Xvfb").unlink()
    monkeypatch.setenv("DISPLAY", ":3")
    (tmp_path / "closed").touch()
    assert (run((density,)).resolution < 100).any()


def test_refusals_of_the_program_are_passed_on(resmap: Path, density) -> None:
    with pytest.raises(InputError, match="step size"):
        run((density,), parameters={"step_res": 0.1})


def test_non_cubic_maps_are_refused_before_the_start(resmap: Path) -> None:
    with pytest.raises(InputError) as caught:
        run((np.zeros((4, 5, 6), np.float32),))
    assert caught.value.code == "LABEL_NOT_CUBIC"


def test_missing_executable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no ResMap executable"):
        binary.find_binary(tmp_path / "nowhere")


def test_the_stage_puts_the_result_into_the_frame_of_the_input(resmap: Path, tmp_path) -> None:
    place = np.indices((40, 40, 40)) - 19.5
    ball = np.exp(-np.sum(place**2, axis=0) / 60)
    noise = np.random.default_rng(2).normal(size=ball.shape)
    grid = Grid(ball.shape, (1.2, 1.2, 1.2), (-12.0, 6.0, 3.3))
    source, out = tmp_path / "in.mrc", tmp_path / "out.mrc"
    write_map(source, Volume((5 * ball + 0.1 * noise).astype(np.float32), grid))
    run_files(LabelInputs((source,)), out, LabelSettings(engine="resmap-binary"))
    labels = read_map(out)
    assert labels.grid.same_frame(grid)
    assert labels.density.min() == pytest.approx(2.6)
    codes = read_map(tmp_path / "out.codes.mrc").density
    assert np.array_equal(codes == 1, labels.density < 100)
    record = read_json(tmp_path / "out.json")
    assert record["engine"] == "resmap-binary"
    assert record["detail"]["binary"]["version"] == "1.1.4"

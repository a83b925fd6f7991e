"""The adapter of the real program, against a stand-in in all its moods."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from cryoclarity.errors import ConfigError, InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.files import read_json
from cryoclarity.io.maps import read_map, write_map
from cryoclarity.labels import binary, x_windows
from cryoclarity.labels.resmap import ResmapParameters
from cryoclarity.stages.labels import LabelInputs, LabelSettings, run_files

FAKE = Path(__file__).with_name("fake_resmap.py")
FAKE_XVFB = Path(__file__).with_name("fake_xvfb.py")
SHEBANG = f"#!{sys.executable} -IS\n"
XDOTOOL = """import os, sys
with open(os.environ["FAKE_ROOT"] + "/xdotool.log", "a") as log:
    print(os.environ["DISPLAY"], *sys.argv[1:], file=log)
if sys.argv[1] == "search":
    print(4194307)
elif not os.environ.get("FAKE_STUBBORN"):
    open(os.environ["FAKE_CLOSED"], "w").close()
"""


def executable(path: Path, text: str) -> Path:
    path.write_text(SHEBANG + text)
    path.chmod(0o755)
    return path


@pytest.fixture
def resmap(tmp_path: Path, monkeypatch) -> Path:
    """Install the stand-ins for ResMap and Xvfb as all that the search path knows."""
    tools = tmp_path / "bin"
    tools.mkdir()
    executable(tools / "Xvfb", FAKE_XVFB.read_text())
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("FAKE_ROOT", str(tmp_path))
    monkeypatch.setenv("FAKE_CLOSED", str(tmp_path / "closed"))
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(binary, "_POLL_SECONDS", 0.05)
    # The path of a socket is short: not below the folder of a test.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("FAKE_SOCKET", f"{folder}/X57")
        monkeypatch.setattr(x_windows, "SOCKETS", (folder + "/X{}",))
        yield executable(tools / "ResMap", FAKE.read_text())


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
    assert result.mean == 3.1 and result.median == 3.0
    assert (tmp_path / "closed").exists()
    assert "-nolisten tcp" in (tmp_path / "xvfb.log").read_text()


def test_ctrl_w_comes_first_where_xdotool_is(resmap: Path, tmp_path: Path, density) -> None:
    executable(resmap.parent / "xdotool", XDOTOOL)
    run((density,))
    calls = (tmp_path / "xdotool.log").read_text().splitlines()
    assert calls[0] == ":57 search --name Figure [0-9]+"
    assert ":57 key --window 4194307 ctrl+w" in calls


@pytest.mark.parametrize("xdotool", [False, True])
def test_a_window_that_stays_is_asked_again(resmap, monkeypatch, density, xdotool) -> None:
    monkeypatch.setenv("FAKE_STUBBORN", "3")
    if xdotool:
        executable(resmap.parent / "xdotool", XDOTOOL)
    assert (run((density,)).resolution < 100).any()


def test_a_window_that_never_goes_ends_at_the_time_limit(resmap, monkeypatch, density) -> None:
    monkeypatch.setenv("FAKE_STUBBORN", "100000")
    with pytest.raises(InputError, match="whether a window waits") as caught:
        binary.run_binary((density,), 1.0, ResmapParameters(), binary=resmap, seconds=0.7)
    assert caught.value.code == "LABEL_BINARY_TIMEOUT"


@pytest.mark.skipif(not (shutil.which("Xvfb") and shutil.which("wish8.6")), reason="no Xvfb or Tk")
def test_a_real_window_on_a_real_display_is_closed(tmp_path: Path) -> None:
    server, number = binary._start_server(shutil.which("Xvfb"), tmp_path)
    try:
        script = tmp_path / "figure.tcl"
        script.write_text('wm title . "Figure 1"; toplevel .t; wm title .t "Figure"\n')
        command = ["wish8.6", str(script), "-display", f":{number}"]
        program = subprocess.Popen(command, env=os.environ | {"DISPLAY": f":{number}"})
        for _ in range(100):
            if x_windows.close_windows(number, binary.FIGURE):
                break
            time.sleep(0.1)
        assert program.wait(timeout=20) == 0
        assert x_windows.close_windows(number, binary.FIGURE) == 0
    finally:
        server.terminate()
        server.wait()


def test_no_server_answers(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(x_windows, "SOCKETS", (str(tmp_path / "X{}"),))
    with pytest.raises(ConnectionRefusedError):
        x_windows.close_windows(57, binary.FIGURE)


def test_half_maps_with_a_mask(resmap: Path, density) -> None:
    result = run((density, density), mask=np.ones_like(density) - (density > 1))
    assert result.command[1:5] == ("--noguiSplit", "half1.mrc", "half2.mrc", "--maskVol=mask.mrc")


@pytest.mark.parametrize(
    ("mood", "code", "message"),
    [
        ("crash", "LABEL_BINARY_FAILED", "exit 1: FloatingPointError: invalid value"),
        ("crash after writing", "LABEL_BINARY_FAILED", "exit 1: TclError"),
        ("killed", "LABEL_BINARY_FAILED", "exit -9: Progress"),
        ("nothing", "LABEL_BINARY_OUTPUT", "not written"),
        ("wrong name", "LABEL_BINARY_OUTPUT", "not written"),
        ("two files", "LABEL_BINARY_OUTPUT", "2 files"),
        ("truncated", "LABEL_BINARY_OUTPUT", "FILE_TRUNCATED"),
        ("smaller", "LABEL_BINARY_OUTPUT", "shape .8, 8, 8., input .16"),
        ("nan", "LABEL_BINARY_OUTPUT", "VAL_NONFINITE"),
        ("all100", "LABEL_EMPTY", "no voxel got a value"),
    ],
)
def test_mishaps(resmap: Path, monkeypatch, density, mood: str, code: str, message: str) -> None:
    monkeypatch.setenv("FAKE_MOOD", mood)
    with pytest.raises(InputError, match=message) as caught:
        run((density,))
    assert caught.value.code == code


def test_a_question_is_answered(resmap: Path, monkeypatch, density) -> None:
    monkeypatch.setenv("FAKE_MOOD", "asks")
    assert (run((density,)).resolution < 100).any()


@pytest.mark.parametrize("halves", [False, True])
def test_version_1_95_writes_other_files(resmap, monkeypatch, density, halves) -> None:
    monkeypatch.setenv("FAKE_VERSION", "1.95")
    result = run((density, 0.5 * density) if halves else (density,))
    assert result.version == "1.95"
    assert "--doBenchMarking" in result.command
    assert result.mean == 3.1 and result.median == 3.0
    assert result.resolution.min() == pytest.approx(2.2)


@pytest.mark.parametrize("mood", ["unversioned", "slow version"])
def test_the_file_name_tells_the_version_that_the_program_does_not(
    resmap: Path, monkeypatch, density, mood: str
) -> None:
    monkeypatch.setenv("FAKE_MOOD", mood)
    monkeypatch.setattr(binary, "_VERSION_SECONDS", 0.5)
    named = resmap.rename(resmap.with_name("ResMap-1.1.5-linux64"))
    assert binary.find_binary() == named
    assert run((density,)).version == "1.1.5"
    resmap = named.rename(named.with_name("ResMap"))
    assert run((density,)).version == "unknown"


def test_a_program_that_this_machine_cannot_run(resmap: Path, density) -> None:
    resmap.write_bytes(b"\x7fELF no program")
    with pytest.raises(InputError, match="cannot be run") as caught:
        run((density,))
    assert caught.value.code == "LABEL_BINARY_FAILED"


def test_the_program_gets_float32_whatever_the_input(resmap: Path, density) -> None:
    whole = np.rint(10 * density).astype(np.int8)
    assert (run((whole,)).resolution < 100).any()


def test_a_single_value_is_an_answer(resmap: Path, monkeypatch, density) -> None:
    monkeypatch.setenv("FAKE_MOOD", "single")
    assert set(np.unique(run((density,)).resolution)) == set(np.float32([2.2, 100]))


def test_a_hanging_program_is_stopped(resmap: Path, monkeypatch, density) -> None:
    monkeypatch.setenv("FAKE_MOOD", "hang")
    with pytest.raises(InputError) as caught:
        binary.run_binary((density,), 1.0, ResmapParameters(), binary=resmap, seconds=0.5)
    assert caught.value.code == "LABEL_BINARY_TIMEOUT"


def test_no_display(resmap: Path, density) -> None:
    (resmap.parent / "Xvfb").unlink()
    with pytest.raises(InputError, match="install Xvfb") as caught:
        run((density,))
    assert caught.value.code == "LABEL_BINARY_NO_DISPLAY"


def test_a_server_that_does_not_start(resmap: Path, density) -> None:
    executable(resmap.parent / "Xvfb", "raise SystemExit(1)\n")
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

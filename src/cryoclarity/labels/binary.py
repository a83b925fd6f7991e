"""The real ResMap program behind the interface of our own engine.

ResMap 1.1.x opens a window even in its batch mode and waits until it is closed, writes beside
its input, gives up without a display, and mangles maps that are not float32. So: a private
folder, float32 copies, a virtual display with a helper that closes the windows, answers on the
standard input, a time limit, and no trust in the output before it was checked.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryoclarity.errors import ConfigError, InputError
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.files import sha256_of
from cryoclarity.io.maps import read_map, write_map
from cryoclarity.labels.resmap import NO_VALUE, ResmapParameters
from cryoclarity.labels.x_windows import close_windows

__all__ = ["BinaryResult", "find_binary", "run_binary"]

_log = logging.getLogger(__name__)
_NAMES = (
    "ResMap",
    "ResMap-1.1.4-linux64",
    "ResMap-1.1.5-linux64",
    "ResMap-1.95-cuda-Centos7x64",
    "resmap",
)
_DISPLAY_SECONDS = 20
_VERSION_SECONDS = 30
_POLL_SECONDS = 1.0
_TAIL = 4000
FIGURE = "Figure [0-9]+"
# The answer to every question that the program may ask: no, and go on.
ANSWERS = b"n\n" * 64


@dataclass(frozen=True)
class BinaryResult:
    """Labels of the real program; `resolution` (z, y, x) float32, angstrom, 100 = no value.

    mean, median : angstrom, as the program reports them inside its mask, if it does.
    """

    resolution: np.ndarray
    version: str
    sha256: str
    command: tuple[str, ...]
    mean: float | None = None
    median: float | None = None


def find_binary(name: str | Path | None = None) -> Path:
    """Return the executable: the one named, or the first usual name on the search path.

    Raises
    ------
    ConfigError
    """
    for candidate in _NAMES if name is None else (str(name),):
        found = shutil.which(candidate)
        if found:
            return Path(found).resolve()
    asked = ", ".join(_NAMES) if name is None else str(name)
    raise ConfigError(f"no ResMap executable found (looked for {asked})")


def run_binary(
    maps: tuple[np.ndarray, ...],
    voxel_size: float,
    parameters: ResmapParameters,
    *,
    binary: Path,
    mask: np.ndarray | None = None,
    seconds: float = 3600.0,
) -> BinaryResult:
    """Run the real program on one map or two half maps.

    Parameters
    ----------
    maps : one or two (n, n, n) float32
    voxel_size : float, angstrom
    parameters : ResmapParameters
        Only levels and p-value are passed on.
    binary : Path
    mask : (n, n, n), optional
    seconds : float
        Limit of the run.

    Raises
    ------
    InputError
        LABEL_NOT_CUBIC, LABEL_EMPTY, or LABEL_BINARY_ with NO_DISPLAY, TIMEOUT, FAILED, OUTPUT.
    """
    shape = maps[0].shape
    if len(set(shape)) != 1:
        raise InputError(
            f"volume is {shape}, ResMap needs a cube",
            code="LABEL_NOT_CUBIC",
            remedy="give a cubic map",
        )
    with tempfile.TemporaryDirectory(prefix="cryoclarity-resmap-") as scratch:
        folder = Path(scratch)
        version = _version(binary, folder)
        arguments = _write_inputs(folder, maps, mask, voxel_size)
        arguments += [
            f"--vxSize={voxel_size:.9g}",
            f"--pVal={parameters.p_value:g}",
            f"--minRes={parameters.min_res:g}",
            f"--maxRes={parameters.max_res:g}",
            f"--stepRes={parameters.step_res:g}",
        ]
        if version.startswith("1.95"):
            arguments.append("--doBenchMarking")
        with _display(binary) as environment:
            _run([str(binary), *arguments], folder, environment, seconds)
        resolution = _read_output(folder, shape)
        mean, median = (_reported(folder, word) for word in ("MEAN", "MEDIAN"))
    command = (binary.name, *arguments)
    return BinaryResult(resolution, version, sha256_of(binary), command, mean, median)


def _write_inputs(
    folder: Path, maps: tuple[np.ndarray, ...], mask: np.ndarray | None, voxel_size: float
) -> list[str]:
    """Write float32 copies with plain axes and return the arguments that name them."""
    grid = Grid(maps[0].shape, (voxel_size,) * 3)
    names = ["map.mrc"] if len(maps) == 1 else ["half1.mrc", "half2.mrc"]
    arguments = ["--noguiSingle" if len(maps) == 1 else "--noguiSplit", *names]
    for name, density in zip(names, maps, strict=True):
        write_map(folder / name, Volume(np.asarray(density, np.float32), grid))
    if mask is not None:
        write_map(folder / "mask.mrc", Volume(np.asarray(mask, np.float32), grid))
        arguments.append("--maskVol=mask.mrc")
    return arguments


def _version(binary: Path, folder: Path) -> str:
    """What the program says about its version, else its file name, else ``unknown``."""
    # Without a display: a version that does not know the question opens its window.
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    log = folder / "version.log"
    with contextlib.suppress(OSError):
        command = [str(binary), "--version"]
        status = _finish(command, folder, environment, (log, log), _VERSION_SECONDS)
        said = re.findall(r"\d+\.\d+(?:\.\d+)*", log.read_text(errors="replace")[:_TAIL])
        if status == 0 and said:
            return said[-1]
    named = re.search(r"\d+\.\d+(?:\.\d+)*", binary.name)
    return named[0] if named else "unknown"


@contextlib.contextmanager
def _display(binary: Path) -> Iterator[dict[str, str]]:
    """Environment with a display: a virtual one of our own, else the caller's."""
    environment = dict(os.environ)
    server = shutil.which("Xvfb")
    if not server:
        if environment.get("DISPLAY"):
            # Figures on somebody's screen may be somebody's: they are not ours to close.
            _log.warning("no Xvfb: close the windows of %s on your screen by hand", binary.name)
            yield environment
            return
        raise InputError(
            f"no display for {binary.name}: DISPLAY is not set and Xvfb is not there",
            code="LABEL_BINARY_NO_DISPLAY",
            remedy="install Xvfb (package xvfb); nothing else is needed",
        )
    process, number = _start_server(server, binary)
    environment["DISPLAY"] = f":{number}"
    done = threading.Event()
    helper = threading.Thread(target=_close_windows, args=(number, environment, done), daemon=True)
    helper.start()
    try:
        yield environment
    finally:
        done.set()
        helper.join()
        process.terminate()
        process.wait()


def _start_server(server: str, binary: Path) -> tuple[subprocess.Popen, int]:
    """Start a virtual display and return it with the number that it chose itself."""
    receive, send = os.pipe()
    process = subprocess.Popen(
        [server, "-displayfd", str(send), "-screen", "0", "1920x1200x24", "-nolisten", "tcp"],
        pass_fds=[send],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(send)
    answer = b""
    deadline = time.monotonic() + _DISPLAY_SECONDS
    with os.fdopen(receive, "rb", buffering=0) as pipe:
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            piece = pipe.read(32) if ready else b""
            if not piece:
                break
            answer += piece
    if not answer.strip().isdigit():
        process.kill()
        process.wait()
        raise InputError(
            f"no display for {binary.name}: Xvfb did not start",
            code="LABEL_BINARY_NO_DISPLAY",
            remedy="check that Xvfb runs here",
        )
    return process, int(answer)


def _close_windows(number: int, environment: dict[str, str], done: threading.Event) -> None:
    """Close every figure until the run ends; killing a window would end the program.

    Where xdotool is installed a figure first gets ctrl+w; one that stays, or every one without
    xdotool, is asked to close as by the button of its title bar.
    """
    closer = shutil.which("xdotool")
    keyed: set[str] = set()
    while not done.wait(_POLL_SECONDS):
        fresh = _press_control_w(closer, environment, keyed) if closer else False
        if fresh:
            continue
        # The display may be starting, or ending with the run.
        with contextlib.suppress(OSError):
            close_windows(number, FIGURE)


def _press_control_w(closer: str, environment: dict[str, str], keyed: set[str]) -> bool:
    """Send ctrl+w once to each figure; whether any was new."""
    # No lookup by process: the frozen program opens its windows from a child of its own.
    quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    search = [closer, "search", "--name", FIGURE]
    found = subprocess.run(search, stdout=subprocess.PIPE, check=False, **quiet)
    fresh = set(found.stdout.decode(errors="replace").split()) - keyed
    for window in sorted(fresh):
        key = [closer, "key", "--window", window, "ctrl+w"]
        subprocess.run(key, stdout=subprocess.DEVNULL, check=False, **quiet)
    keyed |= fresh
    return bool(fresh)


def _run(command: list[str], folder: Path, environment: dict[str, str], seconds: float) -> None:
    """Run the program to its end or to the time limit and judge its exit status."""
    # Two files: standard output is buffered and would end up behind the error in a common one.
    log, errors = folder / "resmap.log", folder / "resmap.err"
    try:
        status = _finish(command, folder, environment, (log, errors), seconds)
    except OSError as error:
        raise InputError(
            f"cannot be run: {error.strerror}",
            code="LABEL_BINARY_FAILED",
            file=command[0],
            remedy="name a ResMap executable that runs on this machine",
        ) from error
    if status is None:
        raise InputError(
            f"no answer within {seconds:g} s",
            code="LABEL_BINARY_TIMEOUT",
            file=command[0],
            remedy="raise the time limit, or look whether a window waits",
        )
    if status == 0:
        return
    last_line = _last_line(errors) or _last_line(log) or "(no message)"
    no_display = "DISPLAY" in last_line
    raise InputError(
        f"exit {status}: {last_line}",
        code="LABEL_BINARY_NO_DISPLAY" if no_display else "LABEL_BINARY_FAILED",
        file=command[0],
        remedy="install Xvfb (package xvfb)" if no_display else "try the engine resmap",
    )


def _finish(
    command: list[str],
    folder: Path,
    environment: dict[str, str],
    logs: tuple[Path, Path],
    seconds: float,
) -> int | None:
    """Run a command with answers on its standard input; None when its time was up."""
    answers = folder / "answers.txt"
    answers.write_bytes(ANSWERS)
    with answers.open("rb") as typed, logs[0].open("wb") as out, logs[1].open("ab") as errors:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=typed,
            stdout=out,
            stderr=errors,
            start_new_session=True,
        )
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            # The frozen program runs in a child; take the whole session down.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _reported(folder: Path, word: str) -> float | None:
    """Resolution that the program printed, in 1.95 with colour codes and in its own log."""
    for name in ("resmap.log", "ResMaps.log"):
        path = folder / name
        text = path.read_text(errors="replace")[-_TAIL:] if path.exists() else ""
        text = re.sub(r"\x1b\[[0-9;]*m", "", text)
        found = re.search(rf"\b{word} RESOLUTION in MASK\s*=\s*([0-9.]+)", text)
        if found:
            return float(found[1])
    return None


def _last_line(log: Path) -> str:
    """Last line of a log, whose progress line alone may take 100 kB."""
    with log.open("rb") as handle:
        handle.seek(max(0, log.stat().st_size - _TAIL))
        text = handle.read().decode(errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return lines[-1][:300] if lines else ""


def _read_output(folder: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Read and check the one result in the private folder."""

    def refuse(name: str, problem: str) -> InputError:
        return InputError(
            f"{name}: {problem}",
            code="LABEL_BINARY_OUTPUT",
            remedy="run the program by hand on this map",
        )

    # 1.1.x: <stem>_resmap.mrc; 1.95 with half maps: <stem>_ori_resmap.mrc
    found = sorted(folder.glob("*_resmap.mrc"))
    if len(found) != 1:
        raise refuse("*_resmap.mrc", "not written" if not found else f"{len(found)} files")
    try:
        resolution = read_map(found[0]).density
    except InputError as error:
        if error.code != "VAL_CONSTANT":
            raise refuse(found[0].name, str(error)) from error
        raise InputError(
            "no voxel got a value" if "100" in error.message else error.message,
            code="LABEL_EMPTY",
            remedy="centre the particle, or give a mask",
        ) from error
    if resolution.shape != shape:
        raise refuse(found[0].name, f"shape {resolution.shape}, input {shape}")
    if not (resolution < NO_VALUE).any():
        raise refuse(found[0].name, "no value below 100")
    return resolution

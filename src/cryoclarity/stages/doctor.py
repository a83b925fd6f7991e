"""Look at this machine: what there is, which weights, and whether they work."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from pathlib import Path

from cryoclarity import __version__

PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^;\s]+)(?!.*extra)")
PAGES = "/proc/meminfo"
GIGABYTE = 1e9


def examine(weights: Path | None, device: str = "auto") -> dict[str, object]:
    """Return what this machine, its packages, devices and weights are like.

    Parameters
    ----------
    weights : folder to look for networks in, or None
    device : str
        On which the weights are tried.

    Returns
    -------
    dict
        ``machine packages devices weights problems``; the last is a list of sentences, empty
        where all is well.
    """
    from cryoclarity.predict.doctor import devices, try_weights

    machine = examine_machine()
    packages = examine_packages()
    found = devices()
    networks = [] if weights is None else try_weights(weights, device)
    problems = [
        f"{row['package']} {row['installed'] or 'is missing'}, tested with {row['pinned']}"
        for row in packages
        if row["installed"] != row["pinned"]
    ]
    problems += [f"{row['device']}: {row['problem']}" for row in found if not row["works"]]
    problems += [f"{row['weights']}: {row['problem']}" for row in networks if not row["works"]]
    if not networks:
        problems.append(f"no weights in {weights}: give --weights FOLDER, or train first")
    return {
        "machine": machine,
        "packages": packages,
        "devices": found,
        "weights": networks,
        "problems": problems,
    }


def examine_machine() -> dict[str, object]:
    """Return system, processor, memory and free disk."""
    return {
        "cryoclarity": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "processors": len(os.sched_getaffinity(0)),
        "memory_gb": _memory("MemTotal"),
        "memory_free_gb": _memory("MemAvailable"),
        "disk_free_gb": round(shutil.disk_usage(Path()).free / GIGABYTE, 1),
        "writable": os.access(Path(), os.W_OK),
    }


def _memory(name: str) -> float | None:
    if not Path(PAGES).exists():
        return None
    lines = dict(line.split(":", 1) for line in Path(PAGES).read_text().splitlines())
    return round(int(lines[name].split()[0]) * 1024 / GIGABYTE, 1)


def examine_packages() -> list[dict[str, object]]:
    """Return pinned and installed version of every package that this one needs."""
    rows = []
    for requirement in importlib.metadata.requires("cryoclarity") or ():
        pin = PIN.match(requirement)
        if pin is None:
            continue
        try:
            # Local suffixes ('+cpu') name a build, not a version.
            installed = importlib.metadata.version(pin[1]).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            installed = None
        rows.append({"package": pin[1], "pinned": pin[2], "installed": installed})
    return rows

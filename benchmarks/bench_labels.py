"""Cost of the label engine: each stage, and the statistic beside a plain per-voxel loop.

    OMP_NUM_THREADS=1 python benchmarks/bench_labels.py [edge]
    OMP_NUM_THREADS=1 python benchmarks/bench_labels.py engines [edge]

The plain loop runs on a sample of the mask's voxels and is scaled to all of them. `share of the
original` is what the stage takes of the published program's own run at 180^3.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from labels.generator import half_maps  # noqa: E402
from labels.plain_statistic import PlainLevel  # noqa: E402

from cryoclarity.labels import resmap  # noqa: E402
from cryoclarity.labels.exact import ExactParameters, exact_resolution  # noqa: E402
from cryoclarity.labels.local_fsc import LocalFscParameters, local_fsc  # noqa: E402
from cryoclarity.labels.statistic import level_basis, statistic_map  # noqa: E402

SAMPLE = 4000
STAGES = {
    "detect_low_pass": ("low-pass test", 3.1),
    "_prepare": ("mask", 1.9),
    "noise_spectrum": ("noise spectrum", None),
    "_whiten": ("pre-whitening filter", 7.0),
    "block_variance": ("noise variance", 0.8),
    "statistic_map": ("statistic", 77.9),
    "false_discovery_threshold": ("thresholds", 2.8),
}


def timed(spent: dict[str, float], name: str):
    """Return the stage function `name` with its CPU time added up in `spent`."""
    function = getattr(resmap, name)

    def wrapper(*arguments):
        start = time.process_time()
        result = function(*arguments)
        spent[name] = spent.get(name, 0.0) + time.process_time() - start
        return result

    return wrapper


def ball_halves(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Half maps of a ball that fills a tenth of the box, 1 A voxels."""
    return half_maps(
        n=size,
        seed=1,
        vx=1.0,
        R=0.29 * size,
        bands=[2.4, 3.2, 4.2, 5.4],
        c=1.0,
        colour=1.0,
        sigma=0.35,
    )


def run_engine(name: str, size: int, threads: int) -> None:
    """Run one engine in this process and print its time, CPU time and peak memory."""
    halves = ball_halves(size)
    single = (np.float32(0.5) * (halves[0] + halves[1]),)
    voxel = (1.0, 1.0, 1.0)
    start, cpu = time.perf_counter(), time.process_time()
    if name == "resmap":
        resmap.local_resolution(single, 1.0)
    elif name == "resmap-exact":
        exact_resolution(single, voxel, ExactParameters(threads=threads))
    elif name == "resmap-exact, half maps":
        exact_resolution(halves, voxel, ExactParameters(threads=threads))
    else:
        local_fsc(halves, voxel, LocalFscParameters(threads=threads))
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:26s}{size:6d}{threads:9d}{wall:9.2f}{cpu:9.2f}{peak:9.0f}", flush=True)


def compare_engines(size: int) -> None:
    """Run every engine in a process of its own, so that each has its own peak memory."""
    print(f"{'engine':26s}{'edge':>6s}{'threads':>9s}{'wall s':>9s}{'CPU s':>9s}{'MB peak':>9s}")
    for name in ("resmap", "resmap-exact", "resmap-exact, half maps", "fsc"):
        for threads in (1,) if name == "resmap" else (1, 2):
            words = [sys.executable, __file__, "one", name, str(size), str(threads)]
            sys.stdout.flush()
            subprocess.run(words, check=True)


def main() -> None:
    if sys.argv[1:2] == ["engines"]:
        compare_engines(int(sys.argv[2]) if len(sys.argv) > 2 else 180)
        return
    if sys.argv[1:2] == ["one"]:
        run_engine(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        return
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 180
    halves = ball_halves(size)
    density = np.float32(0.5) * (halves[0] + halves[1])
    spent: dict[str, float] = {}
    for name in STAGES:
        setattr(resmap, name, timed(spent, name))
    start = time.process_time()
    result = resmap.local_resolution((density,), 1.0)
    total = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{size}^3, {result.mask.sum()} voxels in the mask: {total:.2f} CPU s, {peak:.0f} MB peak"
    )
    print(f"\n{'stage':24s}{'CPU s':>8s}{'share %':>9s}{'share of the original %':>25s}")
    for name, (title, original) in STAGES.items():
        shown = "" if original is None else f"{original:.1f}"
        print(f"{title:24s}{spent[name]:8.3f}{100 * spent[name] / total:9.1f}{shown:>25s}")
    compare_statistics(result)


def compare_statistics(result: resmap.ResmapResult) -> None:
    """Print the separable statistic beside the plain loop, level by level."""
    print(f"\n{'level A':>8s}{'window':>8s}{'voxels':>9s}{'separable s':>13s}{'plain s':>9s}"
          f"{'ratio':>8s}{'largest error':>15s}")  # fmt: skip
    remaining = result.mask.copy()
    for index, level in enumerate(result.levels):
        basis = level_basis(level.resolution, result.voxel_size)
        start = time.process_time()
        fast = statistic_map(result.whitened, remaining, basis)
        separable = time.process_time() - start
        places = np.argwhere(remaining)
        step = max(1, len(places) // SAMPLE)
        plain = PlainLevel(level.resolution, result.voxel_size)
        start = time.process_time()
        slow = [plain.statistic(result.whitened, *place) for place in places[::step]]
        loop = (time.process_time() - start) * step
        error = np.abs(fast[::step] - slow).max() / fast.mean()
        print(
            f"{level.resolution:8.1f}{2 * basis.radius + 1:8d}{len(places):9d}{separable:13.3f}"
            f"{loop:9.1f}{loop / separable:8.0f}{error:15.1e}"
        )
        remaining &= result.level_index != index


if __name__ == "__main__":
    main()

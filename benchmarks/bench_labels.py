"""Cost of the label engines beside a plain per-voxel run of the whole published method.

    OMP_NUM_THREADS=1 python benchmarks/bench_labels.py [edge] [pairs]
    OMP_NUM_THREADS=1 python benchmarks/bench_labels.py engines [edge] [repeats]

The first run of ours is not counted, so that neither side pays for loading libraries.
The plain run evaluates the method as published, in the same process and on the same map, the two
taking turns: full complex transforms, one Python step per voxel that multiplies its window by a
matrix of w^3 x w^3 in float32, scalar series, labels copied one by one. `published` is the share
that a stage took of the original program's own run at 180^3.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cryoclarity.labels import resmap  # noqa: E402
from cryoclarity.labels.exact import ExactParameters, exact_resolution  # noqa: E402
from cryoclarity.labels.local_fsc import LocalFscParameters, local_fsc  # noqa: E402
from tests.labels.generator import half_maps  # noqa: E402
from tests.labels.plain_resmap import plain_local_resolution  # noqa: E402

STAGES = {
    "low-pass test": (("detect_low_pass",), 3.1),
    "mask": (("_prepare",), 1.9),
    "pre-whitening filter": (("noise_spectrum", "fit_whitening", "_whiten"), 7.0),
    "noise variance": (("block_variance", "_refuse"), 0.8),
    "statistic": (("statistic_map",), 77.9),
    "thresholds": (("false_discovery_threshold",), 2.8),
    "copying back, eigenvalues": (("level_basis", "_to_input_grid"), 2.9),
}
ENGINES = ("resmap", "resmap-exact", "resmap-exact, half maps", "fsc")
REPEATS = 3


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


def run_engine(name: str, folder: Path, threads: int) -> None:
    """Run one engine in this process; print wall time, CPU time and peak memory."""
    halves = tuple(np.load(folder / f"half{i}.npy") for i in (1, 2))
    single = (np.float32(0.5) * (halves[0] + halves[1]),)
    voxel = (1.0, 1.0, 1.0)
    start, cpu = time.perf_counter(), time.process_time()
    if name == "resmap":
        resmap.local_resolution(single, 1.0, resmap.ResmapParameters(threads=threads))
    elif name == "resmap-exact":
        exact_resolution(single, voxel, ExactParameters(threads=threads))
    elif name == "resmap-exact, half maps":
        exact_resolution(halves, voxel, ExactParameters(threads=threads))
    else:
        local_fsc(halves, voxel, LocalFscParameters(threads=threads))
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(wall, cpu, peak_memory())


def peak_memory() -> float:
    """Largest resident memory of this process in MB; that of `resource` counts the parent's."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def compare_engines(size: int, repeats: int) -> None:
    """Medians of every engine, each run in a process of its own, the engines taking turns."""
    import tempfile

    cases = [(name, threads) for name in ENGINES for threads in (1, 2)]
    found: dict[tuple[str, int], list[list[float]]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        for number, half in enumerate(ball_halves(size), start=1):
            np.save(Path(folder) / f"half{number}.npy", half)
        for _ in range(repeats):
            for name, threads in cases:
                words = [sys.executable, __file__, "one", name, folder, str(threads)]
                text = subprocess.run(words, check=True, capture_output=True, text=True).stdout
                found[name, threads].append([float(word) for word in text.split()])
    print(f"{'engine':26s}{'threads':>9s}{'wall s':>9s}{'CPU s':>9s}{'MB peak':>9s}   {size}^3")
    for (name, threads), rows in found.items():
        wall, cpu, peak = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:26s}{threads:9d}{wall:9.2f}{cpu:9.2f}{peak:9.0f}")


def compare_with_plain(size: int, pairs: int) -> None:
    """Whole runs, ours and the plain one taking turns; the medians, stage by stage."""
    halves = ball_halves(size)
    density = np.float32(0.5) * (halves[0] + halves[1])
    spent: dict[str, float] = {}
    for name in {name for names, _ in STAGES.values() for name in names}:
        setattr(resmap, name, timed(spent, name))
    runs, plain_runs = [], []
    for turn in range(2 * pairs + 1):
        spent.clear()
        start = time.process_time()
        if turn % 2:
            plain = plain_local_resolution((density,), 1.0, published=True)
            plain_runs.append((time.process_time() - start, plain["spent"]))
        else:
            result = resmap.local_resolution((density,), 1.0)
            runs.append((time.process_time() - start, dict(spent)))
    del runs[0]  # loads libraries; the plain runs come after it and find them loaded
    print("ours, in order:", " ".join(f"{total:.2f}" for total, _ in runs), "CPU s; plain:",
          " ".join(f"{total:.1f}" for total, _ in plain_runs))  # fmt: skip
    (total, ours), (plain_total, theirs) = (
        sorted(found, key=lambda run: run[0])[len(found) // 2] for found in (runs, plain_runs)
    )
    same = np.mean(plain["index"] == result.level_index)
    print(f"{size}^3, {result.mask.sum()} voxels in the mask, windows of "
          f"{', '.join(str(2 * level.radius + 1) for level in result.levels)}; "
          f"{same:.6f} of the labels are equal\n")  # fmt: skip
    print(f"{'stage':28s}{'plain s':>9s}{'share %':>9s}{'published %':>13s}"
          f"{'here s':>9s}{'share %':>9s}{'ratio':>8s}")  # fmt: skip
    rows = [
        (title, theirs.get(title, 0.0), published, sum(ours.get(n, 0.0) for n in names))
        for title, (names, published) in STAGES.items()
    ]
    rest = (plain_total - sum(row[1] for row in rows), total - sum(row[3] for row in rows))
    rows += [("the rest", rest[0], 3.6, rest[1]), ("whole run", plain_total, 100.0, total)]
    for title, slow, published, fast in rows:
        print(
            f"{title:28s}{slow:9.2f}{100 * slow / plain_total:9.1f}{published:13.1f}"
            f"{fast:9.3f}{100 * fast / total:9.1f}{slow / max(fast, 1e-9):8.1f}"
        )


def main() -> None:
    words = sys.argv[1:]
    if words[:1] == ["one"]:
        run_engine(words[1], Path(words[2]), int(words[3]))
    elif words[:1] == ["engines"]:
        size, repeats = (*words[1:], 180, REPEATS)[:2] if len(words) != 2 else (words[1], REPEATS)
        compare_engines(int(size), int(repeats))
    else:
        size, pairs = (*words, 180, REPEATS)[:2] if len(words) != 1 else (words[0], REPEATS)
        compare_with_plain(int(size), int(pairs))


if __name__ == "__main__":
    main()

"""Random damage never makes the inspector crash, hang or call a broken file good."""

import gzip
import json
import math

import numpy as np
import pytest

from cryoclarity.codes import CODES
from cryoclarity.gates.inspector import inspect_file
from tests.gates.zoo import CIF, GOOD, PDB, gz, map_bytes, values
from tests.gates.zoo_more import MORE_MODELS, members

SEEDS = {
    "a.map": GOOD,
    "b.map": map_bytes(order=">", stamp=b"\x11\x11\0\0", axes=(3, 1, 2)),
    "c.map": map_bytes(mode=12, dtype="f2", nsymbt=160, start=(-3, 4, 5)),
    "d.map.gz": gz(GOOD),
    "e.pdb": PDB,
    "f.cif": CIF,
    "g.cif.gz": gz(CIF),
    "h.map.gz": members(map_bytes(np.abs(values()) * 80, mode=0, dtype="u1", imod=0), 900),
    "i.pdb": MORE_MODELS["anisou between"][1],
    "j.cif": MORE_MODELS["cif, other table first"][1],
}


def flip(data, rng):
    place = rng.integers(len(data), size=rng.integers(1, 8))
    data[place] = rng.integers(256, size=len(place))
    return data


def cut(data, rng):
    return data[: rng.integers(len(data))]


def swap(data, rng):
    """Swap two words of the header, or of the first kilobyte of a text."""
    first, second = rng.integers(min(256, len(data) // 4), size=2) * 4
    piece = data[first : first + 4].copy()
    data[first : first + 4] = data[second : second + 4]
    data[second : second + 4] = piece
    return data


def word(data, rng):
    """Set a header word to an extreme value."""
    extremes = (0, 1, -1, 2**31 - 1, -(2**31), 0x7FC00000, 0x7F800000, 1 << 20)
    place = 4 * rng.integers(min(56, len(data) // 4))
    value = np.array([extremes[rng.integers(len(extremes))]], dtype="<i8").astype("<i4")
    data[place : place + 4] = np.frombuffer(value.tobytes(), dtype=np.uint8)
    return data


def check(folder, rounds, seed):
    rng = np.random.default_rng(seed)
    for number in range(rounds):
        for name, content in SEEDS.items():
            damage = (flip, cut, swap, word)[rng.integers(4)]
            data = damage(np.frombuffer(content, dtype=np.uint8).copy(), rng)
            path = folder / name
            path.write_bytes(data.tobytes())
            verdict = inspect_file(str(path))
            where = f"seed {seed}, round {number}, {name}, {damage.__name__}: {verdict}"
            json.dumps(verdict, allow_nan=False)
            if verdict["status"] == "quarantine":
                assert CODES[verdict["code"]].severity == "quarantine", where
            elif verdict["kind"] == "map":
                raw = data.tobytes()
                raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
                sizes = {np.frombuffer(raw[:12], order + "i4").tobytes() for order in "<>"}
                grid = [verdict["grid"][axis - 1] for axis in verdict["axes"]]
                stored = {np.array(grid, order + "i4").astype("<i4").tobytes() for order in "<>"}
                assert sizes & stored or sorted(grid) == sorted(verdict["grid"]), where
                assert all(math.isfinite(verdict[key]) for key in ("min", "max", "mean", "std"))
            else:
                assert verdict["atoms"] > 0, where


def test_some_damage(tmp_path):
    check(tmp_path, rounds=15, seed=1)


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(2, 6))
def test_much_damage(tmp_path, seed):
    check(tmp_path, rounds=50, seed=seed)

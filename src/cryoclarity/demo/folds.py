"""The molecules of the demo archive, assembled from ideal segments."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from cryoclarity.demo.nucleic import A_RNA, B_DNA, build_duplex, move_chains
from cryoclarity.demo.placement import rotation_about
from cryoclarity.demo.protein import (
    HELIX,
    STRAND,
    Residue,
    Segment,
    build_backbone,
    build_proteins,
)
from cryoclarity.io.atoms import Atoms

ATOMIC_NUMBER = {"C": 6, "N": 7, "O": 8, "P": 15, "S": 16}
HELIX_SPACING = 9.8  # angstrom between axes of packed helices
STRAND_SPACING = 4.9  # angstrom: N...O 2.9 between parallel strands in register
SHEET_SPACING = 10.4

CORE_LETTERS = {"helix": "LLLLAAVIIMFLAG", "strand": "VVIIFLTYVCAW"}
SURFACE_LETTERS = {"helix": "EEKKRRQQNDSTHYW", "strand": "TTSKRQENYHKDR"}

Chains = list[list[Residue]]


def generator_for(label: str) -> np.random.Generator:
    """Return a PCG64 generator whose seed is the CRC-32 of a label: no state, no order."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(label.encode("ascii"))))


def _sequence(backbone: np.ndarray, centre: np.ndarray, kind: str, rng: np.random.Generator) -> str:
    """Choose letters: hydrophobic where the side chain points to the core, else polar."""
    letters = []
    for i, (n, ca, c, _) in enumerate(backbone):
        outwards = 2.0 * ca - n - c
        core = outwards @ (centre - ca) > 0
        pool = CORE_LETTERS[kind] if core else SURFACE_LETTERS[kind]
        letters.append(pool[int(rng.integers(len(pool)))])
        if i == 0 and kind == "helix" and rng.random() < 0.5:
            letters[-1] = "P"
        if i == len(backbone) - 1 and kind == "helix":
            letters[-1] = "G"
    return "".join(letters)


def _rigid(backbone: np.ndarray, rotation: np.ndarray, shift: Sequence[float]) -> np.ndarray:
    return backbone @ rotation.T + np.asarray(shift, dtype=np.float64)


def _helix(length: int, up: bool, azimuth: float, tilt: float, shift: Sequence[float]):
    """Return a helix on z (or -z), turned, leaning by `tilt` degrees about x, moved."""
    turn = rotation_about("z", azimuth)
    flip = np.eye(3) if up else rotation_about("x", 180.0)
    return _rigid(build_backbone(length, *HELIX), rotation_about("x", tilt) @ flip @ turn, shift)


def _sheet(strands: int, length: int, normal: float, turned: bool) -> list[np.ndarray]:
    """Return parallel strands side by side along y at x = `normal`, slowly twisted."""
    backbone = build_backbone(length, *STRAND)
    flip = rotation_about("z", 180.0) if turned else np.eye(3)
    placed = []
    for k in range(strands):
        offset = k - 0.5 * (strands - 1)
        twist = rotation_about("y", -1.2 * offset)
        inner = _rigid(backbone, flip, (normal, 0.0, 0.0)) @ twist.T
        placed.append(inner + np.array([0.0, STRAND_SPACING * offset, 0.0]))
    return placed


def _finish(
    parts: Sequence[tuple[np.ndarray, str]], label: str, obstacles: np.ndarray | None = None
) -> Chains:
    rng = generator_for(f"{label} sequence")
    centre = np.concatenate([b.reshape(-1, 3) for b, _ in parts]).mean(axis=0)
    segments = [Segment(b, _sequence(b, centre, kind, rng)) for b, kind in parts]
    return build_proteins(segments, np.zeros((0, 3)) if obstacles is None else obstacles)


def helix_bundle(
    axes: Sequence[tuple[float, float]], length: int, label: str, spacing: float = HELIX_SPACING
) -> Chains:
    """Return antiparallel neighbours on a lattice of axes (in units of the spacing)."""
    rng = generator_for(f"{label} helices")
    parts = []
    for k, (x, y) in enumerate(axes):
        azimuth = float(rng.uniform(0.0, 360.0))
        slide = float(rng.uniform(-3.0, 3.0))
        size = length + int(rng.integers(-2, 3))
        helix = _helix(size, k % 2 == 0, azimuth, 0.0, (spacing * x, spacing * y, slide))
        parts.append((helix @ rotation_about((x, y, 1e-9), 9.0 * np.hypot(x, y)).T, "helix"))
    return _finish(parts, label)


def sandwich(strands: int, length: int, label: str) -> Chains:
    """Return two sheets face to face, the second turned by half a turn and 25 degrees."""
    lower = _sheet(strands, length, -0.5 * SHEET_SPACING, False)
    upper = _sheet(strands, length, -0.5 * SHEET_SPACING, False)
    cross = rotation_about("x", 25.0) @ rotation_about("z", 180.0)
    return _finish([(b, "strand") for b in (*lower, *(b @ cross.T for b in upper))], label)


def sheet_between_helices(
    strands: int, length: int, helix_length: int, helices: Sequence[tuple[int, float]], label: str
) -> Chains:
    """Return a sheet with helices packed on its faces.

    `helices` are (side +-1, position along y in angstrom).
    """
    rng = generator_for(f"{label} helices")
    parts = [(b, "strand") for b in _sheet(strands, length, 0.0, False)]
    for side, y in helices:
        azimuth = float(rng.uniform(0.0, 360.0))
        parts.append(
            (_helix(helix_length, False, azimuth, -side * 15.0, (side * 10.2, y, 0)), "helix")
        )
    return _finish(parts, label)


def rna_bundle(length: int, label: str) -> Chains:
    """Return three RNA duplexes side by side, leaning against each other."""
    rng = generator_for(f"{label} sequence")
    chains: Chains = []
    for k in range(3):
        letters = "".join("AUGC"[int(i)] for i in rng.integers(0, 4, length))
        angle = np.radians(120.0 * k)
        lean = rotation_about((np.cos(angle), np.sin(angle), 0.0), 18.0)
        spin = rotation_about("z", float(rng.uniform(0, 360)))
        shift = 13.6 * np.array([np.cos(angle), np.sin(angle), 0.0])
        chains += move_chains(build_duplex(letters, A_RNA), lean @ spin, shift)
    return chains


def dna_complex(length: int, helix_length: int, sides: Sequence[float], label: str) -> Chains:
    """Return a DNA duplex along y with three helices on each of its sides (+1, -1 on x)."""
    rng = generator_for(f"{label} dna")
    letters = "".join("ATGC"[int(i)] for i in rng.integers(0, 4, length))
    dna = move_chains(build_duplex(letters, B_DNA), rotation_about("x", -90.0), np.zeros(3))
    obstacles = np.array([v for chain in dna for residue in chain for v in residue.atoms.values()])
    parts = []
    for side in sides:
        for k, (out, y) in enumerate(((15.0, -5.0), (15.0, 5.2), (23.6, 0.0))):
            size = helix_length - 2 * k
            azimuth = float(rng.uniform(0.0, 360.0))
            helix = _helix(size, k % 2 == 0, azimuth, side * 12.0, (side * out, y, 0.0))
            parts.append((helix, "helix"))
    return dna + _finish(parts, label, obstacles)


_HEXAGON = [(np.cos(a), np.sin(a)) for a in np.radians(np.arange(0, 360, 60))]

FOLDS: dict[str, Callable[[str], Chains]] = {
    "seven_helices": lambda label: helix_bundle([(0.0, 0.0), *_HEXAGON], 26, label),
    "sheet_and_helices": lambda label: sheet_between_helices(
        6, 11, 16, [(1, -8.0), (1, 2.2), (-1, -2.2), (-1, 8.0)], label
    ),
    "four_helices": lambda label: helix_bundle(
        [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)], 14, label
    ),
    "rna_duplexes": lambda label: rna_bundle(12, label),
    "large_sandwich": lambda label: sandwich(7, 11, label),
    "small_sandwich": lambda label: sandwich(4, 7, label),
    "dna_and_helices": lambda label: dna_complex(14, 20, (1.0, -1.0), label),
    "small_dna_and_helices": lambda label: dna_complex(8, 15, (1.0,), label),
    "five_helices": lambda label: helix_bundle(
        [(-0.5, 0.0), (0.5, 0.0), (0.0, 0.87), (0.0, -0.87), (1.0, 0.87)], 30, label
    ),
    "one_helix": lambda label: helix_bundle([(0.0, 0.0)], 12, label),
}


def build_fold(fold: str, label: str) -> Atoms:
    """Return the atoms of a named fold, centred at the origin in a random orientation.

    Parameters
    ----------
    fold : str
        A key of `FOLDS`.
    label : str
        Seeds sequence and orientation; every label makes another molecule.
    """
    atoms = chains_to_atoms(FOLDS[fold](label))
    rotation = _oblique_rotation(generator_for(f"{label} orientation"))
    middle = 0.5 * (atoms.xyz.max(axis=0) + atoms.xyz.min(axis=0))
    turned = (atoms.xyz - middle) @ rotation.T
    turned -= 0.5 * (turned.max(axis=0) + turned.min(axis=0))
    return replace(atoms, xyz=turned)


def _oblique_rotation(rng: np.random.Generator) -> np.ndarray:
    """Draw 24 random rotations and keep the one whose axes are farthest from the grid's.

    Helices and strands repeat every 5 or 10 A: along a grid axis a shifted copy of the model
    would fit nearly as well as the model, and no test of the fit could tell them apart.
    """
    vectors = rng.standard_normal((24, 4))
    candidates = []
    for w, *axis in vectors:
        angle = 2.0 * np.degrees(np.arctan2(np.linalg.norm(axis), w))
        candidates.append(rotation_about(np.array(axis), float(angle)))
    return min(candidates, key=lambda rotation: float(np.abs(rotation).max()))


def chains_to_atoms(chains: Chains) -> Atoms:
    """Flatten chains into arrays; chains are named A, B, C and so on."""
    rows = [
        (xyz, name[0], name, residue.name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[c], i + 1, c)
        for c, chain in enumerate(chains)
        for i, residue in enumerate(chain)
        for name, xyz in residue.atoms.items()
    ]
    count = len(rows)
    element = np.array([row[1] for row in rows])
    number = np.array([row[5] for row in rows])
    chain_number = np.array([row[6] for row in rows])
    changes = (np.diff(number) != 0) | (np.diff(chain_number) != 0)
    residue_name = np.array([row[3] for row in rows])
    nucleic = np.array([len(name) < 3 for name in residue_name])
    return Atoms(
        xyz=np.array([row[0] for row in rows]),
        element=element,
        atomic_number=np.array([ATOMIC_NUMBER[e] for e in element]),
        name=np.array([row[2] for row in rows]),
        residue_name=residue_name,
        chain=np.array([row[4] for row in rows]),
        residue_number=number,
        insertion_code=np.full(count, ""),
        altloc=np.full(count, ""),
        occupancy=np.ones(count),
        b_iso=np.full(count, 30.0),
        kind=np.where(nucleic, "nucleic", "protein"),
        residue_index=np.concatenate([[0], np.cumsum(changes)]),
    )

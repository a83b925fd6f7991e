"""Protein segments with ideal backbone geometry, and side chains packed on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cryoclarity.demo import residues as r
from cryoclarity.demo.placement import align_axis_to_z, place_atom, rotation_about, screw_axis

HELIX = (-62.0, -43.0)
STRAND = (-120.0, 128.0)
CLASH = 3.2  # angstrom: pairs nearer than this cost
PROLINE_IMPROPER = -121.0  # C-N-CA-CB; angle N-CA-CB 103 closes the ring
NEIGHBOURS = 15.0  # angstrom between CA atoms that can see each other's side chains


@dataclass
class Residue:
    """One amino acid: name and atoms in the order of the archive."""

    name: str
    atoms: dict[str, np.ndarray]


def build_backbone(count: int, phi: float, psi: float) -> np.ndarray:
    """Return N, CA, C, O of a regular segment, (count, 4, 3) float64, angstrom.

    The segment's screw axis lies on z, running upwards, with the centroid at z = 0 and the
    middle CA at azimuth zero.
    """
    n = np.zeros(3)
    ca = np.array([r.N_CA, 0.0, 0.0])
    c = place_atom(np.array([0.0, 1.0, 0.0]), n, ca, r.CA_C, r.N_CA_C, phi)
    chain = [(n, ca, c)]
    for _ in range(count):
        n2 = place_atom(n, ca, c, r.C_N, r.CA_C_N, psi)
        ca2 = place_atom(ca, c, n2, r.N_CA, r.C_N_CA, 180.0)
        c2 = place_atom(c, n2, ca2, r.CA_C, r.N_CA_C, phi)
        n, ca, c = n2, ca2, c2
        chain.append((n, ca, c))
    backbone = np.zeros((count, 4, 3))
    for i in range(count):
        backbone[i, :3] = chain[i]
        # O lies in the plane of N(i+1), CA, C, on the far side of N(i+1).
        n, ca, c = chain[i]
        backbone[i, 3] = place_atom(n, ca, c, r.C_O, r.CA_C_O, psi + 180.0)
    return _stand_up(backbone)


def _stand_up(backbone: np.ndarray) -> np.ndarray:
    direction, point, _ = screw_axis(backbone[0, :3], backbone[1, :3])
    upright = (backbone - point) @ align_axis_to_z(direction).T
    upright[..., 2] -= upright[..., 2].mean()
    middle = upright[len(upright) // 2, 1]
    turn = rotation_about("z", -float(np.degrees(np.arctan2(middle[1], middle[0]))))
    return upright @ turn.T


def beta_carbon(n: np.ndarray, ca: np.ndarray, c: np.ndarray, name: str) -> np.ndarray:
    """Return CB of an L-amino acid, (3,) float64."""
    if name == "PRO":
        return place_atom(c, n, ca, r.CA_CB, 103.0, PROLINE_IMPROPER)
    return place_atom(n, c, ca, r.CA_CB, r.C_CA_CB, r.L_IMPROPER)


def side_chain(name: str, frame: dict[str, np.ndarray], chi: tuple[float, ...]) -> dict:
    """Return the atoms beyond CB by name for chi angles in degrees."""
    atoms = dict(frame)
    for atom, a, b, c, bond, angle, number, offset in r.SIDE_CHAINS[name]:
        dihedral = offset + (chi[number - 1] if number else 0.0)
        atoms[atom] = place_atom(atoms[a], atoms[b], atoms[c], bond, angle, dihedral)
    return {atom[0]: atoms[atom[0]] for atom in r.SIDE_CHAINS[name]}


@dataclass(frozen=True)
class Segment:
    """A placed backbone (count, 4, 3) in angstrom and its sequence in one-letter code."""

    backbone: np.ndarray
    sequence: str


def build_proteins(segments: Sequence[Segment], obstacles: np.ndarray) -> list[list[Residue]]:
    """Put side chains on placed segments so that they avoid each other and the obstacles.

    Every residue takes the rotamer of least overlap with all that stands, in two sweeps; one
    that still overlaps is cut back to alanine, as a designer of the sequence would do.

    Parameters
    ----------
    segments : sequence of Segment
    obstacles : (m, 3) float64
        Further fixed atoms, angstrom, (0, 3) if none.
    """
    names = [[r.ONE_LETTER[letter] for letter in s.sequence] for s in segments]
    frames = [
        _frame(segment.backbone[i], names[k][i])
        for k, segment in enumerate(segments)
        for i in range(len(segment.backbone))
    ]
    flat_names = [name for chain in names for name in chain]
    main = [np.array(list(frame.values())) for frame in frames]
    choices = [_rotamer_coordinates(n, f) for n, f in zip(flat_names, frames, strict=True)]
    bound = np.array([name == "PRO" for name in flat_names])  # its ring touches its own backbone
    picked = _pack(choices, main, obstacles, bound)
    chains, position = [], 0
    for chain in names:
        built = []
        for _ in chain:
            built.append(_residue(flat_names[position], frames[position], picked[position]))
            position += 1
        chains.append(built)
    return chains


def _frame(backbone: np.ndarray, name: str) -> dict[str, np.ndarray]:
    frame = dict(zip(("N", "CA", "C", "O"), backbone, strict=True))
    if name != "GLY":
        frame["CB"] = beta_carbon(frame["N"], frame["CA"], frame["C"], name)
    return frame


def _rotamer_coordinates(name: str, frame: dict[str, np.ndarray]) -> np.ndarray:
    if not r.SIDE_CHAINS[name]:
        return np.zeros((1, 0, 3))
    wiggles = (0.0,) if name == "PRO" else (0.0, 12.0, -12.0)
    built = [
        np.array(list(side_chain(name, frame, (chi[0] + wiggle, *chi[1:])).values()))
        for chi in r.ROTAMERS[name]
        for wiggle in wiggles
    ]
    return np.array(built)


def _pack(
    choices: list[np.ndarray], main: list[np.ndarray], obstacles: np.ndarray, bound: np.ndarray
) -> list[np.ndarray | None]:
    centre = np.array([atoms[1] for atoms in main])
    near = np.linalg.norm(centre[:, None] - centre[None], axis=-1) < NEIGHBOURS
    fixed = []
    for i, atoms in enumerate(main):
        around = [main[j] for j in np.flatnonzero(near[i]) if j != i]
        around += [] if bound[i] else [atoms[:1], atoms[2:4]]
        distance = np.linalg.norm(obstacles - atoms[1], axis=-1)
        around.append(obstacles[distance < NEIGHBOURS])
        fixed.append(np.concatenate(around))
    static = [_overlap(c, f) for c, f in zip(choices, fixed, strict=True)]
    picked: list[np.ndarray | None] = [
        c[int(np.argmin(s))] for c, s in zip(choices, static, strict=True)
    ]
    costs = np.zeros(len(choices))
    for _ in range(2):
        for i, rotamers in enumerate(choices):
            if rotamers.shape[1] == 0:
                continue
            others = [picked[j] for j in np.flatnonzero(near[i]) if j != i]
            cost = static[i] + _overlap(rotamers, np.concatenate([*others, np.zeros((0, 3))]))
            best = int(np.argmin(cost))
            picked[i], costs[i] = rotamers[best], cost[best]
    return _prune(picked, fixed, near)


def _prune(
    picked: list[np.ndarray | None], fixed: list[np.ndarray], near: np.ndarray
) -> list[np.ndarray | None]:
    """Cut back, worst first, the side chains that stand nearer than 2.8 A to anything."""
    while True:
        worst, limit = -1, 2.8
        for i, atoms in enumerate(picked):
            if atoms is None or not len(atoms):
                continue
            others = [picked[j] for j in np.flatnonzero(near[i]) if j != i]
            around = np.concatenate([fixed[i], *(o for o in others if o is not None)])
            gap = _gap(atoms, around)
            if gap < limit:
                worst, limit = i, gap
        if worst < 0:
            return picked
        picked[worst] = None


def _gap(atoms: np.ndarray, around: np.ndarray) -> float:
    return float(np.sqrt(((atoms[:, None] - around[None]) ** 2).sum(-1).min()))


def _overlap(rotamers: np.ndarray, around: np.ndarray) -> np.ndarray:
    flat = rotamers.reshape(-1, 3)
    if not len(flat) or not len(around):
        return np.zeros(len(rotamers))
    squared = ((flat**2).sum(-1)[:, None] + (around**2).sum(-1)[None] - 2.0 * flat @ around.T).clip(
        0.0
    )
    penalty = np.clip(CLASH - np.sqrt(squared), 0.0, None) ** 2
    return penalty.reshape(len(rotamers), -1).sum(axis=1)


def _residue(name: str, frame: dict[str, np.ndarray], side: np.ndarray | None) -> Residue:
    if side is None:
        return Residue("ALA", frame)
    names = [atom[0] for atom in r.SIDE_CHAINS[name]]
    return Residue(name, frame | dict(zip(names, side, strict=True)))

"""A model made ready: which atoms, how turned, in which box."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft

from cryoclarity.degrade.parameters import BoxSettings
from cryoclarity.errors import InputError
from cryoclarity.io.atoms import Atoms
from cryoclarity.targets.resolution import target_atoms

__all__ = ["Placed", "place", "random_rotation", "seed_of"]

FEWEST_ATOMS = 50
# Side-chain oxygens and carbon that lose density in the electron beam.
CARBOXYL = {"ASP": ("CG", "OD1", "OD2"), "GLU": ("CD", "OE1", "OE2")}


@dataclass(frozen=True)
class Placed:
    """Atoms in a box: all that travels to the device.

    Attributes
    ----------
    position : (n, 3) float32
        Voxels (z, y, x) from the first voxel's centre.
    weight : (n,) float32
        Atomic numbers.
    carboxyl : (n,) bool
    chain : (n,) int
        Number of the chain.
    shape : (nz, ny, nx)
    voxel_size : float, angstrom
    atoms : Atoms
        The same atoms with their new coordinates (x, y, z) in angstrom.
    whole : Atoms
        The uncropped model in the same frame, for writing; atoms of it may lie outside the box.
    """

    position: np.ndarray
    weight: np.ndarray
    carboxyl: np.ndarray
    chain: np.ndarray
    shape: tuple[int, int, int]
    voxel_size: float
    atoms: Atoms
    whole: Atoms


def seed_of(seed: int, model_id: str, draw: int) -> list[int]:
    """Return the seed that belongs to one draw of one model."""
    digest = hashlib.sha256(model_id.encode("utf-8")).digest()
    return [int(seed), int.from_bytes(digest[:8], "little"), int(draw)]


def place(atoms: Atoms, rng: np.random.Generator, box: BoxSettings) -> Placed:
    """Select, crop, turn and box a model.

    Parameters
    ----------
    atoms : Atoms
        As read; hydrogens, waters, second conformers and unknown elements are left out.
    rng : Generator
    box : BoxSettings

    Raises
    ------
    InputError
        MOD_TOO_SMALL when fewer than 50 atoms remain.
    """
    atoms = target_atoms(atoms)
    if len(atoms) < FEWEST_ATOMS:
        raise InputError(
            f"{len(atoms)} atoms to simulate from, {FEWEST_ATOMS} needed", code="MOD_TOO_SMALL"
        )
    whole = atoms
    atoms = whole.take(_sphere(whole.xyz, rng, box))
    rotation = random_rotation(rng)
    turned = atoms.xyz @ rotation.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    voxel = box.voxel_size
    if box.cubic:
        shape = (box.max_edge,) * 3
    else:
        shape = tuple(_edge(length, box) for length in (high - low)[::-1])
    # Not on the grid: no real model stands at whole voxels.
    centre = 0.5 * voxel * (np.array(shape[::-1]) - 1) + voxel * rng.uniform(-0.5, 0.5, 3)
    shift = centre - 0.5 * (low + high)
    xyz = turned + shift
    acid = [
        name in CARBOXYL.get(residue, ())
        for residue, name in zip(atoms.residue_name.tolist(), atoms.name.tolist(), strict=True)
    ]
    return Placed(
        position=(xyz[:, ::-1] / voxel).astype(np.float32),
        weight=atoms.atomic_number.astype(np.float32),
        carboxyl=np.array(acid, dtype=bool),
        chain=np.unique(atoms.chain, return_inverse=True)[1].astype(np.int64),
        shape=shape,
        voxel_size=voxel,
        atoms=replace(atoms, xyz=xyz),
        whole=replace(whole, xyz=whole.xyz @ rotation.T + shift),
    )


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """Return a uniformly random proper rotation, (3, 3) (Shoemake 1992: a random quaternion)."""
    quaternion = rng.standard_normal(4)
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _sphere(xyz: np.ndarray, rng: np.random.Generator, box: BoxSettings) -> np.ndarray:
    """Choose the atoms of a sphere that fits the box, indices in file order."""
    radius = 0.5 * (box.max_edge - 1) * box.voxel_size - box.margin
    if len(xyz) <= box.max_atoms:
        middle = 0.5 * (xyz.min(axis=0) + xyz.max(axis=0))
        distance = np.linalg.norm(xyz - middle, axis=1)
        if distance.max() <= radius:
            return np.arange(len(xyz))
    centre = xyz[rng.integers(len(xyz))]
    distance = np.linalg.norm(xyz - centre, axis=1)
    nearest = np.argsort(distance, kind="stable")[: box.max_atoms]
    return np.sort(nearest[distance[nearest] <= radius])


def _edge(length: float, box: BoxSettings) -> int:
    """Return an even edge whose transform is fast, at most the longest."""
    wanted = int(np.ceil((length + 2 * box.margin) / box.voxel_size)) + 1
    edge = 2 * scipy.fft.next_fast_len((wanted + 1) // 2, real=True)
    return min(edge, box.max_edge)

"""Hard zones: most deposited maps end a few angstrom from their model."""

from __future__ import annotations

import numpy as np

from cryoclarity.degrade.placement import Placed

__all__ = ["choose_atoms", "near_atoms"]

ATOMS_PER_BLOCK = 128


def choose_atoms(placed: Placed, rng: np.random.Generator, *, one_chain: bool, share: float):
    """Return which atoms (n,) a zone is laid round: one chain, or a half-space with a share.

    A model of one chain always takes the half-space.
    """
    chains, counts = np.unique(placed.chain, return_counts=True)
    direction = rng.standard_normal(3)
    number = rng.random()
    if one_chain and len(chains) > 1:
        # Large chains first, as maps are cut round what was modelled.
        chosen = np.searchsorted(np.cumsum(counts) / counts.sum(), number)
        return placed.chain == chains[min(int(chosen), len(chains) - 1)]
    height = placed.position @ (direction / np.linalg.norm(direction))
    return height <= np.quantile(height, share)


def near_atoms(arrays, position, shape: tuple[int, int, int], radius: float):
    """Return the voxels nearer than `radius` (in voxels) to an atom, bool.

    Parameters
    ----------
    arrays : NumpyArrays or its twin
    position : (n, 3) voxels (z, y, x)
    shape : (nz, ny, nx)
    radius : float
        Strict.
    """
    xp = arrays.xp
    near = arrays.zeros((int(np.prod(shape)),), "bool")
    steps = np.arange(-int(np.ceil(radius)), int(np.ceil(radius)) + 1)
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    # Corners that no atom within half a voxel of the middle can reach.
    cube = cube[np.linalg.norm(np.maximum(np.abs(cube) - 0.5, 0), axis=1) < radius]
    offsets, steps = arrays.integers(cube), arrays.floats(cube)
    edge = arrays.integers(np.array(shape))
    for start in range(0, position.shape[0], ATOMS_PER_BLOCK):
        block = position[start : start + ATOMS_PER_BLOCK]
        nearest = xp.floor(block + 0.5)
        distance = steps[None] + (nearest - block)[:, None]
        voxel = offsets[None] + arrays.integers(nearest)[:, None]
        keep = (distance * distance).sum(-1) < radius**2
        keep = keep & (voxel >= 0).all(-1) & (voxel < edge).all(-1)
        flat = (voxel[..., 0] * shape[1] + voxel[..., 1]) * shape[2] + voxel[..., 2]
        near[flat[keep]] = True
    return near.reshape(shape)

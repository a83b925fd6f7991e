"""Estimate local resolution by a network of band powers: the whole map at once where it fits.

The network answers on a 2 angstrom grid; a voxel's answer depends on nothing beyond its halo, so
that a large map is run in tiles whose inner parts are those of one pass over the whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from cryoclarity.density.bands import BandMap, band_map, feature_grid, molecule_mask
from cryoclarity.density.normalise import masked_deviation
from cryoclarity.density.resample import resample, resample_linear
from cryoclarity.errors import ConfigError, InputError, ResourceError
from cryoclarity.grid import Grid
from cryoclarity.nets.bands import HALO
from cryoclarity.nets.device import choose_device
from cryoclarity.nets.label_transform import LabelTransform
from cryoclarity.predict.common import PURPOSE, PredictSettings, bounded_grid
from cryoclarity.predict.model import Model
from cryoclarity.predict.onednn import prefer_onednn
from cryoclarity.predict.region import Region

MULTIPLE = 8
# Features per axis that a tile keeps; 80 + 2 x 28 of them take about 2 GB in the U-Net.
TILE = 80
# Above this share of voxels at a limit the map lies outside of what the network was trained on.
LARGEST_SHARE_AT_LIMITS = 0.1
# Arrays of the network's grid at the peak of the band powers: map, spectrum, passed band, powers.
ARRAYS = 8
# Values per feature in the U-Net: input channels, two levels of activations, and copies.
TILE_VALUES = 160

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class BandInput:
    """A map as band powers, on the grid of the features; `mask` is on the map's 1 A grid."""

    bands: BandMap
    grid: Grid
    map_grid: Grid
    mask: np.ndarray


def band_input(density: np.ndarray, grid: Grid, model: Model, region: Region | None) -> BandInput:
    """Put a density on the network's grid and compute its band powers.

    The mask is the region, or the rule of :func:`cryoclarity.density.bands.molecule_mask`, by
    which the training data were masked too.

    Raises
    ------
    InputError
        PRED_NO_SIGNAL or PRED_MASK.
    """
    map_grid = bounded_grid(grid, model)
    work = resample(density, grid, map_grid)
    mask = molecule_mask(work) if region is None else region.inside(map_grid)
    if not mask.any() or not masked_deviation(work, mask) > 0:
        raise InputError(
            "no density inside the mask", code="PRED_NO_SIGNAL", remedy="check map and mask"
        )
    return BandInput(band_map(work, mask), feature_grid(map_grid), map_grid, mask)


def band_resolution(
    found: BandInput, grid: Grid, model: Model, settings: PredictSettings
) -> tuple[np.ndarray, dict[str, object]]:
    """Run the network and bring its answer to the grid of the input.

    Parameters
    ----------
    found : BandInput
    grid : Grid
        Of the input.
    model : Model
    settings : PredictSettings

    Returns
    -------
    resolution : float32, shape of `grid`
        Angstrom everywhere; the caller applies mask and limits.
    facts : dict
        For the record.

    Raises
    ------
    ConfigError
        Passes with dropout: there is none.
    ResourceError
        PRED_MEMORY.
    """
    if settings.passes is not None:
        raise ConfigError("the network has no dropout layers", remedy="leave out --passes")
    shape = found.bands.shape
    tile = tile_within(settings.max_memory, grid.size, found.map_grid.size, shape)
    output = np.empty(shape, dtype=np.float32)
    device = choose_device(settings.device)
    if device.type == "cpu":
        prefer_onednn(model.network)
    network = model.network.to(device).eval()
    parts = list(tiles(shape, tile))
    for kept, seen in parts:
        answer = run_features(network, device, _padded_channels(found.bands, seen))
        inner = (
            slice(k.start - s.start, k.stop - s.start) for k, s in zip(kept, seen, strict=True)
        )
        output[kept] = answer[tuple(inner)]
    resolution = LabelTransform(**model.card["labels"]).decode(output).astype(np.float32)
    facts = {
        "weights_sha256": model.sha256,
        "network": model.card["network"],
        "network_grid": {
            "voxel_size": found.grid.voxel_size[0],
            "shape_zyx": list(found.grid.shape),
        },
        "tile": tile,
        "tiles": len(parts),
        "inverted": settings.invert,
        "solvent_noise": found.bands.solvent is not None,
        "purpose": PURPOSE,
    }
    return _on_grid(resolution, found.grid, grid), facts


def tiles(shape: tuple[int, int, int], tile: int) -> Iterator[tuple[Box, Box]]:
    """Yield for each tile the features that are kept and those, with a halo, that are seen.

    What is seen ends where the map does, rounded up to a multiple of 8: one pass over the whole
    map sees no more, and the networks want even sizes.
    """
    padded = [n + -n % MULTIPLE for n in shape]
    for start in itertools.product(*(range(0, n, tile) for n in shape)):
        kept = tuple(slice(s, min(s + tile, n)) for s, n in zip(start, shape, strict=True))
        seen = tuple(
            slice(max(s - HALO, 0), min(s + tile + HALO, n))
            for s, n in zip(start, padded, strict=True)
        )
        yield kept, seen


def tile_within(
    limit: int | None, voxels: int, network_voxels: int, shape: tuple[int, int, int]
) -> int:
    """Return the largest tile, at most `TILE`, that keeps within a memory limit in bytes.

    Raises
    ------
    ResourceError
        PRED_MEMORY when the smallest one does not fit.
    """
    tile = TILE
    while limit is not None and memory_bytes(voxels, network_voxels, shape, tile) > limit:
        if tile <= MULTIPLE:
            need = memory_bytes(voxels, network_voxels, shape, tile)
            raise ResourceError(
                f"needs {need / 1e9:.2f} GB, the limit is {limit / 1e9:.2f} GB",
                code="PRED_MEMORY",
                remedy="raise --max-memory, or cut the map",
            )
        tile -= MULTIPLE
    return tile


def memory_bytes(
    voxels: int, network_voxels: int, shape: tuple[int, int, int], tile: int = TILE
) -> int:
    """Return the host memory of a run: input, band powers, and one tile in the network."""
    seen = np.prod([min(n + MULTIPLE, tile + 2 * HALO) for n in shape])
    return int(4 * (voxels + ARRAYS * network_voxels + seen * TILE_VALUES))


def run_features(
    network: torch.nn.Module, device: torch.device, channels: np.ndarray
) -> np.ndarray:
    """Return the network's answer (z, y, x) for features (42, z, y, x)."""
    exact = torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False)
    with torch.inference_mode(), exact:
        answer = network(torch.from_numpy(channels)[None].to(device))[0, 0]
    return answer.float().cpu().numpy()


def _padded_channels(bands: BandMap, seen: Box) -> np.ndarray:
    """Channels of a part; beyond the end of the map the last ones are repeated."""
    real = tuple(slice(s.start, min(s.stop, n)) for s, n in zip(seen, bands.shape, strict=True))
    missing = [(0, s.stop - r.stop) for s, r in zip(seen, real, strict=True)]
    return np.pad(bands.channels(real), [(0, 0), *missing], mode="edge")


def _on_grid(resolution: np.ndarray, features: Grid, grid: Grid) -> np.ndarray:
    """Linear between features; half a step beyond the outermost ones the value stays."""
    wide = Grid(
        tuple(n + 2 for n in features.shape),
        features.voxel_size,
        tuple(o - v for o, v in zip(features.origin, features.voxel_size, strict=True)),
    )
    return resample_linear(np.pad(resolution, 1, mode="edge"), wide, grid)

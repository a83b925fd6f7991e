"""Half maps whose local resolution is known: a locally varying low-pass under coloured noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cryoclarity.degrade.amplitudes import VARIANCE_PER_B, deblurred_sum, uneven_views
from cryoclarity.degrade.arrays import NUMPY
from cryoclarity.degrade.fields import radius_from_centre, smooth_field, standardised
from cryoclarity.degrade.local_lowpass import local_low_pass
from cryoclarity.degrade.noise import coloured_noise, noise_level
from cryoclarity.degrade.parameters import (
    RESOLUTION_BOX,
    BoxSettings,
    ResolutionDraw,
    ResolutionRanges,
)
from cryoclarity.degrade.placement import Placed, place
from cryoclarity.degrade.solvent import dilated, envelope, soft
from cryoclarity.degrade.spectrum import Frequencies, frequencies_of
from cryoclarity.io.atoms import Atoms

__all__ = ["SimulatedMap", "simulate_map"]

FINEST = 2.0  # angstrom: halves hold nothing finer
LOW_PASS_EDGE = 0.12
MASK_EDGE = 1.5  # angstrom, standard deviation of the soft edge
DAMPING_SCALE = 1 / 30.0  # 1/angstrom, up to which low frequencies may be damped


@dataclass(frozen=True)
class SimulatedMap:
    """Maps and their true local resolution; arrays are (nz, ny, nx).

    Attributes
    ----------
    map, half_map_1, half_map_2 : float32
        With noise in the solvent; the map is the mean of the halves.
    masked_map : float32, the map times `soft_mask`
    soft_mask : float32, 0..1
    truth : float32, angstrom, 0 outside `mask`
    mask : bool, the molecule's envelope
    """

    map: Any
    half_map_1: Any
    half_map_2: Any
    masked_map: Any
    soft_mask: Any
    truth: Any
    mask: Any
    voxel_size: float
    drawn: ResolutionDraw
    atoms: Atoms


def simulate_map(
    atoms: Atoms | Placed,
    seed: int | Sequence[int],
    *,
    ranges: ResolutionRanges | None = None,
    box: BoxSettings = RESOLUTION_BOX,
    arrays=None,
) -> SimulatedMap:
    """Make half maps with a known local resolution from a model.

    Parameters
    ----------
    atoms : Atoms or Placed
    seed : int or sequence of int
        Decides everything, with the other arguments.
    ranges : ResolutionRanges, optional
    box : BoxSettings
        Of no use when `atoms` are placed already.
    arrays : NumpyArrays or TorchArrays, optional

    Raises
    ------
    InputError
        MOD_TOO_SMALL when too few atoms remain.
    """
    arrays = arrays or NUMPY
    rng = np.random.default_rng(seed)
    placed = atoms if isinstance(atoms, Placed) else place(atoms, rng, box)
    drawn = (ranges or ResolutionRanges()).draw(rng)
    frequencies = frequencies_of(arrays, placed.shape, placed.voxel_size)
    position = arrays.floats(placed.position)
    inside = envelope(arrays, position, placed.shape, placed.voxel_size)
    finest = _finest(drawn, placed.voxel_size)
    field = _true_resolution(arrays, rng, frequencies, drawn, inside)
    truth = arrays.xp.clip(field, finest, None)
    signal = _signal(arrays, frequencies, placed, drawn)
    signal = uneven_views(rng, frequencies, signal, drawn.anisotropy)
    varied = local_low_pass(arrays, frequencies, signal, truth)
    halves = _halves(arrays, rng, frequencies, drawn, inside, signal, varied)
    share = arrays.floats(inside)
    grown = dilated(arrays, frequencies, inside, drawn.mask_dilation)
    soft_mask = soft(arrays, frequencies, grown, MASK_EDGE)
    mean = 0.5 * (halves[0] + halves[1])
    return SimulatedMap(
        map=mean,
        half_map_1=halves[0],
        half_map_2=halves[1],
        masked_map=mean * soft_mask,
        soft_mask=soft_mask,
        truth=truth * share,
        mask=inside,
        voxel_size=placed.voxel_size,
        drawn=drawn,
        atoms=placed.atoms,
    )


def _finest(drawn: ResolutionDraw, voxel_size: float) -> float:
    """Resolution in angstrom beyond which the halves hold nothing."""
    nyquist = 2.0 * max(voxel_size, drawn.original_voxel)
    return max(FINEST, nyquist, drawn.best * drawn.low_pass)


def _true_resolution(arrays, rng, frequencies: Frequencies, drawn: ResolutionDraw, inside):
    """Smooth field, worse outwards, spread evenly over its range inside the molecule."""
    field = smooth_field(arrays, rng, frequencies, drawn.field_width)
    outwards = standardised(arrays, radius_from_centre(arrays, inside), inside)
    mixed = standardised(arrays, field, inside) + drawn.radial * outwards
    return drawn.best + drawn.spread * arrays.ndtr(standardised(arrays, mixed, inside))


def _signal(arrays, frequencies: Frequencies, placed: Placed, drawn: ResolutionDraw):
    """Transform of the atoms weighted by atomic number, with the map's B factor."""
    variance = np.full(len(placed.weight), VARIANCE_PER_B * drawn.b_factor)
    spectrum = deblurred_sum(arrays, frequencies, placed.position, placed.weight, variance)
    decay = arrays.xp.exp(-frequencies.square / DAMPING_SCALE**2)
    return spectrum * (1.0 - drawn.low_frequency_damping * decay)


def _halves(arrays, rng, frequencies: Frequencies, drawn: ResolutionDraw, inside, signal, varied):
    """Two maps of one signal under independent noise of a chosen level, low-passed alike."""
    shape = frequencies.shape
    noises = [
        coloured_noise(arrays, rng, frequencies, drawn.b_factor, drawn.colour) for _ in range(2)
    ]
    share = arrays.floats(inside)
    level = noise_level(
        frequencies,
        arrays.rfftn(arrays.irfftn(signal, shape) * share),
        0.5 * (noises[0] + noises[1]),
        at=1.0 / drawn.best,
        ratio=drawn.snr,
        mask_share=float(share.mean()),
    )
    transfer = _transfer(arrays, frequencies, drawn)
    spectrum = arrays.rfftn(varied)
    halves = []
    for noise in noises:
        total = spectrum + level * noise
        if drawn.particle_noise:
            extra = coloured_noise(arrays, rng, frequencies, drawn.b_factor, drawn.colour)
            own = drawn.particle_noise * level * share * arrays.irfftn(extra, shape)
            total = total + arrays.rfftn(own)
        halves.append(arrays.irfftn(total * transfer, shape))
    return halves


def _transfer(arrays, frequencies: Frequencies, drawn: ResolutionDraw):
    """Final low-pass, and the part of the B factor that sharpening takes out up to 1/best."""
    low_pass = frequencies.low_pass(_finest(drawn, frequencies.voxel_size), LOW_PASS_EDGE)
    lifted = arrays.xp.clip(frequencies.square, None, drawn.best**-2)
    return low_pass * arrays.xp.exp((0.25 * drawn.sharpening * drawn.b_factor) * lifted)

"""Maps as depositions are, with their targets: the degradation measured on real pairs.

What a blurred model with noise lacks and real maps have: a correlation with the target that is
below 1 from the lowest frequencies on, a spectrum that rises towards the limit, negative voxels
inside the molecule, displaced solvent, and a hard zone round the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cryoclarity.degrade.amplitudes import (
    AtomDraw,
    atom_resolution,
    deblurred_sum,
    displaced,
    scattering,
    uneven_views,
)
from cryoclarity.degrade.arrays import NUMPY
from cryoclarity.degrade.fields import gaussian_sum, smooth_field
from cryoclarity.degrade.noise import noise_to_signal
from cryoclarity.degrade.parameters import (
    IMPROVEMENT_BOX,
    BoxSettings,
    ImprovementDraw,
    ImprovementRanges,
)
from cryoclarity.degrade.placement import Placed, place
from cryoclarity.degrade.solvent import displace_solvent, envelope, soft
from cryoclarity.degrade.spectrum import (
    Frequencies,
    frequencies_of,
    wanted_amplitude,
    wanted_fsc,
)
from cryoclarity.degrade.zones import choose_atoms, near_atoms
from cryoclarity.io.atoms import Atoms
from cryoclarity.model.density import GAUSSIAN_CUTOFF
from cryoclarity.targets.kernels import kernel_width

__all__ = ["SimulatedPair", "simulate_pair"]

PERCENTILE = 0.99999
NOISE_FIELD = 8.0  # angstrom, on which the noise's strength varies
NOISE_SPREAD = 0.35
TARGET_GROWTH = 1.5  # angstrom by which the target reaches beyond a hard zone
LEAST_EDGE = 0.2  # 1/angstrom: the final low-pass never starts below
RESOLUTION_BLUR = 2.0  # angstrom, of the local resolution between the atoms


@dataclass(frozen=True)
class SimulatedPair:
    """A map, its target and what they were made from; arrays are (nz, ny, nx).

    Attributes
    ----------
    map : float32, on a scale of its own
    input : float32, the map over its 99.999th percentile of positive voxels, clipped to 0..1
    target : float32, 0..1
    mask : bool, the molecule's envelope within the zone
    local_resolution : float32, angstrom, 0 outside the envelope
    half_map_1, half_map_2 : float32 or None
        Their mean is the map before its zone; noise is of the map's spectrum.
    wanted_amplitude, wanted_fsc : (n_shells,) what the map before its zone was shaped to
    """

    map: Any
    input: Any
    target: Any
    mask: Any
    local_resolution: Any
    half_map_1: Any
    half_map_2: Any
    voxel_size: float
    drawn: ImprovementDraw
    atoms: Atoms
    frequency: np.ndarray
    wanted_amplitude: np.ndarray
    wanted_fsc: np.ndarray


def simulate_pair(
    atoms: Atoms | Placed,
    seed: int | Sequence[int],
    *,
    resolution: float | None = None,
    ranges: ImprovementRanges | None = None,
    box: BoxSettings = IMPROVEMENT_BOX,
    arrays=None,
    halves: bool = False,
) -> SimulatedPair:
    """Make a map and its target from a model.

    Parameters
    ----------
    atoms : Atoms or Placed
    seed : int or sequence of int
        Decides everything, with the other arguments.
    resolution : float, angstrom, optional
        That the map would state; drawn when not given.
    ranges : ImprovementRanges, optional
    box : BoxSettings
        Of no use when `atoms` are placed already.
    arrays : NumpyArrays or TorchArrays, optional
    halves : bool
        Make half maps too.

    Raises
    ------
    InputError
        MOD_TOO_SMALL when too few atoms remain.
    """
    arrays = arrays or NUMPY
    rng = np.random.default_rng(seed)
    placed = atoms if isinstance(atoms, Placed) else place(atoms, rng, box)
    drawn = (ranges or ImprovementRanges()).draw(rng, resolution)
    frequencies = frequencies_of(arrays, placed.shape, placed.voxel_size)
    position = arrays.floats(placed.position)
    inside = envelope(arrays, position, placed.shape, placed.voxel_size)
    local = atom_resolution(arrays, rng, frequencies, placed, drawn.resolution, drawn.spread)
    target = _target(arrays, placed, local)
    signal = _signal(arrays, rng, frequencies, placed, drawn, local, inside)
    amplitude, fsc, noise_power = _wanted(frequencies, drawn, arrays.rfftn(target), signal)
    kept = frequencies.shaped(signal, amplitude / np.sqrt(1.0 + noise_power))
    noise_amplitude = amplitude * np.sqrt(noise_power / (1.0 + noise_power))
    noise = _noise(arrays, rng, frequencies, drawn, inside)
    full = kept + frequencies.shaped(noise, noise_amplitude)
    density = _levelled(arrays, frequencies, full, drawn.mean_share, inside)
    half_maps = (None, None)
    if halves:
        # Half the difference of two independent noises is independent of their mean.
        noise = _noise(arrays, rng, frequencies, drawn, inside)
        half = arrays.irfftn(frequencies.shaped(noise, noise_amplitude), placed.shape)
        half_maps = (density + half, density - half)
    cut_map, cut_target, zone = _cut(arrays, rng, placed, drawn, density, target)
    scale = arrays.quantile(cut_map[cut_map > 0], PERCENTILE)
    return SimulatedPair(
        map=cut_map,
        input=arrays.xp.clip(cut_map / scale, 0.0, 1.0),
        target=cut_target,
        mask=inside if zone is None else inside & zone,
        local_resolution=_between_atoms(arrays, placed, local, inside),
        half_map_1=half_maps[0],
        half_map_2=half_maps[1],
        voxel_size=placed.voxel_size,
        drawn=drawn,
        atoms=placed.atoms,
        frequency=frequencies.frequency,
        wanted_amplitude=amplitude,
        wanted_fsc=fsc,
    )


def _target(arrays, placed: Placed, local: np.ndarray):
    """Gaussians of DiMaio's width at each atom's resolution, over their 99.999th percentile."""
    width = kernel_width(local, "dimaio") / placed.voxel_size
    position, weight = arrays.floats(placed.position), arrays.floats(placed.weight)
    density = gaussian_sum(arrays, position, weight, arrays.floats(width), placed.shape)
    scale = arrays.quantile(density[density > GAUSSIAN_CUTOFF], PERCENTILE)
    return arrays.xp.clip(density / scale, 0.0, 1.0)


def _signal(arrays, rng, frequencies, placed: Placed, drawn: ImprovementDraw, local, inside):
    """Transform of atoms of uneven strength, not quite where the model says, in solvent."""
    draw = AtomDraw(
        carboxyl=drawn.carboxyl,
        shift=drawn.shift,
        jitter=drawn.jitter,
        b_factor=drawn.b_factor,
        b_growth=drawn.b_growth,
    )
    weight, variance = scattering(arrays, rng, frequencies, placed, draw, local)
    position = displaced(arrays, rng, frequencies, placed, draw)
    spectrum = deblurred_sum(arrays, frequencies, position, weight, variance)
    spectrum = uneven_views(rng, frequencies, spectrum, drawn.anisotropy)
    density = arrays.irfftn(spectrum, placed.shape)
    soft_envelope = soft(arrays, frequencies, inside, drawn.envelope_blur)
    return arrays.rfftn(displace_solvent(arrays, density, inside, soft_envelope, drawn.solvent))


def _wanted(
    frequencies: Frequencies, drawn: ImprovementDraw, target, signal
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Wanted amplitude, wanted FSC with the target, noise-to-signal power that brings it about."""
    place = drawn.fsc_place / drawn.resolution
    amplitude = wanted_amplitude(
        frequencies.frequency,
        frequencies.amplitude(target),
        drawn.log_gain,
        resolution=drawn.resolution,
        tail=drawn.tail,
        edge=max(place * drawn.edge_place, LEAST_EDGE),
        edge_width=drawn.edge_width,
    )
    fsc = wanted_fsc(frequencies.frequency, drawn.fsc_top, place, drawn.fsc_width)
    present = frequencies.fsc(signal, target)
    return amplitude, fsc, noise_to_signal(present, fsc)


def _noise(arrays, rng, frequencies: Frequencies, drawn: ImprovementDraw, inside):
    """Transform of white noise of uneven strength, weaker in the solvent."""
    strength = arrays.xp.exp(NOISE_SPREAD * smooth_field(arrays, rng, frequencies, NOISE_FIELD))
    white = arrays.normal(rng, frequencies.shape)
    share = drawn.outside_noise + (1.0 - drawn.outside_noise) * arrays.floats(inside)
    return arrays.rfftn(white * strength * share)


def _levelled(arrays, frequencies: Frequencies, spectrum, mean_share: float, inside):
    """Density with part of its F(000) and the solvent's median at 0."""
    density = arrays.irfftn(spectrum, frequencies.shape)
    density = density - (1.0 - mean_share) * density.mean()
    level = arrays.quantile(density[~inside], 0.5)
    return density - level


def _cut(arrays, rng, placed: Placed, drawn: ImprovementDraw, density, target):
    """Map and target within a hard zone; what neighbours reach into it stays in."""
    chosen = choose_atoms(placed, rng, one_chain=drawn.one_chain, share=drawn.zone_share)
    if not drawn.zone:
        return density, target, None
    position = arrays.floats(placed.position[chosen])
    zone = near_atoms(arrays, position, placed.shape, drawn.zone / placed.voxel_size)
    grown = (drawn.zone + TARGET_GROWTH) / placed.voxel_size
    reach = near_atoms(arrays, position, placed.shape, grown)
    return density * arrays.floats(zone), target * arrays.floats(reach), zone


def _between_atoms(arrays, placed: Placed, local: np.ndarray, inside):
    """Mean resolution of the atoms near each voxel of the envelope, 0 outside."""
    width = arrays.floats(np.full(len(local), RESOLUTION_BLUR / placed.voxel_size))
    position = arrays.floats(placed.position)
    ones = arrays.floats(np.ones(len(local)))
    total = gaussian_sum(arrays, position, arrays.floats(local), width, placed.shape)
    count = gaussian_sum(arrays, position, ones, width, placed.shape)
    return arrays.floats(inside) * total / arrays.xp.clip(count, 1e-12, None)

"""Synthetic half maps and primary maps with a resolution that varies inside the particle.

The recipe: atoms as Gaussians weighted by atomic number, sampled without aliasing; an envelope
that is low-passed locally, so that truth is a resolution and not only a width; one B factor; two
independent noises with the envelope's decay and a colour; the primary map is the mean of the
halves under a soft low-pass, with its solvent noise left in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, special

from cryoclarity.demo.folds import generator_for
from cryoclarity.io.atoms import Atoms

OVERSAMPLING = 2
QUANTUM = 2.0**-12  # densities are rounded to this: the same bytes whatever the FFT's last digit
ENVELOPE_WIDTH = 2.0  # angstrom
ENVELOPE_LEVEL = 0.010  # atoms per cubic angstrom after blurring
SOLVENT_SHARE = 0.15  # of the particle's mean density, displaced by the solvent's
NOISE_DECAY = 0.8  # B factor of the noise over that of the signal: noise outlives signal
NOISE_FLOOR = 0.06  # white part: half maps carry noise up to Nyquist
B_GROWTH = 30.0  # square angstrom at 1 A worse than the best
DISPLACEMENT = 0.08  # of the local resolution, per coordinate: no model is quite right
MASK_RMS = 0.25  # rms density inside the envelope of the primary map
LOW_PASS_COPIES = 9
CARBOXYL = {("ASP", "OD1"), ("ASP", "OD2"), ("GLU", "OE1"), ("GLU", "OE2")}


@dataclass(frozen=True)
class MapRecipe:
    """How one entry's maps are made; lengths in angstrom, B factors in square angstrom.

    Attributes
    ----------
    size : int
        Edge of the cubic box in voxels.
    voxel_size : float
    best, spread : float
        Local resolution runs from `best` to `best + spread`.
    b_factor : float
        Decay of the signal; the noise decays less.
    noise : float
        Standard deviation of the mean map's noise over that of the signal inside the envelope.
    sharpening : float
        B factor by which the deposited maps were sharpened (negative: blunted) up to 1/best.
    colour : float
        Growth of the noise towards low frequency (0: none).
    radial : float
        Weight of "worse outwards" against a random smooth field.
    """

    size: int
    voxel_size: float
    best: float
    spread: float
    b_factor: float
    noise: float
    sharpening: float = 0.0
    colour: float = 1.0
    radial: float = 0.8


@dataclass(frozen=True)
class SyntheticMaps:
    """Densities (n, n, n) float32 and the true local resolution (angstrom, 0 outside)."""

    primary: np.ndarray
    halves: tuple[np.ndarray, np.ndarray]
    truth: np.ndarray


def synthesise(atoms: Atoms, recipe: MapRecipe, label: str) -> SyntheticMaps:
    """Return the maps of a model whose coordinates count from the first voxel's centre.

    Parameters
    ----------
    atoms : Atoms
        Inside the box, angstrom.
    recipe : MapRecipe
    label : str
        Seeds everything random.
    """
    rng = generator_for(f"{label} map")
    envelope = _envelope(atoms.xyz, recipe)
    truth = _resolution_field(envelope, recipe, rng)
    frequency = _frequencies(recipe.size, recipe.voxel_size)
    decay = np.exp(-0.25 * recipe.b_factor * frequency**2)
    signal = _filtered(_sum_of_atoms(atoms, truth, recipe, rng), decay)
    signal = _local_low_pass(signal, truth, frequency, recipe)
    soft = ndimage.gaussian_filter(envelope.astype(np.float64), 1.5 / recipe.voxel_size)
    signal = signal - SOLVENT_SHARE * float(signal[envelope].mean()) * soft
    signal -= signal.mean()
    noises = [_noise(frequency, recipe, rng) for _ in range(2)]
    level = recipe.noise * float(signal[envelope].std() / (0.5 * (noises[0] + noises[1])).std())
    halves = [signal + level * noise for noise in noises]
    lift = np.exp(0.25 * recipe.sharpening * np.minimum(frequency, 1.0 / recipe.best) ** 2)
    halves = [_filtered(half, lift) for half in halves]
    edge = 1.0 / (1.0 + (frequency * recipe.best * 0.8) ** 12)
    primary = _filtered(0.5 * (halves[0] + halves[1]), edge)
    scale = MASK_RMS / float(np.sqrt(np.mean(primary[envelope] ** 2)))
    return SyntheticMaps(
        primary=_rounded(scale * primary),
        halves=(_rounded(scale * halves[0]), _rounded(scale * halves[1])),
        truth=np.where(envelope, truth, 0.0).astype(np.float32),
    )


def gaussian_sum(
    xyz: np.ndarray, weight: np.ndarray, width: np.ndarray, size: int, spacing: float
) -> np.ndarray:
    """Return the sum of normalised Gaussians on a cubic grid, (z, y, x) float64.

    Parameters
    ----------
    xyz : (n, 3) float64
        Angstrom from the first voxel's centre.
    weight, width : (n,) float64
        Integral; standard deviation in angstrom.

    Notes
    -----
    A Gaussian is a product over the axes, so the sum is one matrix product per block of atoms.
    """
    position = spacing * np.arange(size)
    total = np.zeros((size * size, size))
    for block in np.array_split(np.arange(len(xyz)), max(1, len(xyz) // 256)):
        distance = (position[None, None] - xyz[block][:, :, None]) / width[block][:, None, None]
        profile = np.exp(-0.5 * distance**2) / (np.sqrt(2.0 * np.pi) * width[block][:, None, None])
        x, y, z = (profile[:, axis] for axis in range(3))
        z = z * weight[block][:, None]
        total += (z[:, :, None] * y[:, None, :]).reshape(len(block), -1).T @ x
    return total.reshape(size, size, size)


def _sum_of_atoms(
    atoms: Atoms, truth: np.ndarray, recipe: MapRecipe, rng: np.random.Generator
) -> np.ndarray:
    """Gaussians on a finer grid, then the low frequencies alone: no aliasing.

    Atoms in worse parts are wider too, as mobile atoms are.
    """
    count = len(atoms)
    index = np.rint(atoms.xyz[:, ::-1] / recipe.voxel_size).astype(int)
    local = truth[tuple(index.T)]
    excess = np.maximum(local - recipe.best, 0.0)
    weight = atoms.atomic_number * np.exp(0.12 * rng.standard_normal(count))
    acid = [pair in CARBOXYL for pair in zip(atoms.residue_name, atoms.name, strict=True)]
    weight = weight * np.where(acid, 0.4, 1.0)
    b_factor = rng.uniform(20.0, 70.0, count) + B_GROWTH * excess**1.3
    width = np.sqrt(0.3**2 + b_factor / (8.0 * np.pi**2))
    moved = atoms.xyz + DISPLACEMENT * local[:, None] * rng.standard_normal((count, 3))
    fine = recipe.size * OVERSAMPLING
    density = gaussian_sum(moved, weight, width, fine, recipe.voxel_size / OVERSAMPLING)
    return _cropped_spectrum(density, recipe.size)


def _cropped_spectrum(density: np.ndarray, size: int) -> np.ndarray:
    spectrum = np.fft.fftshift(np.fft.rfftn(density), axes=(0, 1))
    low = (density.shape[0] - size) // 2
    kept = spectrum[low : low + size, low : low + size, : size // 2 + 1]
    kept = np.fft.ifftshift(kept, axes=(0, 1)) * (size / density.shape[0]) ** 3
    return np.fft.irfftn(kept, s=(size,) * 3, axes=(0, 1, 2))


def _envelope(xyz: np.ndarray, recipe: MapRecipe) -> np.ndarray:
    width = np.full(len(xyz), ENVELOPE_WIDTH)
    count = gaussian_sum(xyz, np.ones(len(xyz)), width, recipe.size, recipe.voxel_size)
    return count > ENVELOPE_LEVEL


def _resolution_field(
    envelope: np.ndarray, recipe: MapRecipe, rng: np.random.Generator
) -> np.ndarray:
    """Smooth field, worse outwards, spread evenly over the wanted range inside the envelope."""
    smooth = ndimage.gaussian_filter(rng.standard_normal(envelope.shape), 7.0 / recipe.voxel_size)
    grid = np.indices(envelope.shape, dtype=np.float64)
    centre = [float(axis[envelope].mean()) for axis in grid]
    radius = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True)))
    mixed = _standardised(smooth, envelope) + recipe.radial * _standardised(radius, envelope)
    return recipe.best + recipe.spread * special.ndtr(_standardised(mixed, envelope))


def _standardised(values: np.ndarray, region: np.ndarray) -> np.ndarray:
    inside = values[region]
    return (values - inside.mean()) / inside.std()


def _frequencies(size: int, voxel_size: float) -> np.ndarray:
    full = np.fft.fftfreq(size, voxel_size)
    half = np.fft.rfftfreq(size, voxel_size)
    return np.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + half[None, None] ** 2)


def _filtered(density: np.ndarray, transfer: np.ndarray) -> np.ndarray:
    return np.fft.irfftn(np.fft.rfftn(density) * transfer, s=density.shape, axes=(0, 1, 2))


def _local_low_pass(
    signal: np.ndarray, truth: np.ndarray, frequency: np.ndarray, recipe: MapRecipe
) -> np.ndarray:
    """Mix low-passed copies so that every voxel is cut at its own resolution."""
    knots = np.linspace(1.0 / (recipe.best + recipe.spread), 1.0 / recipe.best, LOW_PASS_COPIES)
    place = (1.0 / truth - knots[0]) / (knots[1] - knots[0])
    mixed = np.zeros_like(signal, dtype=np.float64)
    spectrum = np.fft.rfftn(signal)
    for index, cut in enumerate(knots):
        # Cosine edge from 0.92 to 1.08 of the cut-off.
        ramp = np.clip((frequency / cut - 0.92) / 0.16, 0.0, 1.0)
        transfer = 0.5 * (1.0 + np.cos(np.pi * ramp))
        copy = np.fft.irfftn(spectrum * transfer, s=signal.shape, axes=(0, 1, 2))
        mixed += copy * np.clip(1.0 - np.abs(place - index), 0.0, 1.0)
    return mixed


def _noise_shape(frequency: np.ndarray, recipe: MapRecipe) -> np.ndarray:
    growth = np.sqrt(1.0 + (0.08 * recipe.colour / np.maximum(frequency, 0.01)) ** 2)
    return growth * (np.exp(-0.25 * NOISE_DECAY * recipe.b_factor * frequency**2) + NOISE_FLOOR)


def _noise(frequency: np.ndarray, recipe: MapRecipe, rng: np.random.Generator) -> np.ndarray:
    return _filtered(rng.standard_normal((recipe.size,) * 3), _noise_shape(frequency, recipe))


def _rounded(density: np.ndarray) -> np.ndarray:
    return (np.round(density / QUANTUM) * QUANTUM).astype(np.float32)

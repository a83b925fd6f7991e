"""The synthetic reference maps: slabs of known resolution in coloured noise."""

from __future__ import annotations

import hashlib

import numpy as np


def radial_frequency(size: int, voxel_size: float) -> np.ndarray:
    """Length of the frequency vector of a real FFT, (n, n, n // 2 + 1), 1/A."""
    full = np.fft.fftfreq(size, voxel_size)
    half = np.fft.rfftfreq(size, voxel_size)
    return np.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + half[None, None] ** 2)


def filtered(volume: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return np.fft.irfftn(np.fft.rfftn(volume) * gain, s=volume.shape, axes=(0, 1, 2))


def quantised(volume: np.ndarray) -> np.ndarray:
    return (np.round(1024 * volume) / 1024).astype(np.float32)


def half_maps(
    *, n: int, seed: int, vx: float, R: float, bands, c: float, colour: float, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Two half maps of a ball whose z slabs carry signal up to the band's resolution."""
    random = np.random.RandomState(seed)
    shape = (n, n, n)
    frequency = radial_frequency(n, vx)
    axis = np.arange(n) - (n - 1) / 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None] ** 2)
    white = random.standard_normal(shape)
    envelope = 1 / (1 + np.exp((radius - R) / 1.5))
    edges = [-R + 2 * R * j / len(bands) for j in range(1, len(bands))]
    steps = [np.ones(n), *(1 / (1 + np.exp(-(axis - edge))) for edge in edges), np.zeros(n)]
    signal = np.zeros(shape)
    for j, band in enumerate(bands):
        layer = filtered(white, 1 / (1 + (frequency * band) ** 16))
        weight = steps[j] * (1 - steps[j + 1])
        signal += weight[:, None, None] * layer / layer.std()
    signal = envelope * (c + signal)
    tint = 1 / (1 + colour * (2 * frequency * vx) ** 2)
    noise = [filtered(random.standard_normal(shape), tint) for _ in range(2)]
    scale = noise[0].std()
    return tuple(quantised(signal + sigma * part / scale) for part in noise)


def reference_inputs(case: dict) -> dict[str, np.ndarray]:
    """Input volumes of a reference case by the name that its hashes use."""
    settings = case["generator"]
    halves = half_maps(**settings)
    if "half1" in case["input_sha256_float32"]:
        return {"half1": halves[0], "half2": halves[1]}
    density = np.float32(0.5) * (halves[0] + halves[1])
    limit = case.get("lowpass_A")
    if limit:
        frequency = radial_frequency(settings["n"], settings["vx"])
        density = quantised(filtered(density.astype(np.float64), frequency <= 1 / limit))
    inputs = {"map": density}
    ball = case.get("mask_ball")
    if ball:
        place = np.indices(density.shape) - np.array(ball["centre"]).reshape(3, 1, 1, 1)
        inputs["mask"] = (np.sum(place**2, axis=0) < ball["R"] ** 2).astype(np.float32)
    return inputs


def digest(volume: np.ndarray) -> str:
    """SHA-256 of the little-endian float32 bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(volume, "<f4").tobytes()).hexdigest()


def header_voxel_size(settings: dict) -> float:
    """Voxel size as it comes back from a float32 cell length in a map header."""
    return float(np.float32(settings["n"] * settings["vx"])) / settings["n"]

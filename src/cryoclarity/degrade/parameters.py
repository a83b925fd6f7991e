"""What a simulated map is drawn from: ranges, and the values that one draw gave.

A range is (low, high), drawn uniformly unless it is said otherwise. Lengths are in angstrom,
B factors in square angstrom. The default ranges were measured to reproduce real maps
(``docs/simulated-data.md``); change them knowing that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

__all__ = [
    "IMPROVEMENT_BOX",
    "RESOLUTION_BOX",
    "BoxSettings",
    "ImprovementDraw",
    "ImprovementRanges",
    "ResolutionDraw",
    "ResolutionRanges",
]

Range = tuple[float, float]
LOG_UNIFORM = frozenset({"snr"})


@dataclass(frozen=True)
class BoxSettings:
    """How a model is cut and boxed.

    Attributes
    ----------
    voxel_size : float, angstrom
    max_edge : int
        Longest edge of the box in voxels; atoms beyond it are cut off by a sphere.
    margin : float, angstrom
        Between the atoms and the faces.
    max_atoms : int
        The nearest ones round a random atom stay.
    cubic : bool
        A cube of `max_edge` whatever the model, for batches of one shape.
    """

    voxel_size: float = 1.0
    max_edge: int = 104
    margin: float = 14.0
    max_atoms: int = 6000
    cubic: bool = False

    def __post_init__(self) -> None:
        if not (0 < self.voxel_size < math.inf and self.max_edge >= 8 and self.max_atoms >= 1):
            raise ValueError("voxel size, edge and number of atoms must be positive")
        if not 0 < 2 * self.margin < self.max_edge * self.voxel_size:
            raise ValueError("the margins must leave room for atoms")


RESOLUTION_BOX = BoxSettings()
IMPROVEMENT_BOX = BoxSettings(max_edge=88, max_atoms=4000)


@dataclass(frozen=True)
class ResolutionDraw:
    """One draw of :class:`ResolutionRanges`."""

    best: float
    spread: float
    field_width: float
    radial: float
    b_factor: float
    colour: float
    snr: float
    low_pass: float
    mask_dilation: float
    sharpening: float
    low_frequency_damping: float
    particle_noise: float
    original_voxel: float
    anisotropy: float


@dataclass(frozen=True)
class ResolutionRanges:
    """Ranges of maps with a known local resolution.

    Attributes
    ----------
    best, spread : the true resolution runs from best to best + spread
    field_width : standard deviation of the blur that makes the truth smooth
    radial : weight of "worse outwards" against the random field
    b_factor : decay of signal and noise
    colour : growth of the noise towards low frequency
    snr : log-uniform; power of signal over noise of the mean map at 1/best inside the mask
    low_pass : cut-off of the halves over `best`
    mask_dilation : of the masked version, angstrom
    sharpening : share of the B factor that is taken out again
    low_frequency_damping : share of the signal's amplitude lost at zero frequency, as by the
        first lobe of a contrast transfer function
    particle_noise : amplitude of noise inside the particle alone, over that of the halves
    original_voxel : nothing is beyond this voxel's Nyquist frequency; 0 = no such limit
    anisotropy : B factor on top along one random direction
    """

    best: Range = (2.8, 5.0)
    spread: Range = (1.0, 5.0)
    field_width: Range = (5.0, 12.0)
    radial: Range = (-0.3, 1.0)
    b_factor: Range = (20.0, 160.0)
    colour: Range = (0.3, 1.2)
    snr: Range = (4.0, 40.0)
    low_pass: Range = (0.7, 0.95)
    mask_dilation: Range = (2.0, 5.0)
    sharpening: Range = (0.0, 0.0)
    low_frequency_damping: Range = (0.0, 0.0)
    particle_noise: Range = (0.0, 0.0)
    original_voxel: Range = (0.0, 0.0)
    anisotropy: Range = (0.0, 0.0)

    def __post_init__(self) -> None:
        _check(self)
        if self.best[0] < 1 or self.snr[0] <= 0:
            raise ValueError("best must be 1 A or worse, snr positive")

    @classmethod
    def wide(cls) -> ResolutionRanges:
        """Ranges for a network that shall read maps of 2.5 to 18 A however they were made."""
        return cls(
            best=(2.5, 12.0),
            spread=(0.5, 6.0),
            b_factor=(0.0, 300.0),
            low_pass=(0.6, 1.3),
            mask_dilation=(1.0, 8.0),
            sharpening=(0.0, 1.2),
            low_frequency_damping=(0.0, 0.8),
            particle_noise=(0.0, 1.0),
            original_voxel=(0.7, 2.5),
            anisotropy=(0.0, 40.0),
        )

    def draw(self, rng: np.random.Generator) -> ResolutionDraw:
        """Return one draw."""
        return ResolutionDraw(**_drawn(self, rng))


@dataclass(frozen=True)
class ImprovementDraw:
    """One draw of :class:`ImprovementRanges`; `log_gain` belongs to spectrum.KNOTS."""

    resolution: float
    spread: float
    carboxyl: float
    shift: float
    jitter: float
    b_factor: float
    b_growth: float
    envelope_blur: float
    solvent: float
    tail: float
    edge_place: float
    edge_width: float
    fsc_top: float
    fsc_place: float
    fsc_width: float
    outside_noise: float
    mean_share: float
    anisotropy: float
    zone: float
    zone_share: float
    one_chain: bool
    blunt: bool
    log_gain: tuple[float, ...]


@dataclass(frozen=True)
class ImprovementRanges:
    """Ranges of maps as depositions are, measured on real map-model pairs.

    Attributes
    ----------
    resolution : d, the resolution that the map would state
    spread : of the resolution over the atoms
    carboxyl : factor of the amplitude of side-chain carboxyl atoms
    shift, jitter : displacement of neighbourhoods and of single coordinates
    b_factor, b_growth : of the best atoms, and growth per 1.3rd power of the excess resolution
    envelope_blur : standard deviation of the soft envelope
    solvent : displaced solvent over the mean density
    tail : least amplitude beyond 1/d over that at 1/d
    edge_place, edge_width : final low-pass, over the FSC's place; 1/angstrom
    fsc_top, fsc_place, fsc_width : map-target FSC: plateau, fall-off times d, width 1/angstrom
    outside_noise : amplitude of the noise in the solvent over that inside
    mean_share : share of F(000) that is kept
    anisotropy : B factor on top along one random direction, before shells are scaled
    zone_radii, zone_probability : maps are mostly cut to a zone round some atoms
    zone_share : of the atoms that the zone is laid round when it is not one chain
    blunt_probability : how often the spectrum does not rise towards the limit
    """

    resolution: Range = (2.0, 5.5)
    spread: Range = (0.2, 1.0)
    carboxyl: Range = (0.1, 0.8)
    shift: Range = (0.1, 0.6)
    jitter: Range = (0.05, 0.35)
    b_factor: Range = (10.0, 60.0)
    b_growth: Range = (5.0, 30.0)
    envelope_blur: Range = (0.8, 1.6)
    solvent: Range = (0.0, 1.0)
    tail: Range = (0.2, 1.0)
    edge_place: Range = (1.0, 1.4)
    edge_width: Range = (0.01, 0.04)
    fsc_top: Range = (0.7, 1.0)
    fsc_place: Range = (0.75, 1.05)
    fsc_width: Range = (0.015, 0.05)
    outside_noise: Range = (0.3, 1.0)
    mean_share: Range = (0.0, 1.0)
    anisotropy: Range = (0.0, 0.0)
    zone_share: Range = (0.5, 1.0)
    zone_radii: tuple[float, ...] = (2.0, 3.0, 4.0, 5.0, 8.0)
    zone_probability: float = 0.75
    blunt_probability: float = 0.5

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def wide(cls) -> ImprovementRanges:
        """Ranges beyond what was measured: finer and coarser maps, uneven views."""
        return cls(resolution=(1.8, 6.5), anisotropy=(0.0, 60.0))

    def draw(self, rng: np.random.Generator, resolution: float | None = None) -> ImprovementDraw:
        """Return one draw, of a given resolution if one is given."""
        values = _drawn(self, rng)
        if resolution is not None:
            values["resolution"] = float(resolution)
        # Displacement of whole neighbourhoods would leave nothing of a coarse map's phases.
        excess = np.clip(values["resolution"] - COARSE, 0.0, 1.0)
        values["shift"] *= 1.0 - (1.0 - COARSE_SHIFT) * float(excess)
        cut = rng.random() < self.zone_probability
        blunt = bool(rng.random() < self.blunt_probability)
        radius = float(rng.choice(self.zone_radii))
        return ImprovementDraw(
            **values,
            zone=radius if cut else 0.0,
            one_chain=bool(rng.random() < 0.5),
            blunt=blunt,
            log_gain=_log_gain(rng, blunt),
        )


# Beyond this resolution (A) the shift of neighbourhoods is reduced, to this share 1 A further.
COARSE, COARSE_SHIFT = 4.5, 0.25
# Steps of the logarithm of (wanted amplitude / target's) from knot to knot, as real maps have it:
# low frequencies weak, rising towards the limit; blunt maps do not rise.
FIRST_STEP = {False: (-1.6, -0.1), True: (-0.6, 0.3)}
LATER_MEANS = {False: (0.3, 0.15, 0.05, 0.1, 0.2, 0.2), True: (0.0, 0.0, -0.1, -0.1, -0.1, -0.1)}
LATER_DEVIATIONS = (0.35, 0.3, 0.3, 0.4, 0.5, 0.4)


def _log_gain(rng: np.random.Generator, blunt: bool) -> tuple[float, ...]:
    first = rng.uniform(*FIRST_STEP[blunt])
    later = rng.normal(LATER_MEANS[blunt], LATER_DEVIATIONS)
    return tuple(float(v) for v in np.cumsum([first, *later]))


def _is_range(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2


def _check(ranges) -> None:
    for field in fields(ranges):
        value = getattr(ranges, field.name)
        if _is_range(value) and not value[0] <= value[1]:
            raise ValueError(f"{field.name} is {value}, must be (low, high)")


def _drawn(ranges, rng: np.random.Generator) -> dict[str, float]:
    """Draw each range in the order of the fields."""
    values = {}
    for field in fields(ranges):
        value = getattr(ranges, field.name)
        if not _is_range(value) or field.name == "zone_radii":
            continue
        low, high = value
        if field.name in LOG_UNIFORM:
            values[field.name] = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        else:
            values[field.name] = float(rng.uniform(low, high))
    return values

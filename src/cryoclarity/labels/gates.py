"""Are labels worth learning from? Facts about a label map, and the limits they are held to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Finding", "LabelGates", "LabelSummary", "judge", "summarise"]


@dataclass(frozen=True)
class LabelGates:
    """Limits beyond which labels are refused or flagged.

    max_zero_share : of the noise region that is exactly zero.
    max_level_share : of the labels that carry one and the same level.
    min_labelled_share, min_labelled_voxels, min_levels : of true labels.
    min_noise_blocks : a level with fewer blocks, and all above it, are not used.
    warn_noise_blocks : fewer blocks at a used level are flagged.
    largest_level : angstrom.
    median_range : lowest and highest median label as a multiple of the reported resolution.
    """

    max_zero_share: float = 0.2
    max_level_share: float = 0.9
    min_labelled_share: float = 0.2
    min_labelled_voxels: int = 1000
    min_levels: int = 3
    min_noise_blocks: int = 3
    warn_noise_blocks: int = 20
    largest_level: float = 15.0
    median_range: tuple[float, float] = (0.6, 2.5)


@dataclass(frozen=True)
class LabelSummary:
    """Facts about one label map; counts in voxels, lengths in angstrom.

    tested : voxels inside the mask; labelled : with a true label; mixtures : interpolated
    between labels; levels : voxels per distinct level; noise_blocks : per level, empty when the
    engine does not tell.
    """

    box: int
    tested: int
    labelled: int
    mixtures: int
    levels: dict[float, int]
    median: float | None
    noise_blocks: dict[float, int]
    zero_share: float
    low_pass_factor: float

    @property
    def labelled_share(self) -> float:
        """True labels per tested voxel."""
        return self.labelled / self.tested if self.tested else 0.0


@dataclass(frozen=True)
class Finding:
    """A reason code with its message; `refuses` tells a refusal from a warning."""

    code: str
    message: str
    refuses: bool


def summarise(
    resolution: np.ndarray,
    codes: np.ndarray,
    *,
    noise_blocks: dict[float, int],
    zero_share: float,
    low_pass_factor: float,
    level_width: float = 0.0,
) -> LabelSummary:
    """Count what a label map holds.

    Parameters
    ----------
    resolution : (z, y, x) float32, angstrom
    codes : (z, y, x) uint8
        0 outside the mask, 1 labelled, 2 worse than every level, 3 mixture.
    level_width : float
        Angstrom; continuous values are counted in bins of this width. 0: as they are.
    """
    labels = resolution[codes == 1]
    binned = labels.astype(np.float64)
    if level_width:
        binned = np.floor(binned / level_width + 0.5) * level_width
    values, counts = np.unique(np.round(binned, 3), return_counts=True)
    return LabelSummary(
        box=codes.size,
        tested=int(np.count_nonzero(codes)),
        labelled=len(labels),
        mixtures=int(np.count_nonzero(codes == 3)),
        levels={float(v): int(c) for v, c in zip(values, counts, strict=True)},
        median=round(float(np.median(labels)), 4) if len(labels) else None,
        noise_blocks=noise_blocks,
        zero_share=zero_share,
        low_pass_factor=low_pass_factor,
    )


def judge(
    summary: LabelSummary, gates: LabelGates, reported_resolution: float | None = None
) -> list[Finding]:
    """Hold a label map to its gates; refusals come first, the gravest of them leading."""
    return _refusals(summary, gates) + _warnings(summary, gates, reported_resolution)


def _refusals(summary: LabelSummary, gates: LabelGates) -> list[Finding]:
    found = []

    def refuse(code: str, message: str) -> None:
        found.append(Finding(code, message, True))

    if summary.zero_share > gates.max_zero_share:
        refuse(
            "LABEL_ZERO_BACKGROUND", f"{summary.zero_share:.0%} of the noise region is exactly 0"
        )
    if summary.labelled + summary.mixtures == 0:
        refuse("LABEL_EMPTY", "no voxel got a value")
        return found
    if summary.labelled:
        level, count = max(summary.levels.items(), key=lambda item: item[1])
        share = count / summary.labelled
        if share > gates.max_level_share:
            refuse("LABEL_SINGLE_LEVEL", f"{share:.1%} of the labels are {level:g} A")
    if (
        summary.labelled_share < gates.min_labelled_share
        or summary.labelled < gates.min_labelled_voxels
        or len(summary.levels) < gates.min_levels
    ):
        refuse(
            "LABEL_FEW",
            f"{summary.labelled} voxels ({summary.labelled_share:.0%} of the mask) "
            f"in {len(summary.levels)} levels",
        )
    return found


def _warnings(
    summary: LabelSummary, gates: LabelGates, reported_resolution: float | None
) -> list[Finding]:
    found = []
    for level, blocks in summary.noise_blocks.items():
        if blocks < gates.warn_noise_blocks:
            message = f"{blocks} noise blocks at {level:.2f} A"
            found.append(Finding("W_LABEL_FEW_BLOCKS", message, False))
            break
    if summary.low_pass_factor:
        message = f"filtered: factor {summary.low_pass_factor:.2f}"
        found.append(Finding("W_LABEL_LOWPASS", message, False))
    if summary.median is not None and reported_resolution:
        low, high = gates.median_range
        if not low <= summary.median / reported_resolution <= high:
            message = f"median {summary.median:.2f} A, reported {reported_resolution:.2f} A"
            found.append(Finding("W_LABEL_OFF_GLOBAL", message, False))
    return found

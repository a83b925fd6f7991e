"""Filters that need the fetched files: they write rows and never move an entry between splits.

The stages that read map and model fill :class:`FileFacts` and ask :func:`judge_files`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryoclarity.selection.filters import (
    Finding,
    Verdict,
    finding_of,
    mismatch_verdict,
    nucleic_verdict,
    size_verdict,
    voxel_verdict,
)

Parameters = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What map, half maps and model of an entry say; None: not measured.

    Attributes
    ----------
    emdb_id : str
    resolution : float
        Stated by the entry, angstrom.
    size, voxel_size : tuple
        Of the primary map, along x, y, z; voxels and angstrom.
    polymer_residues, nucleic_residues, unknown_residues : int
        Of the model; unknown are UNK, UNX and N.
    side_chain_residues, backbone_only_residues : int
        Amino acid residues other than GLY and ALA, and those of them with no atom beyond CB.
    atoms_in_box, voxels_explained, atom_inclusion : float
        Shares: atoms inside the map's box; voxels above the contour within 4 A of an atom; atoms
        at density above the contour.
    cc_mask, mean_q, expected_q : float
    model_resolution, half_map_resolution : float
        Stated by the model file; FSC 0.143 of the masked half maps; angstrom.
    content_sha256 : str
        Of the map's canonical content.
    """

    emdb_id: str
    resolution: float | None = None
    size: tuple[int, int, int] | None = None
    voxel_size: tuple[float, float, float] | None = None
    polymer_residues: int | None = None
    nucleic_residues: int | None = None
    unknown_residues: int | None = None
    side_chain_residues: int | None = None
    backbone_only_residues: int | None = None
    atoms_in_box: float | None = None
    voxels_explained: float | None = None
    atom_inclusion: float | None = None
    cc_mask: float | None = None
    mean_q: float | None = None
    expected_q: float | None = None
    model_resolution: float | None = None
    half_map_resolution: float | None = None
    content_sha256: str = ""


def _share(part: int | None, whole: int | None) -> float | None:
    return part / whole if part is not None and whole else None


def _at_most(share: float | None, limit: float, what: str) -> Verdict | None:
    text = f"at most {limit:g} of the {what}"
    if share is None:
        return Verdict("not measured", text, missing=True)
    return None if share <= limit else Verdict(f"{share:.3f}", text)


def map_size(facts: FileFacts, p: Parameters) -> Verdict | None:
    """F8 by the header."""
    limit = f"{p['max_voxels']} voxels"
    if facts.size is None:
        return Verdict("not measured", limit, missing=True)
    nx, ny, nz = facts.size
    return None if nx * ny * nz <= p["max_voxels"] else Verdict(f"{nx} x {ny} x {nz}", limit)


def voxel(facts: FileFacts, p: Parameters) -> Verdict | None:
    """F9 by the header: cell / M, where the document rounds."""
    return voxel_verdict(facts.voxel_size, facts.resolution, p)


def model_size(facts: FileFacts, p: Parameters) -> Verdict | None:
    """F14, exact."""
    return size_verdict(facts.polymer_residues, p)


def nucleic(facts: FileFacts, p: Parameters) -> Verdict | None:
    """F15, exact."""
    return nucleic_verdict(_share(facts.nucleic_residues, facts.polymer_residues), p)


def unknown(facts: FileFacts, p: Parameters) -> Verdict | None:
    """F16: residues of unknown kind."""
    return _at_most(_share(facts.unknown_residues, facts.polymer_residues), p["max"], "residues")


def backbone(facts: FileFacts, p: Parameters) -> Verdict | None:
    """F17: amino acid residues without their side chain."""
    if facts.side_chain_residues == 0:
        return None  # nothing but glycine, alanine or nucleotides
    share = _share(facts.backbone_only_residues, facts.side_chain_residues)
    return _at_most(share, p["max"], "side chains missing")


def coverage(facts: FileFacts, p: Parameters) -> Verdict | None:
    """F18: the model lies in the box, explains the map and stands on density."""
    shares = (
        ("atoms in the box", facts.atoms_in_box, p["min_in_box"]),
        ("voxels explained", facts.voxels_explained, p["min_explained"]),
        ("atoms on density", facts.atom_inclusion, p["min_inclusion"]),
    )
    for what, share, least in shares:
        if share is not None and share < least:
            return Verdict(f"{what} {share:.3f}", f"at least {least:g}")
    if all(share is None for _, share, _ in shares):
        return Verdict("not measured", "shares of atoms and voxels", missing=True)
    return None


def fit(facts: FileFacts, p: Parameters) -> Verdict | None:
    """F19: correlation in the mask, and mean Q against what the resolution lets expect."""
    if facts.cc_mask is not None and facts.cc_mask < p["min_cc_mask"]:
        return Verdict(f"CC_mask {facts.cc_mask:.3f}", f"at least {p['min_cc_mask']:g}")
    if facts.mean_q is not None and facts.expected_q is not None:
        least = facts.expected_q - p["max_below_expected_q"]
        if facts.mean_q < least - 1e-9:
            return Verdict(f"mean Q {facts.mean_q:.3f}", f"at least {least:.3f}")
    elif facts.cc_mask is None:
        return Verdict("not measured", "CC_mask or mean Q", missing=True)
    return None


def res_mismatch(facts: FileFacts, p: Parameters) -> Verdict | None:
    """F20 by the model file and, when asked for, by the half maps."""
    found = mismatch_verdict(facts.resolution, facts.model_resolution, p)
    if found is not None and not found.missing:
        return found
    stated, measured = facts.resolution, facts.half_map_resolution
    if p["half_maps"] and stated and measured:
        factor = max(stated / measured, measured / stated)
        if factor > p["max_factor"]:
            text = f"stated {stated:g}, half maps {measured:.2f} Å"
            return Verdict(text, f"a factor of {p['max_factor']:g}")
        return None
    return found


CHECKS: dict[str, Callable[[FileFacts, Parameters], Verdict | None]] = {
    "F08_map_size": map_size,
    "F09_voxel": voxel,
    "F14_model_size": model_size,
    "F15_nucleic": nucleic,
    "F16_unknown": unknown,
    "F17_backbone": backbone,
    "F18_coverage": coverage,
    "F19_fit": fit,
    "F20_res_mismatch": res_mismatch,
}


def judge_files(
    facts: FileFacts,
    settings: Mapping[str, Parameters],
    *,
    only: tuple[str, ...] = tuple(CHECKS),
    trusted: bool = False,
) -> list[Finding]:
    """Ask one entry's files by every filter that is on.

    Parameters
    ----------
    facts : FileFacts
    settings : dict
        Of :func:`cryoclarity.selection.settings.filter_settings`.
    only : tuple of str
        The filters whose data the calling stage has measured.
    trusted : bool
        Hits only warn.

    Returns
    -------
    list of Finding
        In the order of the filters.
    """
    findings = []
    for name in CHECKS:
        p = settings[name]
        if name not in only or not p["enabled"]:
            continue
        verdict = CHECKS[name](facts, p)
        found = verdict and finding_of(facts.emdb_id, name, verdict, p, trusted)
        if found:
            findings.append(found)
    return findings

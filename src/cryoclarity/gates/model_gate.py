"""The gate of model files: what a model must hold to be worth a stage's time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cryoclarity.errors import InputError
from cryoclarity.io.atoms import POLYMERS, Atoms
from cryoclarity.io.model import ModelFile, read_model
from cryoclarity.io.model_text import MAX_ATOMS, MAX_MODEL_BYTES
from cryoclarity.model.selection import doubles

DEGENERATE_SPREAD = 0.5  # angstrom
MAX_UNKNOWN_ELEMENTS = 0.05
MAX_DUPLICATES = 0.10
NAMES_SHOWN = 5

Warnings = list[tuple[str, str]]


def check_model(
    path: str | Path, *, max_atoms: int = MAX_ATOMS, max_bytes: int = MAX_MODEL_BYTES
) -> tuple[ModelFile, Warnings]:
    """Check a model file completely; larger models are refused unread.

    Returns
    -------
    model : ModelFile
    warnings : list of (code, message)

    Raises
    ------
    InputError
        FILE_* or MOD_*.
    """
    model = read_model(path, max_atoms=max_atoms, max_bytes=max_bytes)
    return model, [*model.warnings, *check_atoms(model.atoms, path)]


def check_atoms(atoms: Atoms, path: str | Path) -> Warnings:
    """Judge the atoms of one model.

    Returns
    -------
    list of (code, message)
        What is odd, but harmless.

    Raises
    ------
    InputError
        MOD_DEGENERATE, MOD_OCCUPANCY, MOD_ELEMENT, MOD_DUPLICATES or MOD_NO_POLYMER.
    """
    count = len(atoms)

    def refuse(code: str, message: str) -> InputError:
        return InputError(message, code=code, file=path)

    # The box diagonal bounds every distance between two atoms.
    if count > 1 and float(np.linalg.norm(np.ptp(atoms.xyz, axis=0))) <= DEGENERATE_SPREAD:
        raise refuse("MOD_DEGENERATE", f"all {count} atoms lie at one point")
    empty = int(np.count_nonzero(atoms.occupancy <= 0))
    if empty == count:
        raise refuse("MOD_OCCUPANCY", "all occupancies are 0 or below")
    unknown = int(np.count_nonzero(atoms.element == "X"))
    if unknown > MAX_UNKNOWN_ELEMENTS * count:
        raise refuse("MOD_ELEMENT", f"{unknown} of {count} atoms have no known element")
    repeated = int(np.count_nonzero(doubles(atoms)))
    if repeated > MAX_DUPLICATES * count:
        raise refuse("MOD_DUPLICATES", f"{repeated} atoms share a key")
    if not np.isin(atoms.kind, POLYMERS).any():
        names = " ".join(sorted(set(atoms.residue_name.tolist()))[:NAMES_SHOWN])
        raise refuse("MOD_NO_POLYMER", f"no polymer residues ({count} atoms of {names})")
    alternate = int(np.count_nonzero(atoms.altloc != ""))
    found = (
        ("W_ALTLOC", alternate, "atoms at alternate locations"),
        ("W_DUPLICATES", repeated, "atoms share a key"),
        ("W_OCCUPANCY", empty, "atoms without occupancy"),
    )
    return [(code, f"{number} {what}") for code, number, what in found if number]


def model_facts(model: ModelFile) -> dict[str, object]:
    """Return what a report says about a model that passed."""
    atoms = model.atoms
    names, counts = np.unique(atoms.element, return_counts=True)
    return {
        "atoms": len(atoms),
        "residues": int(atoms.residue_index.max()) + 1,
        "chains": len(set(atoms.chain.tolist())),
        "elements": dict(zip(names.tolist(), counts.tolist(), strict=True)),
        "models": model.models,
        "altlocs": int(np.count_nonzero(atoms.altloc != "")),
        "format": model.format,
    }

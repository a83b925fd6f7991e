"""Stage qscore: one Q-score per heavy atom of the model in the map."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from cryoclarity.errors import InputError
from cryoclarity.io.atoms import Atoms
from cryoclarity.io.maps import read_map
from cryoclarity.io.model import read_atoms
from cryoclarity.io.tables import write_table
from cryoclarity.model.selection import best_altloc, doubles
from cryoclarity.scoring.qscore import DEFAULT_SIGMA, QScores, q_scores
from cryoclarity.stages.batch import EntryJob
from cryoclarity.stages.common import fetched

LOGGER = logging.getLogger(__name__)
TABLE = "qscores.tsv.gz"
COLUMNS = (
    *("chain", "resnum", "icode", "resname", "atom", "altloc", "element", "x", "y", "z"),
    *("Q", "n_points", "n_empty_shells", "any_outside"),
)
EMPTY = "."
CLASH_DISTANCE = 0.5


def run_files(
    map_path: str | Path,
    model_path: str | Path,
    out: str | Path,
    *,
    sigma: float = DEFAULT_SIGMA,
    altloc: str = "all",
) -> dict[str, float | int]:
    """Score a model in a map and write the table.

    Parameters
    ----------
    map_path, model_path : path
    out : path
        TSV, compressed when the name ends in .gz.
    sigma : float, angstrom
        Width of the reference Gaussian.
    altloc : 'all' or 'best'
        `best` keeps, per residue, the alternative of highest summed occupancy; the others are
        then neither scored nor neighbours.

    Returns
    -------
    dict
        ``atoms``, ``atoms_outside``, ``q_mean`` (over the atoms inside, when there are any).

    Raises
    ------
    InputError
        FILE_*, HDR_*, VAL_* or MOD_*.
    """
    atoms = read_atoms(model_path).heavy()
    if altloc == "best":
        atoms = atoms.take(best_altloc(atoms))
    if not len(atoms):
        raise InputError("the model has no heavy atom", code="MOD_NO_ATOMS", file=model_path)
    volume = read_map(map_path, constant_ok=True)
    scores = q_scores(volume.density, volume.grid, atoms.xyz, sigma=sigma)
    for code, text in volume.warnings:
        if code == "VAL_CONSTANT":
            LOGGER.warning("%s: %s: %s", code, map_path, text)
    _warn_of_oddities(atoms)
    comments = (f"sigma={sigma:g}", f"altloc={altloc}")
    write_table(out, table_rows(atoms, scores), COLUMNS, comments)
    inside = ~scores.any_outside
    facts: dict[str, float | int] = {
        "atoms": len(atoms),
        "atoms_outside": int(scores.any_outside.sum()),
    }
    if inside.any():
        facts["q_mean"] = round(float(scores.q_score[0, inside].mean()), 6)
    return facts


def run_entry(job: EntryJob) -> dict[str, float | int]:
    """Score one entry: ``qscores.tsv.gz``."""
    files = fetched(job)
    return run_files(
        files.map,
        files.require_model(),
        job.folder / TABLE,
        sigma=float(job.spec.get("sigma", DEFAULT_SIGMA)),
        altloc=job.spec.get("altloc", "all"),
    )


def table_rows(atoms: Atoms, scores: QScores) -> list[dict[str, object]]:
    """Return the table's rows for the first sigma of some scores, in the order of the atoms."""
    rows = []
    for i, (chain, number, icode, residue, name, altloc) in enumerate(atoms.keys()):
        x, y, z = atoms.xyz[i]
        rows.append(
            {
                "chain": chain or EMPTY,
                "resnum": number,
                "icode": icode or EMPTY,
                "resname": residue or EMPTY,
                "atom": name,
                "altloc": altloc or EMPTY,
                "element": str(atoms.element[i]).capitalize(),
                "x": f"{x:.3f}",
                "y": f"{y:.3f}",
                "z": f"{z:.3f}",
                "Q": f"{scores.q_score[0, i]:.6f}",
                "n_points": int(scores.points[i]),
                "n_empty_shells": int(scores.empty_shells[i]),
                "any_outside": int(scores.any_outside[i]),
            }
        )
    return rows


def _warn_of_oddities(atoms: Atoms) -> None:
    repeated = int(doubles(atoms).sum())
    if repeated:
        LOGGER.warning("W_DUPLICATES: %d atoms repeat the key of another; all scored", repeated)
    pairs = cKDTree(atoms.xyz).query_pairs(CLASH_DISTANCE, output_type="ndarray")
    apart = (atoms.altloc[pairs] == "").any(axis=1) | np.equal(*atoms.altloc[pairs].T)
    if apart.any():
        LOGGER.warning("%d pairs of atoms closer than %g A", int(apart.sum()), CLASH_DISTANCE)

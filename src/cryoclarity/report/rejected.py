"""Which entries failed where and why, and when so many failed that the run should stop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cryoclarity.codes import CODES, FAILURE_FAMILIES
from cryoclarity.errors import InputError
from cryoclarity.io.tables import read_table

# `time_utc` stays empty: a table with times differs between equal runs. Logs hold them.
REJECTED_COLUMNS = (
    "emdb_id",
    "pdb_id",
    "file",
    "stage",
    "code",
    "severity",
    "message",
    "value",
    "attempt",
    "time_utc",
    "code_id",
)
FUNNEL_COLUMNS = ("stage", "status", "code", "entries", "meaning")
MINIMUM_FAILURES = 5
CODE_ID_LENGTH = 12
# What a code's family says about the file that was at fault.
FILE_OF_FAMILY = {"header": "map", "value": "map", "model": "model"}


def stage_of(manifest: Path) -> str:
    """Return the stage of a manifest by its folder; the shards have one for each data set."""
    folder = manifest.parent
    return f"shards_{folder.name}" if folder.parent.name == "shards" else folder.name


def gather_rejected(
    manifests: Iterable[str | Path], entries: Iterable[Mapping[str, str]] = ()
) -> list[dict[str, str]]:
    """Collect the rejected rows of all stage manifests.

    A manifest holds the present state of its entries, so a later success of an entry drops its
    earlier rejection by itself. Skipped rows follow from a rejection or a choice and stay out.

    Parameters
    ----------
    manifests : paths
        ``<results>/<stage>/<batch>.tsv``, or one folder deeper for the shards of a data set.
    entries : rows of the entry table, optional
        Give the PDB id of each entry.

    Returns
    -------
    list of dict
        Sorted by entry and stage; keys are :data:`REJECTED_COLUMNS`.
    """
    pdb_ids = {entry["emdb_id"]: entry.get("pdb_id", "") for entry in entries}
    rejected = []
    for manifest in manifests:
        manifest = Path(manifest)
        for row in read_table(manifest):
            if row["status"] != "rejected":
                continue
            code = CODES[row["code"]]
            rejected.append(
                {
                    "emdb_id": row["emdb_id"],
                    "pdb_id": pdb_ids.get(row["emdb_id"], ""),
                    "file": FILE_OF_FAMILY.get(code.family, ""),
                    "stage": stage_of(manifest),
                    "code": code.code,
                    "severity": code.severity,
                    "message": row["detail"],
                    "value": "",
                    "attempt": "1",
                    "time_utc": "",
                    "code_id": row["key"][:CODE_ID_LENGTH],
                }
            )
    return sorted(rejected, key=lambda row: (row["emdb_id"], row["stage"], row["code"]))


def funnel(manifests: Sequence[str | Path]) -> list[dict[str, object]]:
    """Count the entries of each stage by status and code.

    Parameters
    ----------
    manifests : paths
        Manifests in the order of the stages.

    Returns
    -------
    list of dict
        Keys are :data:`FUNNEL_COLUMNS`; stages in the given order, commonest code first.
    """
    counts: dict[str, Counter] = {}
    for manifest in map(Path, manifests):
        counter = counts.setdefault(stage_of(manifest), Counter())
        counter.update((row["status"], row["code"]) for row in read_table(manifest))
    order = {"ok": 0, "rejected": 1, "skipped": 2}
    rows = []
    for stage, counter in counts.items():
        ranked = sorted(counter.items(), key=lambda item: (order[item[0][0]], -item[1], item[0]))
        for (status, code), number in ranked:
            meaning = CODES[code].meaning if code else ""
            rows.append(
                {
                    "stage": stage,
                    "status": status,
                    "code": code,
                    "entries": number,
                    "meaning": meaning,
                }
            )
    return rows


def check_failed_fraction(manifests: Sequence[str | Path], max_failed_fraction: float) -> None:
    """Stop when too large a share of a stage's entries failed.

    Failures are rejections for a file, header, value, model, network or internal reason; filters,
    labels and lost branches are none. Fewer than five failures never stop a run.

    Parameters
    ----------
    manifests : paths
    max_failed_fraction : float
        Over the entries that the stage worked on (skipped ones left out).

    Raises
    ------
    InputError
        With the commonest code and the counts of all codes of the first stage beyond the limit.
    """
    for stage, rows in _rows_by_stage(manifests).items():
        worked_on = [row for row in rows if row["status"] != "skipped"]
        failed = Counter(
            row["code"]
            for row in worked_on
            if row["status"] == "rejected" and CODES[row["code"]].family in FAILURE_FAMILIES
        )
        n_failed = failed.total()
        if n_failed < MINIMUM_FAILURES or n_failed <= max_failed_fraction * len(worked_on):
            continue
        counts = ", ".join(f"{code} {number}" for code, number in failed.most_common())
        raise InputError(
            f"stage {stage}: {n_failed} of {len(worked_on)} entries failed, more than "
            f"{max_failed_fraction:g} of them: {counts}",
            code=failed.most_common(1)[0][0],
            remedy="read the detail column of that stage's manifests, or raise max_failed_fraction",
        )


def _rows_by_stage(manifests: Sequence[str | Path]) -> dict[str, list[dict[str, str]]]:
    stages: dict[str, list[dict[str, str]]] = {}
    for manifest in map(Path, manifests):
        stages.setdefault(stage_of(manifest), []).extend(read_table(manifest))
    return stages

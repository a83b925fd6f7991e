"""Forget what a stage made of one entry, so that the next run makes it again."""

from __future__ import annotations

import shutil
from pathlib import Path

from cryoclarity.errors import ConfigError
from cryoclarity.io.tables import read_table
from cryoclarity.workflow.plan import BATCH_TABLE, DATASETS, ENTRY_STAGES

STAGES = (*ENTRY_STAGES, *(f"shards/{dataset}" for dataset in DATASETS))


def forget(stage: str, emdb_id: str, results: Path = Path("results")) -> Path:
    """Remove the outputs of a stage for one entry.

    Parameters
    ----------
    stage : str
        One of :data:`STAGES`.
    emdb_id : str
    results : Path

    Returns
    -------
    Path
        The manifest of the entry's batch, which Snakemake has to be told to make again.

    Raises
    ------
    ConfigError
        For a stage that is none, and an entry that is in no batch.
    """
    if stage not in STAGES:
        raise ConfigError(f"{stage!r} is no stage", remedy=f"choose from {', '.join(STAGES)}")
    table = results.parent / BATCH_TABLE
    rows = read_table(table) if table.is_file() else []
    batches = {row["emdb_id"]: row["batch"] for row in rows}
    if emdb_id not in batches:
        raise ConfigError(f"{emdb_id} is in no batch", file=table, remedy="check the id")
    folder = results / stage
    shutil.rmtree(folder / "entries" / emdb_id, ignore_errors=True)
    return folder / f"{batches[emdb_id]}.tsv"

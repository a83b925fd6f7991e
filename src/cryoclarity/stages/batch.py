"""One batch of entries through one stage: a bad entry is a row, never a crash.

Snakemake sees one declared file per batch, the manifest. What an entry produced lies in
``<results>/<stage>/entries/<emdb_id>/`` with a stamp that says from what it was made; an entry
whose stamp still holds is not computed again, also after the batch was killed half way.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import resource
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from cryoclarity.codes import CODES
from cryoclarity.errors import (
    ConfigError,
    CryoClarityError,
    InputError,
    IntegrityError,
    ResourceError,
)
from cryoclarity.io.files import read_json, sha256_of, write_json
from cryoclarity.io.locks import file_lock
from cryoclarity.io.tables import read_table, write_table

LOGGER = logging.getLogger(__name__)
MANIFEST_COLUMNS = ("emdb_id", "status", "code", "detail", "key", "outputs_sha256")
BENCH_COLUMNS = ("emdb_id", "seconds", "peak_mb", "computed")
STAMP = "stamp.json"
# As long as the longest batch may take: another job that works on it is worth waiting for.
LOCK_PATIENCE_S = 24 * 3600.0
FACTS = "facts.json"
# Written beside the outputs but no part of their hash: they may hold times.
UNHASHED = frozenset({STAMP, "provenance.json"})
# Rejections that say nothing about the entry: a bug may be mended, a server may answer another day.
PASSING_FAMILIES = frozenset({"internal", "network"})
# The system counts in KiB on Linux and in bytes on macOS.
RSS_PER_MB = 1 << 20 if sys.platform == "darwin" else 1 << 10


class Skip(CryoClarityError):
    """The stage has nothing to do for this entry; not a failure."""


@dataclass(frozen=True)
class Upstream:
    """What an earlier stage left for one entry."""

    status: str
    code: str
    outputs_sha256: str
    folder: Path

    @property
    def ok(self) -> bool:
        """Whether the entry's files are there."""
        return self.status == "ok"


@dataclass(frozen=True)
class EntryJob:
    """All that a stage function gets for one entry.

    Attributes
    ----------
    row : the entry's row of the manifest, every column text
    spec : the only settings that the stage may depend on
    upstream : earlier stages by name
    folder : private folder; files written here become the entry's outputs
    threads : threads that the stage may use
    """

    row: dict[str, str]
    spec: dict
    upstream: dict[str, Upstream]
    folder: Path
    threads: int = 1


@dataclass(frozen=True)
class Batch:
    """One call of a stage on one batch.

    Attributes
    ----------
    stage : name; also the folder below the results
    manifest : file to write
    rows : members, as rows of the entry table
    upstream : manifests of earlier stages by name
    required : earlier stages without which an entry is skipped
    spec, code : settings and hash of the code, both part of an entry's key
    shared : files outside the entries that the stage reads (weights), by name
    threads : threads that one entry may use
    workers : entries worked on at once, for stages that mostly wait
    """

    stage: str
    manifest: Path
    rows: list[dict[str, str]]
    upstream: dict[str, Path] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    spec: dict = field(default_factory=dict)
    code: str = ""
    shared: dict[str, Path] = field(default_factory=dict)
    threads: int = 1
    workers: int = 1


def run_batch(batch: Batch, compute: Callable[[EntryJob], Mapping | None]) -> list[dict[str, str]]:
    """Run a stage on every member of a batch and write the manifest.

    Parameters
    ----------
    batch : Batch
    compute : callable
        Gets an :class:`EntryJob`, writes files into its folder. Raising an InputError makes the
        row 'rejected', raising :class:`Skip` makes it 'skipped'; any other exception becomes a
        rejected row with the code INTERNAL and a traceback in the log.

    Returns
    -------
    list of dict
        The rows of the manifest.

    Raises
    ------
    ConfigError, ResourceError, IntegrityError, MemoryError
        Not the entry's fault: the batch stops without a manifest, so that a retry can do better.

    Notes
    -----
    A second process on the same batch waits for the first: after the driver of a cluster run was
    killed, its job lives on while the next run submits the batch again. It then finds all stamps.
    """
    lock = entries_folder(batch.manifest) / f".lock-{batch.manifest.stem}"
    with file_lock(lock, LOCK_PATIENCE_S):
        return _run_locked(batch, compute)


def _run_locked(
    batch: Batch, compute: Callable[[EntryJob], Mapping | None]
) -> list[dict[str, str]]:
    upstream = {name: _read_upstream(path) for name, path in batch.upstream.items()}
    shared = {name: sha256_of(path) for name, path in sorted(batch.shared.items())}
    rows, bench = [], []

    def one(member: dict[str, str]) -> tuple[dict[str, str], bool, float]:
        started = time.monotonic()
        row, computed = _one_entry(batch, member, upstream, shared, compute)
        return row, computed, time.monotonic() - started

    for number, (row, computed, seconds) in enumerate(_in_order(batch, one), start=1):
        rows.append(row)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / RSS_PER_MB
        bench.append(
            {
                "emdb_id": row["emdb_id"],
                "seconds": f"{seconds:.2f}",
                "peak_mb": f"{peak:.0f}",
                "computed": int(computed),
            }
        )
        LOGGER.info(
            "%s %d/%d %s: %s %s %s",
            batch.stage,
            number,
            len(batch.rows),
            row["emdb_id"],
            row["status"],
            row["code"],
            row["detail"],
        )
    # Times stay out of the file that the next stage depends on.
    write_table(batch.manifest.with_suffix(".bench.tsv"), bench, BENCH_COLUMNS)
    write_table(batch.manifest, rows, MANIFEST_COLUMNS)
    return rows


def _in_order(batch: Batch, one: Callable) -> Iterator:
    """Yield the results of all members in their order, some of them worked on at once."""
    if batch.workers == 1:
        yield from map(one, batch.rows)
        return
    with ThreadPoolExecutor(batch.workers) as pool:
        try:
            yield from pool.map(one, batch.rows)
        finally:  # after an error that stops the batch nothing new is begun
            pool.shutdown(cancel_futures=True)


def entries_folder(manifest: Path) -> Path:
    """Return the folder of the entries that belongs to a stage's manifest."""
    return manifest.parent / "entries"


def _read_upstream(manifest: Path) -> dict[str, Upstream]:
    folder = entries_folder(manifest)
    return {
        row["emdb_id"]: Upstream(
            row["status"], row["code"], row["outputs_sha256"], folder / row["emdb_id"]
        )
        for row in read_table(manifest)
    }


def _one_entry(
    batch: Batch,
    member: dict[str, str],
    upstream: dict[str, dict[str, Upstream]],
    shared: dict[str, str],
    compute: Callable[[EntryJob], Mapping | None],
) -> tuple[dict[str, str], bool]:
    emdb_id = member["emdb_id"]
    mine = {name: table[emdb_id] for name, table in upstream.items() if emdb_id in table}
    for name in batch.required:
        before = mine.get(name)
        if before is None or not before.ok:
            code = before.code if before else "INTERNAL"
            return _row(emdb_id, "skipped", code, f"no {name}"), False
    key = entry_key(batch, member, mine, shared)
    final = entries_folder(batch.manifest) / emdb_id
    stamped = _valid_stamp(final, key)
    if stamped:
        return stamped, False
    work = final.parent / f".tmp-{os.getpid()}-{emdb_id}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        job = EntryJob(member, batch.spec, mine, work, batch.threads)
        row = _compute_row(batch.stage, job, compute)
        row["key"] = key
        files = _file_hashes(work) if row["status"] == "ok" else {}
        row["outputs_sha256"] = _digest({k: v["sha256"] for k, v in files.items()})
        if row["status"] != "ok":
            shutil.rmtree(work)
            work.mkdir()
        write_json(work / STAMP, {"row": row, "files": files})
        shutil.rmtree(final, ignore_errors=True)
        os.replace(work, final)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return row, True


def _compute_row(stage: str, job: EntryJob, compute) -> dict[str, str]:
    emdb_id = job.row["emdb_id"]
    try:
        facts = compute(job)
    except Skip as skip:
        return _row(emdb_id, "skipped", skip.code, skip.message)
    except InputError as error:
        return _row(emdb_id, "rejected", error.code, error.message)
    except (ConfigError, ResourceError, IntegrityError, MemoryError):
        raise
    except OSError as error:
        raise ResourceError(str(error), code="DISK_IO", file=job.folder) from error
    except Exception as error:
        LOGGER.error("%s", traceback.format_exc())
        return _row(emdb_id, "rejected", "INTERNAL", f"{type(error).__name__} in {stage}: {error}")
    if facts:
        write_json(job.folder / FACTS, dict(facts))
    return _row(emdb_id, "ok", "", "")


def _row(emdb_id: str, status: str, code: str, detail: str) -> dict[str, str]:
    return dict.fromkeys(MANIFEST_COLUMNS, "") | {
        "emdb_id": emdb_id,
        "status": status,
        "code": code,
        "detail": detail,
    }


def entry_key(
    batch: Batch,
    member: dict[str, str],
    upstream: dict[str, Upstream],
    shared: dict[str, str],
) -> str:
    """Return the hash of everything that an entry's outputs depend on."""
    before = {name: [up.status, up.code, up.outputs_sha256] for name, up in upstream.items()}
    return _digest([batch.stage, batch.spec, batch.code, member, before, shared])


def _digest(content: object) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _file_hashes(folder: Path) -> dict[str, dict]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in files
        if path.name not in UNHASHED
    }


def _valid_stamp(folder: Path, key: str) -> dict[str, str] | None:
    """Return the row of an entry whose stamp holds: same key, all files there in full size.

    Failures that may pass are never taken over: the entry is tried again.
    """
    stamp = folder / STAMP
    if not stamp.is_file():
        return None
    try:
        content = read_json(stamp)
    except (ValueError, InputError):
        return None  # cut short by a crash: compute again
    row = content["row"]
    if row["key"] != key or _may_pass(row["code"]) or _lost_for_now(folder):
        return None
    for name, facts in content["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != facts["bytes"]:
            return None
    return row


def _may_pass(code: str) -> bool:
    return bool(code) and CODES[code].family in PASSING_FAMILIES


def _lost_for_now(folder: Path) -> bool:
    """Whether a good entry goes without something that another day may bring."""
    facts = folder / FACTS
    if not facts.is_file():
        return False
    codes = [str(value) for name, value in read_json(facts).items() if name.endswith("_code")]
    return any(_may_pass(code) for code in codes if code in CODES)

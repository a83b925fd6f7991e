"""Stage fetch: map, half maps and model of an entry, proved, with a record of where from."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryoclarity import __version__
from cryoclarity.archive.fetch import Source, fetch_file, is_intact
from cryoclarity.archive.http import Client, Limits
from cryoclarity.archive.paths import emdb_number, half_map_paths, map_path, model_paths, pdb_code
from cryoclarity.errors import ConfigError, InputError, IntegrityError
from cryoclarity.gates.map_gate import check_map_content, map_facts
from cryoclarity.io.files import unpacked_blocks, write_json
from cryoclarity.io.model import read_model
from cryoclarity.stages.batch import EntryJob
from cryoclarity.stages.common import HALF_MAPS, MAP, MODELS

LOGGER = logging.getLogger(__name__)
PROVENANCE = "provenance.json"
SCHEMA = 1
HALF_MAP_CHOICES = ("auto", "required", "never")
# Columns of the entry table that pin the sha256 of a file as the archive serves it.
PIN_COLUMNS = {
    "map": "map_sha256",
    "half_map_1": "half1_sha256",
    "half_map_2": "half2_sha256",
    "model": "model_sha256",
}


@dataclass(frozen=True)
class Wanted:
    """What to fetch.

    Attributes
    ----------
    emdb_id : str
    pdb_id : str
        '' for an entry without a model.
    half_maps : 'auto', 'required' or 'never'
        `auto` takes them when the archive has them.
    pins : mapping of kind of file to sha256
        What a file must be; '' or nothing where it may be anything.
    """

    emdb_id: str
    pdb_id: str = ""
    half_maps: str = "auto"
    pins: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.half_maps not in HALF_MAP_CHOICES:
            raise ConfigError(f"half_maps {self.half_maps!r} is none of {HALF_MAP_CHOICES}")
        emdb_number(self.emdb_id)
        if self.pdb_id:
            pdb_code(self.pdb_id)


def run_files(wanted: Wanted, source: Source, out: str | Path) -> dict[str, str | float]:
    """Fetch the files of one entry into a folder.

    Files that already lie there as their record says are not asked for again.

    Parameters
    ----------
    wanted : Wanted
    source : Source
    out : path
        Gets ``map.map.gz``, ``half_map_1.map.gz`` and ``half_map_2.map.gz`` if any,
        ``model.cif.gz`` or ``model.pdb.gz``, and ``provenance.json``.

    Returns
    -------
    dict
        ``half_maps`` (yes or no), ``half_maps_code``, ``model`` (yes or no), ``bytes``.

    Raises
    ------
    InputError
        FILE_*, HDR_*, VAL_*, MOD_*, NET_*, ID_* or, with `required`, PAIR_HALF_MISSING.
    ConfigError
        When the folder holds another entry.
    IntegrityError
        FILE_CHANGED when a file is not the pinned one; it is removed.
    ResourceError
        DISK_*.
    """
    out = Path(out)
    recorded = _recorded(out, wanted.emdb_id)
    _remove_stale(out)
    with Client(source.limits) as client:
        fetcher = _Fetcher(client, source, out, recorded, wanted)
        fetcher.fetch("map", MAP, map_path(wanted.emdb_id), map_gate)
        half_code = _half_maps(fetcher, wanted)
        if wanted.pdb_id:
            _model(fetcher, wanted.pdb_id)
    fetcher.save(half_code)
    has_halves = "half_map_2" in fetcher.records
    return {
        "half_maps": "yes" if has_halves else "no",
        "half_maps_code": half_code,
        "model": "yes" if "model" in fetcher.records else "no",
        "bytes": sum(record["bytes"] for record in fetcher.records.values()),
    }


def run_entry(job: EntryJob) -> dict[str, str | float]:
    """Fetch one entry of a batch; what an earlier run left of it is used again.

    The settings are ``base_url``, ``half_maps`` (auto, required, never), ``timeout_s`` and
    ``attempts``; the row's ``half_maps`` says what the archive is known to have, its columns of
    hashes what the files must be.
    """
    spec, row = job.spec, job.row
    half_maps = "never" if row.get("half_maps") == "no" else spec.get("half_maps", "auto")
    source = Source(
        base_url=spec["base_url"],
        limits=Limits(timeout_s=float(spec.get("timeout_s", Limits.timeout_s))),
        attempts=int(spec.get("attempts", Source.attempts)),
    )
    _reuse(job.folder.parent / row["emdb_id"], job.folder)
    pins = {kind: row.get(column, "") for kind, column in PIN_COLUMNS.items()}
    wanted = Wanted(row["emdb_id"], row.get("pdb_id", ""), half_maps, pins)
    facts = run_files(wanted, source, job.folder)
    if row.get("half_maps") == "yes" and facts["half_maps"] == "no" and half_maps != "never":
        facts["half_maps_code"] = facts["half_maps_code"] or "PAIR_HALF_MISSING"
    return facts


class _Fetcher:
    """Fetches the files of one entry into one folder and keeps their records."""

    def __init__(
        self, client: Client, source: Source, out: Path, recorded: dict, wanted: Wanted
    ) -> None:
        self.client, self.source, self.out = client, source, out
        self.recorded, self.wanted = recorded, wanted
        self.records: dict[str, dict] = {}

    def fetch(self, kind: str, name: str, path: str, gate) -> None:
        """Fetch one file and remember its record."""
        record = fetch_file(
            self.client, self.source, path, self.out / name, gate, self.recorded.get(kind)
        )
        pin = self.wanted.pins.get(kind, "").lower()
        if pin and record["sha256"] != pin:
            self.drop(kind, name)
            raise IntegrityError(
                f"sha256 is {record['sha256']}, the entry table pins {pin}",
                code="FILE_CHANGED",
                file=name,
                remedy="find out what changed; then pin the new hash or none",
            )
        self.records[kind] = record
        self.save()  # file first, record second: a later failure does not cost what is here

    def drop(self, kind: str, name: str) -> None:
        """Remove a file that is of no use alone."""
        self.records.pop(kind, None)
        (self.out / name).unlink(missing_ok=True)

    def save(self, half_code: str = "") -> None:
        """Write the record of what has been fetched so far."""
        content = {
            "schema": SCHEMA,
            "emdb_id": self.wanted.emdb_id,
            "pdb_id": self.wanted.pdb_id,
            "files": self.records,
            "half_maps_code": half_code,
            "tool": {"name": "cryoclarity", "version": __version__},
        }
        write_json(self.out / PROVENANCE, content)


def _half_maps(fetcher: _Fetcher, wanted: Wanted) -> str:
    """Fetch both half maps or neither; return the reason code when they are lost."""
    kinds = ("half_map_1", "half_map_2")
    code = ""
    if wanted.half_maps != "never":
        try:
            for kind, name, path in zip(
                kinds, HALF_MAPS, half_map_paths(wanted.emdb_id), strict=True
            ):
                fetcher.fetch(kind, name, path, map_gate)
            return ""
        except InputError as error:
            if wanted.half_maps == "required":
                message = f"half map: {error.code}: {error.message}"
                raise InputError(message, code="PAIR_HALF_MISSING") from error
            absent = error.code == "NET_NOT_FOUND" and not fetcher.records.keys() & set(kinds)
            # Most entries have none: only half maps that should be there are a loss.
            code = "" if absent else error.code
            if code:
                LOGGER.warning("%s goes on without half maps: %s", wanted.emdb_id, error)
    for kind, name in zip(kinds, HALF_MAPS, strict=True):
        fetcher.drop(kind, name)
    return code


def _model(fetcher: _Fetcher, pdb_id: str) -> None:
    """Fetch the mmCIF form of a model, or its PDB form where the archive has only that."""
    forms = list(zip(MODELS, model_paths(pdb_id), strict=True))
    for last, (name, path) in enumerate(forms, start=1):
        try:
            fetcher.fetch("model", name, path, lambda file: model_gate(file, pdb_id))
        except InputError as error:
            if error.code != "NET_NOT_FOUND" or last == len(forms):
                raise
            continue
        for other, _ in forms:
            if other != name:
                (fetcher.out / other).unlink(missing_ok=True)
        return


def map_gate(path: Path) -> dict[str, object]:
    """Prove a map; return what its record keeps.

    Raises
    ------
    InputError
        FILE_*, HDR_* or VAL_*.
    """
    content = check_map_content(path)
    header = content.scan.header
    return {
        "content_sha256": content.content_sha256,
        "unpacked_bytes": header.data_offset + header.data_bytes,
        "header": map_facts(content.scan),
        "warnings": sorted({code for code, _ in content.scan.warnings}),
    }


def model_gate(path: Path, pdb_id: str) -> dict[str, object]:
    """Prove a model; return what its record keeps.

    Raises
    ------
    InputError
        FILE_*, MOD_*, or ID_PDB_MISMATCH when the file names another entry.
    """
    model = read_model(path)
    if model.entry_id and _named_code(model.entry_id) not in ("", pdb_code(pdb_id)):
        raise InputError(
            f"asked for {pdb_id}, file says {model.entry_id}", code="ID_PDB_MISMATCH", file=path
        )
    digest, size = hashlib.sha256(), 0
    for block in unpacked_blocks(path):
        digest.update(block)
        size += len(block)
    return {
        "content_sha256": digest.hexdigest(),
        "unpacked_bytes": size,
        "atoms": len(model.atoms),
        "format": model.format,
        "warnings": sorted({code for code, _ in model.warnings}),
    }


def _named_code(entry_id: str) -> str:
    """Return the id that a file names, '' when it is no id of the archive."""
    try:
        return pdb_code(entry_id)
    except InputError:
        return ""


def _recorded(out: Path, emdb_id: str) -> dict[str, dict]:
    path = out / PROVENANCE
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}  # a damaged record proves nothing: fetch again
    if content.get("emdb_id") != emdb_id:
        raise ConfigError(
            f"{out} holds {content.get('emdb_id')}, not {emdb_id}", remedy="choose another folder"
        )
    return content["files"]


def _remove_stale(out: Path) -> None:
    """Remove temporary files of processes of this machine that were killed."""
    for path in out.glob(".tmp-*-*"):
        number = path.name.split("-")[1]
        if number.isdecimal() and not _is_alive(int(number)):
            LOGGER.info("removed stale %s", path.name)
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _reuse(before: Path, folder: Path) -> None:
    """Take over the files of an earlier run that still are what their record says."""
    try:
        recorded = _recorded(before, before.name)
    except ConfigError:
        return
    kept = [record for record in recorded.values() if is_intact(before / record["name"], record)]
    for record in kept:
        try:
            os.link(before / record["name"], folder / record["name"])
        except OSError:  # another file system, or one without links
            shutil.copyfile(before / record["name"], folder / record["name"])
    if kept:
        shutil.copyfile(before / PROVENANCE, folder / PROVENANCE)

"""Stage fetch: map, half maps, masks and model of an entry, proved, with records of where from."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

from cryoclarity.archive.entry_check import (
    KILOBYTE,
    EntryDocument,
    check_status,
    document_at_hand,
)
from cryoclarity.archive.fetch import Downloader, is_intact
from cryoclarity.archive.http import Limits
from cryoclarity.archive.paths import (
    emdb_number,
    half_map_path,
    half_map_paths,
    map_path,
    mask_path,
    model_paths,
    pdb_code,
)
from cryoclarity.archive.records import (
    CHANGES,
    PROVENANCE,
    note_change,
    pin_now,
    read_absent,
    read_records,
    write_records,
)
from cryoclarity.archive.resume import remove_stale, sync_folder
from cryoclarity.archive.source import Request, Source
from cryoclarity.archive.stream_gate import Gate, map_gate, model_gate
from cryoclarity.codes import CODES
from cryoclarity.errors import ConfigError, CryoClarityError, InputError
from cryoclarity.io.locks import file_lock, is_alive
from cryoclarity.stages.batch import EntryJob
from cryoclarity.stages.common import HALF_MAPS, MAP, MODELS

LOGGER = logging.getLogger(__name__)
# Entries of a batch that are fetched at once: a small file is all waiting.
WORKERS = 4
HALF_MAP_CHOICES = ("auto", "required", "never")
INCOMING = "incoming"
SLOTS = "slots"
# Columns of the entry table that pin the sha256 of a file as the archive serves it.
PIN_COLUMNS = {
    "map": "map_sha256",
    "half_map_1": "half1_sha256",
    "half_map_2": "half2_sha256",
    "mask_1": "mask_sha256",
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
    masks : tuple of str
        Names in the archive; '' for the usual name of the first.
    document : EntryDocument, optional
        What the archive says about the entry.
    has_half_maps : bool
        The archive is known to have them: asked for although they were missing before.
    """

    emdb_id: str
    pdb_id: str = ""
    half_maps: str = "auto"
    pins: Mapping[str, str] = field(default_factory=dict)
    masks: tuple[str, ...] = ()
    document: EntryDocument | None = None
    has_half_maps: bool = False

    def __post_init__(self) -> None:
        if self.half_maps not in HALF_MAP_CHOICES:
            raise ConfigError(f"half_maps {self.half_maps!r} is none of {HALF_MAP_CHOICES}")
        emdb_number(self.emdb_id)
        if self.pdb_id:
            pdb_code(self.pdb_id)


def run_files(
    wanted: Wanted,
    source: Source,
    out: str | Path,
    *,
    downloader: Downloader | None = None,
    changes: Path | None = None,
) -> dict[str, str | float]:
    """Fetch the files of one entry into a folder.

    Files that already lie there as their record says are not asked for again. After a failure the
    folder keeps what was proved before it, so that the next call only asks for the rest; what it
    keeps is right, but not everything that was wanted.

    Parameters
    ----------
    wanted : Wanted
    source : Source
    out : path
        Gets ``map.map.gz``, ``half_map_1.map.gz`` and ``half_map_2.map.gz`` if any,
        ``mask_1.map`` ..., ``model.cif.gz`` or ``model.pdb.gz``, and ``provenance.json``.
    downloader : Downloader, optional
        To keep connections and hosts' behaviour in mind over several entries.
    changes : path, optional
        Table of accepted changes; by default ``changes.tsv`` in `out`.

    Returns
    -------
    dict
        ``half_maps`` (yes or no), ``half_maps_code``, ``masks`` (number), ``masks_code``,
        ``model`` (yes or no), ``bytes``.

    Raises
    ------
    InputError
        FILE_*, HDR_*, VAL_*, MOD_*, NET_*, ID_* or, with `required`, PAIR_HALF_MISSING.
    ConfigError
        When the folder holds another entry.
    IntegrityError
        FILE_CHANGED when a file is not the pinned one.
    ResourceError
        DISK_*.
    """
    out = Path(out)
    if wanted.document:
        check_status(wanted.document.facts)
    shared = contextlib.nullcontext(downloader) if downloader else Downloader(source)
    with shared as tool, file_lock(out.parent / f".{out.name}.lock", source.lock_timeout_s):
        fetcher = _Fetcher(tool, out, wanted, changes or out / CHANGES)
        with _no_empty_folder(out):
            remove_stale(out, resumable=source.resume)
            fetcher.map()
            fetcher.half_maps()
            fetcher.masks()
            if wanted.pdb_id:
                fetcher.model()
            fetcher.save()
            remove_stale(out, resumable=False)
    return fetcher.facts()


@contextlib.contextmanager
def _no_empty_folder(out: Path) -> Iterator[None]:
    """A failure at the first file leaves no folder that was not there."""
    new = not out.exists()
    try:
        yield
    except CryoClarityError:
        if new:
            with contextlib.suppress(OSError):  # not there, or not empty
                out.rmdir()
        raise


class _Fetcher:
    """Fetches the files of one entry into one folder and keeps their records."""

    def __init__(self, tool: Downloader, out: Path, wanted: Wanted, changes: Path) -> None:
        self.tool, self.out, self.wanted, self.changes = tool, out, wanted, changes
        self.recorded = read_records(out, wanted.emdb_id)
        self.absent = read_absent(out)
        self._saved: tuple | None = None
        self.records: dict[str, dict] = {}
        self.lost: dict[str, str] = {}

    def map(self) -> None:
        """Fetch the primary map."""
        document = self.wanted.document
        expected = document.map if document else None
        size = document.facts.size_kbytes if document else None
        # A packed map is rarely larger than it is plain: enough to ask for space.
        self._fetch(
            "map",
            MAP,
            map_path(self.wanted.emdb_id),
            partial(map_gate, expected=expected),
            size=int(size * KILOBYTE) if size else None,
        )

    def half_maps(self) -> None:
        """Fetch both half maps or neither; a loss costs only what needs them."""
        wanted, code = self.wanted, ""
        kinds = ("half_map_1", "half_map_2")
        expected = wanted.document.half_map if wanted.document else None
        if wanted.half_maps != "never" and not self._known_to_lack("half_map_1"):
            try:
                for kind, name, path in zip(kinds, HALF_MAPS, self._half_map_paths(), strict=True):
                    self._fetch(kind, name, path, partial(map_gate, expected=expected))
                return
            except InputError as error:
                if wanted.half_maps == "required":
                    message = f"half map: {error.code}: {error.message}"
                    raise InputError(message, code="PAIR_HALF_MISSING") from error
                absent = error.code == "NET_NOT_FOUND" and not self.records.keys() & set(kinds)
                # Most entries have none: only half maps that should be there are a loss.
                code = "" if absent else error.code
                if absent:
                    self.absent["half_map_1"] = self.tool.archive_id
                else:
                    LOGGER.warning("%s goes on without half maps: %s", wanted.emdb_id, error)
        for kind, name in zip(kinds, HALF_MAPS, strict=True):
            self._drop(kind, name)
        if code:
            self.lost["half_maps"] = code

    def _known_to_lack(self, kind: str) -> bool:
        """Whether these archives said before that they have no such file."""
        return (
            self.absent.get(kind) == self.tool.archive_id
            and not self.tool.source.update
            and self.wanted.half_maps != "required"
            and not self.wanted.has_half_maps
        )

    def _half_map_paths(self) -> tuple[str, str]:
        named = self.wanted.document.facts.half_maps if self.wanted.document else ()
        if len(named) != len(HALF_MAPS):
            return half_map_paths(self.wanted.emdb_id)
        first, second = (half_map_path(self.wanted.emdb_id, name) for name in named)
        return first, second

    def masks(self) -> None:
        """Fetch the masks that are named; one that cannot be had is noted and left out."""
        for number, name in enumerate(self.wanted.masks, start=1):
            kind = f"mask_{number}"
            try:
                path = mask_path(self.wanted.emdb_id, name)
                self._fetch(kind, f"{kind}.map", path, map_gate)
            except InputError as error:
                LOGGER.warning("%s goes on without a mask: %s", self.wanted.emdb_id, error)
                self.lost["masks"] = error.code
                self._drop(kind, f"{kind}.map")

    def model(self) -> None:
        """Fetch the mmCIF form of a model, or its PDB form where the archive has only that."""
        pdb_id = self.wanted.pdb_id
        here = self.recorded.get("model", {}).get("name")
        # The form that is here is the one that the archive has.
        forms = sorted(
            zip(MODELS, model_paths(pdb_id), strict=True), key=lambda form: form[0] != here
        )
        gate = partial(model_gate, pdb_id=pdb_id, emdb_id=self.wanted.emdb_id)
        for last, (name, path) in enumerate(forms, start=1):
            try:
                self._fetch("model", name, path, gate, resumable=False)
            except InputError as error:
                if error.code != "NET_NOT_FOUND" or last == len(forms):
                    raise
                continue
            for other, _ in forms:
                if other != name:
                    (self.out / other).unlink(missing_ok=True)
            return

    def _fetch(
        self,
        kind: str,
        name: str,
        path: str,
        gate: Gate,
        *,
        size: int | None = None,
        resumable: bool = True,
    ) -> None:
        """Fetch one file and remember its record."""
        wanted = self.wanted
        pin = wanted.pins.get(kind, "").lower()
        request = Request(
            emdb_id=wanted.emdb_id,
            kind=kind,
            path=path,
            out=self.out / name,
            gate=gate,
            pin=pin_now(self.changes, wanted.emdb_id, kind, pin),
            size=size,
            resumable=resumable,
        )
        before = self.recorded.get(kind)
        record = self.tool.fetch(request, before)
        updated = self.tool.source.update and before and before["path"] == path
        if updated and before["sha256"] != record["sha256"]:
            note_change(self.changes, wanted.emdb_id, kind, before, record)
        origin = wanted.document.origin if wanted.document else {}
        self.records[kind] = record | {"document": origin}
        self.save()  # file first, record second: a later failure does not cost what is here

    def _drop(self, kind: str, name: str) -> None:
        """Remove a file that is of no use alone."""
        self.records.pop(kind, None)
        (self.out / name).unlink(missing_ok=True)

    def save(self) -> None:
        """Write the records of what has been fetched so far, if they are new."""
        state = (dict(self.records), dict(self.lost), dict(self.absent))
        if state != self._saved:
            write_records(self.out, self.wanted.emdb_id, *state)
            self._saved = state

    def facts(self) -> dict[str, str | float]:
        """Return what the stage says about the entry."""
        return {
            "half_maps": "yes" if "half_map_2" in self.records else "no",
            "half_maps_code": self.lost.get("half_maps", ""),
            "masks": sum(kind.startswith("mask_") for kind in self.records),
            "masks_code": self.lost.get("masks", ""),
            "model": "yes" if "model" in self.records else "no",
            "bytes": sum(record["bytes"] for record in self.records.values()),
        }


def run_entry(job: EntryJob) -> dict[str, str | float]:
    """Fetch one entry of a batch; what an earlier run left of it is used again.

    The settings are those of the configuration's `archive`. The row's ``half_maps`` and ``masks``
    say what the archive is known to have, its columns of hashes what the files must be.
    """
    spec, row = job.spec, job.row
    emdb_id, entries = row["emdb_id"], job.folder.parent
    stage = entries.parent
    half_maps = "never" if row.get("half_maps") == "no" else spec.get("half_maps", "auto")
    wanted = Wanted(
        emdb_id=emdb_id,
        pdb_id=row.get("pdb_id", ""),
        half_maps=half_maps,
        pins={kind: row.get(column, "") for kind, column in PIN_COLUMNS.items()},
        masks=masks_of(row.get("masks", "")),
        document=document_at_hand(spec.get("documents", ""), emdb_id, **_document_places(spec)),
        has_half_maps=row.get("half_maps") == "yes",
    )
    source = source_of(spec, stage / SLOTS)
    # A folder of its own: what a killed or failed attempt leaves is there for the next one.
    incoming = stage / INCOMING / emdb_id
    for before in (entries / emdb_id, *_left_by_dead(entries, emdb_id)):
        _reuse(before, incoming, emdb_id)
    downloader = _shared(source)
    try:
        facts = run_files(wanted, source, incoming, downloader=downloader, changes=stage / CHANGES)
    except InputError as error:
        if CODES[error.code].family != "network":  # no other day makes this entry good
            shutil.rmtree(incoming, ignore_errors=True)
        raise
    # Records first: after a kill in between both folders still are what they say.
    for file in sorted(incoming.iterdir(), key=lambda file: (file.name != PROVENANCE, file.name)):
        os.replace(file, job.folder / file.name)
    sync_folder(job.folder)
    incoming.rmdir()
    if row.get("half_maps") == "yes" and facts["half_maps"] == "no" and half_maps != "never":
        facts["half_maps_code"] = facts["half_maps_code"] or "PAIR_HALF_MISSING"
    return facts


def _document_places(spec: Mapping) -> dict[str, str]:
    """Where the saved documents were asked for, as far as settings say it."""
    places = {key: spec[key] for key in ("api_url", "metadata") if key in spec}
    return places | {"base_url": (spec.get("mirrors") or [spec["base_url"]])[0]}


@lru_cache(maxsize=1)
def _shared(source: Source) -> Downloader:
    """One downloader per process and source: connections stay open between entries."""
    return Downloader(source)


def source_of(spec: Mapping, slots: Path | None) -> Source:
    """Return the archives that settings name.

    Raises
    ------
    ConfigError
    """
    mirrors = spec.get("mirrors") or [spec["base_url"]]
    limits = Limits(timeout_s=float(spec.get("timeout_s", Limits.timeout_s)))
    chosen = {
        name: spec[name]
        for name in ("resume", "offline", "update", "allow_http", "hard_link", "lock_timeout_s")
        if name in spec
    }
    return Source(
        mirrors=tuple(mirrors),
        limits=limits,
        attempts=int(spec.get("attempts", Source.attempts)),
        per_host=int(spec.get("per_host", Source.per_host)),
        slots=slots,
        **chosen,
    )


def masks_of(cell: str) -> tuple[str, ...]:
    """Return the names of masks in a cell of the entry table; 'yes' is the usual name."""
    if cell in ("", "no", "0"):
        return ()
    if cell == "yes":
        return ("",)
    return tuple(name for name in cell.replace(",", " ").replace(";", " ").split())


def _left_by_dead(entries: Path, emdb_id: str) -> Iterable[Path]:
    """Yield the private folders of batches that were killed at this entry."""
    for folder in sorted(entries.glob(f".tmp-*-{emdb_id}")):
        process = folder.name.split("-")[1]
        if process.isdecimal() and not is_alive(int(process)):
            yield folder


def _reuse(before: Path, incoming: Path, emdb_id: str) -> None:
    """Take over the files of an earlier run that still are what their record says."""
    try:
        recorded = read_records(before, emdb_id)
        records = read_records(incoming, emdb_id)
    except ConfigError:
        return
    # The record of a file that is gone stays: it says what the archive must send.
    taken = {
        kind: record
        for kind, record in recorded.items()
        if not (kind in records and is_intact(incoming / records[kind]["name"], records[kind]))
    }
    for record in taken.values():
        if is_intact(before / record["name"], record):
            _link(before / record["name"], incoming / record["name"])
    if taken:
        write_records(incoming, emdb_id, records | taken, absent=read_absent(before))
    if before.name.startswith("."):  # left by a batch that was killed
        shutil.rmtree(before, ignore_errors=True)


def _link(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(file, target)

"""What is fetched and from where: archives with the patience for them, files, records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryoclarity.archive.http import Limits
from cryoclarity.archive.mirrors import parse_mirrors
from cryoclarity.archive.resume import MIN_BYTES
from cryoclarity.archive.stream_gate import Gate
from cryoclarity.errors import ConfigError, IntegrityError

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Source:
    """Archives and how patiently they are asked.

    Attributes
    ----------
    mirrors : str or sequence of str
        Bases in order: https://, file://, a folder; http:// for this machine.
    limits : Limits
    attempts : int
        For one file, over all mirrors.
    backoff_s : float
        Wait before the second attempt; doubles with each, with jitter.
    resume : bool
        Go on with the part of a large file when the server proves that the rest belongs to it.
    resume_from : int
        Bytes below which a part is not worth it.
    offline, update, verify, allow_http : bool
        No request at all; ask whether what is here is still current; hash what is here although
        size and time are as recorded; http:// for any machine.
    hard_link : bool
        Files of a folder are linked where that can be done, else copied.
    slots : Path, optional
        Folder that all processes share which count requests per host together.
    per_host : int
        Requests per host at once.
    lock_timeout_s : float
        Patience with another client at the same entry.
    """

    mirrors: str | tuple[str, ...]
    limits: Limits = field(default_factory=Limits)
    attempts: int = 6
    backoff_s: float = 1.0
    resume: bool = True
    resume_from: int = MIN_BYTES
    offline: bool = False
    update: bool = False
    verify: bool = False
    allow_http: bool = False
    hard_link: bool = False
    slots: Path | None = None
    per_host: int = 4
    lock_timeout_s: float = 3600.0

    def __post_init__(self) -> None:
        for name in ("attempts", "per_host"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.limits.timeout_s <= 0:
            raise ConfigError(f"the timeout must be above 0 s, got {self.limits.timeout_s:g}")
        parse_mirrors(self.mirrors, allow_http=self.allow_http)


@dataclass(frozen=True)
class Request:
    """One file of an archive.

    Attributes
    ----------
    emdb_id : str
    kind : str
        map, half_map_1, half_map_2, mask_1 ..., model.
    path : str
        Below the bases.
    out : Path
        Final name; appears complete and proved, or not at all.
    gate : callable
        Judges the bytes as they come, raises InputError, returns facts for the record.
    pin : str
        sha256 that the file must have; '' when it may be anything.
    size : int, optional
        Bytes to expect where the entry document says so.
    resumable : bool
    """

    emdb_id: str
    kind: str
    path: str
    out: Path
    gate: Gate
    pin: str = ""
    size: int | None = None
    resumable: bool = False


def new_record(request: Request, sha256: str, size: int) -> dict[str, object]:
    """Return a record with all its keys; what is not known is empty."""
    return {
        "schema": 1,
        "id": request.emdb_id,
        "kind": request.kind,
        "name": request.out.name,
        "path": request.path,
        "source": "",
        "base_id": "",
        "url": "",
        "mirror_index": None,
        "tried": [],
        "status": None,
        "etag": "",
        "last_modified": "",
        "content_length": None,
        "retrieved_utc": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": 0.0,
        "bytes": size,
        "sha256": sha256,
        "mtime_ns": request.out.stat().st_mtime_ns,
    }


def check_pin(sha256: str, pin: str, name: str) -> None:
    """Refuse a file that is not the pinned one.

    Raises
    ------
    IntegrityError
        FILE_CHANGED.
    """
    if pin and sha256 != pin.lower():
        raise IntegrityError(
            f"sha256 is {sha256}, pinned is {pin.lower()}",
            code="FILE_CHANGED",
            file=name,
            remedy="find out what changed; then fetch with update, or pin the new hash",
        )

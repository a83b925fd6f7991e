"""Fetch one file: streamed to a temporary name, proved, renamed; nothing unproved has the name.

The same function serves web archives and folders. One loop repeats the whole get-and-verify,
because a cut or replaced body shows only at the end.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import tenacity

from cryoclarity.archive.http import Answer, Client, Limits, NetworkError
from cryoclarity.archive.paths import is_local, join
from cryoclarity.codes import CODES
from cryoclarity.errors import InputError, ResourceError
from cryoclarity.io.files import atomic_path, check_regular, sha256_of

LOGGER = logging.getLogger(__name__)
BLOCK = 1 << 22
SPARE_BYTES = 64 << 20
LONGEST_WAIT = 60.0
# Damage that another transfer may heal, beside all codes of severity 'retry'.
HEALING = frozenset({"FILE_GZ_CORRUPT", "FILE_GZ_TRUNCATED"})
# What a gate calls a bad file is a bad transfer when it came over the network.
TRANSFER_CODES = {
    "FILE_HTML": "NET_HTML",
    "FILE_EMPTY": "NET_INCOMPLETE",
    "FILE_GZ_NESTED": "NET_PROTOCOL",
}

Gate = Callable[[Path], dict]


@dataclass(frozen=True)
class Source:
    """An archive and how patiently it is asked.

    Attributes
    ----------
    base_url : str
        https://, http://, file:// or a plain folder.
    limits : Limits
    attempts : int
        For one file.
    backoff_s : float
        Wait before the second attempt; doubles with each, with jitter.
    """

    base_url: str
    limits: Limits = field(default_factory=Limits)
    attempts: int = 6
    backoff_s: float = 1.0


def fetch_file(
    client: Client, source: Source, path: str, out: Path, gate: Gate, recorded: dict | None = None
) -> dict[str, object]:
    """Bring one file of an archive to its final name.

    Parameters
    ----------
    client : Client
    source : Source
    path : str
        Below the base of the archive.
    out : Path
        Final name; appears complete and proved, or not at all.
    gate : callable
        Judges the file under its temporary name, raises InputError, returns facts for the record.
    recorded : dict, optional
        Record of an earlier fetch. When `out` still is what it says, nothing is asked.

    Returns
    -------
    dict
        ``name path base_id url status bytes sha256 content_length etag last_modified
        retrieved_utc tried`` and the facts of the gate.

    Raises
    ------
    InputError
        FILE_*, HDR_*, VAL_*, MOD_* or NET_*.
    ResourceError
        DISK_*.
    """
    # A hash, because the name of a local folder has no place in a record that travels.
    origin = {"base_id": hashlib.sha256(source.base_url.encode()).hexdigest()[:16]}
    asked = origin | {"path": path}
    if recorded and asked.items() <= recorded.items() and is_intact(out, recorded):
        return recorded
    if is_local(source.base_url):
        return _attempt(lambda: _local(source, path), path, out, gate) | origin
    tried: list[dict[str, str]] = []
    record = _with_retries(client, source, path, out, gate, tried)
    return record | origin | {"tried": tried}


def is_intact(out: Path, recorded: dict) -> bool:
    """Whether a file still has the size and hash of its record."""
    return (
        out.is_file()
        and out.stat().st_size == recorded["bytes"]
        and sha256_of(out) == recorded["sha256"]
    )


@dataclass
class _Body:
    """An opened source: what is known before the first byte, and the bytes."""

    url: str
    status: int
    length: int | None
    blocks: Iterator[bytes]
    close: Callable[[], None]
    etag: str = ""
    last_modified: str = ""


def _local(source: Source, path: str) -> _Body:
    file = Path(join(source.base_url, path))
    try:
        check_regular(file)
    except InputError as error:
        if error.code == "FILE_MISSING":
            raise InputError(f"{path} is not in the archive", code="NET_NOT_FOUND") from error
        raise
    handle = file.open("rb")
    return _Body(
        url=path,
        status=200,
        length=file.stat().st_size,
        blocks=iter(lambda: handle.read(BLOCK), b""),
        close=handle.close,
    )


def _remote(client: Client, url: str) -> _Body:
    answer: Answer = client.get(url)
    return _Body(
        url=answer.url,
        status=answer.status,
        length=answer.length,
        blocks=client.body(answer),
        close=answer.response.close,
        etag=answer.etag,
        last_modified=answer.last_modified,
    )


def _attempt(opener: Callable[[], _Body], path: str, out: Path, gate: Gate) -> dict[str, object]:
    with contextlib.closing(opener()) as body:
        _check_space(out, body.length or 0)
        digest, size = hashlib.sha256(), 0
        with atomic_path(out) as temporary:
            with temporary.open("wb") as handle:
                for block in body.blocks:
                    digest.update(block)
                    size += len(block)
                    handle.write(block)
            facts = _judged(gate, temporary, out, body.length)
    return {
        "name": out.name,
        "path": path,
        "url": body.url,
        "status": body.status,
        "bytes": size,
        "sha256": digest.hexdigest(),
        "content_length": body.length,
        "etag": body.etag,
        "last_modified": body.last_modified,
        "retrieved_utc": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "tried": [],
    } | facts


def _judged(gate: Gate, temporary: Path, out: Path, length: int | None) -> dict:
    try:
        return gate(temporary)
    except InputError as error:
        error.file = out.name  # the temporary name says nothing to anybody
        if error.code == "FILE_TRUNCATED" and length is None:
            # Without a declared length a cut transfer looks like a short file.
            raise NetworkError(error.message, code="NET_INCOMPLETE", file=out.name) from error
        raise


def _check_space(out: Path, size: int) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot make the folder: {error}"
        raise ResourceError(message, code="DISK_IO", file=out.parent) from error
    free = shutil.disk_usage(out.parent).free
    if free < size + SPARE_BYTES:
        raise ResourceError(
            f"{free} bytes free, {size + SPARE_BYTES} needed", code="DISK_FULL", file=out.parent
        )


def _with_retries(
    client: Client, source: Source, path: str, out: Path, gate: Gate, tried: list
) -> dict[str, object]:
    url = join(source.base_url, path)

    def get_and_verify() -> dict[str, object]:
        try:
            return _attempt(lambda: _remote(client, url), path, out, gate)
        except InputError as error:
            error = _as_transfer(error)
            tried.append({"url": url, "code": error.code})
            LOGGER.info("attempt %d: %s", len(tried), error)
            raise error from None

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(source.attempts)
        | tenacity.stop_before_delay(source.limits.deadline_s),
        wait=_wait(source.backoff_s),
        retry=tenacity.retry_if_exception(_is_transient),
    )
    try:
        return retrying(get_and_verify)
    except tenacity.RetryError as error:
        last = error.last_attempt.exception()
        raise NetworkError(
            f"{url}: gave up after {len(tried)} attempts; last: {last.code}: {last.message}",
            code="NET_DEADLINE",
            remedy="try again later",
        ) from last


def _as_transfer(error: InputError) -> InputError:
    code = TRANSFER_CODES.get(error.code)
    return NetworkError(error.message, code=code, file=error.file) if code else error


def _is_transient(error: BaseException) -> bool:
    if not isinstance(error, InputError):
        return False
    return CODES[error.code].severity == "retry" or error.code in HEALING


def _wait(backoff: float) -> Callable[[tenacity.RetryCallState], float]:
    """Exponential waits with jitter, or what the server asks for when that is longer."""
    jitter = tenacity.wait_random(0.5, 1.5)

    def wait(state: tenacity.RetryCallState) -> float:
        doubled = min(LONGEST_WAIT, 2.0 ** (state.attempt_number - 1))
        asked = getattr(state.outcome.exception(), "retry_after", 0.0)
        return max(backoff * doubled * jitter(state), asked)

    return wait

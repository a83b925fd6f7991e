"""Bodies that the servers of these tests hold, and short ways to fetch them."""

from __future__ import annotations

import gzip
import hashlib
from functools import partial

import numpy as np

from cryoclarity.archive.fetch import Downloader
from cryoclarity.archive.http import Limits
from cryoclarity.archive.paths import half_map_paths, map_path, mask_path, model_paths
from cryoclarity.archive.source import Request, Source
from cryoclarity.archive.stream_gate import Expected, map_gate, model_gate
from tests.gates.zoo import at, cif_text, map_bytes, values

EMDB, PDB = "EMD-9999", "9zzz"
SHAPE = (12, 13, 14)  # z, y, x
# Short times only where a server keeps its client waiting: test machines are slow at times.
PATIENT = Limits(timeout_s=10.0)
IMPATIENT = Limits(timeout_s=0.2, least_rate=500, rate_window_s=0.25)
COMMENT = "# " + np.random.default_rng(1).bytes(1500).hex() + "\n"
RELATED = "_pdbx_database_related.db_name EMDB\n_pdbx_database_related.db_id {}\n#\n"


def packed(data: bytes) -> bytes:
    """Stored, not deflated: same content length, same file length."""
    return gzip.compress(data, 0, mtime=0)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def a_map(seed: int = 0, shape=SHAPE, **changes) -> bytes:
    data = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return map_bytes(data, **changes)


def a_model(name: str = "9ZZZ", related: str = "", **changes) -> bytes:
    text = cif_text(name=name, **changes)
    if related:
        text = text.replace("loop_\n", RELATED.format(related) + "loop_\n", 1)
    return (text + COMMENT).encode()


def not_a_number() -> bytes:
    data = values(SHAPE).astype(np.float32)
    data[3, 4, 5] = np.nan
    return map_bytes(data)


EXPECTED = Expected(size=SHAPE[::-1])
# kind -> (path, gate, name, good, other of the same length, of another entry, impossible values)
KINDS = {
    "map": (
        map_path(EMDB),
        partial(map_gate, expected=EXPECTED),
        "map.map.gz",
        (a_map(), a_map(1), a_map(shape=(14, 14, 14)), not_a_number()),
    ),
    "half_map_1": (
        half_map_paths(EMDB)[0],
        partial(map_gate, expected=EXPECTED),
        "half_map_1.map.gz",
        (a_map(2), a_map(3), a_map(shape=(11, 13, 14)), not_a_number()),
    ),
    "model": (
        model_paths(PDB)[0],
        partial(model_gate, pdb_id=PDB, emdb_id=EMDB),
        "model.cif.gz",
        (
            a_model(related=EMDB),
            a_model(related=EMDB).replace(b" ALA ", b" GLY "),
            a_model("1ABC"),
            a_model(change=at(3, Cartn_x="nan")),
        ),
    ),
}
BODIES = {KINDS[kind][0]: packed(KINDS[kind][3][0]) for kind in KINDS}
OTHERS = {KINDS[kind][0]: packed(KINDS[kind][3][1]) for kind in KINDS}
STRANGERS = {KINDS[kind][0]: packed(KINDS[kind][3][2]) for kind in KINDS}
DAMAGED = {KINDS[kind][0]: packed(KINDS[kind][3][3]) for kind in KINDS}


def bomb(plain: bytes, filling: bytes) -> bytes:
    """65 MiB more than there should be, in 65 kB."""
    return gzip.compress(plain + filling * (65 << 20), 1, mtime=0)


MASK = {mask_path(EMDB): a_map(5)}


def source(*bases, **changes) -> Source:
    settings = {"limits": PATIENT, "attempts": 3, "backoff_s": 0.0, "resume_from": 1000}
    return Source(bases, **(settings | changes))


def request(kind, folder, **changes) -> Request:
    path, gate, name, _ = KINDS[kind]
    settings = {
        "emdb_id": EMDB,
        "kind": kind,
        "path": path,
        "out": folder / name,
        "gate": gate,
        "resumable": kind != "model",
    }
    return Request(**(settings | changes))


def fetch(kind, bases, folder, recorded=None, wanted=None, **changes) -> dict:
    """Fetch one file; `wanted` changes the request, `changes` the source."""
    bases = (bases,) if isinstance(bases, str) else bases
    with Downloader(source(*bases, **changes)) as downloader:
        return downloader.fetch(request(kind, folder, **(wanted or {})), recorded)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())

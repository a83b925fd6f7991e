"""What a file is, told by its first bytes and never by its name.

Nothing here opens a library: a reader that guesses (an empty structure from a web page, atoms at
wrong places from a damaged CIF) must not see a file before its kind is settled.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from cryoclarity.errors import InputError
from cryoclarity.io.files import GZIP_MAGIC, check_regular, unpacked_blocks

HEAD_BYTES = 1 << 16
MAP_WORD = slice(208, 211)
MAP_HEADER_BYTES = 1024
EXCERPT = 40
# Of the bytes of a text that is no UTF-8: names with accents, not one letter after another.
LARGEST_LOST_SHARE = 0.3

COMPRESSIONS = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7z",
}
UTF_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
UTF8_MARK = b"\xef\xbb\xbf"
POINTERS = (b"version https://git-lfs", b"/annex/objects/", b"../.git/annex")
PAGE_STARTS = (b"<!doctype html", b"<html")
# Control bytes that no text of a model or a table holds.
CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")
CIF_MARKS = re.compile(rb"^(data_|_atom_site[.])", re.IGNORECASE | re.MULTILINE)
PDB_RECORDS = frozenset(
    "HEADER TITLE COMPND SOURCE KEYWDS EXPDTA AUTHOR REVDAT JRNL REMARK DBREF DBREF1 DBREF2 SEQADV "
    "SEQRES MODRES HET HETNAM HETSYN FORMUL HELIX SHEET TURN SSBOND LINK CISPEP SITE CRYST1 "
    "ORIGX1 ORIGX2 ORIGX3 SCALE1 SCALE2 SCALE3 MTRIX1 MTRIX2 MTRIX3 MODEL ATOM ANISOU TER HETATM "
    "CONECT OBSLTE USER NUMMDL SPLIT CAVEAT MDLTYP SPRSDE ENDMDL MASTER END".split()
)


@dataclass(frozen=True)
class Content:
    """What the first bytes of a file say.

    Attributes
    ----------
    kind : str
        ``map mmcif pdb gzip compression html pointer xml json encoding text blank binary``.
    detail : str
        The compression's name, the page's title, or the first characters.
    """

    kind: str
    detail: str = ""


def content_of(head: bytes) -> Content:
    """Tell what kind of file starts with these unpacked bytes.

    Parameters
    ----------
    head : bytes
        The first :data:`HEAD_BYTES` or fewer.

    Returns
    -------
    Content
    """
    if head.startswith(GZIP_MAGIC):
        return Content("gzip")
    # A map's sizes leave zero bytes in front of the word; a text that spells MAP there has none.
    if head[MAP_WORD] == b"MAP" and CONTROL.search(head[: MAP_WORD.start]):
        return Content("map")
    for magic, name in COMPRESSIONS.items():
        if head.startswith(magic):
            return Content("compression", name)
    if head.startswith(UTF_MARKS):
        return Content("encoding", "a UTF-16 or UTF-32 byte-order mark")
    text = head.removeprefix(UTF8_MARK).lstrip()
    excerpt = text[:EXCERPT].decode("latin-1")
    special = _marked_text(text)
    if special:
        return special
    # NUL bytes inside a model are a fault of the model, not a reason to take it for a picture.
    without_nul = text.replace(b"\0", b"")
    if CONTROL.search(without_nul) or _is_no_script(without_nul):
        return Content("binary", head[:8].hex())
    structured = _model_text(without_nul)
    if structured:
        return Content(structured, excerpt)
    if b"\0" in text:
        return Content("binary", head[:8].hex())
    if not text:
        return Content("blank")
    return Content("json" if text[:1] in b"{[" else "text", " ".join(excerpt.split()))


def _is_no_script(text: bytes) -> bool:
    """Whether bytes without control characters are text in neither UTF-8 nor Latin-1."""
    lost = len(text) - len(text.decode("utf-8", "ignore").encode())
    return lost > LARGEST_LOST_SHARE * len(text)


def _marked_text(text: bytes) -> Content | None:
    lowered = text[:HEAD_BYTES].lower()
    if lowered.startswith(PAGE_STARTS) or (lowered.startswith(b"<") and b"<html" in lowered[:2000]):
        title = re.search(rb"<title[^>]*>(.*?)</title", text, re.IGNORECASE | re.DOTALL)
        words = title.group(1).decode("latin-1").split() if title else []
        return Content("html", " ".join(words)[:80])
    if text.startswith(POINTERS[0]) or any(mark in text[:300] for mark in POINTERS[1:]):
        return Content("pointer")
    if lowered.startswith((b"<?xml", b"<")):
        return Content("xml", text[:EXCERPT].decode("latin-1"))
    return None


def _model_text(text: bytes) -> str | None:
    unix = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    first = unix.split(b"\n", 1)[0][:6].decode("latin-1").split()
    # A CIF is told by its marks anywhere, a PDB file by its first record.
    if first and first[0] in PDB_RECORDS and not unix.lower().startswith(b"data_"):
        return "pdb"
    return "mmcif" if CIF_MARKS.search(unix) else None


def read_head(path: str | Path, size: int = HEAD_BYTES) -> bytes:
    """Return the first unpacked bytes of a plain or gzip file.

    Raises
    ------
    InputError
        FILE_* when the file is missing, irregular, empty or damaged within these bytes.
    """
    path = check_regular(path)
    with path.open("rb") as handle:
        start = handle.read(size)
    if not start.startswith(GZIP_MAGIC):
        return start
    head = b""
    # 1 << 62: the caps belong to whoever reads the whole file.
    for block in islice(unpacked_blocks(path, 1 << 62), size):
        head += block
        if len(head) >= size:
            break
    return head[:size]


def require_map(path: str | Path) -> None:
    """Refuse a file that is no map by content, before any reader opens it.

    Raises
    ------
    InputError
        FILE_* of what it is instead. A file without the MAP word that may still be an old map is
        left to the header rules.
    """
    require_map_head(read_head(path), path)


def require_map_head(head: bytes, path: str | Path) -> None:
    """Refuse the first bytes of what is no map; see :func:`require_map`.

    Parameters
    ----------
    head : bytes
        Unpacked; at least 1024 of them, or all that there are.
    path : path
        Named in the refusal.
    """
    found = content_of(head)
    if found.kind == "map":
        return
    refuse_container(found, path)
    if found.kind != "binary":
        raise InputError(
            f"text where a map was expected: '{found.detail}'", code="FILE_TEXT", file=path
        )
    if len(head) < MAP_HEADER_BYTES and not _cut_header(head):
        raise InputError(
            f"not an MRC/CCP4 map or a model (starts with {found.detail})",
            code="FILE_NOT_MAP",
            file=path,
        )


def refuse_container(found: Content, path: str | Path) -> None:
    """Refuse what is neither map nor model whatever it should have been.

    Raises
    ------
    InputError
        FILE_GZ_NESTED, FILE_COMPRESSION, FILE_HTML or FILE_LFS_POINTER.
    """
    refusals = {
        "gzip": ("FILE_GZ_NESTED", "gzip inside gzip", "unpack it once"),
        "compression": (
            "FILE_COMPRESSION",
            f"compression {found.detail} is not supported",
            "unpack it first",
        ),
        "html": ("FILE_HTML", f"this is a web page: '{found.detail}'", "download it again"),
        "pointer": (
            "FILE_LFS_POINTER",
            "git LFS or annex pointer, the content is missing",
            "git lfs pull",
        ),
    }
    if found.kind in refusals:
        code, message, remedy = refusals[found.kind]
        raise InputError(message, code=code, file=path, remedy=remedy)


def _cut_header(head: bytes) -> bool:
    """Whether fewer than 1024 bytes look like the start of a map header in either byte order."""
    if len(head) < 16:
        return False
    for order in "<>":
        *sizes, mode = struct.unpack(order + "4i", head[:16])
        if all(1 <= size < 100_000 for size in sizes) and 0 <= mode <= 16:
            return True
    return False

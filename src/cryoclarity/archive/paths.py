"""Where the files of an entry lie below an archive's base URL.

The layout is that of the public mirrors: ``<base>/emdb/...`` and ``<base>/pdb/...``. A base may be
``https://``, ``http://``, ``file://`` or a plain folder.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from cryoclarity.errors import InputError

EMDB_ID = re.compile(r"(?:EMD-)?(\d{4,6})", re.IGNORECASE)
SHORT_PDB_ID = re.compile(r"[1-9][a-z0-9]{3}")
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
EXTENDED_PDB_ID = re.compile(r"pdb_([a-z0-9]{8})")


def emdb_number(emdb_id: str) -> str:
    """Return the number of an EMDB id as its paths spell it.

    Raises
    ------
    InputError
        ID_BAD.
    """
    match = EMDB_ID.fullmatch(emdb_id.strip())
    if not match:
        raise InputError(
            f"{emdb_id!r} is no EMDB id", code="ID_BAD", remedy="write EMD- and 4 to 6 digits"
        )
    return match.group(1)


def pdb_code(pdb_id: str) -> str:
    """Return a PDB id in the form that paths use: small letters, short where it can be.

    Raises
    ------
    InputError
        ID_BAD.
    """
    name = pdb_id.strip().lower()
    extended = EXTENDED_PDB_ID.fullmatch(name)
    if extended and extended.group(1).startswith("0000"):
        name = extended.group(1)[4:]
    if SHORT_PDB_ID.fullmatch(name) or EXTENDED_PDB_ID.fullmatch(name):
        return name
    raise InputError(
        f"{pdb_id!r} is no PDB id",
        code="ID_BAD",
        remedy="write a digit and 3 characters, or pdb_ and 8 characters",
    )


def map_path(emdb_id: str) -> str:
    """Return the path of the primary map."""
    number = emdb_number(emdb_id)
    return f"emdb/structures/EMD-{number}/map/emd_{number}.map.gz"


def half_map_paths(emdb_id: str) -> tuple[str, str]:
    """Return the paths of both half maps."""
    number = emdb_number(emdb_id)
    stem = f"emdb/structures/EMD-{number}/other/emd_{number}_half_map_"
    return f"{stem}1.map.gz", f"{stem}2.map.gz"


def half_map_path(emdb_id: str, name: str) -> str:
    """Return the path of a half map by the name that the entry document gives it.

    Raises
    ------
    InputError
        ID_BAD when the name is no plain file name.
    """
    return f"emdb/structures/EMD-{emdb_number(emdb_id)}/other/{_plain_name(name)}"


def mask_path(emdb_id: str, name: str = "") -> str:
    """Return the path of a mask by its name, by default of the first.

    Raises
    ------
    InputError
        ID_BAD when the name is no plain file name.
    """
    number = emdb_number(emdb_id)
    name = _plain_name(name or f"emd_{number}_msk_1.map")
    return f"emdb/structures/EMD-{number}/masks/{name}"


def _plain_name(name: str) -> str:
    """A name from a table or a document must not lead to another folder."""
    if not PLAIN_NAME.fullmatch(name):
        raise InputError(f"{name!r} is no file name of the archive", code="ID_BAD")
    return name


def header_path(emdb_id: str) -> str:
    """Return the path of the header XML, schema 3."""
    number = emdb_number(emdb_id)
    return f"emdb/structures/EMD-{number}/header/emd-{number}-v30.xml"


def model_paths(pdb_id: str) -> tuple[str, str]:
    """Return the paths of a model's mmCIF and PDB form, the better first.

    Large models have no PDB form, and small mirrors may hold only one of the two.
    """
    code = pdb_code(pdb_id)
    folder = code[-3:-1]  # second and third character of a short id
    root = "pdb/data/structures/divided"
    return f"{root}/mmCIF/{folder}/{code}.cif.gz", f"{root}/pdb/{folder}/pdb{code}.ent.gz"


def is_local(base_url: str) -> bool:
    """Whether a base is a folder of this machine."""
    return "://" not in base_url or base_url.lower().startswith("file://")


def join(base_url: str, path: str) -> str:
    """Return the URL, or for a local base the file name, of a path below the base."""
    if is_local(base_url):
        return str(local_folder(base_url) / path)
    return f"{base_url.rstrip('/')}/{quote(path)}"


def local_folder(base_url: str) -> Path:
    """Return the folder that a local base names."""
    if "://" in base_url:
        return Path(unquote(urlsplit(base_url).path))
    return Path(base_url).expanduser()

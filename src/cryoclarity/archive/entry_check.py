"""What the entry document says about the files of an entry, before and while they are fetched."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryoclarity.archive.documents import OBSOLETE, RELEASED, facts_of_document
from cryoclarity.archive.entries import Documents
from cryoclarity.archive.responses import Responses
from cryoclarity.archive.search import API
from cryoclarity.archive.stream_gate import Expected
from cryoclarity.errors import InputError
from cryoclarity.io.files import read_json, sha256_of
from cryoclarity.selection.facts import EntryFacts

KILOBYTE = 1000


@dataclass(frozen=True)
class EntryDocument:
    """The facts of an entry, and where they stand.

    Attributes
    ----------
    facts : EntryFacts
    origin : dict
        ``url sha256 retrieved_utc`` for the records of the files.
    """

    facts: EntryFacts
    origin: dict[str, str]

    @property
    def map(self) -> Expected:
        """What the primary map must be."""
        facts = self.facts
        return Expected(facts.size, facts.voxel_size, facts.statistics)

    @property
    def half_map(self) -> Expected:
        """What a half map must be: same grid, other values."""
        return Expected(self.facts.size, self.facts.voxel_size)


def check_status(facts: EntryFacts) -> None:
    """Refuse an entry that the archive does not offer any more, or not yet.

    Raises
    ------
    InputError
        ID_OBSOLETE with the successors, or ID_UNRELEASED.
    """
    if facts.status == OBSOLETE:
        named = ", ".join(facts.successors) or "none named"
        raise InputError(
            f"{facts.emdb_id} is obsolete; successor: {named}",
            code="ID_OBSOLETE",
            remedy="list the successor instead",
        )
    if facts.status not in (RELEASED, ""):
        message = f"{facts.emdb_id} has status {facts.status}"
        raise InputError(message, code="ID_UNRELEASED")


def document_at_hand(
    folder: str | Path,
    emdb_id: str,
    *,
    api_url: str = API,
    metadata: str = "api",
    base_url: str = "",
) -> EntryDocument | None:
    """Return an entry's document if a folder holds it; nothing is asked for.

    Parameters
    ----------
    folder : path
        Answers that a selection saved, or documents named ``EMD-N.json``; '' for none.
    emdb_id : str
    api_url, metadata, base_url
        Of the selection that asked, see :class:`cryoclarity.archive.entries.Documents`.

    Raises
    ------
    InputError
        ID_UNKNOWN when the saved answer says that there is no such entry; NET_SCHEMA.
    """
    if not str(folder):
        return None
    file = Path(folder) / f"{emdb_id}.json"
    if file.is_file():
        origin = {"url": file.name, "sha256": sha256_of(file), "retrieved_utc": ""}
        return EntryDocument(facts_of_document(read_json(file)), origin)
    documents = _saved(str(folder), api_url, metadata, base_url)
    url = documents.url(emdb_id)
    if documents.responses.missing([url]):
        return None
    found, misfits = documents.facts([emdb_id])
    if emdb_id in found:
        record = documents.responses.used.get(url)
        origin = {
            "url": url,
            "sha256": record.sha256 if record else "",
            "retrieved_utc": record.date if record else "",
        }
        return EntryDocument(found[emdb_id], origin)
    (lost,) = misfits.lost
    raise InputError(lost.message, code=lost.code)


@lru_cache(maxsize=1)
def _saved(folder: str, api_url: str, metadata: str, base_url: str) -> Documents:
    return Documents(Responses(folder, offline=True), api_url, metadata, base_url)

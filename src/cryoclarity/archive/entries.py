"""Facts of many entries from their documents; what cannot be had is a row, not an end."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryoclarity.archive.documents import (
    OBSOLETE,
    RELEASED,
    document_of_header,
    facts_of_document,
    schema_error,
)
from cryoclarity.archive.paths import header_path, join
from cryoclarity.archive.responses import Responses
from cryoclarity.archive.search import API, entry_url, parse_json
from cryoclarity.errors import InputError
from cryoclarity.selection.facts import EntryFacts, accession_number

LOGGER = logging.getLogger(__name__)
# A share of misfits beyond this is no longer a matter of entries: the archive has changed.
MOST_MISFITS = 0.2
FEWEST_MISFITS = 5
LONGEST_CHAIN = 10


@dataclass(frozen=True)
class Lost:
    """An entry of which nothing can be taken, with code and message."""

    emdb_id: str
    code: str
    message: str


@dataclass
class Misfits:
    """Counts what does not fit the archive's schema, and stops when it is too much."""

    lost: list[Lost] = field(default_factory=list)

    def add(self, emdb_id: str, error: InputError) -> None:
        """Note an entry's error."""
        LOGGER.warning("%s: %s", emdb_id, error)
        self.lost.append(Lost(emdb_id, error.code, error.message))

    def check(self, total: int) -> None:
        """Stop when too large a share of `total` entries has failed.

        Raises
        ------
        InputError
            The code of most failures.
        """
        failed = [one for one in self.lost if one.code != "ID_UNKNOWN"]
        if len(failed) < FEWEST_MISFITS or len(failed) <= MOST_MISFITS * total:
            return
        codes = [one.code for one in failed]
        code = max(sorted(set(codes)), key=codes.count)
        example = next(one for one in failed if one.code == code)
        raise InputError(
            f"{len(failed)} of {total} entries failed, such as: {example.message}",
            code=code,
            remedy="the archive's answers have changed, or it is ill: nothing was selected",
        )


@dataclass
class Documents:
    """Where entry documents come from.

    Attributes
    ----------
    responses : Responses
    api : str
        Base URL of the entry service.
    metadata : 'api' or 'xml'
        Documents of the service, or header files of the mirrors.
    base_url : str
        Root of the mirror.
    """

    responses: Responses
    api: str = API
    metadata: str = "api"
    base_url: str = ""

    def url(self, emdb_id: str) -> str:
        """Return where an entry's document is."""
        if self.metadata == "xml":
            return join(self.base_url, header_path(emdb_id))
        return entry_url(self.api, emdb_id)

    def facts(self, emdb_ids: Iterable[str]) -> tuple[dict[str, EntryFacts], Misfits]:
        """Return the facts of entries by id, and what could not be read.

        Raises
        ------
        InputError
            NET_OFFLINE; NET_SCHEMA when more than a fifth of the documents does not fit; NET_*
            of a host that is down.
        """
        ids = sorted(set(emdb_ids), key=accession_number)
        self.responses.prefetch([self.url(name) for name in ids], self._check)
        found: dict[str, EntryFacts] = {}
        misfits = Misfits()
        for name in ids:
            try:
                found[name] = self._read(name)
            except InputError as error:
                if error.code == "NET_OFFLINE":
                    raise
                if error.code == "NET_NOT_FOUND":
                    error = InputError(f"{name} is not in the archive", code="ID_UNKNOWN")
                misfits.add(name, error)
        misfits.check(len(ids))
        return found, misfits

    def _read(self, emdb_id: str) -> EntryFacts:
        body = self.responses.get(self.url(emdb_id), check=self._check)
        facts = facts_of_document(self._parsed(body))
        if facts.emdb_id != emdb_id:
            raise schema_error("emdb_id", facts.emdb_id, emdb_id)
        return facts

    def _parsed(self, body: bytes) -> object:
        if self.metadata == "xml":
            return document_of_header(body)
        return parse_json(body, "entry")

    def _check(self, body: bytes) -> None:
        """Refuse a body that was cut: another transfer may bring all of it."""
        try:
            self._parsed(body)
        except InputError as error:
            raise InputError(error.message, code="NET_PROTOCOL") from error


@dataclass(frozen=True)
class Named:
    """What became of an id that a list names: the entry that stands for it, or why none does."""

    asked: str
    facts: EntryFacts | None = None
    code: str = ""
    message: str = ""


def follow(documents: Documents, emdb_ids: Iterable[str], *, successors: bool) -> list[Named]:
    """Look up the entries that a list names; obsolete ones give way to their successors.

    Parameters
    ----------
    documents : Documents
    emdb_ids : iterable of str
    successors : bool
        Whether to follow; else an obsolete entry is lost with ID_OBSOLETE.

    Returns
    -------
    list of Named
        By accession number of the id that was asked for.
    """
    asked = sorted(set(emdb_ids), key=accession_number)
    known, misfits = documents.facts(asked)
    lost = {one.emdb_id: one for one in misfits.lost}
    for _ in range(LONGEST_CHAIN if successors else 0):
        wanted = {
            facts.successors[0]
            for facts in known.values()
            if facts.status == OBSOLETE and facts.successors
        } - (known.keys() | lost.keys())
        if not wanted:
            break
        found, misfits = documents.facts(wanted)
        known |= found
        lost |= {one.emdb_id: one for one in misfits.lost}
    return [_named(name, known, lost, successors) for name in asked]


def _named(
    asked: str, known: dict[str, EntryFacts], lost: dict[str, Lost], successors: bool
) -> Named:
    name, chain = asked, [asked]
    while name in known and known[name].status == OBSOLETE:
        following = known[name].successors
        if not (successors and following) or following[0] in chain:
            named = f"successor {', '.join(following)}" if following else "no successor named"
            return Named(asked, None, "ID_OBSOLETE", f"{' -> '.join(chain)} is obsolete, {named}")
        if len(following) > 1:
            LOGGER.warning("%s has several successors: %s", name, ", ".join(following))
        name = following[0]
        chain.append(name)
    if name not in known:
        reason = lost.get(name)
        if reason is None:
            return Named(asked, None, "ID_OBSOLETE", f"{' -> '.join(chain)}: too long a chain")
        return Named(asked, None, reason.code, reason.message)
    facts = known[name]
    if facts.status != RELEASED:
        message = f"{name} has status {facts.status}"
        return Named(asked, None, "ID_UNRELEASED", message)
    note = f"successor of {asked}" if name != asked else ""
    return Named(asked, facts, "", note)

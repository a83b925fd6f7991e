"""Sequence clusters of the pool, streamed from the weekly file of RCSB."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from cryoclarity.archive.responses import Responses
from cryoclarity.errors import InputError
from cryoclarity.selection.clusters import Entity, parse_clusters

FILE_URL = "https://cdn.rcsb.org/resources/sequence/clusters/clusters-by-entity-{identity}.txt"


def cluster_url(template: str, identity: int) -> str:
    """Return the URL (or file name) of the clusters at an identity in percent."""
    return template.replace("{identity}", str(identity))


def read_clusters(
    responses: Responses, url: str, pdb_ids: Collection[str]
) -> dict[str, tuple[Entity, ...]]:
    """Return the clusters of the models of a pool.

    Parameters
    ----------
    responses : Responses
    url : str
    pdb_ids : collection of str
        The pool; memory grows with it, not with the file, which holds mostly computed models.

    Raises
    ------
    InputError
        NET_*; NET_SCHEMA when the file is no text.
    """
    return parse_clusters(_text_lines(responses, url), pdb_ids)


def _text_lines(responses: Responses, url: str) -> Iterator[str]:
    for number, line in enumerate(responses.lines(url), start=1):
        try:
            yield line.decode("ascii")
        except UnicodeDecodeError as error:
            message = f"cluster file, line {number}: no ASCII text"
            raise InputError(message, code="NET_SCHEMA") from error

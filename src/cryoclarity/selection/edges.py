"""What makes two entries relatives: the tokens that entries share.

Two entries that hold one token are joined. Grouping entries by token costs one step per
membership, where comparing entries with each other would cost one per pair.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryoclarity.selection.clusters import Clusters, clusters_of, names_of
from cryoclarity.selection.facts import EntryFacts, plain_pdb_id
from cryoclarity.selection.rivals import content_key

PLACEHOLDER = re.compile(r"\([^)]*\)")


@dataclass(frozen=True, slots=True)
class Relations:
    """All that edges are made of, besides the facts of the entries.

    Attributes
    ----------
    settings : dict
        Of :func:`cryoclarity.selection.settings.edge_settings`.
    clusters : mapping or None
        Sequence clusters by PDB id; None when no cluster file could be had.
    pairs : sequence of (str, str)
        A user's pairs of EMDB ids.
    content : mapping
        EMDB id to hashes of its canonical map and half maps, as far as they are known.
    """

    settings: Mapping[str, Any]
    clusters: Clusters | None = None
    pairs: Sequence[tuple[str, str]] = ()
    content: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def seq_label(self) -> str:
        """Return the kind of the sequence edges (``seq30``)."""
        return f"seq{self.settings['seq_identity']}"

    @property
    def by_uniprot(self) -> bool:
        """Tell whether UniProt accessions join: asked for, or all there is."""
        wanted = self.settings["uniprot"]
        return wanted == "on" or (wanted == "auto" and self.clusters is None)


def user_tokens(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the tokens of a user's pairs by EMDB id."""
    tokens: dict[str, list[str]] = {}
    for first, second in pairs:
        token = f"user:{first}+{second}"
        for emdb_id in (first, second):
            tokens.setdefault(emdb_id, []).append(token)
    return tokens


def nucleic_token(sequence: str, min_length: int) -> str:
    """Return a token for a nucleic sequence, DNA and RNA alike; empty when it is too short.

    A modified residue in parentheses counts as one.
    """
    text = "".join(sequence.split()).upper().replace("T", "U")
    plain = PLACEHOLDER.sub("N", text)
    # Unknown bases are not the same bases.
    if len(plain) < min_length or not set(plain) - {"N", "X"}:
        return ""
    return hashlib.sha256(plain.encode()).hexdigest()[:12]


def plain_doi(text: str) -> str:
    """Return a DOI without prefix, in lower case: it is the same in any."""
    return re.sub(r"^(doi:|https?://(dx\.)?doi\.org/)", "", text.strip().lower())


def tokens_of(
    facts: EntryFacts, relations: Relations, by_user: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Yield the tokens of an entry that join it with whoever else holds them.

    Sequence clusters are not among them: a limit or a share may stand on those, see
    :func:`sequence_clusters`.

    Parameters
    ----------
    facts : EntryFacts
    relations : Relations
    by_user : mapping
        Of :func:`user_tokens`.
    """
    settings = relations.settings
    if settings["pdb"]:
        for pdb_id in facts.pdb_ids:
            yield f"pdb:{plain_pdb_id(pdb_id)}"
    if settings["xref"] == "shared":
        yield f"xref:{facts.emdb_id}"
        for other in facts.related:
            yield f"xref:{other}"
    if settings["data"]:
        key = content_key(facts)
        if key:
            yield f"data:{key}"
        for digest in relations.content.get(facts.emdb_id, ()):
            yield f"data:{digest}"
    if settings["citation"] and facts.doi:
        yield f"citation:{plain_doi(facts.doi)}"
    if relations.by_uniprot:
        for accession in facts.uniprot:
            yield f"uniprot:{accession.upper()}"
    if settings["nucleic"]:
        for sequence in facts.nucleic_sequences:
            token = nucleic_token(sequence, settings["nucleic_min_length"])
            if token:
                yield f"nucleic:{token}"
    if settings["user"]:
        yield from by_user.get(facts.emdb_id, ())


def sequence_clusters(facts: EntryFacts, relations: Relations) -> dict[str, None]:
    """Return the sequence clusters of an entry, each once."""
    if relations.settings["seq"] == "off" or not relations.clusters:
        return {}
    return names_of(facts, relations.clusters, relations.settings["seq_min_residues"])


def sequence_weights(facts: EntryFacts, relations: Relations) -> dict[str, float]:
    """Return the sequence clusters of an entry and its residues in each."""
    if relations.settings["seq"] == "off" or not relations.clusters:
        return {}
    return clusters_of(facts, relations.clusters, relations.settings["seq_min_residues"])

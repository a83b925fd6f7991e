"""What a selection asks about models: from the weekly cluster file, or model by model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryoclarity.archive.clusters import cluster_url, read_clusters
from cryoclarity.archive.models import Model, read_models
from cryoclarity.archive.responses import Responses
from cryoclarity.selection.clusters import Clusters
from cryoclarity.selection.facts import EntryFacts
from cryoclarity.selection.rivals import ModelFacts


@dataclass
class Models:
    """Source of clusters and facts of models.

    Attributes
    ----------
    responses : Responses
    kind : 'file' or 'graphql'
        The file knows clusters only; the service also resolution, size and chain lengths.
    file_url, graphql_url : str
    identity : int
        Of the clusters, in percent.
    """

    responses: Responses
    kind: str
    file_url: str
    graphql_url: str
    identity: int
    _known: dict[str, Model] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, ModelFacts]:
        """What is known of models, by PDB id."""
        return {name: model.facts for name, model in self._known.items()}

    def complete(self, entries: Sequence[EntryFacts]) -> list[EntryFacts]:
        """Return entries with the resolution of their model, where there is one and it is known."""
        if self.kind != "graphql":
            return list(entries)
        self._ask(entries)
        return [self._completed(facts) for facts in entries]

    def clusters(self, entries: Sequence[EntryFacts]) -> Clusters | None:
        """Return the sequence clusters of the entries' models, None without a source."""
        if self.kind == "graphql":
            self._ask(entries)
            return {name: model.entities for name, model in self._known.items()}
        if not self.file_url:
            return None
        url = cluster_url(self.file_url, self.identity)
        return read_clusters(self.responses, url, _pdb_ids(entries))

    def _ask(self, entries: Sequence[EntryFacts]) -> None:
        missing = _pdb_ids(entries) - self._known.keys()
        if missing:
            self._known |= read_models(self.responses, self.graphql_url, missing, self.identity)

    def _completed(self, facts: EntryFacts) -> EntryFacts:
        model = self._known.get(facts.pdb_ids[0]) if len(facts.pdb_ids) == 1 else None
        if model is None or model.facts.resolution is None:
            return facts
        return dataclasses.replace(facts, model_resolution=model.facts.resolution)


def _pdb_ids(entries: Sequence[EntryFacts]) -> set[str]:
    return {pdb_id for facts in entries for pdb_id in facts.pdb_ids}

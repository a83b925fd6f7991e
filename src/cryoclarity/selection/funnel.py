"""The filter funnel: how many entries each filter took, and which filters each entry fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryoclarity.selection.facts import accession_number
from cryoclarity.selection.filters import Finding, code_of
from cryoclarity.selection.settings import FILTERS

# F21 asks for better entries among those that all other filters leave: it comes last.
ORDER: tuple[str, ...] = tuple(FILTERS)
AFTER_DOWNLOAD = frozenset({"F16_unknown", "F17_backbone", "F18_coverage", "F19_fit"})
EXAMPLES = 5

FUNNEL_COLUMNS = (
    "filter",
    "code",
    "enabled",
    "in",
    "out",
    "dropped",
    "warned",
    "fails",
    "examples",
)
REJECTED_COLUMNS = ("emdb_id", "filter", "code", "outcome", "charged", "value", "limit", "message")


@dataclass(frozen=True, slots=True)
class Funnel:
    """Counts of one selection.

    Attributes
    ----------
    rows : list of dict
        One row per filter in order, keys :data:`FUNNEL_COLUMNS`. `dropped` counts the entries
        charged to the filter, `fails` all that it would drop alone, `warned` its warnings.
    rejected : list of dict
        Every drop and warning, keys :data:`REJECTED_COLUMNS`, by accession number.
    charged : dict
        EMDB id to the filter that dropped it.
    """

    rows: list[dict[str, Any]]
    rejected: list[dict[str, str]]
    charged: dict[str, str]


def first_drops(findings: Iterable[Finding]) -> dict[str, str]:
    """Return for each dropped entry the first filter, in order, that drops it."""
    place = {name: number for number, name in enumerate(ORDER)}
    charged: dict[str, str] = {}
    for finding in findings:
        if finding.outcome != "drop":
            continue
        before = charged.get(finding.emdb_id)
        if before is None or place[finding.name] < place[before]:
            charged[finding.emdb_id] = finding.name
    return charged


def funnel(
    entries: Iterable[str],
    findings: Sequence[Finding],
    settings: Mapping[str, Mapping[str, Any]],
) -> Funnel:
    """Count entries along the filters.

    Parameters
    ----------
    entries : iterable of str
        EMDB ids of the whole pool.
    findings : sequence of Finding
        Of all phases; one that occurs in two phases counts once, the later one.
    settings : dict
        Of the filters.

    Returns
    -------
    Funnel
        Filters that need the fetched files are not in it: they drop nobody from a selection.
    """
    unique = {(finding.emdb_id, finding.name): finding for finding in findings}
    charged = first_drops(unique.values())
    by_filter: dict[str, list[Finding]] = {}
    for finding in unique.values():
        by_filter.setdefault(finding.name, []).append(finding)
    remaining = len(set(entries))
    rows = []
    for name in ORDER:
        if name in AFTER_DOWNLOAD:
            continue
        found = by_filter.get(name, ())
        drops = [finding.emdb_id for finding in found if finding.outcome == "drop"]
        own = sorted((one for one in drops if charged[one] == name), key=accession_number)
        row = {
            "filter": name,
            "code": code_of(name),
            "enabled": "yes" if settings[name]["enabled"] else "no",
            "in": remaining,
            "out": remaining - len(own),
            "dropped": len(own),
            "warned": len(found) - len(drops),
            "fails": len(drops),
            "examples": " ".join(own[:EXAMPLES]),
        }
        remaining = row["out"]
        rows.append(row)
    return Funnel(rows, _rejected(unique.values(), charged), charged)


def _rejected(findings: Iterable[Finding], charged: Mapping[str, str]) -> list[dict[str, str]]:
    place = {name: number for number, name in enumerate(ORDER)}
    ordered = sorted(
        findings, key=lambda finding: (accession_number(finding.emdb_id), place[finding.name])
    )
    return [
        {
            "emdb_id": finding.emdb_id,
            "filter": finding.name,
            "code": finding.code,
            "outcome": finding.outcome,
            "charged": "yes" if charged.get(finding.emdb_id) == finding.name else "no",
            "value": finding.value,
            "limit": finding.limit,
            "message": finding.message,
        }
        for finding in ordered
    ]

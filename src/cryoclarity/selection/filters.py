"""The filters of entries: one small function each, in a table.

A function answers None (the entry passes) or a :class:`Verdict`. It sees one entry's facts and its
own settings only; filters that compare entries stand in :mod:`cryoclarity.selection.rivals`, those
that need the fetched files in :mod:`cryoclarity.selection.file_filters`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from cryoclarity.selection.facts import EntryFacts

Parameters = Mapping[str, Any]


class Verdict(NamedTuple):
    """Why an entry does not pass: the value and the limit it fails, or no value at all."""

    value: str
    limit: str
    missing: bool = False


class Finding(NamedTuple):
    """One line of `rejected_all`: an entry meets a filter.

    `outcome` is ``drop`` or ``warn``.
    """

    emdb_id: str
    name: str
    code: str
    outcome: str
    value: str
    limit: str

    @property
    def message(self) -> str:
        """Return one line for a person."""
        number, _, word = self.name.partition("_")
        return f"F{int(number[1:])} {word}: {self.value} (limit {self.limit})"


Check = Callable[[EntryFacts, Parameters], Verdict | None]


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of the table: what it asks of the search row, and what of the entry document."""

    name: str
    search: Check | None = None
    document: Check | None = None

    @property
    def code(self) -> str:
        """Return the reason code."""
        return code_of(self.name)

    def check(self, phase: str) -> Check | None:
        """Return what to ask in a phase; with the document all that the row said is asked too."""
        return self.search if phase == "search" else self.document or self.search


def code_of(name: str) -> str:
    """Return the reason code of a filter (``F02_resolution`` -> ``SEL_F02_RESOLUTION``)."""
    return f"SEL_{name.upper()}"


def _missing(limit: str) -> Verdict:
    return Verdict("not stated", limit, missing=True)


def _range(low: object, high: object, unit: str = "") -> str:
    return f"{low:g}-{high:g}{unit}" if not isinstance(low, str) else f"{low}..{high}"


def _known(facts: EntryFacts) -> bool:
    """Tell whether the archive was asked about the entry: an empty list then means none."""
    return facts.has_document or bool(facts.status)


@lru_cache(maxsize=64)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    # Blanks of the settings match any run of white space: titles hold line ends.
    parts = (r"\s+".join(map(re.escape, word.split())) for word in words)
    return re.compile(rf"(?<![\w])({'|'.join(parts)})(?![\w])", re.IGNORECASE)


def find_word(text: str, words: Sequence[str]) -> str:
    """Return the first of the words that stands in a text as a whole word, or an empty text."""
    found = _pattern(tuple(words)).search(text) if words else None
    return " ".join(found.group(1).split()) if found else ""


def method(facts: EntryFacts, p: Parameters) -> Verdict | None:
    """F1: structure determination method."""
    limit = ", ".join(p["methods"])
    if not facts.method:
        return _missing(limit)
    wanted = {name.casefold() for name in p["methods"]}
    return None if facts.method.casefold() in wanted else Verdict(facts.method, limit)


def resolution(facts: EntryFacts, p: Parameters) -> Verdict | None:
    """F2: stated resolution."""
    limit = _range(p["min"], p["max"], " Å")
    if facts.resolution is None:
        return _missing(limit)
    if p["min"] <= facts.resolution <= p["max"]:
        return None
    return Verdict(f"{facts.resolution:g}", limit)


def status(facts: EntryFacts, p: Parameters) -> Verdict | None:
    """F3: released entries; the archive's services write the word in either case."""
    limit = ", ".join(p["statuses"])
    if not facts.status:
        return _missing(limit)
    wanted = {word.casefold() for word in p["statuses"]}
    return None if facts.status.casefold() in wanted else Verdict(facts.status, limit)


def no_model(facts: EntryFacts, p: Parameters) -> Verdict | None:
    """F4: a fitted model."""
    if facts.pdb_ids:
        return None
    return Verdict("0", "at least 1 model") if _known(facts) else _missing("at least 1 model")


def model_count(facts: EntryFacts, p: Parameters) -> Verdict | None:
    """F5: exactly one fitted model; mode `best` chooses among several."""
    count = len(facts.pdb_ids)
    if count == 1 or p["mode"] == "best":
        return None
    if not count and not _known(facts):
        return _missing("exactly 1 model")
    return Verdict(str(count), "exactly 1 model")


def overlap(facts: EntryFacts, p: Parameters) -> Verdict | None:
    """F6: the model lies in the map; no stated relation passes."""
    words = [word for _, word in facts.overlaps if word]
    limit = ", ".join(p["words"])
    if not words:
        return _missing(limit)
    wanted = {word.casefold() for word in p["words"]}
    # One model in the map is enough: `chosen_model` takes that one.
    return None if any(word.casefold() in wanted for word in words) else Verdict(words[0], limit)


def half_maps(facts: EntryFacts, p: Parameters) -> Verdict | None:
    """F7: half maps."""
    count, limit = len(facts.half_maps), f"at least {p['min_count']}"
    if count >= p["min_count"]:
        return None
    return Verdict(str(count), limit) if _known(facts) else _missing(limit)


def map_size(facts: EntryFacts, p: Parameters) -> Verdict | None:
    """F8: voxels and kilobytes of the primary map."""
    limit = f"{p['max_voxels']} voxels, {p['max_kbytes']:g} kB"
    if facts.size is None and facts.size_kbytes is None:
        return _missing(limit)
    if facts.size is not None:
        nx, ny, nz = facts.size
        if nx * ny * nz > p["max_voxels"]:
            return Verdict(f"{nx} x {ny} x {nz}", limit)
    if facts.size_kbytes is not None and facts.size_kbytes > p["max_kbytes"]:
        return Verdict(f"{facts.size_kbytes:g} kB", limit)
    return None


def voxel_verdict(
    edges: tuple[float, float, float] | None, resolution: float | None, p: Parameters
) -> Verdict | None:
    """Judge voxel edges (Å): range, equal edges, and whether the resolution is below Nyquist."""
    limit = _range(p["min"], p["max"], " Å, equal edges, half the resolution")
    if edges is None:
        return _missing(limit)
    shortest, longest = min(edges), max(edges)
    text = " x ".join(f"{edge:.6g}" for edge in edges)
    uneven = longest > shortest * (1 + p["max_edge_difference"])
    if not p["min"] <= shortest or not longest <= p["max"] or uneven:
        return Verdict(text, limit)
    # 1e-6: a voxel computed from the cell must not fail by its last digit.
    if p["nyquist"] and resolution is not None and longest > resolution / 2 * (1 + 1e-6):
        return Verdict(f"{text} at {resolution:g} Å", limit)
    return None


def voxel(facts: EntryFacts, p: Parameters) -> Verdict | None:
    """F9: voxel size of the document."""
    return voxel_verdict(facts.voxel_size, facts.resolution, p)


def composite_title(facts: EntryFacts, p: Parameters) -> Verdict | None:
    """F10, by the title alone."""
    found = find_word(facts.title, p["words"])
    return Verdict(f"title says {found!r}", "one reconstruction") if found else None


def composite(facts: EntryFacts, p: Parameters) -> Verdict | None:
    """F10: words, software or relations that tell of a map put together from several."""
    limit = "one reconstruction"
    by_title = composite_title(facts, p)
    if by_title:
        return by_title
    if not facts.has_document:
        return _missing(limit)
    found = find_word(facts.details, p["words"])
    if found:
        return Verdict(f"details say {found!r}", limit)
    tools = [tool.casefold() for tool in p["software"]]
    for name in facts.software:
        if any(tool in name.casefold() for tool in tools):
            return Verdict(f"reconstructed by {name!r}", limit)
    volumes = sum(bool(find_word(words, p["related_words"])) for words in facts.related_words)
    if volumes > p["max_related"]:
        return Verdict(f"{volumes} {' or '.join(p['related_words'])} volumes", limit)
    return None


def sharpened(facts: EntryFacts, p: Parameters) -> Verdict | None:
    """F11: kind of the primary map, as far as its annotation says.

    For `raw` the mean of the half maps can stand in for the primary map.
    """
    kind = p["kind"]
    if kind == "any" or (kind == "raw" and len(facts.half_maps) >= 2):
        return None
    is_raw = find_word(facts.details, p["raw_words"])
    is_sharpened = find_word(facts.details, p["sharpened_words"])
    wanted, other = (is_raw, is_sharpened) if kind == "raw" else (is_sharpened, is_raw)
    if other and not wanted:
        return Verdict(other, kind)
    # Text that says both speaks of another map as well: not decided.
    return None if wanted and not other else _missing(kind)


def res_method(facts: EntryFacts, p: Parameters) -> Verdict | None:
    """F12: the stated resolution stems from an FSC criterion."""
    limit = f"FSC {' | '.join(p['criteria'])}"
    if not facts.resolution_method:
        return _missing(limit)
    text = facts.resolution_method.replace("-", " ")
    by_fsc = find_word(text, ["FSC"]) and find_word(
        text, [criterion.replace("-", " ") for criterion in p["criteria"]]
    )
    return None if by_fsc else Verdict(facts.resolution_method, limit)


def date(facts: EntryFacts, p: Parameters) -> Verdict | None:
    """F13: release date, bounds included."""
    first, last = p["from"], p["to"]
    if not first and not last:
        return None
    limit = _range(first, last)
    day = facts.release_date[:10]
    if not day:
        return _missing(limit)
    return (
        None if (not first or day >= first) and (not last or day <= last) else Verdict(day, limit)
    )


def size_verdict(residues: float | None, p: Parameters) -> Verdict | None:
    """Judge the number of polymer residues."""
    limit = _range(p["min"], p["max"], " residues")
    if residues is None:
        return _missing(limit)
    return None if p["min"] <= residues <= p["max"] else Verdict(f"{residues:.0f}", limit)


def nucleic_verdict(share: float | None, p: Parameters) -> Verdict | None:
    """Judge the share of nucleic residues among the polymer residues."""
    limit = f"{p['min']:g}-{p['max']:g} of the residues"
    if share is None:
        return _missing(limit)
    return None if p["min"] <= share <= p["max"] else Verdict(f"{share:.3f}", limit)


def model_size(facts: EntryFacts, p: Parameters) -> Verdict | None:
    """F14, by the rough numbers of the document."""
    if facts.protein_residues is None and facts.nucleic_residues is None:
        return size_verdict(None, p)
    return size_verdict((facts.protein_residues or 0) + (facts.nucleic_residues or 0), p)


def nucleic(facts: EntryFacts, p: Parameters) -> Verdict | None:
    """F15, by the rough numbers of the document."""
    count = facts.nucleic_residues or 0
    total = (facts.protein_residues or 0) + count
    return nucleic_verdict(count / total if total else None, p)


def mismatch_verdict(stated: float | None, model: float | None, p: Parameters) -> Verdict | None:
    """Judge the resolutions (Å) that map entry and model state."""
    limit = f"within {p['max_difference']:g} Å"
    if stated is None or model is None:
        return _missing(limit)
    # 1e-9: 3.5 and 3.0 differ by the limit, not by more.
    if abs(stated - model) <= p["max_difference"] + 1e-9:
        return None
    return Verdict(f"map {stated:g}, model {model:g} Å", limit)


def res_mismatch(facts: EntryFacts, p: Parameters) -> Verdict | None:
    """F20: map entry and model state one resolution."""
    return mismatch_verdict(facts.resolution, facts.model_resolution, p)


FILTERS: tuple[Filter, ...] = (
    Filter("F01_method", method),
    Filter("F02_resolution", resolution),
    Filter("F03_status", status),
    Filter("F04_no_model", no_model),
    Filter("F05_model_count", model_count),
    Filter("F06_overlap", document=overlap),
    Filter("F07_half_maps", half_maps),
    Filter("F08_map_size", document=map_size),
    Filter("F09_voxel", document=voxel),
    Filter("F10_composite", composite_title, composite),
    Filter("F11_sharpened", document=sharpened),
    Filter("F12_res_method", res_method),
    Filter("F13_date", date),
    Filter("F14_model_size", document=model_size),
    Filter("F15_nucleic", document=nucleic),
    Filter("F20_res_mismatch", document=res_mismatch),
)


def finding_of(
    emdb_id: str, name: str, verdict: Verdict, p: Parameters, trusted: bool = False
) -> Finding | None:
    """Turn a verdict into a finding: `missing`, `action` and trust decide what it does."""
    outcome = p["missing"] if verdict.missing else p["action"]
    if outcome == "pass":
        return None
    if trusted or p["action"] == "warn":
        outcome = "warn"
    return Finding(emdb_id, name, code_of(name), outcome, verdict.value, verdict.limit)


def judge(
    facts: EntryFacts, settings: Mapping[str, Parameters], phase: str, *, trusted: bool = False
) -> list[Finding]:
    """Ask one entry by every filter that is on.

    Parameters
    ----------
    facts : EntryFacts
    settings : dict
        Of :func:`cryoclarity.selection.settings.filter_settings`.
    phase : {'search', 'document'}
        What the facts stem from; with the document the questions to the row are asked again.
    trusted : bool
        Hits only warn.

    Returns
    -------
    list of Finding
        Drops and warnings, in the order of the filters.
    """
    findings = []
    for item in FILTERS:
        p = settings[item.name]
        check = item.check(phase)
        if check is None or not p["enabled"]:
            continue
        verdict = check(facts, p)
        # What the row does not say the document may.
        if verdict is None or (verdict.missing and phase == "search" and p["missing"] == "warn"):
            continue
        finding = finding_of(facts.emdb_id, item.name, verdict, p, trusted)
        if finding is not None:
            findings.append(finding)
    return findings


def dropped(findings: Iterable[Finding]) -> set[str]:
    """Return the entries that a finding drops."""
    return {finding.emdb_id for finding in findings if finding.outcome == "drop"}


def screen(
    pool: Sequence[EntryFacts],
    settings: Mapping[str, Parameters],
    phase: str,
    *,
    trusted: Collection[str] = (),
) -> tuple[list[EntryFacts], list[Finding]]:
    """Filter a pool of entries one by one.

    Parameters
    ----------
    pool : sequence of EntryFacts
    settings, phase
        See :func:`judge`.
    trusted : collection of str
        EMDB ids of a list whose hits only warn.

    Returns
    -------
    kept : list of EntryFacts
        In the order of the pool.
    findings : list of Finding
    """
    trusted = frozenset(trusted)
    kept, findings = [], []
    for facts in pool:
        found = judge(facts, settings, phase, trusted=facts.emdb_id in trusted)
        findings.extend(found)
        if not any(finding.outcome == "drop" for finding in found):
            kept.append(facts)
    return kept, findings

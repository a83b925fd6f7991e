"""Entry documents of EMDB, JSON or header XML, read into facts. All key paths stand here.

The header XML is folded into the shape of the JSON first, so that both give the same facts.
"""

from __future__ import annotations

import dataclasses
import math
import re
import xml.etree.ElementTree as ElementTree

from cryoclarity.errors import InputError
from cryoclarity.selection.facts import EntryFacts

DALTON_PER_MEGADALTON = 1e6
DALTON_PER_RESIDUE = 110.0
DALTON_PER_NUCLEOTIDE = 325.0
PROTEIN = frozenset({"protein_or_peptide"})
NUCLEIC = frozenset({"rna", "dna", "nucleic_acid", "other_macromolecule_nucleic"})
OBSOLETE = "OBS"
RELEASED = "REL"
EMDB_ID = re.compile(r"EMD-\d{4,6}")
PDB_ID = re.compile(r"[0-9][0-9a-z]{3}|pdb_[0-9a-z]{8}")
AXES = ("X", "Y", "Z")
# What the JSON calls by another name than the XML.
XML_NAMES = {"type": "type_"}
CITATIONS = ("citation_type", "journal_citation", "non_journal_citation")


def schema_error(path: str, found: object, emdb_id: str = "") -> InputError:
    """Return the error of a document that lacks a needed key or has it in another type."""
    what = "missing" if found is None else f"{str(found)[:60]!r}"
    return InputError(
        f"{emdb_id or 'entry document'}: {path} is {what}", code="NET_SCHEMA", file=emdb_id or None
    )


def unwrap(value: object) -> object:
    """Return what a wrapped value holds; an empty text counts as nothing.

    Many values of the archive are objects ``{"units": "Å", "valueOf_": "3.97"}``.
    """
    if isinstance(value, dict):
        value = value.get("valueOf_")
    if isinstance(value, str):
        value = value.strip()
    return None if value == "" else value


def listify(value: object) -> list:
    """Return a list: nothing gives none, old conversions hold one object in place of a list."""
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


def number(value: object) -> float | None:
    """Return a finite number, None for anything else."""
    value = unwrap(value)
    if value is None or isinstance(value, bool | list | dict):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def text(value: object) -> str:
    """Return a wrapped text with single blanks, '' for nothing."""
    value = unwrap(value)
    return " ".join(str(value).split()) if isinstance(value, str | int | float) else ""


def pdb_name(value: object) -> str:
    """Return a PDB id in lower case, '' for what is none."""
    name = text(value).lower()
    return name if PDB_ID.fullmatch(name) else ""


def resolution_of(value: object) -> float | None:
    """Return a stated resolution in angstrom; zero and less stand for none."""
    found = number(value)
    return found if found is not None and found > 0 else None


def at(node: object, path: str) -> object:
    """Follow a dotted path; None when it ends early. Of a list the first item is taken.

    Raises
    ------
    InputError
        NET_SCHEMA when text or a number stands where an object belongs.
    """
    for key in path.split("."):
        if isinstance(node, list):
            node = node[0] if node else None
        if node is None or node == "":
            return None
        if not isinstance(node, dict):
            raise schema_error(path, node)
        node = node.get(key)
    return node


def facts_of_document(document: object) -> EntryFacts:
    """Return the facts of an entry document.

    Parameters
    ----------
    document : dict
        As the entry API gives it, or :func:`document_of_header` folds it.

    Raises
    ------
    InputError
        NET_SCHEMA with the path of a needed key that is missing or of another type.
    """
    if not isinstance(document, dict):
        raise schema_error("emdb_id", None)
    emdb_id = text(document.get("emdb_id"))
    if not EMDB_ID.fullmatch(emdb_id):
        raise schema_error("emdb_id", emdb_id or None)
    try:
        return _facts(document, emdb_id)
    except InputError as error:
        message = error.message.removeprefix("entry document")
        raise InputError(f"{emdb_id}{message}", code=error.code, file=error.file) from None
    except (TypeError, AttributeError, ValueError) as error:
        # A list, number or object where the archive's own schema has something else.
        raise schema_error("entry document", error, emdb_id) from error


def _facts(document: dict, emdb_id: str) -> EntryFacts:
    status = text(_needed(document, "admin.current_status.code"))
    determination, reconstruction = _reconstruction(document)
    released = status == RELEASED
    models = _models(document)
    related = _related(document, emdb_id)
    molecules = _Molecules(listify(at(document, "sample.macromolecule_list.macromolecule")))
    return EntryFacts(
        emdb_id=emdb_id,
        status=status,
        method=text(_needed(determination, "method")),
        resolution=resolution_of(at(reconstruction, "resolution")),
        resolution_method=text(at(reconstruction, "resolution_method")),
        title=text(at(document, "admin.title")),
        release_date=_date(document),
        pdb_ids=tuple(dict.fromkeys(name for name, _ in models)),
        overlaps=tuple((name, word) for name, word in models if word),
        half_maps=_files(document, "interpretation.half_map_list.half_map"),
        masks=_files(document, "interpretation.segmentation_list.segmentation"),
        additional_maps=_files(document, "interpretation.additional_map_list.additional_map"),
        contour=_contour(document),
        size=_size(document, needed=released),
        voxel_size=_voxel_size(document, needed=released),
        size_kbytes=number(at(document, "map.size_kbytes")),
        statistics=_statistics(document),
        related=tuple(name for name, _ in related),
        related_words=tuple(words for _, words in related if words),
        details=_details(document, reconstruction),
        software=_software(reconstruction),
        successors=_successors(document) if status == OBSOLETE else (),
        protein_residues=molecules.residues(PROTEIN, DALTON_PER_RESIDUE),
        nucleic_residues=molecules.residues(NUCLEIC, DALTON_PER_NUCLEOTIDE),
        copies=molecules.copies(),
        nucleic_sequences=molecules.nucleic_sequences(),
        uniprot=molecules.references("UNIPROTKB"),
        doi=_doi(document),
        has_document=True,
    )


def _models(document: dict) -> list[tuple[str, str]]:
    """Fitted models, and the word for how each lies in the map."""
    items = listify(at(document, "crossreferences.pdb_list.pdb_reference"))
    pairs = [(pdb_name(item.get("pdb_id")), item) for item in items]
    return [(name, text(at(item, "relationship.in_frame"))) for name, item in pairs if name]


def _needed(node: object, path: str) -> object:
    found = at(node, path)
    if unwrap(found) is None:
        raise schema_error(path, None)
    return found


def _reconstruction(document: dict) -> tuple[object, object]:
    """The first determination with a stated resolution, and its final reconstruction."""
    path = "structure_determination_list.structure_determination"
    determinations = listify(at(document, path))
    if not determinations:
        raise schema_error(path, None)
    pairs = [
        (determination, reconstruction)
        for determination in determinations
        for processing in listify(at(determination, "image_processing"))
        for reconstruction in listify(at(processing, "final_reconstruction"))
    ]
    stated = [pair for pair in pairs if number(at(pair[1], "resolution")) is not None]
    return (stated or pairs or [(determinations[0], None)])[0]


def _date(document: dict) -> str:
    released = at(document, "admin.key_dates.map_release")
    return text(released or at(document, "admin.key_dates.header_release"))[:10]


def update_of(document: dict) -> str:
    """Return the date of a document's last update, ISO 8601, '' when it has none."""
    return text(at(document, "admin.key_dates.update"))[:10]


def _files(document: dict, path: str) -> tuple[str, ...]:
    return tuple(text(item.get("file")) for item in listify(at(document, path)) if item.get("file"))


def _contour(document: dict) -> float | None:
    contours = listify(at(document, "map.contour_list.contour"))
    primary = [c for c in contours if str(c.get("primary")).lower() in ("true", "1")]
    return number(at((primary or contours or [None])[0], "level"))


def _size(document: dict, *, needed: bool) -> tuple[int, int, int] | None:
    """Voxels along x, y, z; the document counts columns, rows and sections of the file."""
    counts = [number(at(document, f"map.dimensions.{key}")) for key in ("col", "row", "sec")]
    if None in counts:
        if needed:
            raise schema_error("map.dimensions", at(document, "map.dimensions"))
        return None
    order = [text(at(document, f"map.axis_order.{key}")) for key in ("fast", "medium", "slow")]
    axes = dict(zip(AXES, AXES, strict=True))
    if sorted(order) == sorted(AXES):
        axes = dict(zip(order, AXES, strict=True))
    by_file = dict(zip(AXES, counts, strict=True))
    return tuple(int(by_file[axes[axis]]) for axis in AXES)


def _voxel_size(document: dict, *, needed: bool) -> tuple[float, float, float] | None:
    """Cell over sampling, because the stated spacing is rounded; else that spacing."""
    cell = [number(at(document, f"map.cell.{edge}")) for edge in "abc"]
    sampling = [number(at(document, f"map.spacing.{axis}")) for axis in "xyz"]
    if all(cell) and all(sampling):
        return tuple(edge / count for edge, count in zip(cell, sampling, strict=True))
    spacing = [number(at(document, f"map.pixel_spacing.{axis}")) for axis in "xyz"]
    if None in spacing:
        if needed:
            raise schema_error("map.pixel_spacing", at(document, "map.pixel_spacing"))
        return None
    return tuple(spacing)


def _statistics(document: dict) -> tuple[float, ...] | None:
    keys = ("minimum", "maximum", "average", "std")
    values = [number(at(document, f"map.statistics.{key}")) for key in keys]
    return None if None in values else tuple(values)


def _related(document: dict, emdb_id: str) -> list[tuple[str, str]]:
    """Other entries that the document names, and how; the entry itself is often among them."""
    found = []
    for item in listify(at(document, "crossreferences.emdb_list.emdb_reference")):
        other = text(item.get("emdb_id")).upper()
        if other == emdb_id or not EMDB_ID.fullmatch(other):
            continue
        relation = at(item, "relationship")
        words = [text(value) for value in relation.values()] if isinstance(relation, dict) else []
        words.append(text(item.get("details")))
        found.append((other, " ".join(word for word in words if word)))
    return found


def _details(document: dict, reconstruction: object) -> str:
    parts = (
        at(document, "map.annotation_details"),
        at(document, "map.details"),
        at(reconstruction, "details"),
    )
    return "; ".join(part for part in map(text, parts) if part)


def _software(reconstruction: object) -> tuple[str, ...]:
    items = listify(at(reconstruction, "software_list.software"))
    return tuple(name for name in (text(item.get("name")) for item in items) if name)


def _successors(document: dict) -> tuple[str, ...]:
    found = []
    for path in ("admin.obsolete_list.entry", "admin.superseded_by_list.entry"):
        found += [text(item.get("entry")).upper() for item in listify(at(document, path))]
    return tuple(dict.fromkeys(name for name in found if EMDB_ID.fullmatch(name)))


def _doi(document: dict) -> str:
    primary = at(document, "crossreferences.citation_list.primary_citation")
    for name in CITATIONS:
        for item in listify(at(primary, f"{name}.external_references")):
            if text(item.get("type_")).upper() == "DOI":
                return text(item).lower().removeprefix("doi:")
    return ""


class _Molecules:
    """The macromolecules of a sample."""

    def __init__(self, items: list[dict]) -> None:
        self.items = items

    def of(self, kinds: frozenset[str]) -> list[dict]:
        return [item for item in self.items if text(item.get("instance_type")) in kinds]

    def residues(self, kinds: frozenset[str], dalton: float) -> float | None:
        """Rough number of residues over all copies, None when nothing is said."""
        chosen = self.of(kinds)
        if not chosen:
            return 0.0 if self.items else None
        counts = [_length(item, dalton) for item in chosen]
        known = [count * _copies(item) for item, count in zip(chosen, counts, strict=True) if count]
        return sum(known) if known else None

    def copies(self) -> int:
        """Copies of the most repeated polymer."""
        return max((_copies(item) for item in self.of(PROTEIN | NUCLEIC)), default=1)

    def nucleic_sequences(self) -> tuple[str, ...]:
        found = [_sequence(item) for item in self.of(NUCLEIC)]
        return tuple(sorted({sequence for sequence in found if sequence}))

    def references(self, kind: str) -> tuple[str, ...]:
        found = set()
        for item in self.items:
            for reference in listify(at(item, "sequence.external_references")):
                if text(reference.get("type_")).upper() == kind:
                    found.add(text(reference))
        return tuple(sorted(found - {""}))


def _length(item: dict, dalton: float) -> float:
    weight = number(at(item, "molecular_weight.theoretical"))
    if weight:
        return weight * DALTON_PER_MEGADALTON / dalton
    return float(len(_sequence(item)))


def _sequence(item: dict) -> str:
    return "".join(text(at(item, "sequence.string")).split()).upper()


def _copies(item: dict) -> int:
    copies = number(item.get("number_of_copies"))
    return int(copies) if copies and copies >= 1 else 1


def document_of_header(body: bytes) -> dict:
    """Fold a header XML (schema 3) into the shape of an entry document.

    Raises
    ------
    InputError
        NET_SCHEMA when it is no XML or not of an entry.
    """
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise schema_error("header XML with a document type", None)
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise InputError(f"header is no XML: {error}", code="NET_SCHEMA") from error
    if root.tag != "emd":
        raise schema_error("header XML, root element", root.tag)
    document = _folded(root)
    return document if isinstance(document, dict) else {}


def _folded(element: ElementTree.Element) -> object:
    content: dict[str, object] = {
        XML_NAMES.get(name, name): value for name, value in element.attrib.items()
    }
    for child in element:
        name, value = child.tag, _folded(child)
        if name.endswith("_processing"):
            name = "image_processing"
        elif element.tag == "macromolecule_list":
            value = (value if isinstance(value, dict) else {}) | {"instance_type": name}
            name = "macromolecule"
        if name in content:
            content[name] = [*listify(content[name]), value]
        else:
            content[name] = value
    words = (element.text or "").strip()
    if not content:
        return words
    if words:
        content["valueOf_"] = words
    return content


def merged(row: EntryFacts, document: EntryFacts) -> EntryFacts:
    """Return the facts of a document, completed from the search row where it says nothing."""
    gaps = {
        name: getattr(row, name)
        for name in FIELDS
        if not getattr(document, name) and getattr(row, name)
    }
    return dataclasses.replace(document, **gaps) if gaps else document


FIELDS = tuple(field.name for field in dataclasses.fields(EntryFacts))

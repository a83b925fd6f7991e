"""An archive of any size that exists only as answers: search rows, documents, clusters.

Counts and shares follow what has been reported of the real archive; every name is made up.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import random
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cryoclarity.archive.answers import Record, body_path
from cryoclarity.archive.search import ALL_ROWS, FIELDS, entry_url, facet_url, search_url

METHODS = (
    ("singleParticle", 0.86),
    ("subtomogramAveraging", 0.05),
    ("tomography", 0.04),
    ("helical", 0.04),
    ("electronCrystallography", 0.01),
)
SIZES = (64, 96, 128, 160, 200, 256, 300, 320, 360, 384, 400, 440, 480, 512, 600, 800)
TITLES = (
    "Cryo-EM structure of the {} complex",
    'Structure of "{}", closed state',
    "{} bound to ATP-γ-S, class 2",
    "Structure of {}\nin lipid nanodiscs",
    "Человеческий {} (apo)",
    "Composite map of {}",
    "{} ribosome, rotated, with mRNA and tRNA",
)
SEQUENCE = "ACDEFGHIKLMNPQRSTVWY"
DATE = "2026-01-07"
CRITERION = "FSC 0.143 CUT-OFF"


@dataclass
class Entry:
    """One entry of the generated archive."""

    emdb_id: str
    title: str
    method: str
    resolution: float | None
    pdb_ids: list[str]
    status: str
    date: str
    half_maps: bool
    size: int
    voxel: float
    related: list[str]
    uniprot: list[str]
    residues: int
    copies: int
    rna: str = ""
    successors: list[str] = field(default_factory=list)
    statistics: tuple[float, ...] = ()

    @property
    def stem(self) -> str:
        return "emd_" + self.emdb_id[4:]


@dataclass
class World:
    """A generated archive; the same for the same count and seed."""

    count: int
    seed: int = 1

    @cached_property
    def entries(self) -> list[Entry]:
        return _entries(self.count, random.Random(self.seed))

    @cached_property
    def by_id(self) -> dict[str, Entry]:
        return {entry.emdb_id: entry for entry in self.entries}

    @property
    def released(self) -> int:
        return sum(entry.status == "REL" for entry in self.entries)

    def rows(self, order: int = 0) -> list[list[str]]:
        """Search rows in no order, some twice; another `order` gives another one."""
        dice = random.Random(f"{self.seed} {order}")
        rows = [_row(entry) for entry in self.entries]
        rows += dice.sample(rows, len(rows) // 100)
        dice.shuffle(rows)
        return rows

    def csv(self, order: int = 0) -> bytes:
        return csv_body(self.rows(order))

    def facet(self) -> bytes:
        return json.dumps({"current_status": {"REL": self.released}}).encode()

    def document(self, emdb_id: str) -> bytes:
        return json.dumps(document_of(self.by_id[emdb_id])).encode()

    def clusters(self) -> bytes:
        return _clusters(self.entries, random.Random(self.seed + 1))


def csv_body(rows: list[list[str]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(FIELDS)
    writer.writerows(rows)
    return buffer.getvalue().encode()


def _numbers(count: int, dice: random.Random) -> list[int]:
    """A tenth below 10000 with leading zeros, the rest of five digits, some of six."""
    small = dice.sample(range(1, 10_000), min(count // 10, 9_000))
    large = dice.sample(range(10_000, 110_000), count - len(small))
    return sorted(small + large)


def _resolution(dice: random.Random) -> float:
    """Median 3.4 Å, one in twenty below 2.2 and one above 12, some beyond 60."""
    kind = dice.random()
    if kind < 0.05:
        return round(dice.uniform(1.2, 2.2), 2)
    if kind < 0.9:
        return round(2.2 + dice.lognormvariate(0.1, 0.6), 2)
    return round(dice.uniform(6, 14) if kind < 0.96 else dice.uniform(14, 70), 1)


def _entries(count: int, dice: random.Random) -> list[Entry]:
    numbers = _numbers(count, dice)
    names = [f"EMD-{number:04d}" for number in numbers]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    codes = iter(dice.sample(range(9 * 36**3), count * 2))

    def pdb_id() -> str:
        code = next(codes)
        digits = [letters[code // 36**power % 36] for power in range(3)]
        return f"{1 + code // 36**3}{''.join(digits)}"

    found: list[Entry] = []
    for index, name in enumerate(names):
        method = dice.choices(*zip(*METHODS, strict=True))[0]
        has_model, has_resolution = dice.random() < 0.58, dice.random() < 0.96
        resolution = _resolution(dice) if has_resolution else None
        several = dice.choices((1, dice.randint(2, 5), dice.randint(6, 60)), (93, 6, 1))[0]
        models = [pdb_id() for _ in range(min(several, 20))] if has_model else []
        if models and found and found[-1].pdb_ids and dice.random() < 0.03:
            models = [found[-1].pdb_ids[0]]
        related = []
        if dice.random() < 0.25:
            low, high = max(0, index - 8), min(count, index + 9)
            related = dice.sample(names[low:high], min(dice.randint(1, 8), high - low))
            if dice.random() < 0.33:
                related.append(name)
        size = dice.choice(SIZES)
        day = (dice.randint(2010, 2025), dice.randint(1, 12), dice.randint(1, 28))
        found.append(
            Entry(
                emdb_id=name,
                title=dice.choice(TITLES).format(f"protein {index}"),
                method=method,
                resolution=resolution,
                pdb_ids=models,
                status="OBS" if dice.random() < 0.02 else "REL",
                date="{}-{:02d}-{:02d}".format(*day),
                half_maps=dice.random() < 0.6,
                size=size,
                voxel=round(dice.uniform(0.5, 1.4), 3),
                related=related,
                uniprot=[f"P{dice.randrange(100_000):05d}"],
                residues=dice.randint(60, 900),
                copies=dice.choice((1, 1, 1, 2, 2, 3, 4, 6, 24, 60)),
                rna="".join(dice.choices("ACGU", k=80)) if dice.random() < 0.05 else "",
                statistics=tuple(round(dice.uniform(-1, 1), 8) for _ in range(4)),
            )
        )
    for entry in found:
        if entry.status == "OBS":
            entry.successors = [dice.choice(names)]
    return found


def _row(entry: Entry) -> list[str]:
    halves = [f"{entry.stem}_half_map_{i}.map.gz" for i in (1, 2)] if entry.half_maps else []
    cells = {
        "emdb_id": entry.emdb_id,
        "title": entry.title,
        "structure_determination_method": entry.method,
        "resolution": "" if entry.resolution is None else str(entry.resolution),
        "resolution_method": CRITERION,
        "fitted_pdbs": ",".join(entry.pdb_ids),
        "current_status": entry.status,
        "release_date": f"{entry.date}T00:00:00Z",
        "half_map_filename": ",".join(halves),
        "xref_UNIPROTKB": ",".join(entry.uniprot),
    }
    return [cells.get(name, "") for name in FIELDS]


def _wrapped(value: object, units: str = "Å") -> dict:
    return {"units": units, "valueOf_": str(value)}


def _map_block(entry: Entry, name: str) -> dict:
    n, cell = entry.size, round(entry.size * entry.voxel, 3)
    values = dict(zip(("minimum", "maximum", "average", "std"), entry.statistics, strict=True))
    return {
        "annotation_details": "",
        "axis_order": {"fast": "X", "medium": "Y", "slow": "Z"},
        "cell": {key: _wrapped(cell) for key in "abc"}
        | {key: _wrapped("90.0", "deg") for key in ("alpha", "beta", "gamma")},
        "contour_list": {
            "contour": [
                {"instance_type": "contour", "level": 0.02, "primary": True, "source": "AUTHOR"}
            ]
        },
        "data_type": "IMAGE STORED AS FLOATING POINT NUMBER (4 BYTES)",
        "dimensions": {"col": n, "row": n, "sec": n},
        "file": name,
        "format": "CCP4",
        "label": f"::::EMDATABANK.org::::{entry.emdb_id}::::",
        "origin": {"col": 0, "row": 0, "sec": 0},
        "pixel_spacing": {axis: _wrapped(round(entry.voxel, 2)) for axis in "xyz"},
        "size_kbytes": 4 * n**3 // 1000,
        "spacing": {axis: n for axis in "xyz"},
        "statistics": values,
        "symmetry": {"space_group": "1"},
    }


def document_of(entry: Entry) -> dict:
    references = [
        {"emdb_id": name, "relationship": {"other": "other EM volume"}} for name in entry.related
    ]
    models = [
        {"pdb_id": name, "relationship": {"in_frame": "FULLOVERLAP"}} for name in entry.pdb_ids
    ]
    halves = [
        _map_block(entry, f"{entry.stem}_half_map_{i}.map.gz")
        for i in ((1, 2) if entry.half_maps else ())
    ]
    molecules = [_protein(entry)]
    if entry.rna:
        molecules.append(
            {
                "instance_type": "rna",
                "macromolecule_id": 2,
                "number_of_copies": "1",
                "sequence": {"string": entry.rna},
                "molecular_weight": {"theoretical": _wrapped(len(entry.rna) * 325e-6, "MDa")},
            }
        )
    reconstruction = {
        "applied_symmetry": {"point_group": "C1"},
        "resolution_method": CRITERION,
        "software_list": {"software": [{"name": "RELION", "version": "4.0"}]},
    }
    if entry.resolution is not None:
        reconstruction["resolution"] = _wrapped(entry.resolution) | {"res_type": "BY AUTHOR"}
    admin = {
        "current_status": {"code": {"valueOf_": entry.status}, "date": f"{entry.date}T00:00:00"},
        "key_dates": {"map_release": f"{entry.date}T00:00:00", "update": f"{DATE}T00:00:00"},
        "title": entry.title,
    }
    if entry.successors:
        admin["obsolete_list"] = {"entry": [{"entry": name} for name in entry.successors]}
    return {
        "emdb_id": entry.emdb_id,
        "admin": admin,
        "crossreferences": {
            "emdb_list": {"emdb_reference": references} if references else None,
            "pdb_list": {"pdb_reference": models} if models else None,
        },
        "interpretation": {"half_map_list": {"half_map": halves}} if halves else {},
        "map": _map_block(entry, f"{entry.stem}.map.gz"),
        "sample": {"macromolecule_list": {"macromolecule": molecules}},
        "structure_determination_list": {
            "structure_determination": [
                {
                    "method": entry.method,
                    "image_processing": [{"final_reconstruction": reconstruction}],
                }
            ]
        },
        "version": "3.0.2.8",
    }


def _protein(entry: Entry) -> dict:
    return {
        "instance_type": "protein_or_peptide",
        "macromolecule_id": 1,
        "molecular_weight": {"theoretical": _wrapped(round(entry.residues * 110e-6, 6), "MDa")},
        "number_of_copies": str(entry.copies),
        "sequence": {
            "string": (SEQUENCE * 50)[: entry.residues],
            "external_references": [
                {"type_": "UNIPROTKB", "valueOf_": name} for name in entry.uniprot
            ],
        },
    }


def _clusters(entries: list[Entry], dice: random.Random) -> bytes:
    """60 % singletons, sizes like a power law, one hub in 5 % of the entries, computed models."""
    models = sorted({name for entry in entries for name in entry.pdb_ids})
    hub = [f"{name.upper()}_2" for name in models if dice.random() < 0.05]
    tokens = [f"{name.upper()}_1" for name in models]
    dice.shuffle(tokens)
    lines, start = [], 0
    while start < len(tokens):
        size = 1 if dice.random() < 0.6 else min(int(2 * dice.paretovariate(1.3)), 2000)
        members = tokens[start : start + size]
        if dice.random() < 0.2:
            members.append(f"AF_AFQ{start:05d}F1_1")
        lines.append(members)
        start += size
    lines += [[f"MA_MABAKCEPC{i:04d}_1"] for i in range(len(models))]
    dice.shuffle(lines)
    return "".join(" ".join(line) + "\n" for line in [hub, *lines] if line).encode()


def save_answers(folder: Path, answers: dict[str, bytes], date: str = DATE) -> None:
    """Write answers as if they had been asked for; no fsync, there may be thousands."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for url, body in answers.items():
        sha256 = hashlib.sha256(body).hexdigest()
        path = body_path(folder, sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(body, 1, mtime=0))
        lines.append(Record(url, date, 200, sha256, len(body)).line)
    with (folder / "index.tsv").open("a", encoding="utf-8") as handle:
        handle.writelines(lines)


def saved_world(
    world: World, folder: Path, api: str, query: str, clusters: str, order: int = 0
) -> int:
    """Save the answers that a selection with usual filters needs, and return their number."""
    answers = {
        search_url(api, query, ALL_ROWS, 1): world.csv(order),
        facet_url(api, query): world.facet(),
        clusters: world.clusters(),
    }
    for entry in world.entries:
        stated = entry.resolution is not None and entry.resolution <= 10
        if entry.pdb_ids and stated and entry.status == "REL":
            answers[entry_url(api, entry.emdb_id)] = world.document(entry.emdb_id)
    save_answers(folder, answers)
    return len(answers)

"""The manifest: bytes, columns, hashes once seen, and the entry table that reads it."""

from __future__ import annotations

import random

from cryoclarity.selection.facts import EntryFacts
from cryoclarity.selection.manifest import (
    MANIFEST_COLUMNS,
    keep_hashes,
    manifest_row,
    number_text,
    read_manifest,
    write_manifest,
)
from cryoclarity.workflow.batches import ENTRY_COLUMNS, read_entries
from tests.selection.makers import good_entry


def rows():
    return [
        manifest_row(
            good_entry(number, contour=0.02, masks=("m1.map", "m2.map"), copies=60),
            pdb_id="1abc",
            split="train",
            group="EMD-0020",
            source="query",
        )
        for number in (100001, 20, 3488)
    ]


def test_row():
    row = rows()[1]
    assert row == dict.fromkeys(MANIFEST_COLUMNS, "") | {
        "emdb_id": "EMD-0020",
        "pdb_id": "1abc",
        "resolution": "3.2",
        "method": "singleParticle",
        "half_maps": "yes",
        "masks": "m1.map,m2.map",
        "contour": "0.02",
        "split": "train",
        "group": "EMD-0020",
        "weight": "0.129099",
        "source": "query",
    }


def test_half_maps_are_unknown_without_any_answer():
    def halves(facts):
        return manifest_row(facts, pdb_id="", split="", group="", source="")["half_maps"]

    assert halves(EntryFacts("EMD-1234")) == ""
    assert halves(EntryFacts("EMD-1234", status="REL")) == "no"
    assert halves(EntryFacts("EMD-1234", half_maps=("a", "b"))) == "yes"


def test_entry_table_reads_it(tmp_path):
    assert set(MANIFEST_COLUMNS) == set(ENTRY_COLUMNS)
    path = tmp_path / "manifest.tsv"
    write_manifest(path, rows())
    entries = read_entries(path)
    assert [entry["emdb_id"] for entry in entries] == ["EMD-0020", "EMD-3488", "EMD-100001"]
    assert entries == read_manifest(path)


def test_same_rows_same_bytes(tmp_path):
    made = rows()
    write_manifest(tmp_path / "a.tsv", made)
    random.Random(1).shuffle(made)
    write_manifest(tmp_path / "b.tsv", made)
    text = (tmp_path / "a.tsv").read_bytes()
    assert text == (tmp_path / "b.tsv").read_bytes()
    assert text.startswith("\t".join(MANIFEST_COLUMNS).encode() + b"\n")
    assert b"\r" not in text and b"#" not in text


def test_hashes_once_seen_are_kept():
    new = rows()
    older = [
        {"emdb_id": "EMD-0020", "pdb_id": "1abc", "map_sha256": "aa", "model_sha256": "bb"},
        {"emdb_id": "EMD-3488", "pdb_id": "1abd", "map_sha256": "cc", "model_sha256": "dd"},
    ]
    first, second, third = keep_hashes(new, older)
    assert (second["map_sha256"], second["model_sha256"]) == ("aa", "bb")
    # Another model was chosen: its file was not seen yet.
    assert (third["map_sha256"], third["model_sha256"]) == ("cc", "")
    assert first == new[0]
    assert keep_hashes([new[1] | {"map_sha256": "ee"}], older)[0]["map_sha256"] == "ee"


def test_numbers_read_back():
    for value in (0.1 + 0.2, 3.0, -0.5, 1e-7, 1e20):
        assert float(number_text(value)) == value
    assert (number_text(3.0), number_text(None), number_text(3.28)) == ("3", "", "3.28")

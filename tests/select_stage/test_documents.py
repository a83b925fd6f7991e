"""Entry documents and header XML: the same facts, old shapes accepted, misfits named by path."""

import copy
import json

import pytest

from cryoclarity.archive.documents import (
    document_of_header,
    facts_of_document,
    listify,
    merged,
    number,
    unwrap,
    update_of,
)
from cryoclarity.errors import InputError
from cryoclarity.selection.facts import EntryFacts
from tests.select_stage.generated import World

DETERMINATION = "structure_determination_list.structure_determination"


@pytest.fixture(scope="module")
def examples(shared):
    files = sorted((shared / "reference" / "api").glob("emdb_entry_EMD-*.json"))
    return {path.stem[11:]: json.loads(path.read_text()) for path in files}


@pytest.fixture
def document():
    world = World(200)
    entry = next(one for one in world.entries if one.half_maps and one.pdb_ids and one.resolution)
    return json.loads(world.document(entry.emdb_id))


def node(document, path):
    *parents, last = path.split(".")
    for key in parents:
        document = document[int(key) if isinstance(document, list) else key]
    return document, last


def changed(document, path, value):
    other = copy.deepcopy(document)
    parent, last = node(other, path)
    parent[last] = value
    return other


def without(document, path):
    other = copy.deepcopy(document)
    parent, last = node(other, path)
    del parent[last]
    return other


def test_unwrapping():
    assert unwrap({"units": "Å", "valueOf_": " 3.97 "}) == "3.97"
    assert unwrap({"units": "Å"}) is None
    assert number({"valueOf_": "3.97"}) == 3.97
    assert [number(v) for v in ("", None, "n/a", "nan", True, [1])] == [None] * 6
    assert listify(None) == listify("") == []
    assert listify({"a": 1}) == [{"a": 1}]


def test_facts_of_the_examples(examples):
    facts = {name: facts_of_document(document) for name, document in examples.items()}
    assert len(facts) == 8
    assert all(one.has_document for one in facts.values())
    first = facts["EMD-90001"]
    assert (first.status, first.method, first.resolution) == ("REL", "singleParticle", 3.2)
    assert first.overlaps == (("9za1", "FULLOVERLAP"),)
    assert first.half_maps == ("emd_90001_half_map_1.map.gz", "emd_90001_half_map_2.map.gz")
    assert (first.contour, first.size, first.voxel_size) == (0.02, (64,) * 3, (1.2,) * 3)
    assert (first.copies, round(first.protein_residues)) == (3, 2013)
    assert (first.uniprot, first.doi) == (("P00000",), "10.0000/example")
    assert facts["EMD-90002"].pdb_ids == ("9za1", "9za2")
    assert facts["EMD-90003"].nucleic_residues > 2000
    assert facts["EMD-90003"].nucleic_sequences == ("GGGCUAGCUAGCUUAGCUAGC",)
    assert facts["EMD-90005"].resolution is None
    assert facts["EMD-90006"].successors == ("EMD-90001",)
    assert facts["EMD-90007"].software == ("UCSF ChimeraX",)
    assert facts["EMD-90007"].related_words == ("consensus EM volume", "focused EM volume")
    assert facts["EMD-90008"].size == (64, 72, 80)  # sections first in this file
    assert update_of(examples["EMD-90001"]) == "2023-01-18"


def test_an_entry_is_not_its_own_relative(examples):
    assert facts_of_document(examples["EMD-90001"]).related == ("EMD-90002",)


def test_header_gives_the_same_facts(examples, shared):
    header = (shared / "reference" / "api" / "emd-90001-v30.xml").read_bytes()
    by_xml = facts_of_document(document_of_header(header))
    by_json = facts_of_document(examples["EMD-90001"])
    told = [
        "emdb_id status method resolution resolution_method title release_date pdb_ids",
        "overlaps half_maps masks contour size voxel_size size_kbytes statistics related",
    ]
    for name in " ".join(told).split():
        assert getattr(by_xml, name) == getattr(by_json, name), name


def test_header_molecules_fold_into_the_documents_shape():
    header = b"""<emd emdb_id="EMD-1234"><admin><current_status><code>HPUB</code></current_status>
    </admin><crossreferences><citation_list><primary_citation><journal_citation published="true">
    <external_references type="DOI">doi:10.1/X</external_references></journal_citation>
    </primary_citation></citation_list></crossreferences>
    <sample><macromolecule_list><protein_or_peptide macromolecule_id="1"><number_of_copies>4
    </number_of_copies><molecular_weight><theoretical units="MDa">0.011</theoretical>
    </molecular_weight></protein_or_peptide><rna macromolecule_id="2"><sequence><string>GG CU
    </string></sequence></rna></macromolecule_list></sample>
    <structure_determination_list><structure_determination><method>helical</method>
    </structure_determination></structure_determination_list></emd>"""
    facts = facts_of_document(document_of_header(header))
    assert (facts.copies, facts.protein_residues, facts.nucleic_residues) == (4, 400, 4)
    assert (facts.doi, facts.nucleic_sequences) == ("10.1/x", ("GGCU",))
    assert (facts.status, facts.method, facts.size) == ("HPUB", "helical", None)


@pytest.mark.parametrize(
    "header",
    [b"", b"<emd", b"<html/>", b'<!DOCTYPE a [<!ENTITY b "c">]><emd>&b;</emd>'],
)
def test_bad_headers(header):
    with pytest.raises(InputError, match="NET_SCHEMA"):
        document_of_header(header)


@pytest.mark.parametrize(
    "path",
    [
        "crossreferences.pdb_list.pdb_reference",
        "interpretation.half_map_list.half_map",
        "map.contour_list.contour",
        "sample.macromolecule_list.macromolecule",
        DETERMINATION,
        f"{DETERMINATION}.0.image_processing",
    ],
)
def test_old_conversions_hold_one_object_in_place_of_a_list(document, path):
    parent, last = node(document, path)
    single = changed(document, path, parent[last][0])
    expected = changed(document, path, parent[last][:1])
    assert facts_of_document(single) == facts_of_document(expected)


@pytest.mark.parametrize(
    "path",
    ["crossreferences", "interpretation", "sample", "crossreferences.pdb_list", "map.statistics"],
)
@pytest.mark.parametrize("absent", ["removed", "null"])
def test_missing_blocks_are_normal(document, path, absent):
    other = without(document, path) if absent == "removed" else changed(document, path, None)
    facts = facts_of_document(other)
    assert facts.emdb_id == document["emdb_id"]


@pytest.mark.parametrize(
    "path",
    [
        "emdb_id",
        "admin.current_status.code",
        "admin",
        DETERMINATION,
        f"{DETERMINATION}.0.method",
        "map.dimensions",
        "map.dimensions.row",
        "map",
    ],
)
def test_a_needed_key_that_is_missing_is_named(document, path):
    with pytest.raises(InputError) as caught:
        facts_of_document(without(document, path))
    assert caught.value.code == "NET_SCHEMA"
    named = path.replace(".0", "").rpartition(".")[2] if path.endswith("method") else path
    assert named.split(".")[0] in str(caught.value)
    if path != "emdb_id":
        assert document["emdb_id"] in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("map", "a file"),
        ("admin", [1, 2]),
        ("map.dimensions", 64),
        ("map.dimensions.col", {"x": 1}),
        ("sample.macromolecule_list.macromolecule", [1, "x"]),
        ("crossreferences.pdb_list.pdb_reference", ["1abc"]),
        ("emdb_id", 1234),
        (DETERMINATION, "singleParticle"),
    ],
)
def test_another_type_is_no_crash(document, path, value):
    with pytest.raises(InputError, match="NET_SCHEMA"):
        facts_of_document(changed(document, path, value))


@pytest.mark.parametrize("value", [None, [], 7, "text", {}])
def test_what_is_no_document(value):
    with pytest.raises(InputError, match="NET_SCHEMA"):
        facts_of_document(value)


def test_spacing_comes_from_the_cell_because_the_stated_one_is_rounded(document):
    n = document["map"]["spacing"]["x"]
    document["map"]["cell"]["a"]["valueOf_"] = "226.59999"
    facts = facts_of_document(document)
    assert facts.voxel_size[0] == 226.59999 / n
    del document["map"]["cell"]
    rounded = float(document["map"]["pixel_spacing"]["x"]["valueOf_"])
    assert facts_of_document(document).voxel_size[0] == rounded


def test_the_first_determination_with_a_resolution_counts(document):
    determinations = document["structure_determination_list"]["structure_determination"]
    bare = {"method": "tomography", "image_processing": [{"final_reconstruction": {}}]}
    determinations.insert(0, bare)
    facts = facts_of_document(document)
    assert facts.resolution is not None
    assert facts.method == determinations[1]["method"]


def test_the_row_fills_what_the_document_does_not_say():
    row = EntryFacts("EMD-1234", title="A", resolution=3.0, uniprot=("P1",))
    document = EntryFacts("EMD-1234", title="B", has_document=True)
    both = merged(row, document)
    assert (both.title, both.resolution, both.uniprot) == ("B", 3.0, ("P1",))
    assert both.has_document

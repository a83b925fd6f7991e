"""Kinship between entries is found, by the right kind of evidence, and nowhere else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cryoclarity.boxes import sequences
from cryoclarity.boxes.leaks import EntryFacts, compute_groups, find_edges, leaking, refuse_leaks
from cryoclarity.boxes.sequences import ChainSequence, chain_sequences, encode
from cryoclarity.demo.entries import ENTRIES
from cryoclarity.demo.folds import build_fold
from cryoclarity.errors import ConfigError
from cryoclarity.io.atoms import Atoms
from cryoclarity.io.model import read_atoms


def random_letters(length, seed, letters=sequences.LETTERS):
    rng = np.random.default_rng(seed)
    return "".join(letters[int(k)] for k in rng.integers(0, len(letters), length))


def mutated(letters, share, seed):
    """Replace a share of the letters at evenly spread places: no long word is left."""
    rng = np.random.default_rng(seed)
    places = np.linspace(0, len(letters) - 1, int(share * len(letters))).round().astype(int)
    out = list(letters)
    for place in places:
        others = sequences.LETTERS.replace(out[place], "")
        out[place] = others[int(rng.integers(len(others)))]
    return "".join(out)


def protein(emdb_id, *letters, **facts):
    chains = tuple(ChainSequence("protein", s) for s in letters)
    return EntryFacts(emdb_id, sequences=chains, **facts)


def kinds(*entries):
    return [(edge.first, edge.second, edge.kind) for edge in find_edges(entries)]


def plain_score(a, b):
    """Smith & Waterman with affine gaps cell by cell, every gap length tried."""
    score = np.zeros((len(a) + 1, len(b) + 1))
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            best = max(0, score[i - 1, j - 1] + sequences.SCORES[a[i - 1], b[j - 1]])
            best = max([best, *(score[i - k, j] - 10 - k for k in range(1, i + 1))])
            score[i, j] = max([best, *(score[i, j - k] - 10 - k for k in range(1, j + 1))])
    return score.max()


def test_alignment_scores_against_a_plain_loop():
    first = random_letters(40, 1)
    others = [
        random_letters(33, 2),
        mutated(first, 0.4, 3),
        first[:15] + random_letters(4, 4) + first[15:],
        first[:12] + first[18:],
        "AX-" + first[5:20],
    ]
    found = sequences.local_scores(encode(first), [encode(other) for other in others])
    expected = [plain_score(encode(first), encode(other)) for other in others]
    np.testing.assert_array_equal(found, expected)


def test_identity_of_known_alignments():
    first = random_letters(60, 5)
    assert sequences.identity(encode(first), encode(first)) == (60, 60)
    longer = first[:30] + "WWWW" + first[30:]
    assert sequences.identity(encode(first), encode(longer)) == (60, 60)
    assert sequences.identity(encode(longer), encode(first)) == (60, 60)
    same, aligned = sequences.identity(encode(first), encode(mutated(first, 0.3, 1)))
    assert aligned >= 55 and same / aligned == pytest.approx(0.7, abs=0.03)


def test_the_score_table_is_symmetric_and_refuses_unknown_letters():
    table = sequences.SCORES
    np.testing.assert_array_equal(table, table.T)
    at = sequences.LETTERS.index
    assert [table[at(a), at(b)] for a, b in ("WW", "IV", "EK", "CE", "YF")] == [11, 3, 1, -4, 3]
    assert table[:20, :20].sum() == -426 and np.trace(table[:20, :20]) == 116
    assert (table[encode("X-")] < -100).all()


def test_shared_model_and_shared_data():
    a = EntryFacts("EMD-1", pdb_id="1ABC", content={"map": "f00d"})
    b = EntryFacts("EMD-2", pdb_id="1abc")
    c = EntryFacts("EMD-3", content={"half_map_1": "f00d"})
    assert kinds(c, b, a) == [("EMD-1", "EMD-2", "pdb"), ("EMD-1", "EMD-3", "data")]


def test_no_facts_no_kin():
    assert kinds(EntryFacts("EMD-1"), EntryFacts("EMD-2")) == []


def test_a_long_shared_word():
    word = random_letters(12, 7)
    a, b = (random_letters(80, seed) for seed in (8, 9))
    a, b = a[:40] + word + a[40:], b[:10] + word + b[10:]
    assert kinds(protein("EMD-1", a), protein("EMD-2", b)) == [("EMD-1", "EMD-2", "word")]
    broken = b.replace(word, word[:6] + "-" + word[6:])
    assert kinds(protein("EMD-1", a), protein("EMD-2", broken)) == []


@pytest.mark.parametrize("word", ["A" * 12, "HHHHHHHHHHHH", "GSGSGSGSGSGS"])
def test_tags_and_traces_are_no_kinship(word):
    a, b = (random_letters(80, seed) for seed in (8, 9))
    assert kinds(protein("EMD-1", a + word), protein("EMD-2", word + b)) == []
    assert kinds(protein("EMD-1", word), protein("EMD-2", word)) == []


@pytest.mark.parametrize(("identity", "kin"), [(0.6, True), (0.4, True), (0.12, False)])
def test_thirty_per_cent_identity(identity, kin):
    first = random_letters(250, 11)
    second = mutated(first, 1 - identity, 12)
    found = kinds(protein("EMD-1", first), protein("EMD-2", second))
    assert found == ([("EMD-1", "EMD-2", "seq30")] if kin else [])


def test_equal_composition_and_repeats_are_no_kinship():
    """Two amphipathic repeats: they align well, but as well backwards."""
    rng = np.random.default_rng(0)
    core = [k % 7 in (0, 3) for k in range(160)]
    first, second = (
        "".join(("LIVA" if inner else "EKRQ")[rng.integers(4)] for inner in core) for _ in range(2)
    )
    assert kinds(protein("EMD-1", first), protein("EMD-2", second)) == []


def test_random_proteins_are_no_kin():
    entries = [protein(f"EMD-{k}", random_letters(200, k)) for k in range(1, 13)]
    assert kinds(*entries) == []


def test_short_chains_count_when_they_make_up_a_model():
    chains = [random_letters(9, seed) for seed in range(6)]
    others = [random_letters(9, seed) for seed in range(10, 16)]
    whole = protein("EMD-1", *chains)
    assert kinds(whole, protein("EMD-2", *chains)) == [("EMD-1", "EMD-2", "chains")]
    assert kinds(whole, protein("EMD-2", *chains[:1], *others[1:])) == []


@pytest.mark.parametrize(("length", "kin"), [(50, True), (49, False)])
def test_a_shared_stretch_of_nucleic_acid(length, kin):
    stretch = random_letters(length, 20, "ACGU")
    chains = [ChainSequence("nucleic", random_letters(90, k, "ACGU") + stretch) for k in (0, 1)]
    a, b = (EntryFacts(f"EMD-{k}", sequences=(chain,)) for k, chain in enumerate(chains))
    found = {kind for _, _, kind in kinds(a, b)}
    assert found == ({"nucleic"} if kin else set())


def atoms_of(chains):
    """CA (or P) atoms of chains given as (chain, kind, [(number, name)])."""
    rows = [(c, kind, n, name) for c, kind, residues in chains for n, name in residues]
    count = len(rows)
    blank = np.full(count, "")
    return Atoms(
        xyz=np.zeros((count, 3)),
        element=np.full(count, "C"),
        atomic_number=np.full(count, 6),
        name=np.full(count, "CA"),
        residue_name=np.array([row[3] for row in rows]),
        chain=np.array([row[0] for row in rows]),
        residue_number=np.array([row[2] for row in rows]),
        insertion_code=blank,
        altloc=blank,
        occupancy=np.ones(count),
        b_iso=np.ones(count),
        kind=np.array([row[1] for row in rows]),
        residue_index=np.arange(count),
    )


def test_sequences_of_a_model():
    atoms = atoms_of(
        [
            ("A", "protein", [(1, "ALA"), (2, "MSE"), (5, "TRP"), (6, "UNK")]),
            ("A", "water", [(301, "HOH")]),
            ("B", "protein", [(1, "ALA"), (2, "MSE"), (5, "TRP"), (6, "UNK")]),
            ("C", "nucleic", [(1, "DT"), (2, "PSU"), (3, "G")]),
        ]
    )
    found = chain_sequences(atoms)
    assert found == [ChainSequence("nucleic", "UUG"), ChainSequence("protein", "AM-WX")]
    assert found[1].residues == 4


def test_demo_molecules_are_strangers_and_a_copy_is_not():
    names = [k for k, entry in ENTRIES.items() if entry.fold in FAST_FOLDS]
    entries = [
        EntryFacts(k, sequences=tuple(chain_sequences(build_fold(ENTRIES[k].fold, k))))
        for k in names
    ]
    assert len(entries) >= 3
    assert find_edges(entries) == []
    for entry in entries:
        copy = dataclasses.replace(entry, emdb_id="EMD-99999")
        assert (entry.emdb_id, "EMD-99999", "chains") in kinds(*entries, copy)


FAST_FOLDS = ("small_sandwich", "rna_duplexes", "one_helix")


@pytest.mark.long
def test_all_demo_molecules_are_strangers():
    entries = [
        EntryFacts(k, sequences=tuple(chain_sequences(build_fold(entry.fold, k))))
        for k, entry in ENTRIES.items()
    ]
    assert find_edges(entries) == []


def test_real_models(shared):
    """The same protein under two entries, families at 30-50 %, strangers."""
    files = {
        "1qhd": "archive/pdb/data/structures/divided/pdb/qh/pdb1qhd.ent.gz",
        "3j9s": "archive/pdb/data/structures/divided/pdb/j9/pdb3j9s.ent.gz",
        "3ajo": "archive/pdb/data/structures/divided/pdb/aj/pdb3ajo.ent.gz",
        "4oyn": "models/4oyn.pdb.gz",
        "1cbs": "models/1cbs.cif.gz",
        "1crb": "models/1crb.pdb.gz",
        "1oky": "models/1oky.pdb.gz",
        "1jbe": "models/1jbe.pdb.gz",
    }
    entries = []
    for name, file in files.items():
        if not (shared / file).is_file():
            pytest.skip(f"../shared/{file} is not there")
        entries.append(
            EntryFacts(name, sequences=tuple(chain_sequences(read_atoms(shared / file))))
        )
    found = {(edge.first, edge.second) for edge in find_edges(entries)}
    assert found == {("1qhd", "3j9s"), ("3ajo", "4oyn"), ("1cbs", "1crb")}


# Groups and splits


def family():
    ids = {"EMD-1": "1aaa", "EMD-2": "1aaa", "EMD-3": "1bbb", "EMD-4": "1ccc"}
    shared = {"EMD-2": {"map": "x"}, "EMD-3": {"map": "x"}}
    return [EntryFacts(k, pdb_id=v, content=shared.get(k, {})) for k, v in ids.items()]


def test_groups_are_connected_components():
    expected = {"EMD-1": "EMD-1", "EMD-2": "EMD-1", "EMD-3": "EMD-1", "EMD-4": "EMD-4"}
    entries = family()
    assert compute_groups(entries) == expected
    assert compute_groups(entries[::-1]) == expected


def test_groups_of_the_table_are_kept_together():
    entries = [dataclasses.replace(e, group="mine") if e.emdb_id > "EMD-2" else e for e in family()]
    assert set(compute_groups(entries).values()) == {"EMD-1"}


def test_a_leak_stops_with_pair_and_edge():
    splits = {"EMD-1": "train", "EMD-2": "train", "EMD-3": "test", "EMD-4": "val"}
    entries = [dataclasses.replace(e, split=splits[e.emdb_id]) for e in family()]
    edges = find_edges(entries)
    assert [(edge.first, edge.second) for edge in leaking(edges, entries)] == [("EMD-2", "EMD-3")]
    with pytest.raises(ConfigError) as caught:
        refuse_leaks(edges, entries)
    assert caught.value.code == "SEL_SPLIT_LEAK"
    assert "EMD-2 (train) and EMD-3 (test) are joined by data x" in str(caught.value)


def test_an_entry_without_a_split_leaks_nothing():
    splits = {"EMD-1": "train", "EMD-2": "train"}
    entries = [dataclasses.replace(e, split=splits.get(e.emdb_id, "")) for e in family()]
    refuse_leaks(find_edges(entries), entries)

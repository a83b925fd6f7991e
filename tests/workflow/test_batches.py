"""Entries keep their batch, whatever happens to the table around them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoclarity.errors import ConfigError
from cryoclarity.workflow.batches import assign_batches, members_of, read_entries


def entries(numbers):
    return [{"emdb_id": f"EMD-{number}"} for number in numbers]


numbers = st.lists(st.integers(1000, 1200), unique=True, max_size=40)


@given(numbers, numbers, st.integers(1, 7))
def test_no_entry_moves_and_no_batch_overflows(before, after, size):
    first = assign_batches(entries(before), {}, size)
    second = assign_batches(entries(after), first, size)
    assert all(second[entry] == name for entry, name in first.items())
    sizes = [len(rows) for rows in members_of(entries(before), first).values()]
    assert all(count <= size for count in sizes)
    assert set(second) >= {f"EMD-{number}" for number in after}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("EMD-12\t1abc", "ID_BAD"),
        ("EMD-1234\tabcd", "ID_BAD"),
        ("EMD-5168\t3mfp", "already on line 2"),
    ],
)
def test_bad_ids_are_named_with_their_line(tmp_path, line, message):
    table = tmp_path / "entries.tsv"
    table.write_text(f"emdb_id\tpdb_id\nEMD-5168\t3mfp\n{line}\n")
    with pytest.raises(ConfigError, match=message):
        read_entries(table)


@pytest.mark.parametrize(
    ("column", "text"),
    [("resolution", "0"), ("resolution", "inf"), ("weight", "-1"), ("contour", "nan")],
)
def test_numbers_that_no_stage_can_use_are_refused(tmp_path, column, text):
    (tmp_path / "t.tsv").write_text(f"emdb_id\t{column}\nEMD-5168\t{text}\n")
    with pytest.raises(ConfigError, match=f"line 2: {column} '{text}'"):
        read_entries(tmp_path / "t.tsv")


def test_missing_columns_are_empty_and_an_entry_is_its_own_group(tmp_path):
    (tmp_path / "t.tsv").write_text("emdb_id\nEMD-5168\n")
    (entry,) = read_entries(tmp_path / "t.tsv")
    assert entry["pdb_id"] == "" and entry["group"] == "EMD-5168"


@pytest.mark.parametrize("name", ["train", "", "held_out", "held_out_2026"])
def test_splits_of_the_table(tmp_path, name):
    (tmp_path / "t.tsv").write_text(f"emdb_id\tsplit\nEMD-5168\t{name}\n")
    assert read_entries(tmp_path / "t.tsv")[0]["split"] == name


@pytest.mark.parametrize("name", ["trian", "held-out", "held_out_", "Test"])
def test_a_misspelt_split_is_refused(tmp_path, name):
    (tmp_path / "t.tsv").write_text(f"emdb_id\tsplit\nEMD-5168\t{name}\n")
    with pytest.raises(ConfigError, match="line 2: split"):
        read_entries(tmp_path / "t.tsv")

"""Tables survive a round trip; a cell never breaks the table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoclarity.errors import InputError
from cryoclarity.io.tables import read_table, read_table_with_comments, write_table

cells = st.text(st.characters(exclude_categories=("C", "Z")), max_size=8)


@given(st.lists(st.tuples(cells, cells), max_size=5))
def test_round_trip(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "t.tsv.gz"
    written = [{"a": f"x{first}", "b": second} for first, second in rows]
    write_table(path, written, ("a", "b"), comments=["sigma=0.6"])
    assert read_table_with_comments(path) == (written, ["sigma=0.6"])


def test_tabs_and_line_ends_become_blanks(tmp_path):
    write_table(tmp_path / "t.tsv", [{"a": "x\ty\nz"}], ("a", "b"))
    assert read_table(tmp_path / "t.tsv") == [{"a": "x y z", "b": ""}]


def test_a_ragged_row_is_refused_with_its_line(tmp_path):
    (tmp_path / "t.tsv").write_text("# note\na\tb\n1\t2\n3\n")
    with pytest.raises(InputError, match="line 4 has 1 cells"):
        read_table(tmp_path / "t.tsv")


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    (tmp_path / "t.tsv").write_bytes(b"\xef\xbb\xbfa\tb\n1\t2\n")
    assert read_table(tmp_path / "t.tsv") == [{"a": "1", "b": "2"}]


def test_bytes_that_are_no_text_are_bad_input(tmp_path):
    (tmp_path / "t.tsv").write_bytes(b"a\tb\n\xe9\xff\t2\n")
    with pytest.raises(InputError) as caught:
        read_table(tmp_path / "t.tsv")
    assert caught.value.code == "FILE_TEXT"

"""An error on one line says code, file, value and remedy."""

import pytest

from cryoclarity.codes import CODES
from cryoclarity.errors import InputError

# What a user's own file can be refused for, by hand.
FAMILIES = ("file", "header", "value", "simulate", "usage", "disk")


@pytest.mark.parametrize("code", [code for code in CODES if CODES[code].family in FAMILIES])
def test_every_code_of_a_bad_file_has_a_remedy(code):
    line = str(InputError("value 3", code=code, file="a.mrc"))
    assert line == f"{code}: a.mrc: value 3 ({CODES[code].remedy})"
    assert CODES[code].remedy


def test_a_special_remedy_wins():
    assert InputError("x", code="FILE_TEXT", remedy="look").remedy == "look"

"""Ids become the paths of the public archives."""

import pytest

from cryoclarity.archive.paths import (
    emdb_number,
    half_map_paths,
    is_local,
    join,
    map_path,
    model_paths,
    pdb_code,
)
from cryoclarity.errors import InputError


@pytest.mark.parametrize(
    ("emdb_id", "number"),
    [("EMD-0282", "0282"), ("emd-25107", "25107"), (" EMD-100001 ", "100001"), ("3488", "3488")],
)
def test_emdb_numbers(emdb_id, number):
    assert emdb_number(emdb_id) == number


@pytest.mark.parametrize(
    ("pdb_id", "code"),
    [("3MFP", "3mfp"), ("pdb_00007cec", "7cec"), ("pdb_10001abc", "pdb_10001abc")],
)
def test_pdb_codes(pdb_id, code):
    assert pdb_code(pdb_id) == code


@pytest.mark.parametrize("name", ["", "EMD-12", "EMD-1234567", "EMD_1234", "../1234"])
def test_bad_emdb_ids(name):
    with pytest.raises(InputError, match="ID_BAD"):
        emdb_number(name)


@pytest.mark.parametrize("name", ["", "mfp3", "3mf", "3mfpx", "pdb_1", "0abc", "../x"])
def test_bad_pdb_ids(name):
    with pytest.raises(InputError, match="ID_BAD"):
        pdb_code(name)


def test_paths():
    assert map_path("EMD-5168") == "emdb/structures/EMD-5168/map/emd_5168.map.gz"
    assert half_map_paths("EMD-5168") == (
        "emdb/structures/EMD-5168/other/emd_5168_half_map_1.map.gz",
        "emdb/structures/EMD-5168/other/emd_5168_half_map_2.map.gz",
    )
    assert model_paths("7CEC") == (
        "pdb/data/structures/divided/mmCIF/ce/7cec.cif.gz",
        "pdb/data/structures/divided/pdb/ce/pdb7cec.ent.gz",
    )
    assert "/ab/" in model_paths("pdb_10001abc")[0]


def test_bases():
    assert join("https://a.b/pub/", "emdb/x") == "https://a.b/pub/emdb/x"
    assert join("file:///data/my%20archive", "emdb/x") == "/data/my archive/emdb/x"
    assert join("../shared", "emdb/x") == "../shared/emdb/x"
    assert is_local("file:///a") and is_local("a/b") and not is_local("http://a/b")

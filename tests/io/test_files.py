"""Files are complete or absent, gzip is proved to the last byte."""

import gzip

import pytest

from cryoclarity.errors import InputError, ResourceError
from cryoclarity.io.files import (
    atomic_path,
    read_bytes,
    read_json,
    sha256_of,
    write_bytes,
    write_json,
)

DATA = bytes(range(256)) * 50


def packed(data):
    """Compress without the time: test names must be the same in every worker."""
    return gzip.compress(data, mtime=0)


def code_of(path, **arguments):
    with pytest.raises(InputError) as caught:
        read_bytes(path, **arguments)
    return caught.value.code


def test_plain_gzip_and_several_members_read_the_same(tmp_path):
    one_member = packed(DATA)
    variants = {
        "plain": DATA,
        "packed": one_member,
        "members": gzip.compress(DATA[:99]) + gzip.compress(DATA[99:]),
        "padded": one_member + bytes(512),
    }
    for name, content in variants.items():
        (tmp_path / name).write_bytes(content)
        assert read_bytes(tmp_path / name) == DATA, name


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "FILE_EMPTY"),
        (packed(b""), "FILE_EMPTY"),
        (packed(DATA)[:-8], "FILE_GZ_TRUNCATED"),
        (packed(DATA)[:-1], "FILE_GZ_TRUNCATED"),
        (packed(DATA)[:40], "FILE_GZ_TRUNCATED"),
        (packed(DATA)[:-8] + bytes(8), "FILE_GZ_CORRUPT"),
        (packed(DATA) + b"more", "FILE_GZ_TRAILING"),
    ],
    ids=["empty", "packed-empty", "no-trailer", "cut-trailer", "cut", "wrong-crc", "trailing"],
)
def test_damage_is_named(tmp_path, content, code):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert code_of(path) == code


def test_a_bomb_stops_at_the_cap(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(50_000_000)))
    assert code_of(path, cap=1_000_000) == "FILE_GZ_CAP"


def test_what_is_no_file_is_named_without_opening_it(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert code_of(tmp_path / "pipe") == "FILE_NOT_REGULAR"
    assert code_of(tmp_path) == "FILE_NOT_REGULAR"
    assert code_of(tmp_path / "absent") == "FILE_MISSING"
    assert code_of(tmp_path / "loop") == "FILE_MISSING"


def test_a_failed_write_leaves_neither_file_nor_temporary(tmp_path):
    target = tmp_path / "out.json"
    write_json(target, {"old": 1})
    with pytest.raises(ValueError, match="broken"), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise ValueError("broken")
    assert target.read_text() == '{\n "old": 1\n}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_a_folder_that_cannot_be_made_is_a_resource_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResourceError), atomic_path(tmp_path / "file" / "out"):
        pass


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"no"])
def test_what_is_no_json_is_bad_input(tmp_path, content):
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(InputError, match=r"FILE_TEXT.*no JSON"):
        read_json(tmp_path / "card.json")


def test_gzip_output_has_no_time(tmp_path):
    write_bytes(tmp_path / "a.gz", DATA)
    write_bytes(tmp_path / "b.gz", DATA)
    assert sha256_of(tmp_path / "a.gz") == sha256_of(tmp_path / "b.gz")

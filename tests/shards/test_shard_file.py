"""The HDF5 file of one entry: what goes in comes out, in any order, in any process."""

from __future__ import annotations

import multiprocessing
import pickle
import time

import numpy as np
import pytest

from cryoclarity.boxes.cutting import BoxStack
from cryoclarity.errors import IntegrityError
from cryoclarity.io.files import sha256_of
from cryoclarity.io.shards import ShardReader, verify, write_shard


def arrays(count=5, side=8):
    rng = np.random.default_rng(3)
    shape = (count, side, side, side)
    return {
        "input": rng.random(shape).astype(np.float16),
        "target": rng.random(shape).astype(np.float16),
        "mask": rng.integers(0, 3, shape).astype(np.uint8),
        "origin": rng.integers(0, 90, (count, 3)).astype(np.int32),
        "weight": rng.random(count).astype(np.float32),
        "padded": np.zeros(count, dtype=np.float32),
    }


ATTRIBUTES = {"dataset": "enhance_1.0", "voxel_size": 1.0, "box_size": 8, "normalisation": "{}"}


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "a.h5"
    content = arrays()
    digest = write_shard(path, content, ATTRIBUTES)
    return path, content, digest


def test_every_box_comes_back_in_any_order(shard):
    path, content, _ = shard
    reader = ShardReader(path)
    assert len(reader) == 5
    for number in (4, 0, 3, 3, 1, 2):
        box = reader.read(number)
        assert set(box) == set(content)
        for name, array in content.items():
            np.testing.assert_array_equal(box[name], array[number])
            assert box[name].dtype == array.dtype
    with pytest.raises(IndexError):
        reader.read(5)
    reader.close()


def test_attributes_are_plain_values(shard):
    attributes = ShardReader(shard[0]).attrs
    assert attributes == {**ATTRIBUTES, "schema_version": 1}
    assert type(attributes["voxel_size"]) is float
    assert type(attributes["dataset"]) is str


def test_one_chunk_per_box_without_compression(shard):
    file = ShardReader(shard[0])._open()
    assert file["input"].chunks == (1, 8, 8, 8)
    assert file["input"].compression is None


def test_equal_content_gives_equal_bytes_at_another_time(tmp_path):
    write_shard(tmp_path / "a.h5", arrays(), ATTRIBUTES)
    time.sleep(1.1)  # HDF5 keeps times in whole seconds
    write_shard(tmp_path / "b.h5", arrays(), ATTRIBUTES)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_lazy_stack_writes_the_same_bytes_as_its_array(tmp_path):
    volume = np.random.default_rng(1).random((12, 9, 10), dtype=np.float32)
    starts = [(0, 0, 0), (4, 1, 2), (8, 4, 5)]
    lazy = BoxStack(volume, starts, 8, np.float16)
    dense = np.stack([lazy[k] for k in range(3)])
    columns = {"weight": np.ones(3, np.float32)}
    first = write_shard(tmp_path / "a.h5", {"input": lazy, "target": lazy} | columns, {})
    second = write_shard(tmp_path / "b.h5", {"input": dense, "target": dense} | columns, {})
    assert first == second


def test_a_reader_that_was_open_travels(shard):
    path, content, _ = shard
    reader = ShardReader(path)
    reader.read(0)
    copy = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(copy.read(2)["target"], content["target"][2])
    assert copy.attrs == reader.attrs


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_another_process_opens_its_own_handle(shard, method):
    path, content, _ = shard
    reader = ShardReader(path)
    reader.read(0)
    context = multiprocessing.get_context(method)
    with context.Pool(1) as pool:
        boxes = pool.map(reader.read, [3, 1])
    np.testing.assert_array_equal(boxes[0]["input"], content["input"][3])
    np.testing.assert_array_equal(boxes[1]["input"], content["input"][1])


def test_a_flipped_byte_is_refused(shard):
    path, _, digest = shard
    verify(path, digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError) as caught:
        verify(path, digest)
    assert caught.value.code == "SHARD_CORRUPT"
    assert digest in str(caught.value) and sha256_of(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n" + bytes(200)])
def test_what_is_no_shard_is_refused(tmp_path, content):
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="SHARD_CORRUPT"):
        ShardReader(path).read(0)


def test_another_schema_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("cryoclarity.io.shards.SCHEMA_VERSION", 2)
    write_shard(tmp_path / "a.h5", arrays(), {})
    monkeypatch.undo()
    with pytest.raises(IntegrityError, match="expected schema version 1, found 2"):
        len(ShardReader(tmp_path / "a.h5"))


def test_a_missing_shard_is_refused(tmp_path):
    with pytest.raises(IntegrityError, match="no file"):
        verify(tmp_path / "a.h5", "0" * 64)


def test_unequal_counts_are_a_bug(tmp_path):
    content = arrays()
    content["weight"] = content["weight"][:3]
    with pytest.raises(ValueError, match="number of boxes"):
        write_shard(tmp_path / "a.h5", content, {})
    assert not list(tmp_path.iterdir())

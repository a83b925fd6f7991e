"""Order, sampling, augmentation and labels of training boxes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from cryoclarity.errors import InputError, IntegrityError
from cryoclarity.nets.label_transform import LabelTransform
from cryoclarity.train import data
from cryoclarity.train.data import IndexEntry
from tests.train.training_shards import write_dataset


def entry(boxes: int, weight: float = 1.0) -> IndexEntry:
    return IndexEntry("EMD-1", "g", "train", "a.h5", "", boxes, weight)


def test_index_keeps_entries_with_boxes_of_the_split(tmp_path):
    index = write_dataset(tmp_path)
    assert [e.emdb_id for e in data.read_index(index, "train")] == ["EMD-1", "EMD-2"]
    assert [e.boxes for e in data.read_index(index, "val")] == [3]
    index.write_text(index.read_text().replace("boxes", "count"))
    with pytest.raises(InputError, match="boxes"):
        data.read_index(index)


def test_verify_names_the_damaged_shard(tmp_path):
    entries = data.read_index(write_dataset(tmp_path))
    data.verify_shards(entries, tmp_path)
    path = tmp_path / entries[1].path
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="EMD-2") as caught:
        data.verify_shards(entries, tmp_path)
    assert caught.value.code == "SHARD_CORRUPT"


def test_order_is_a_pure_function_of_seed_and_epoch():
    entries = [entry(7), entry(100), entry(1)]
    first = data.epoch_order(entries, 5, 2, 8)
    assert np.array_equal(first, data.epoch_order(entries, 5, 2, 8))
    assert not np.array_equal(first, data.epoch_order(entries, 5, 3, 8))
    assert not np.array_equal(first, data.epoch_order(entries, 6, 2, 8))
    assert len(first) == 104


def test_entries_are_drawn_by_root_of_boxes_times_weight():
    entries = [entry(400), entry(100), entry(100, 2.0)]
    order = data.epoch_order(entries, 1, 0, 10)
    counts = np.bincount(order[:, 0], minlength=3)
    np.testing.assert_allclose(counts, 600 * np.array([20, 10, 20]) / 50, atol=1)
    # Inside an entry every box comes once before any comes twice.
    for number, e in enumerate(entries):
        times = np.bincount(order[order[:, 0] == number, 1], minlength=e.boxes)
        assert times.max() - times.min() <= 1


def test_fewer_boxes_than_a_batch_still_make_one_batch():
    assert len(data.epoch_order([entry(2)], 1, 0, 8)) == 8


def test_sampler_can_start_anywhere():
    entries = [entry(9), entry(4)]
    whole = list(data.StepSampler(entries, 3, 4, 0, 10))
    assert list(data.StepSampler(entries, 3, 4, 5, 10)) == whole[5:]
    assert len(data.StepSampler(entries, 3, 4, 5, 10)) == 5
    assert {key[0] for keys in whole for key in keys} == {0, 1, 2, 3}


@pytest.fixture
def dataset(tmp_path) -> data.BoxDataset:
    entries = data.read_index(write_dataset(tmp_path), "train")
    return data.BoxDataset(data.BoxSource(entries, tmp_path), 3, 24)


def test_augmentation_moves_input_and_target_together(dataset):
    stored = dataset.source.read(0, 1)
    stored["target"] = stored["input"] * 2
    dataset.source.read = lambda *_: stored
    sample = dataset[(0, 5, 0, 1)]
    np.testing.assert_array_equal(sample["target"], 2 * sample["input"])
    assert sample["input"].shape == (1, 24, 24, 24)
    assert sample["input"].dtype == np.float32
    others = {dataset[(0, i, 0, 1)]["input"].tobytes() for i in range(20)}
    assert len(others) > 15


def test_box_smaller_than_the_crop_is_refused(tmp_path):
    entries = data.read_index(write_dataset(tmp_path, side=20), "train")
    with pytest.raises(InputError, match="smaller"):
        data.BoxDataset(data.BoxSource(entries, tmp_path), 3, 24)[(0, 0, 0, 0)]


def test_dataset_pickles_after_use(dataset):
    dataset[(0, 0, 0, 0)]
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy[(1, 2, 1, 0)]["input"], dataset[(1, 2, 1, 0)]["input"])


def collect(dataset: data.BoxDataset, workers: int, method: str) -> list[torch.Tensor]:
    sampler = data.StepSampler(dataset.source.entries, 3, 4, 1, 6)
    return [batch["input"] for batch in data.batches(dataset, sampler, workers, method)]


def check_workers(dataset: data.BoxDataset, workers: int, method: str) -> None:
    before = torch.get_rng_state()
    wanted = collect(dataset, 0, method)
    found = collect(dataset, workers, method)
    assert len(found) == len(wanted) == 5
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_loader_processes_change_nothing(dataset):
    check_workers(dataset, 1, "fork")


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_more_loader_processes_change_nothing(dataset, method):
    check_workers(dataset, 3, method)


def test_labels_are_standardised_inside_the_mask_only(tmp_path):
    entries = data.read_index(write_dataset(tmp_path, "resolution", 16), "train")
    source = data.BoxSource(entries, tmp_path)
    labels, median = data.fit_labels(source, "log2")
    values = []
    for number, e in enumerate(entries):
        for box in range(e.boxes):
            stored = source.read(number, box)
            values.append(stored["target"][stored["mask"] == 1])
    pooled = np.concatenate(values).astype(float)
    assert labels.mean == pytest.approx(np.log2(pooled).mean())
    assert labels.std == pytest.approx(np.log2(pooled).std())
    assert (labels.minimum, labels.maximum) == (pooled.min(), pooled.max())
    assert median == pytest.approx(np.median(pooled))
    sample = data.BoxDataset(source, 1, 16, labels)[(0, 0, 0, 0)]
    assert (sample["target"][sample["mask"] == 0] == 0).all()
    assert set(np.unique(sample["mask"])) == {0, 1, 2}


def test_labels_that_are_no_numbers_leave_the_mask():
    target = np.array([np.nan, 0.0, 4.0, 100.0]).reshape(1, 1, 4)
    arrays = {"input": target, "target": target, "mask": np.array([[[1, 1, 1, 0]]], np.uint8)}
    encoded = data.encode_labels(arrays, LabelTransform("log2"))
    assert encoded["mask"].ravel().tolist() == [0, 0, 1, 0]
    assert encoded["target"].ravel().tolist() == [0, 0, 2, 0]


def test_no_label_at_all_gives_no_constants(tmp_path):
    entries = data.read_index(write_dataset(tmp_path, "resolution", 16), "train")
    source = data.BoxSource(entries, tmp_path)
    stored = source.read(0, 0)
    source.read = lambda *_: {**stored, "mask": np.zeros_like(stored["mask"])}
    assert data.fit_labels(source, "log2") == (None, 0.0)


def test_fixed_boxes_are_spread_over_all_entries():
    keys = data.fixed_keys([entry(10), entry(30)], 8)
    assert len(keys) == 8
    assert keys[0] == (0, 0, 0, 0) and keys[-1] == (0, 0, 1, 29)
    assert len(data.fixed_keys([entry(2), entry(1)], 8)) == 3

"""Label maps of other programs, as files, whatever they write for "no answer"."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from cryoclarity.demo.map_bytes import encode_map
from cryoclarity.errors import InputError
from cryoclarity.io.files import read_json
from cryoclarity.io.maps import read_map
from cryoclarity.stages.labels import import_files

SIZE = 12


@pytest.fixture
def labels() -> tuple[np.ndarray, np.ndarray]:
    """Values in a ball, and the ball."""
    square = np.sum((np.indices((SIZE,) * 3) - 5.5) ** 2, axis=0)
    inside = square < 20
    values = np.random.default_rng(1).uniform(2.5, 9, inside.shape).astype(np.float32)
    return values, inside


def written(path: Path, values: np.ndarray, style: str = "origin") -> Path:
    path.write_bytes(encode_map(values.astype(np.float32), 1.25, (3, -4, 5), style))
    return path


@pytest.mark.parametrize(
    ("program", "empty"),
    [("relion", 0.0), ("blocres", 0.0), ("monores", np.nan), ("resmap", 100.0),
     ("infinite", np.inf), ("negative", -1.0)],
)  # fmt: skip
@pytest.mark.parametrize("style", ["origin", "axes321"])
def test_every_convention_gives_the_same_labels(tmp_path, labels, program, empty, style) -> None:
    values, inside = labels
    source = written(tmp_path / f"{program}.mrc", np.where(inside, values, empty), style)
    import_files(source, tmp_path / "out.mrc")
    made = read_map(tmp_path / "out.mrc")
    np.testing.assert_array_equal(made.density, np.where(inside, values, 0))
    codes = read_map(tmp_path / "out.codes.mrc").density
    np.testing.assert_array_equal(codes, inside.astype(np.float32))
    assert made.grid.origin == pytest.approx((3.75, -5.0, 6.25))
    record = read_json(tmp_path / "out.json")
    assert record["engine"] == "import"
    assert record["labelled_voxels"] == int(inside.sum())
    assert record["median"] == pytest.approx(float(np.median(values[inside])), abs=0.3)


def test_a_mask_tells_worse_than_all_from_outside(tmp_path, labels) -> None:
    values, inside = labels
    values = np.where(inside, values, np.nan)
    values[5, 5, 5] = np.nan
    source = written(tmp_path / "monores.mrc", values)
    mask = written(tmp_path / "mask.mrc", inside)
    import_files(source, tmp_path / "out.mrc", mask)
    codes = read_map(tmp_path / "out.codes.mrc").density
    assert codes[5, 5, 5] == 2
    assert set(np.unique(codes[inside])) == {1, 2}
    assert not codes[~inside].any()


def test_all_nan_is_no_label_map(tmp_path, labels) -> None:
    header = bytearray(encode_map(np.ones((SIZE,) * 3, np.float32), 1.0, (0, 0, 0), "plain"))
    header[1024:] = struct.pack("<f", np.nan) * SIZE**3
    (tmp_path / "nan.mrc").write_bytes(bytes(header))
    with pytest.raises(InputError) as caught:
        import_files(tmp_path / "nan.mrc", tmp_path / "out.mrc")
    assert caught.value.code == "LABEL_EMPTY"
    assert not (tmp_path / "out.mrc").exists()

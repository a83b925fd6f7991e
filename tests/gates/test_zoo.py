"""Every odd file gets the verdict it deserves."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from cryoclarity.codes import CODES
from cryoclarity.gates.inspector import inspect_file
from cryoclarity.io.maps import read_map
from tests.gates.zoo import MAPS, MODELS, SHAPE, VOXEL, map_bytes, values
from tests.gates.zoo_more import MORE_MAPS, MORE_MODELS

ALL = {f"map: {name}": case for name, case in (MAPS | MORE_MAPS).items()} | {
    f"model: {name}": case for name, case in (MODELS | MORE_MODELS).items()
}
WARNED = {
    "map: few extra bytes": "W_EXTRA_BYTES",
    "map: gzip without suffix": "W_SUFFIX",
    "map: plain under gz": "W_SUFFIX",
    "map: stamp zero": "W_STAMP",
    "map: stamp lies": "W_STAMP",
    "map: angles unset": "W_ANGLES_UNSET",
    "map: voxel 1 % longer": "W_ANISOTROPIC",
    "map: frames disagree": "W_FRAME_DISAGREE",
    "map: space group float": "W_SPACEGROUP",
    "map: wrong statistics": "W_STATS",
    "map: unsigned bytes": "W_MODE0_UNSIGNED",
    "map: m larger": "W_M_NOT_N",
    "map: ispg 90000": "W_SPACEGROUP",
    "map: voxel twice as long": "W_ANISOTROPIC",
    "model: altlocs": "W_ALTLOC",
    "model: two atoms twice": "W_DUPLICATES",
    "model: occupancy unknown": "W_OCCUPANCY",
    "model: occupancy blank, pdb": "W_OCCUPANCY",
    "model: elements blank": "W_ELEMENT",
    "model: cif under pdb": "W_SUFFIX",
    "model: pdb under cif": "W_SUFFIX",
    "model: no elements": "W_ELEMENT",
    "model: text after END": "W_TEXT_AFTER_END",
    "model: two models": "W_MULTI_MODEL",
}


@pytest.mark.parametrize("name", ALL)
def test_verdict(tmp_path, name):
    file_name, content, kind, code = ALL[name]
    path = tmp_path / file_name
    path.write_bytes(content)
    verdict = inspect_file(str(path))
    assert (verdict["kind"], verdict["code"]) == (kind, code), verdict["message"]
    assert verdict["status"] == ("quarantine" if code else "ok")
    if code:
        assert CODES[code].severity == "quarantine"
        assert verdict["message"]
        assert str(tmp_path) not in verdict["message"]
    elif kind == "map":
        assert verdict["grid"] == list(SHAPE[::-1])
    else:
        assert verdict["atoms"] == 20
    json.dumps(verdict, allow_nan=False)


@pytest.mark.parametrize("name", WARNED)
def test_warning(tmp_path, name):
    file_name, content, _, _ = ALL[name]
    path = tmp_path / file_name
    path.write_bytes(content)
    assert WARNED[name] in inspect_file(str(path))["warnings"]


def test_facts_of_a_map(tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(map_bytes(start=(-3, 4, 5)))
    verdict = inspect_file(str(path))
    assert verdict["voxel_size"] == [VOXEL] * 3
    assert verdict["origin"] == [-4.5, 6.0, 7.5]
    assert (verdict["mode"], verdict["axes"]) == (2, [1, 2, 3])
    assert (verdict["frame"], verdict["byte_order"]) == ("nstart", "little")


def test_things_that_are_no_files(tmp_path):
    fifo, loop = tmp_path / "pipe.map", tmp_path / "loop.map"
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    (tmp_path / "gone.map").symlink_to(tmp_path / "nowhere")
    codes = {
        str(tmp_path): "FILE_NOT_REGULAR",
        str(fifo): "FILE_NOT_REGULAR",
        str(loop): "FILE_MISSING",
        str(tmp_path / "gone.map"): "FILE_MISSING",
        str(tmp_path / "absent.cif"): "FILE_MISSING",
        "/dev/null": "FILE_NOT_REGULAR",
        "with\0nul.map": "FILE_MISSING",
        "n" * 5000: "FILE_MISSING",
    }
    assert {name: inspect_file(name)["code"] for name in codes} == codes


def test_large_offset_keeps_the_spread(tmp_path):
    path = tmp_path / "a.mrc"
    data = values() + 1_000_000
    path.write_bytes(map_bytes(data))
    assert inspect_file(str(path))["std"] == pytest.approx(data.astype(float).std(), rel=1e-6)


def run_script(root, *arguments):
    script = root / "workflow_scripts" / "inspect_inputs.py"
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_script_answers_line_by_line_and_imports_little(root, tmp_path):
    for name in ("good", "noise"):
        (tmp_path / f"{name}.map").write_bytes(MAPS[name][1])
    files = [str(tmp_path / name) for name in ("noise.map", "missing.map", "good.map")]
    done = run_script(root, *files, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in lines] == files
    assert [line["code"] for line in lines] == ["FILE_NOT_MAP", "FILE_MISSING", ""]
    table = run_script(root, *files)
    assert table.returncode == 0
    assert "FILE_NOT_MAP" in table.stdout
    assert run_script(root).returncode == 2
    code = (
        "import sys; from cryoclarity.gates.inspector import inspect_file;"
        f"inspect_file({files[2]!r}); print({{'gemmi', 'torch'}} & set(sys.modules))"
    )
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert imported.stdout.strip() == "set()"


@pytest.mark.parametrize("axes", ["123", "132", "213", "231", "312", "321"])
def test_axis_orders_have_one_frame(tmp_path, axes):
    path = tmp_path / "a.map"
    path.write_bytes(MORE_MAPS[f"axes {axes}"][1])
    volume = read_map(path)
    assert np.array_equal(volume.density, values())
    assert volume.grid.voxel_size == pytest.approx((VOXEL,) * 3, rel=1e-6)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("mode", [0, 1, 2, 6, 12])
def test_modes_in_both_byte_orders(tmp_path, mode, order):
    path = tmp_path / "a.map"
    path.write_bytes(MORE_MAPS[f"mode {mode}, {order} endian"][1])
    kind = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}[mode]
    expected = (np.abs(values()) * 25).astype(kind).astype(np.float32)
    assert np.array_equal(read_map(path).density, expected)

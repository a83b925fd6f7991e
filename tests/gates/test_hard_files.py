"""Files that hang, fill the memory or pretend: every one gets its answer, quickly and alone."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from cryoclarity.gates.inspector import inspect_file
from cryoclarity.gates.limits import Limits
from tests.gates.zoo import CIF, GOOD, PDB, gz, map_bytes, pdb_text, values
from tests.gates.zoo_more import MORE_MAPS

LONGEST = 20.0  # seconds; a hang is what is looked for, on a machine that may be busy
LARGEST_MB = 400
# The largest memory of the process itself: that of getrusage counts what the process that
# started it held.
MEASURE = """
import re, sys, time
sys.argv = sys.argv[1:]
import runpy
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    peak = re.search("VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read()).group(1)
    print(int(peak) / 1024, time.process_time(), file=sys.stderr)
"""


def inspected(root, files):
    """Call the inspector; return its lines, its peak of memory in MB and its seconds of CPU."""
    script = root / "workflow_scripts" / "inspect_inputs.py"
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(script), *map(str, files), "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    peak, seconds = done.stderr.split()  # and nothing else was said
    return done.stdout.splitlines(), float(peak), float(seconds)


def sparse(path, head, size):
    with path.open("wb") as handle:
        handle.write(head)
        handle.truncate(size)


def hard_files(folder):
    """Write files that trap naive readers; return name -> code."""
    os.mkfifo(folder / "pipe.map")
    (folder / "to_pipe.cif").symlink_to(folder / "pipe.map")
    (folder / "loop_a.map").symlink_to(folder / "loop_b.map")
    (folder / "loop_b.map").symlink_to(folder / "loop_a.map")
    (folder / "to_zero.map").symlink_to("/dev/zero")
    (folder / "folder.map").mkdir()
    sparse(folder / "declared.map", map_bytes(sizes=(2048,) * 3), 34 << 30)
    sparse(folder / "hole.map", b"", 34 << 30)
    sparse(folder / "tail.map", GOOD, 34 << 30)
    sparse(folder / "hole.cif", b"", 34 << 30)
    sparse(folder / "tail.pdb", PDB, 34 << 30)
    sparse(folder / "tail.cif", CIF, 280 << 20)
    (folder / "members.map.gz").write_bytes(gz(b"") * 50_000 + gz(GOOD))
    (folder / "blanks.cif.gz").write_bytes(gz(b" " * (70 << 20)))
    (folder / "zeros.map.gz").write_bytes(gz(bytes(80 << 20)))
    return {
        "pipe.map": "FILE_NOT_REGULAR",
        "to_pipe.cif": "FILE_NOT_REGULAR",
        "loop_a.map": "FILE_MISSING",
        "to_zero.map": "FILE_NOT_REGULAR",
        "folder.map": "FILE_NOT_REGULAR",
        "declared.map": "HDR_DIM_LIMIT",
        "hole.map": "FILE_NOT_MAP",
        "tail.map": "FILE_EXTRA_BYTES",
        "hole.cif": "MOD_FORMAT",
        "tail.pdb": "MOD_SIZE",
        "tail.cif": "MOD_ENCODING",
        "members.map.gz": "",
        "blanks.cif.gz": "FILE_GZ_CAP",
        "zeros.map.gz": "FILE_NOT_MAP",
    }


def test_traps_in_one_process(root, tmp_path):
    expected = hard_files(tmp_path)
    files = [str(tmp_path / name) for name in expected]
    lines, peak, seconds = inspected(root, files)
    assert seconds < LONGEST
    found = {
        json.loads(line)["file"].rsplit("/", 1)[-1]: json.loads(line)["code"] for line in lines
    }
    assert found == expected
    assert peak < LARGEST_MB


def test_socket_and_unreadable_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.map")
        assert inspect_file("s.map")["code"] == "FILE_NOT_REGULAR"
    (tmp_path / "secret.map").write_bytes(GOOD)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert inspect_file("secret.map")["code"] == "FILE_PERMISSION"


def test_inputs_are_opened_for_reading_only(root, tmp_path):
    """Every open of every input, seen by the interpreter, asks for reading."""
    names = ("axes 321", "m larger", "NaN in gzip", "many gzip members", "jpeg")
    for number, name in enumerate(names):
        file_name, content, _, _ = MORE_MAPS[name]
        (tmp_path / f"{number}{file_name}").write_bytes(content)
    (tmp_path / "m.pdb").write_bytes(PDB)
    (tmp_path / "m.cif.gz").write_bytes(gz(CIF))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    code = (
        "import os, sys\n"
        "folder, bad = sys.argv[1], []\n"
        "def hook(event, arguments):\n"
        "    if event == 'open' and str(arguments[0]).startswith(folder):\n"
        "        flags = arguments[2]\n"
        "        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):\n"
        "            bad.append(arguments)\n"
        "sys.addaudithook(hook)\n"
        "from cryoclarity.gates.inspector import inspect_file\n"
        "for name in sorted(os.listdir(folder)):\n"
        "    path = os.path.join(folder, name)\n"
        "    inspect_file(path)\n"
        "print(len(bad))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_long_pdb_with_odd_columns(tmp_path):
    """A hundred thousand lines, of which one is a column off, and then none."""
    lines = [line for _ in range(50) for line in pdb_text().split("\n")[1:21]]
    records = [
        f"{line[:21]}{'ABC'[i // 49_995]}{i // 5 % 9999:4d}{line[26:30]}"
        f"{i % 977:8.3f}{i // 977:8.3f}{line[46:]}"
        for i, line in enumerate(lines * 100)
    ]
    path = tmp_path / "a.pdb"
    path.write_text("\n".join(records) + "\n")
    assert inspect_file(str(path))["atoms"] == 100_000
    records[77_777] = records[77_777][:29] + records[77_777][30:]
    path.write_text("\n".join(records) + "\n")
    verdict = inspect_file(str(path))
    assert verdict["code"] == "MOD_COORDS"
    assert "line 77778" in verdict["message"]


def test_sparse_maps_only_where_asked(tmp_path):
    path = tmp_path / "a.map"
    spot = np.zeros((30, 30, 30), np.float32)
    spot[4, 5, 6] = 2.5
    strict = Limits.of_settings({"sparse": True})
    path.write_bytes(map_bytes(spot))
    assert inspect_file(str(path))["code"] == ""
    verdict = inspect_file(str(path), strict)
    assert verdict["code"] == "VAL_SPARSE"
    assert "1 voxels differ from 0" in verdict["message"]
    spot[10:20] = 2.5  # a mask
    path.write_bytes(map_bytes(spot))
    assert inspect_file(str(path), strict)["code"] == ""
    path.write_bytes(map_bytes(values((30, 30, 30))))
    assert inspect_file(str(path), strict)["code"] == ""


@pytest.mark.parametrize(
    ("settings", "name", "content", "code"),
    [
        ({"max_voxels": 900}, "a.map", GOOD, "HDR_DIM_LIMIT"),
        ({"min_axis": 10}, "a.map", GOOD, "HDR_DIM_SMALL"),
        ({"max_atoms": 19}, "a.pdb", PDB, "MOD_SIZE"),
        ({"max_atoms": 19}, "a.cif", CIF, "MOD_SIZE"),
        ({"max_model_bytes": 500}, "a.cif.gz", gz(CIF), "MOD_SIZE"),
        ({"max_atoms": 20}, "a.cif", CIF, ""),
    ],
)
def test_limits(tmp_path, settings, name, content, code):
    path = tmp_path / name
    path.write_bytes(content)
    assert inspect_file(str(path), Limits.of_settings(settings))["code"] == code


def test_unforeseen_errors_are_rows(tmp_path, monkeypatch):
    path = tmp_path / "a.map"
    path.write_bytes(GOOD)

    def broken(*_):
        raise RuntimeError("what nobody\nthought of")

    monkeypatch.setattr("cryoclarity.gates.inspector.check_map", broken)
    verdict = inspect_file(str(path))
    assert (verdict["status"], verdict["code"]) == ("quarantine", "INTERNAL")
    assert verdict["message"] == "internal error: RuntimeError: what nobody thought of"


@pytest.mark.long
def test_figures_of_the_inspector(root, tmp_path):
    """Half a gigabyte in seconds and little memory; a big model within the bounds."""
    path = tmp_path / "big.map"
    path.write_bytes(map_bytes(np.random.default_rng(0).standard_normal((512,) * 3, np.float32)))
    _, peak, seconds = inspected(root, [path])
    assert seconds < 5.4
    assert peak < 150

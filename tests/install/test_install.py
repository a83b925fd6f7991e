"""Wheel and source distribution build, and what the wheel installs works on a map."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cryoclarity.io.maps import write_map
from tests.predict.tiny import blob_volume

pytestmark = pytest.mark.long
PARTS = ("pyproject.toml", "README.md", "LICENSE", "src")
BUILD = "from setuptools import build_meta; import sys; print(build_meta.build_{}(sys.argv[1]))"


def run(command, folder):
    """Run without the variables by which a caller's source tree would be found."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=keep, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    return done.stdout


def built(kind, tree, out):
    """Build by the project's own backend, as pip does without isolation."""
    out.mkdir(exist_ok=True)
    name = run([sys.executable, "-c", BUILD.format(kind), out], tree).splitlines()[-1]
    return out / name


@pytest.fixture(scope="module")
def distributions(root, tmp_path_factory):
    """Source distribution of a clean copy, and the wheel of what that unpacks to."""
    folder = tmp_path_factory.mktemp("build")
    tree = folder / "tree"
    tree.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in PARTS:
        source = root / part
        if source.is_dir():
            shutil.copytree(source, tree / part, ignore=ignored)
        else:
            shutil.copy(source, tree / part)
    archive = built("sdist", tree, folder / "dist")
    with tarfile.open(archive) as opened:
        opened.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return archive, built("wheel", unpacked, folder / "dist")


def package_files(root):
    """Modules and data of the package, as names below `src`."""
    source = root / "src"
    return {
        path.relative_to(source).as_posix()
        for path in (source / "cryoclarity").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_both_hold_every_module_and_all_data(root, distributions):
    archive, wheel = distributions
    wanted = package_files(root)
    assert {"cryoclarity/data/reason_codes.tsv", "cryoclarity/data/lists/lists.tsv"} <= wanted
    with zipfile.ZipFile(wheel) as opened:
        inside = {name for name in opened.namelist() if ".dist-info/" not in name}
    assert inside == wanted
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {f"src/{name}" for name in wanted} | {"LICENSE", "README.md"} <= names


def test_the_installed_wheel_serves_a_map(root, distributions, tmp_path):
    """A fresh environment; the dependencies, and nothing else, are those of this one."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    packages = Path(
        run([python, "-c", "import site; print(site.getsitepackages()[0])"], tmp_path).strip()
    )
    # pip of this environment installs into the other one.
    options = ("--no-deps", "--no-index", "--disable-pip-version-check")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", *options]
    run([*pip, distributions[1]], tmp_path)
    # A plain path: the .pth files in there, the editable install's among them, are not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    where = run([python, "-c", "import cryoclarity; print(cryoclarity.__file__)"], empty)
    assert Path(where.strip()).is_relative_to(packages)
    assert str(root / "src") not in run([python, "-c", "import sys; print(sys.path)"], empty)

    write_map(tmp_path / "given.mrc", blob_volume((40, 36, 38), 1.5))
    command = environment / "bin" / "cryoclarity"
    run([command, "resolution", tmp_path / "given.mrc"], empty)
    suffixes = (".mrc", ".json", ".png", ".cxc")
    assert {p.name for p in empty.iterdir()} == {f"given_resolution{s}" for s in suffixes}
    check = (
        "from cryoclarity.io.maps import read_map; d = read_map('given_resolution.mrc').density;"
        "print(*d.shape, (d > 0).sum(), d.max())"
    )
    *shape, inside, highest = run([python, "-c", check], empty).split()
    assert [int(n) for n in shape] == [40, 36, 38]
    assert int(inside) > 100 and np.isfinite(float(highest))

"""Imports run one way, and each outside library has one door."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "cryoclarity"

# Lowest room first; a room may import from itself and from rooms above it in this list.
LAYERS = (
    {"", "codes"},
    {"errors"},
    {"grid", "data"},
    {"io"},
    {"provenance"},
    {"density", "model", "boxes", "nets", "scoring", "targets", "labels", "degrade", "selection"},
    {"archive", "gates", "train", "predict", "evaluate", "report", "demo", "workflow"},
    {"stages"},
    {"cli"},
)
# Within the layer of array rooms: who stands on whom.
ALLOWED_SIDEWAYS = {
    ("scoring", "model"),
    ("targets", "model"),
    ("targets", "scoring"),
    ("labels", "density"),
    ("boxes", "density"),
    ("degrade", "density"),
    ("degrade", "model"),
    ("degrade", "targets"),
    ("train", "predict"),
    ("evaluate", "report"),
    ("predict", "train"),
    ("demo", "archive"),
}
DOORS = {
    "gemmi": ("io/model.py", "model/"),
    "mrcfile": ("io/maps.py", "io/map_header.py"),
    "h5py": ("io/shards.py",),
    "requests": ("archive/http.py",),
    "urllib3": ("archive/http.py",),
    "matplotlib": ("report/",),
    "bokeh": ("report/plots.py",),
    "PIL": ("report/",),
    "rich": ("report/", "cli/"),
    "yaml": ("workflow/settings.py",),
    "torch": ("nets/", "train/", "predict/"),
    "snakemake": (),
}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def imported(path: Path):
    """Yield the dotted names that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            yield node.module


def room_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    if len(relative.parts) > 1:
        return relative.parts[0]
    return "" if relative.stem == "__init__" else relative.stem


def layer_of(room: str) -> int:
    (found,) = (number for number, rooms in enumerate(LAYERS) if room in rooms)
    return found


def test_every_room_has_a_layer():
    for path in modules():
        layer_of(room_of(path))


def test_imports_run_one_way():
    wrong = []
    for path in modules():
        here = room_of(path)
        for name in imported(path):
            parts = name.split(".")
            if parts[0] != "cryoclarity":
                continue
            there = parts[1] if len(parts) > 1 else ""
            if there not in set().union(*LAYERS):
                there = ""
            sideways = layer_of(there) == layer_of(here) and there != here
            if layer_of(there) > layer_of(here) or (
                sideways and (here, there) not in ALLOWED_SIDEWAYS
            ):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_in_a_circle():
    from cryoclarity.workflow.code_hash import reachable_modules

    for path in modules():
        if path.name == "__init__.py":
            continue
        name = ".".join(("cryoclarity", *path.relative_to(PACKAGE).with_suffix("").parts))
        assert name not in reachable_modules(path, PACKAGE), f"{name} is part of a circle"


@pytest.mark.parametrize("library", DOORS)
def test_each_library_has_its_door(library):
    wrong = []
    for path in modules():
        relative = path.relative_to(PACKAGE).as_posix()
        if any(name.split(".")[0] == library for name in imported(path)):
            named = library == "torch" and path.stem.endswith("_torch")
            if not named and not relative.startswith(DOORS[library]):
                wrong.append(relative)
    assert not wrong


def test_the_library_never_prints_and_reads_no_configuration():
    for path in modules():
        text = path.read_text()
        relative = path.relative_to(PACKAGE).as_posix()
        calls = [
            node.func.id
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        if not relative.startswith("cli/"):
            assert "print" not in calls, relative
        assert "config.yaml" not in text, relative


def test_torch_and_gemmi_are_loaded_only_where_they_are_needed():
    """In a fresh process: everything but the network rooms loads without torch."""
    rooms = ("nets", "train", "predict")
    names = [
        ".".join(("cryoclarity", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in modules()
        if path.stem != "__init__"
        and room_of(path) not in rooms
        and not path.stem.endswith("_torch")
    ]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_scripts_are_thin():
    for path in sorted((PACKAGE.parents[1] / "workflow_scripts").glob("*.py")):
        assert len(path.read_text().splitlines()) <= 80, path.name
        assert not {"numpy", "scipy", "torch", "gemmi"} & set(imported(path)), path.name

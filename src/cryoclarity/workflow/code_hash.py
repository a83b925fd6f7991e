"""Hash the code that a stage can reach, so that a changed formula reruns exactly its stage.

Snakemake compares the text of a rule's shell command, not the modules behind it. Each rule
therefore carries this hash as a parameter. It is taken over syntax trees without docstrings:
comments, blank lines and documentation rerun nothing, any statement does.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = "cryoclarity"
DIGITS = 16


def code_hash(script: Path, package_folder: Path, extra: tuple[str, ...] = ()) -> str:
    """Return the hash of a script and of every module of the package that it can import.

    Parameters
    ----------
    script : Path
        Entry point of the stage.
    package_folder : Path
        Folder that holds the package's ``__init__.py``.
    extra : tuple of str
        Modules that the script imports by name at run time.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(syntax_digest(script).encode())
    for name in reachable_modules(script, package_folder, extra):
        digest.update(name.encode())
        digest.update(syntax_digest(module_file(name, package_folder)).encode())
    return digest.hexdigest()[:DIGITS]


def reachable_modules(script: Path, package_folder: Path, extra: tuple[str, ...] = ()) -> list[str]:
    """Return the sorted names of the package's modules that a file imports, directly or not."""
    found: set[str] = set()
    waiting = list(extra) + _imports(script, package_folder)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting += _imports(module_file(name, package_folder), package_folder)
    return sorted(found)


def module_file(name: str, package_folder: Path) -> Path:
    """Return the file of a module or package."""
    stem = package_folder.joinpath(*name.split(".")[1:])
    return stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")


@cache
def _imports(path: Path, package_folder: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
            # `from package import module` names a module, `from module import function` does not.
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [
        name
        for name in names
        if name.split(".")[0] == PACKAGE and module_file(name, package_folder).is_file()
    ]


@cache
def syntax_digest(path: Path) -> str:
    """Return the sha256 of a file's syntax tree without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()

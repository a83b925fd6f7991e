"""Load a workflow script as a module, without its folder on the search path."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

SCRIPTS = Path(__file__).resolve().parents[1] / "workflow_scripts"


def load_script(name: str) -> ModuleType:
    """Return the module of ``workflow_scripts/<name>.py``."""
    specification = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module

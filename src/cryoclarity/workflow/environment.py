"""What a job's process must find in its environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def export_interpreter(source_folder: Path) -> None:
    """Let `python` in a rule be the one that runs the workflow, and let it find the package.

    A conda environment that Snakemake activates later puts its own interpreter in front; the
    package itself is then found through PYTHONPATH, because no environment file can name it.
    """
    here = str(Path(sys.executable).parent)
    paths = os.environ.get("PATH", "").split(os.pathsep)
    if here not in paths[:1]:
        os.environ["PATH"] = os.pathsep.join([here, *paths])
    os.environ["PYTHONPATH"] = str(source_folder)

"""Run the workflow in a folder of its own, as a user would in a clone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
# What a rule names by a path relative to the working folder.
LINKED = ("workflow_scripts", "config")


def working_folder(folder: Path, config: dict) -> Path:
    """Make a working folder with a configuration of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in LINKED:
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    (folder / "test_config.yaml").write_text(yaml.safe_dump(config))
    return folder


def snakemake(
    folder: Path, *arguments: str, cores: int = 2, timeout: int = 900, root: Path = ROOT
) -> subprocess.CompletedProcess:
    """Call Snakemake in a working folder and return what it said."""
    command = [
        str(Path(sys.executable).with_name("snakemake")),
        *arguments,  # first: an option that takes several values would swallow a target
        "--snakefile",
        str(root / "Snakefile"),
        "--directory",
        str(folder),
        "--cores",
        str(cores),
        "--configfile",
        str(folder / "test_config.yaml"),
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )


def planned_rules(output: str) -> set[str]:
    """Return the rules that a dry run would run."""
    return set(re.findall(r"^(?:local)?rule (\w+):$", output, flags=re.MULTILINE))

"""What the documentation tells to type works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page for page in (ROOT / "docs").rglob("*.md") if re.search(r"^```sh$", page.read_text(), re.M)
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_runs(page, tmp_path):
    """Blocks marked `sh` run one after the other, as somebody who follows the page would."""
    for name in ("config", "workflow_scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    blocks = re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.M | re.S)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for block in blocks:
        done = subprocess.run(
            ["bash", "-e", "-c", block],
            cwd=tmp_path,
            env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stderr[-2000:]}"
    assert blocks


def test_pages_name_only_files_and_keys_that_exist():
    """Paths of the repository that a page names in code style are there."""
    for page in (ROOT / "docs").rglob("*.md"):
        for name in re.findall(
            r"`((?:src|config|profiles|rules|workflow_scripts|schemas|tests)/[^`\s*<]+)`",
            page.read_text(),
        ):
            assert (ROOT / name).exists(), f"{page.name} names {name}"


# A command or a script, and what follows it up to the end of the line or of the code.
COMMAND = re.compile(
    r"(cryoclarity (?:enhance|resolution|inspect|doctor|export|check-hallucination)|\w+\.py)"
    r"((?: [^`|#\n]*)?)"
)
SAID: dict[str, str] = {}


def help_of(command: str) -> str:
    """Return what a command says with ``--help``; asked for once."""
    if command not in SAID:
        if command.endswith(".py"):
            words = [sys.executable, str(ROOT / "workflow_scripts" / command)]
        else:
            words = [str(Path(sys.executable).with_name("cryoclarity")), command.split()[1]]
        done = subprocess.run([*words, "--help"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, command
        SAID[command] = done.stdout
    return SAID[command]


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.stem
)
def test_every_command_on_a_page_exists_with_its_options(page):
    """Also the commands that are too dear to run: on your own map, on a cluster, on an archive."""
    text = page.read_text().replace("\\\n", " ")
    for command, options in COMMAND.findall(text):
        if command.endswith(".py") and not (ROOT / "workflow_scripts" / command).is_file():
            continue  # a module or a benchmark
        for option in re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", options):
            assert re.search(rf"{option}\b", help_of(command)), f"{command} has no {option}"
        help_of(command)

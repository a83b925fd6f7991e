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

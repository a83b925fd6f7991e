"""Pages of the reference that are made from the code: settings, commands, reason codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("enhance", "resolution", "inspect", "doctor", "export", "check-hallucination")
CODE_COLUMNS = ("code", "severity", "meaning", "remedy")


def on_files(files, config):
    """Add the pages; mkdocs calls this before it builds."""
    pages = {
        "reference/settings.md": settings_page(),
        "reference/commands.md": commands_page(),
        "reference/reason-codes.md": codes_page(),
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def settings_page() -> str:
    """Return the page of all settings; paths of the repository are no links here."""
    text = (ROOT / "config" / "README.md").read_text(encoding="utf-8")
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]+\)", r"\1", text)


def commands_page() -> str:
    """Return what ``--help`` says of every command and script."""
    parts = [
        "# Commands",
        "Each command and each script says this with `--help`.",
        "## cryoclarity",
    ]
    program = str(Path(sys.executable).with_name("cryoclarity"))
    parts += [_help(f"cryoclarity {name}", [program, name]) for name in COMMANDS]
    parts.append("## Scripts")
    for script in sorted((ROOT / "workflow_scripts").glob("*.py")):
        parts.append(_help(script.name, [sys.executable, str(script)]))
    return "\n\n".join(parts) + "\n"


def _help(title: str, command: list[str]) -> str:
    done = subprocess.run(
        [*command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "90"},
    )
    return f"### {title}\n\n```text\n{done.stdout.rstrip()}\n```"


def codes_page() -> str:
    """Return the table of reason codes, one part per family."""
    from cryoclarity.io.tables import read_table

    rows = read_table(ROOT / "src" / "cryoclarity" / "data" / "reason_codes.tsv")
    parts = [
        "# Reason codes and what to do",
        "Every row that is not `ok` names one of these. *quarantine*: the file cannot be used;"
        " *retry*: asked for again; *warn*: used, and said.",
    ]
    for family in dict.fromkeys(row["family"] for row in rows):
        parts.append(f"## {family}")
        lines = ["| code | severity | meaning | what to do |", "|---|---|---|---|"]
        for row in rows:
            if row["family"] == family:
                cells = (row.get(column, "").replace("|", "\\|") for column in CODE_COLUMNS)
                lines.append("| " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"

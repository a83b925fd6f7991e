"""``cryoclarity enhance MAP``: an improved map beside a picture and a ChimeraX script."""

from __future__ import annotations

from cryoclarity.cli.one_map import map_command


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return map_command("enhance", argv)

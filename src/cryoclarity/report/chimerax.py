"""ChimeraX scripts that open maps beside each other, named as seen from the script's folder."""

from __future__ import annotations

import os
from pathlib import Path

from cryoclarity import __version__

PURPOSE = "not for refinement targets, deposition or FSC resolution"
TRUST_PALETTE = "0,firebrick:0.5,lightgray:1,cornflowerblue"


def entry_script(folder: Path, maps: dict[str, Path], levels: dict[str, float]) -> str:
    """Return commands that show an input, its improved map and what is known about it.

    Parameters
    ----------
    folder : path
        Where the script will lie; ChimeraX runs it there.
    maps : name to path
        Any of ``input enhanced trust resolution``; `input` is needed.
    levels : name to contour level
        Of densities.
    """
    lines = [f"# cryoclarity {__version__}: a prediction, {PURPOSE}."]
    numbers = {name: number for number, name in enumerate(maps, start=1)}
    for path in maps.values():
        lines.append(f'open "{os.path.relpath(path.resolve(), folder.resolve())}"')
    for name, level in levels.items():
        lines.append(f"volume #{numbers[name]} level {level:.5g}")
    lines += ["color #1 gray", "transparency #1 70"]
    shown = numbers.get("enhanced", 1)
    if "enhanced" in numbers:
        lines.append(f"color #{shown} cornflowerblue")
    if "trust" in numbers:
        trust = numbers["trust"]
        lines += [
            f"hide #{trust} models",
            f"color sample #{shown} map #{trust} palette {TRUST_PALETTE}",
        ]
    if "resolution" in numbers:
        resolution = numbers["resolution"]
        lines += [
            f"hide #{resolution} models",
            f"# colour by local resolution instead: color sample #{shown} map #{resolution}"
            " palette rainbow",
        ]
    return "\n".join([*lines, "view", ""])

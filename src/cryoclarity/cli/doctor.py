"""``cryoclarity doctor``: what there is on this machine, and does it work?"""

from __future__ import annotations

import json
from pathlib import Path

from cryoclarity.cli.one_map import PROJECT_WEIGHTS
from cryoclarity.cli.script import parser_for, script_main


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status: 0 where all is well, 5 otherwise."""
    parser = parser_for("Say what machine, devices, packages and weights there are, and try them.")
    parser.prog = "cryoclarity doctor"
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="DIR",
        default=PROJECT_WEIGHTS,
        help="trained networks: a folder with a card, or a folder of such folders",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--json", action="store_true", help="all of it as one JSON object")
    return script_main(parser, _run, argv)


def _run(arguments) -> int:
    from cryoclarity.stages.doctor import examine

    found = examine(arguments.weights, arguments.device)
    if arguments.json:
        print(json.dumps(found, sort_keys=True))
    else:
        print("\n".join(lines(found)))
    return 5 if found["problems"] else 0


def lines(found: dict[str, object]) -> list[str]:
    """Return the report as text."""
    machine = found["machine"]
    text = [
        f"cryoclarity {machine['cryoclarity']}, Python {machine['python']} "
        f"({machine['executable']})",
        f"{machine['system']}: {machine['processors']} processors, memory "
        f"{machine['memory_free_gb']} of {machine['memory_gb']} GB free, disk "
        f"{machine['disk_free_gb']} GB free here",
    ]
    same = sum(row["installed"] == row["pinned"] for row in found["packages"])
    text.append(f"packages: {same} of {len(found['packages'])} in the tested version")
    for row in found["devices"]:
        name = f" ({row['name']}, {row['memory_gb']:.0f} GB)" if "name" in row else ""
        text.append(f"device {row['device']}{name}: {'works' if row['works'] else 'FAILS'}")
    for row in found["weights"]:
        state = "FAILS"
        if row["works"]:
            state = (
                f"works, box {row['box']}, {row['seconds_per_box']:.3g} s per box, "
                f"sha256 {row['sha256']}"
            )
        text.append(f"weights {row['weights']} ({row['task']}): {state}")
    text += [f"PROBLEM {problem}" for problem in found["problems"]]
    return text if found["problems"] else [*text, "all well"]

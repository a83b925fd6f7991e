"""The page of a single map: the same as that of a run, for what one map can answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from cryoclarity.report.page import Page
    from cryoclarity.stages.predict import Outcome

DOUBT = 0.5  # trust below this is worth a look at the input
# The record's facts that a reader of the page asks for, and what they are called there.
FACTS = {
    "weights_sha256": "weights, sha256",
    "blend": "blending of boxes",
    "stride": "stride of boxes",
    "suggested_contour": "suggested contour",
    "shift_taken_back_a": "shift by the network, taken back (Å)",
    "median_a": "median resolution (Å)",
}


def write_map_report(path: Path, task: str, name: str, outcome: Outcome, links: dict) -> None:
    """Write the page of one map.

    Parameters
    ----------
    path : path
        Ends in .html.
    task : 'enhance' or 'resolution'
    name : str
        Of the input.
    outcome : Outcome
    links : mapping of text to address
        Companions, as seen from the page.
    """
    from cryoclarity.report.page import write_page

    write_page(path, _page(task, name, outcome, links))


def _page(task: str, name: str, outcome: Outcome, links: dict) -> Page:
    import numpy as np

    from cryoclarity.density.masks import suggest_contour
    from cryoclarity.evaluate.views import Views
    from cryoclarity.provenance import software_versions
    from cryoclarity.report.page import Page
    from cryoclarity.report.viewer import ViewedMap

    before, after = outcome.before.density, outcome.after.density
    inside = before > suggest_contour(before)
    views = Views.around(inside)
    views.add_density("input", before)
    if task == "enhance":
        views.add_density("enhanced", after)
    else:
        values = np.where(after > 0, after, np.nan)
        known = values[np.isfinite(values)]
        limits = tuple(np.percentile(known, (1, 99))) if known.size else (0.0, 1.0)
        views.add_values("resolution", values, limits)
    if "trust" in outcome.maps:
        trust = outcome.maps["trust"]
        views.add_values("trust", np.where(inside, trust, np.nan), (0.0, 1.0))
    viewed = ViewedMap(
        title=name,
        planes=views.planes,
        numbers=[views.numbers(axis).tolist() for axis in range(3)],
        limits=views.limits,
        links=links,
    )
    rows = [
        {"name": text, "value": outcome.facts[key]}
        for key, text in FACTS.items()
        if outcome.facts.get(key) is not None
    ]
    rows += [{"name": key, "value": value} for key, value in software_versions().items()]
    return Page(
        title=f"cryoclarity: {name}",
        answers=_answers(outcome, inside) if task == "enhance" else (),
        viewers=[viewed],
        tables={"What was done": (("name", "value"), rows)},
    )


def _answers(outcome: Outcome, inside: np.ndarray) -> list[tuple[str, str]]:
    import numpy as np

    from cryoclarity.density.shift import relative_shift

    trust = "No trust map was made (--trust)."
    if "trust" in outcome.maps and inside.any():
        low = float((outcome.maps["trust"][inside] < DOUBT).mean())
        trust = (
            f"{low:.0%} of the density above the contour has trust below {DOUBT:g}: look these"
            " parts up in the input."
        )
    shift = float(np.linalg.norm(relative_shift(outcome.before.density, outcome.after.density)))
    return [
        ("Which parts can I trust?", trust),
        ("Did it move my map?", f"Shift against the input: {shift:.4f} voxel."),
        (
            "Did it help?",
            "A map alone cannot tell. With a model and the stated resolution,"
            " workflow_scripts/evaluate.py compares both maps with it.",
        ),
    ]

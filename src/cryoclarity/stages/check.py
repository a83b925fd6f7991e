"""Check what a network makes up on one map: five inputs to which the answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from cryoclarity.density.masks import automatic_mask
from cryoclarity.evaluate.fsc import FscCurve, crossing, fsc
from cryoclarity.grid import Volume
from cryoclarity.io.atoms import Atoms
from cryoclarity.io.files import write_json
from cryoclarity.io.model import read_atoms
from cryoclarity.predict.challenges import (
    fill_hole,
    hole_around,
    hole_in_middle,
    mirrored,
    randomise_phases,
)
from cryoclarity.provenance import sidecar
from cryoclarity.report.slices import central_slices, save_checks
from cryoclarity.stages.predict import (
    HALF_MAP_FSC,
    Inputs,
    Options,
    companion,
    half_map_resolution,
    read_half_maps,
    read_input,
)

SEED = 20
ASSUMED_RESOLUTION = 8.0
# A check warns beyond these.
NOISE_GAIN = 1.0
INVENTED_CORRELATION = 0.3
REFILLED = 0.25
MIRROR_CORRELATION = 0.9
LOST_CORRELATION = 0.1

Predict = Callable[[np.ndarray], np.ndarray]
Images = list[tuple[str, np.ndarray]]


@dataclass(frozen=True)
class Check:
    """One verdict.

    Attributes
    ----------
    name, text : str
    verdict : 'PASS', 'WARN' or 'SKIP'
    figure, threshold : float or None
    numbers : dict of further figures
    images : slices for the page
    """

    name: str
    verdict: str
    figure: float | None
    threshold: float | None
    text: str
    numbers: dict[str, float] = field(default_factory=dict)
    images: Images = field(default_factory=list)


@dataclass(frozen=True)
class Case:
    """A map with its prediction, and how to predict another."""

    volume: Volume
    prediction: np.ndarray
    predict: Predict
    inside: np.ndarray
    resolution: float

    @property
    def voxel(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x)."""
        return self.volume.grid.voxel_size_zyx


def run_files(inputs: Inputs, options: Options, out: str | Path) -> list[Check]:
    """Check weights on one map; write ``out`` (.json) and a page beside it (.png).

    Parameters
    ----------
    inputs : Inputs
        Half maps and model are optional; a check that needs them is skipped without.
    options : Options
        Of the task 'enhance'; `resolution` among its settings is where detail begins that the
        input does not carry.
    out : path

    Raises
    ------
    ConfigError, InputError, ResourceError
        As for a prediction.
    """
    from cryoclarity.predict.enhance import PredictSettings, enhance
    from cryoclarity.predict.model import load_model, weights_path

    half_maps = read_half_maps(inputs)
    volume = read_input(inputs, half_maps)
    model = load_model(weights_path(inputs.weights, "enhance", volume.grid), "enhance")
    settings = PredictSettings(**options.settings)
    settings = replace(settings, amplitude="network", trust=False, ligand_safe=False, symmetry=None)

    def predict(density: np.ndarray) -> np.ndarray:
        return enhance(volume.with_density(density), model, settings).density

    stated = settings.resolution or (half_map_resolution(half_maps) if half_maps else None)
    case = Case(
        volume,
        predict(volume.density),
        predict,
        automatic_mask(volume.density),
        stated or ASSUMED_RESOLUTION,
    )
    atoms = None if inputs.model is None else read_atoms(inputs.model).heavy()
    checks = [
        check_noise(case),
        check_phases(case),
        check_deletion(case, atoms),
        check_mirror(case),
        check_halves(case, half_maps),
    ]
    files = {"map": inputs.map, "model": inputs.model}
    for number, path in enumerate(inputs.half_maps or (), start=1):
        files[f"half_map_{number}"] = path
    facts = {"resolution_a": case.resolution, "resolution_assumed": stated is None}
    record = sidecar("check-hallucination", asdict(options), files)
    record |= facts | {"weights_sha256": model.sha256, "checks": [_row(c) for c in checks]}
    write_json(out, record)
    caption = (
        f"weights {model.sha256[:12]}; detail beyond {case.resolution:.3g} A is not in the map"
    )
    save_checks(companion(out, ".png"), [asdict(check) for check in checks], caption)
    return checks


def _row(check: Check) -> dict[str, object]:
    row = asdict(check)
    del row["images"]
    return row


def _verdict(bad: bool) -> str:
    return "WARN" if bad else "PASS"


def _middle(density: np.ndarray) -> np.ndarray:
    return central_slices(density)[0]


def check_noise(case: Case) -> Check:
    """Noise with the spectrum of the map: is it passed on more strongly than density is?"""
    density = case.volume.density
    noise = randomise_phases(density, case.voxel, math.inf, SEED)
    answer = case.predict(noise)
    # Both are scaled by their own percentile on the way in: gains are per unit of that.
    gain = _gain(answer, noise)
    usual = _gain(case.prediction, density)
    figure = gain / usual
    text = (
        f"noise with the map's spectrum comes out at {figure:.2f} of the strength with which "
        f"density does (warns above {NOISE_GAIN})"
    )
    images = [("noise", _middle(noise)), ("answer to noise", _middle(answer))]
    numbers = {"gain_noise": gain, "gain_map": usual}
    verdict = _verdict(figure > NOISE_GAIN)
    return Check("noise only", verdict, figure, NOISE_GAIN, text, numbers, images)


def _gain(answer: np.ndarray, density: np.ndarray) -> float:
    positive = np.maximum(density, 0)
    return float(answer.std() / (positive.std() / positive.max()))


def check_phases(case: Case) -> Check:
    """Phases randomised beyond d: is the detail there the same with and without data for it?"""
    density = randomise_phases(case.volume.density, case.voxel, case.resolution, SEED)
    answer = case.predict(density)
    curve = fsc(case.prediction, answer, case.voxel)
    figure = _mean(curve, case.resolution, beyond=True)
    name = f"phases random beyond {case.resolution:.3g} A"
    if figure is None:
        return Check(name, "SKIP", None, INVENTED_CORRELATION, "the map ends there")
    inputs = fsc(case.volume.density, density, case.voxel)
    of_input = _mean(inputs, case.resolution, beyond=True)
    text = (
        f"detail beyond {case.resolution:.3g} A of both answers correlates by {figure:.2f}, of "
        f"both inputs by {of_input:.2f}: what correlates comes from the network, not from the "
        f"data (warns above {INVENTED_CORRELATION})"
    )
    images = [("answer", _middle(case.prediction)), ("answer, phases random", _middle(answer))]
    verdict = _verdict(figure > INVENTED_CORRELATION)
    numbers = {"of_inputs": of_input}
    return Check(name, verdict, figure, INVENTED_CORRELATION, text, numbers, images)


def _mean(curve: FscCurve, resolution: float, beyond: bool) -> float | None:
    """Mean over the shells on one side of a resolution; None where there is none."""
    chosen = (curve.frequency > 1 / resolution) == beyond
    values = curve.correlation[chosen & np.isfinite(curve.correlation)]
    return float(values.mean()) if values.size else None


def check_deletion(case: Case, atoms: Atoms | None) -> Check:
    """A chain, or without a model a ball, is cut out of the map: does it come back?"""
    grid, density = case.volume.grid, case.volume.density
    if atoms is None:
        what, hole = "a ball", hole_in_middle(case.inside, grid)
    else:
        what, gone = deleted_part(atoms)
        hole = hole_around(atoms.xyz[gone], atoms.xyz[~gone], grid)
    name = f"{what} deleted"
    before = float(case.prediction[hole].mean()) if hole.any() else 0.0
    if before <= 0:
        return Check(name, "SKIP", None, REFILLED, "no density to delete")
    cut = fill_hole(density, hole, case.inside, SEED)
    answer = case.predict(cut)
    # The prediction of nothing is not quite 0: measured outside of everything.
    empty = float(np.median(answer))
    figure = (float(answer[hole].mean()) - empty) / (before - empty)
    text = f"{what}: {figure:.2f} of its density comes back (warns above {REFILLED})"
    plane = int(np.argmax(hole.sum(axis=(1, 2))))
    images = [("input, cut", cut[plane]), ("answer", answer[plane])]
    numbers = {"voxels": float(hole.sum())}
    verdict = _verdict(figure > REFILLED)
    return Check(name, verdict, figure, REFILLED, text, numbers, images)


def deleted_part(atoms: Atoms) -> tuple[str, np.ndarray]:
    """Return name and atoms of the smallest polymer chain, or the last third of a single one."""
    polymer = np.isin(atoms.kind, ("protein", "nucleic"))
    chains, sizes = np.unique(atoms.chain[polymer], return_counts=True)
    if len(chains) > 1:
        chain = chains[np.argmin(sizes)]
        return f"chain {chain}", atoms.chain == chain
    limit = np.quantile(atoms.residue_index, 2 / 3)
    return "last third of the chain", atoms.residue_index > limit


def check_mirror(case: Case) -> Check:
    """The mirrored map: does the answer follow it, or does the network prefer a hand?"""
    answer = mirrored(case.predict(mirrored(case.volume.density)))
    inside = case.inside
    figure = float(np.corrcoef(answer[inside], case.prediction[inside])[0, 1])
    text = (
        f"the answer to the other hand, turned back, correlates by {figure:.3f} "
        f"(warns below {MIRROR_CORRELATION})"
    )
    images = [("answer", _middle(case.prediction)), ("other hand, back", _middle(answer))]
    verdict = _verdict(figure < MIRROR_CORRELATION)
    return Check("mirrored hand", verdict, figure, MIRROR_CORRELATION, text, {}, images)


def check_halves(case: Case, half_maps: tuple[Volume, Volume] | None) -> Check:
    """Each improved half map against the other, raw half: independent data."""
    name = "half maps swapped"
    if half_maps is None:
        return Check(name, "SKIP", None, LOST_CORRELATION, "needs half maps (--half1, --half2)")
    raw = [half.density for half in half_maps]
    better = [case.predict(density) for density in raw]
    of_raw = fsc(*raw, case.voxel)
    limit = crossing(of_raw, HALF_MAP_FSC)[0] or case.resolution
    swapped = [fsc(better[0], raw[1], case.voxel), fsc(better[1], raw[0], case.voxel)]
    of_better = fsc(*better, case.voxel)
    kept = float(np.mean([_mean(curve, limit, beyond=False) or 0.0 for curve in swapped]))
    usual = _mean(of_raw, limit, beyond=False) or 0.0
    figure = usual - kept
    numbers = {"half_map_resolution_a": limit, "swapped_within": kept, "raw_within": usual}
    pairs = {"raw_beyond": [of_raw], "improved_beyond": [of_better], "swapped_beyond": swapped}
    for key, curves in pairs.items():
        values = [_mean(curve, limit, beyond=True) for curve in curves]
        numbers[key] = float(np.mean([v for v in values if v is not None] or [math.nan]))
    text = (
        f"up to {limit:.3g} A FSC of improved with the other raw half {kept:.2f}, of both raw "
        f"halves {usual:.2f} (warns where {LOST_CORRELATION} is lost); beyond, improved with "
        f"improved {numbers['improved_beyond']:.2f}, with the other raw half "
        f"{numbers['swapped_beyond']:.2f}"
    )
    images = [("improved half 1", _middle(better[0])), ("improved half 2", _middle(better[1]))]
    verdict = _verdict(figure > LOST_CORRELATION)
    return Check(name, verdict, figure, LOST_CORRELATION, text, numbers, images)

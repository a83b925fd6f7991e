"""Train a small improvement network on simulated and measured pairs; test it on maps left out.

It learns from simulated pairs first, of models not akin to any measured map. From there it goes on
with measured pairs mixed in, once per fold of kin: one fold tests, another chooses step and
strength, and never a simulated map does. What is scored is the prediction that users run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from cryoclarity.degrade.improvement import simulate_pair
from cryoclarity.degrade.parameters import BoxSettings, ImprovementRanges
from cryoclarity.degrade.placement import seed_of
from cryoclarity.errors import ConfigError, InputError
from cryoclarity.evaluate.improvement import ENHANCED, INPUT, METRICS, chosen, summary, verdict
from cryoclarity.evaluate.metrics import map_metrics
from cryoclarity.io.files import read_json, write_json, write_text
from cryoclarity.io.model import read_atoms
from cryoclarity.io.tables import read_table, write_table
from cryoclarity.provenance import software_versions
from cryoclarity.stages.degrade import make_table
from cryoclarity.stages.measured_pairs import SPACING, MeasuredMap, facts_of, measured_maps

LOGGER = logging.getLogger(__name__)
DATASET = "enhance_1.0"
RANGES = {"measured": ImprovementRanges, "wide": ImprovementRanges.wide}
PREDICTION_BOX = 48
FILTER_BOX, FILTER_BOXES = 48, 6
ATTEMPTS = 5
TABLE_COLUMNS = ("entry", "fold", "row", *METRICS)
LIMITS = (
    "trained on maps simulated from atomic models and on ten measured pairs",
    "tested on those ten maps alone, each by a network that had not seen its kin; most are "
    "cut-outs round a model, 1.75 to 6.6 angstrom",
    "the shipped weights have seen all ten: their results are those of the networks of the folds",
    "voxels finer than 1 angstrom are put on a 1 angstrom grid: detail beyond 2 angstrom is lost",
)
NOT_FOR = (
    "refinement targets, deposition, FSC or a statement of resolution",
    "tomograms, negative stain, maps improved by another network",
    "deciding whether a ligand or a weak side chain is there",
)


@dataclass(frozen=True)
class Recipe:
    """What is simulated, trained and tested; see config/enhance_recipe.yaml."""

    seed: int = 1
    ranges: Sequence[str] = ("measured", "wide")
    simulated_box: Mapping[str, object] = field(default_factory=dict)
    network: Mapping[str, object] = field(default_factory=dict)
    loss: Mapping[str, float] = field(default_factory=dict)
    box: int = 32
    batch_size: int = 8
    pool: int = 32
    renew_every: int = 4
    base: Mapping[str, float] = field(default_factory=lambda: {"steps": 900})
    fine: Mapping[str, float] = field(default_factory=lambda: {"steps": 240})
    folds: int = 3
    strengths: Sequence[float] = (0.25, 0.5, 0.75, 1.0)

    def __post_init__(self) -> None:
        for name in self.ranges:
            if name not in RANGES:
                raise ConfigError(f"ranges {name!r}", remedy=f"one of {', '.join(RANGES)}")
        if self.folds < 3:
            raise ConfigError(f"folds is {self.folds}: one tests, one chooses, the rest trains")
        if not self.strengths or min(self.strengths) < 0:
            raise ConfigError(f"strengths {list(self.strengths)} must not be negative")


@dataclass(frozen=True)
class Choice:
    """A step of fine training and a strength, with the score that chose them."""

    step: int
    strength: float
    score: float


def recipe_from(settings: Mapping[str, object]) -> Recipe:
    """Return a recipe of a configuration file's content.

    Raises
    ------
    ConfigError
        Unknown key or value.
    """
    unknown = sorted(set(settings) - set(Recipe.__dataclass_fields__))
    if unknown:
        known = ", ".join(Recipe.__dataclass_fields__)
        raise ConfigError(f"unknown key {unknown[0]}", remedy=f"known: {known}")
    return Recipe(**settings)


def run_files(
    models: Sequence[Path], entries: Path, archive: Path, recipe: Recipe, out: Path
) -> dict[str, object]:
    """Train on simulated pairs, then per fold with measured ones, and test on what was left out.

    Parameters
    ----------
    models : files of atomic models to simulate from; kin of the measured maps are left out
    entries : table with the columns emdb_id, pdb_id, resolution
    archive : folder laid out as the public archives
    recipe : Recipe
    out : folder
        ``measured``, ``simulated.tsv``, ``base``, ``folds/<n>``, ``final``, ``per_map.tsv``,
        ``summary.tsv`` and ``verdict.json``. Networks that are there already are not trained again.

    Returns
    -------
    dict
        Of ``verdict.json``.

    Raises
    ------
    InputError
        Too few models or groups.
    """
    maps = measured_maps(entries, archive, out / "measured", recipe.folds, recipe.seed)
    simulate = Simulation(models, maps, recipe, out)
    base = _base(recipe, simulate, out / "base")
    rows, choices = [], []
    for fold in range(recipe.folds):
        tested = [item for item in maps if item.fold == fold]
        held = [item for item in maps if item.fold == (fold + 1) % recipe.folds]
        rest = [item for item in maps if item not in tested and item not in held]
        folder = out / "folds" / str(fold)
        choices.append(_fold(recipe, base, simulate, (rest, held), folder))
        rows += _test(folder, tested, [*rest, *held], recipe.seed)
    write_table(out / "per_map.tsv", [_shown(row) for row in rows], TABLE_COLUMNS)
    table = summary(rows)
    write_table(out / "summary.tsv", [_shown(row) for row in table], tuple(table[0]))
    found = verdict(rows) | {"choices": [asdict(choice) for choice in choices]}
    found["final"] = _final(recipe, base, simulate, maps, choices, out / "final")
    write_json(out / "verdict.json", found)
    return found


class Simulation:
    """Pairs of models, by number; a model that gives none is passed over."""

    def __init__(
        self, models: Sequence[Path], maps: Sequence[MeasuredMap], recipe: Recipe, out: Path
    ):
        rows = make_table(
            models,
            out / "simulated.tsv",
            draws=1,
            seed=recipe.seed,
            shares=(0.0, 0.0),
            measured=[facts_of(item.name, item.atoms, split="test") for item in maps],
        )
        self.models = [Path(row["model"]) for row in rows if row["split"] == "train"]
        if not self.models:
            raise InputError(f"none of {len(models)} models may be used", code="TRAIN_NO_DATA")
        self.recipe, self.box = recipe, BoxSettings(**recipe.simulated_box)
        LOGGER.info("%d of %d models to simulate from", len(self.models), len(models))

    def __call__(self, draw: int):
        """Return the pair of a number: models in an order that changes with every round."""
        from cryoclarity.train.pairs import Pair

        for attempt in range(ATTEMPTS):
            turn, place = divmod(draw, len(self.models))
            order = np.random.default_rng([self.recipe.seed, turn]).permutation(len(self.models))
            path = self.models[(order[place] + attempt) % len(self.models)]
            ranges = RANGES[self.recipe.ranges[draw % len(self.recipe.ranges)]]()
            seed = seed_of(self.recipe.seed, path.name, draw)
            try:
                pair = simulate_pair(read_atoms(path), seed, ranges=ranges, box=self.box)
            except InputError as error:
                LOGGER.warning("%s: %s", path.name, error)
                continue
            return Pair.scaled(path.name, pair.input, pair.target, pair.drawn.resolution)
        raise InputError(f"{ATTEMPTS} models in a row gave no pair", code="TRAIN_NO_DATA")


def _trainer(recipe: Recipe, spec: Mapping[str, float], state: dict | None):
    from cryoclarity.train.refine import refine_trainer

    settings = {
        "network": {"name": "refine", **recipe.network},
        "box": recipe.box,
        "batch_size": recipe.batch_size,
        "steps": int(spec["steps"]),
        "learning_rate": float(spec.get("learning_rate", 1e-3)),
        "seed": recipe.seed,
    }
    return refine_trainer(settings, recipe.loss, state)


def _batches(recipe: Recipe, spec, measured, simulate, stream: int):
    from cryoclarity.train.pairs import PairBatches

    source = PairBatches(
        [item.pair for item in measured],
        simulate,
        box=recipe.box,
        batch_size=recipe.batch_size,
        seed=recipe.seed + stream,
        measured_share=float(spec.get("measured_share", 0.5)),
        pool=recipe.pool,
        renew_every=recipe.renew_every,
        first_draw=10_000 * stream,
    )
    return source.batches(int(spec["steps"]))


def _base(recipe: Recipe, simulate: Simulation, folder: Path) -> dict:
    """Weights learned from simulated pairs alone."""
    from cryoclarity.train.refine import window_means
    from cryoclarity.train.weights import WEIGHTS, load_weights

    if not (folder / WEIGHTS).exists():
        trainer = _trainer(recipe, recipe.base, None)
        for batch in _batches(recipe, recipe.base, [], simulate, 0):
            trainer.train_step(batch)
            if trainer.step % 50 == 0:
                LOGGER.info("base %d: %s", trainer.step, window_means(trainer))
        _write(folder, trainer.average.state_dict(), recipe, {"trained_on": "simulated pairs"})
    return load_weights(folder)[0].state_dict()


def _fold(
    recipe: Recipe, base: dict, simulate: Simulation, maps: tuple[list, list], folder: Path
) -> Choice:
    """Go on from the base with measured pairs; keep what the maps held back like best."""
    from cryoclarity.train.refine import copied_state, window_means, with_strength
    from cryoclarity.train.weights import CARD

    if (folder / CARD).exists():
        return Choice(**read_json(folder / CARD)["choice"])
    training, held = maps
    trainer = _trainer(recipe, recipe.fine, base)
    best, kept = _best(trainer.average, held, recipe.strengths, 0), base
    for batch in _batches(recipe, recipe.fine, training, simulate, 1):
        trainer.train_step(batch)
        if trainer.step % int(recipe.fine["validate_every"]) == 0:
            found = _best(trainer.average, held, recipe.strengths, trainer.step)
            LOGGER.info("%s step %d: %s %s", folder, trainer.step, found, window_means(trainer))
            if found.score > best.score:
                best, kept = found, copied_state(trainer.average)
    facts = {
        "choice": asdict(best),
        "training": [item.name for item in training],
        "chosen_on": [item.name for item in held],
    }
    _write(folder, with_strength(kept, best.strength), recipe, facts)
    return best


def _best(network, held: Sequence[MeasuredMap], strengths: Sequence[float], step: int) -> Choice:
    """Strength with the largest gain over the clip on maps held back."""
    gains = np.array([item.gains(network, strengths) for item in held])
    scores = gains.mean(axis=0)
    best = int(scores.argmax())
    return Choice(step, float(strengths[best]), float(scores[best]))


def _test(
    folder: Path, tested: Sequence[MeasuredMap], others: Sequence[MeasuredMap], seed: int
) -> list[dict[str, object]]:
    """Score the prediction that users run, and its reference rows, on maps left out."""
    from cryoclarity.predict.common import PredictSettings
    from cryoclarity.predict.enhance import enhance, reference_maps
    from cryoclarity.predict.model import load_model
    from cryoclarity.train.radial_filter import write_radial_filter

    model = load_model(folder, "enhance")
    # In the network's units, as the reference rows are: an offset alone changes masked FSC.
    settings = PredictSettings(device="cpu", amplitude="network")
    radial = best_filter(others, seed)
    write_radial_filter(folder / "radial_filter.tsv", *radial)
    rows = []
    for item in tested:
        versions = {INPUT: item.volume.density}
        versions |= reference_maps(item.volume, model, radial)
        versions[ENHANCED] = enhance(item.volume, model, settings).density
        for name, density in versions.items():
            metrics = chosen(map_metrics(density, item.reference).values)
            rows.append({"entry": item.name, "fold": folder.name, "row": name, **metrics})
            LOGGER.info("%s", _shown(rows[-1]))
    return rows


def best_filter(maps: Sequence[MeasuredMap], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Radial filter, frequency and gain, from input to target of maps."""
    from cryoclarity.train.pairs import padded_cut
    from cryoclarity.train.radial_filter import fit_radial_filter

    rng = np.random.default_rng(seed)
    cubes = []
    for item in maps:
        centres = item.pair.centres()
        for centre in centres[rng.integers(len(centres), size=FILTER_BOXES)]:
            start = centre - FILTER_BOX // 2
            cubes.append(
                tuple(padded_cut(v, start, FILTER_BOX) for v in (item.pair.input, item.pair.target))
            )
    return fit_radial_filter(cubes, SPACING)


def _final(
    recipe: Recipe, base: dict, simulate: Simulation, maps, choices: list[Choice], folder: Path
) -> dict[str, float]:
    """Train on all maps for as long, and at the strength, that the folds chose in the middle."""
    from cryoclarity.train.radial_filter import write_radial_filter
    from cryoclarity.train.refine import with_strength
    from cryoclarity.train.weights import CARD

    step = int(np.median([choice.step for choice in choices]))
    strength = float(np.median([choice.strength for choice in choices]))
    found = {"step": step, "strength": strength}
    if (folder / CARD).exists() and read_json(folder / CARD).get("choice") == found:
        return found
    state = base
    if step:
        trainer = _trainer(recipe, recipe.fine, base)
        for batch in _batches(recipe, recipe.fine, maps, simulate, 2):
            trainer.train_step(batch)
            if trainer.step == step:
                break
        state = trainer.average.state_dict()
    state = with_strength(state, strength)
    _write(folder, state, recipe, {"choice": found, "training": [item.name for item in maps]})
    write_radial_filter(folder / "radial_filter.tsv", *best_filter(maps, recipe.seed))
    return found


def _write(folder: Path, state: dict, recipe: Recipe, facts: Mapping[str, object]) -> None:
    from cryoclarity.nets.registry import network_description
    from cryoclarity.train.weights import CARD, WEIGHTS, save_weights

    card = {
        "status": "ok",
        "schema_version": 1,
        "dataset": DATASET,
        "task": "enhance",
        "network": network_description({"name": "refine", **recipe.network}),
        "voxel_size": SPACING,
        "box": PREDICTION_BOX,
        "stored_box": PREDICTION_BOX,
        "normalisation": {"rule": "percentile", "percentile": 99.999},
        "labels": None,
        "licence": "CC-BY-4.0",
        "versions": software_versions(),
        "purpose": "for looking at maps; not for refinement targets, deposition or resolution",
        "weights_sha256": save_weights(folder / WEIGHTS, state),
    }
    write_json(folder / CARD, card | dict(facts))


def ship(recipe: Recipe, out: Path, to: Path) -> dict[str, object]:
    """Write the final network in half precision with a card that says what it is.

    Raises
    ------
    InputError
        WEIGHTS_MISMATCH when the test on the maps left out does not carry it.
    """
    from cryoclarity.train.weights import CARD, WEIGHTS, load_weights, save_weights

    found = read_json(out / "verdict.json")
    if not found["serves"]:
        raise InputError(
            "the network does not beat its reference rows on maps left out, or does harm",
            code="WEIGHTS_MISMATCH",
            file=out / "verdict.json",
            remedy="look at per_map.tsv; it is not shipped",
        )
    network, card = load_weights(out / "final")
    half = {key: tensor.half() for key, tensor in network.state_dict().items()}
    card |= {
        "weights_sha256": save_weights(to / WEIGHTS, half),
        "precision": "float16",
        "recipe": asdict(recipe),
        "results": read_table(out / "summary.tsv"),
        "per_map": read_table(out / "per_map.tsv"),
        "verdict": found,
        "limits": list(LIMITS),
        "not_for": list(NOT_FOR),
    }
    write_json(to / CARD, card)
    write_text(to / "radial_filter.tsv", (out / "final" / "radial_filter.tsv").read_text())
    return card


def _shown(row: Mapping[str, object]) -> dict[str, object]:
    return {k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()}

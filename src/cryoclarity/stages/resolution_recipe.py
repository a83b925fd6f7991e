"""Train resolution networks on simulated maps of atomic models, and measure them on held-out ones.

Models are split by kinship of their sequences; every map comes with solvent noise and masked. All
networks of a recipe see the same maps, and each is scored by the same prediction that users run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from cryoclarity.boxes.index import INDEX_COLUMNS, index_rows
from cryoclarity.boxes.label_grid import LABELLED
from cryoclarity.boxes.leaks import EntryFacts, compute_groups
from cryoclarity.boxes.sequences import chain_sequences
from cryoclarity.degrade.parameters import ResolutionRanges
from cryoclarity.degrade.placement import seed_of
from cryoclarity.degrade.resolution import SimulatedMap, simulate_map
from cryoclarity.errors import ConfigError, InputError
from cryoclarity.evaluate.resolution_skill import COLUMNS, skill, summary
from cryoclarity.grid import Grid, Volume
from cryoclarity.io.files import read_json, write_json
from cryoclarity.io.maps import read_map, write_map
from cryoclarity.io.model import read_atoms
from cryoclarity.io.tables import write_table
from cryoclarity.stages.shards import BANDS, VOXELS, ShardInputs, ShardSettings
from cryoclarity.stages.shards import run_files as cut_shard

LOGGER = logging.getLogger(__name__)
DATASET = "resolution_1.0"
RANGES = {"default": ResolutionRanges, "wide": ResolutionRanges.wide}
VERSIONS = ("noise", "masked")
SPLITS = ("train", "val", "test")
ENTRY_COLUMNS = ("entry", "model", "group", "split", "ranges", "version", "best", "spread", "snr")
CODES = "codes"
LIMITS = (
    "trained on simulated maps alone: local low-pass, coloured noise, masks, sharpening",
    "the order of regions inside a map is plausible; the level in angstrom is not: read it as "
    "better and worse, or shift it by one factor to a known resolution of the map",
    "where the resolution hardly varies inside a map, or is worse than about 8 angstrom, even the "
    "order is not reliable: see the rows 'wide' of the results",
    "map voxels up to 2 angstrom; beyond, the bands that tell fine detail are empty",
    "answers lie within the range of the training labels; many voxels at its ends mean that the "
    "map lies outside of it",
    "the mask is found in the map (density blurred by 3 angstrom) unless one is given",
)
NOT_FOR = (
    "stating the resolution of a map",
    "refinement weights, deposition, or any decision that needs a measured local FSC",
    "maps improved or masked by another network, tomograms, negative stain",
)


@dataclass(frozen=True)
class Recipe:
    """What is simulated and which networks are trained.

    Attributes
    ----------
    seed : int
    ranges : number of maps per model by name of the ranges, 'default' and 'wide'
    test_models, val_models : whole groups are taken until there are at least so many
    train_models : most models for training; 0 takes all others
    networks : spec of the training by network name
    """

    seed: int = 1
    ranges: Mapping[str, int] = field(default_factory=lambda: {"default": 1})
    test_models: int = 8
    val_models: int = 4
    train_models: int = 0
    networks: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.ranges:
            if name not in RANGES:
                raise ConfigError(f"ranges {name!r}", remedy=f"one of {', '.join(RANGES)}")
        if self.test_models < 1 or self.val_models < 1 or self.train_models < 0:
            raise ConfigError(
                "test_models and val_models must be positive, train_models not below 0"
            )
        if not self.networks:
            raise ConfigError("the recipe names no network")

    def layouts(self) -> set[str]:
        """The kinds of boxes that its networks need."""
        return {layout_of(name) for name in self.networks}


@dataclass(frozen=True)
class Entry:
    """One simulated map and its place in the recipe."""

    name: str
    model: str
    group: str
    split: str
    ranges: str
    version: str


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


def layout_of(network: str) -> str:
    """Kind of boxes of a network by its name."""
    return BANDS if network.startswith("bands") else VOXELS


def run_files(
    models: Sequence[Path], recipe: Recipe, out: Path, kin_of: Sequence[Path] = ()
) -> list[dict[str, object]]:
    """Simulate, train and test.

    Parameters
    ----------
    models : files of atomic models
    recipe : Recipe
    out : folder
        ``maps`` (those of the test split), ``shards``, ``index``, ``train/<network>``,
        ``entries.tsv``, ``per_map.tsv`` and ``summary.tsv``. Maps and shards that are there
        already are not made again.
    kin_of : models
        Nothing akin to these is used, so that their maps stay a test.

    Returns
    -------
    list of dict
        Rows of ``summary.tsv``.

    Raises
    ------
    InputError
        Too few models.
    """
    chosen = split_models(models, recipe, kin_of)
    entries = list(_simulate_all(chosen, recipe, out))
    for layout in sorted(recipe.layouts()):
        _write_index(entries, layout, out)
    rows = []
    for name, spec in recipe.networks.items():
        folder = _train(name, spec, recipe, out)
        rows += _test(name, folder, entries, out)
    write_table(out / "per_map.tsv", rows, COLUMNS)
    table = summary(rows)
    write_table(out / "summary.tsv", table, tuple(table[0]))
    return table


def split_models(
    models: Sequence[Path], recipe: Recipe, kin_of: Sequence[Path] = ()
) -> list[tuple[Path, str, str]]:
    """Return file, group and split of each model that is used.

    Raises
    ------
    InputError
        Too few models are left for training.
    """
    own = {path.name.split(".")[0]: path for path in models}
    facts = [_facts(name, path) for name, path in own.items()]
    facts += [_facts(f"~{path.name.split('.')[0]}", path) for path in kin_of]
    groups = compute_groups(facts)
    barred = {group for name, group in groups.items() if name.startswith("~")}
    members: dict[str, list[str]] = {}
    for name in sorted(own):
        if groups[name] not in barred:
            members.setdefault(groups[name], []).append(name)
    order = np.random.default_rng(recipe.seed).permutation(sorted(members))
    chosen, counts = [], dict.fromkeys(SPLITS, 0)
    limits = {"test": recipe.test_models, "val": recipe.val_models}
    limits["train"] = recipe.train_models or len(own)
    for group in order.tolist():
        open_splits = [name for name in ("test", "val", "train") if counts[name] < limits[name]]
        if open_splits:
            counts[open_splits[0]] += len(members[group])
            chosen += [(own[name], group, open_splits[0]) for name in members[group]]
    if not counts["train"]:
        raise InputError(
            f"no model is left for training of {len(own)} models", code="TRAIN_NO_DATA"
        )
    LOGGER.info("models %s, kin of the barred left out: %d", counts, len(own) - len(chosen))
    return chosen


def _facts(name: str, path: Path) -> EntryFacts:
    return EntryFacts(name, sequences=tuple(chain_sequences(read_atoms(path))))


def _simulate_all(
    chosen: Sequence[tuple[Path, str, str]], recipe: Recipe, out: Path
) -> Iterator[Entry]:
    rows = []
    for path, group, split in chosen:
        model = path.name.split(".")[0]
        for ranges, draws in recipe.ranges.items():
            for draw in range(draws if split == "train" else min(draws, 1)):
                label = f"{model}-{ranges}{draw}"
                entries = [
                    Entry(f"{label}-{version}", model, group, split, ranges, version)
                    for version in VERSIONS
                ]
                facts = _simulate(path, entries, draw, recipe, out)
                rows += [asdict(e) | {"entry": e.name} | facts for e in entries]
                yield from entries
    write_table(out / "entries.tsv", rows, ENTRY_COLUMNS)


def _simulate(
    path: Path, entries: Sequence[Entry], draw: int, recipe: Recipe, out: Path
) -> dict[str, str]:
    """Make both versions of one map with their shards; return what was drawn."""
    first = entries[0]
    ranges = RANGES[first.ranges]()
    seed = seed_of(recipe.seed, f"{first.model} {first.ranges}", draw)
    record = out / "draws" / f"{first.model}-{first.ranges}{draw}.json"
    wanted = [_map(out, entry) for entry in entries if entry.split == "test"]
    for layout in recipe.layouts():
        wanted += [_shard(out, layout, entry) for entry in entries if entry.split != "test"]
    if not all(file.exists() for file in (record, *wanted)):
        simulated = simulate_map(read_atoms(path), seed, ranges=ranges)
        for entry in entries:
            _write_entry(entry, simulated, recipe, out)
        write_json(record, asdict(simulated.drawn))
    LOGGER.info("%s", record.stem)
    drawn = read_json(record)
    return {name: f"{drawn[name]:.3f}" for name in ("best", "spread", "snr")}


def _map(out: Path, entry: Entry, kind: str = "map") -> Path:
    return out / "maps" / f"{entry.name}.{kind}.mrc"


def _shard(out: Path, layout: str, entry: Entry) -> Path:
    return out / "shards" / layout / f"{entry.name}.h5"


def _write_entry(entry: Entry, simulated: SimulatedMap, recipe: Recipe, out: Path) -> None:
    density = simulated.masked_map if entry.version == "masked" else simulated.map
    grid = Grid(density.shape, (simulated.voxel_size,) * 3)
    contents = {
        "map": density,
        "truth": simulated.truth,
        CODES: np.where(simulated.mask, LABELLED, 0),
    }
    for kind, values in contents.items():
        write_map(_map(out, entry, kind), Volume(values.astype(np.float32), grid))
    files = {kind: _map(out, entry, kind) for kind in contents}
    inputs = ShardInputs(files["map"], labels=files["truth"], codes=files[CODES])
    identity = {"emdb_id": entry.name, "split": entry.split, "group": entry.group}
    if entry.split != "test":
        for layout in recipe.layouts():
            settings = ShardSettings(DATASET, layout=layout)
            cut_shard(inputs, _shard(out, layout, entry), settings, identity)
        for file in files.values():
            file.unlink()


def _write_index(entries: Sequence[Entry], layout: str, out: Path) -> None:
    rows = []
    for entry in entries:
        if entry.split == "test":
            continue
        shard = _shard(out, layout, entry)
        record = read_json(shard.with_suffix(".json"))
        rows.append(
            {
                "emdb_id": entry.name,
                "split": entry.split,
                "group": entry.group,
                "path": shard.relative_to(out).as_posix(),
                "sha256": record["sha256"],
                "boxes": record["boxes"],
                "weight": "1",
            }
        )
    write_table(out / "index" / f"{layout}.tsv", index_rows(rows), INDEX_COLUMNS)


def _train(name: str, spec: Mapping[str, object], recipe: Recipe, out: Path) -> Path:
    from cryoclarity.train.run import TrainJob
    from cryoclarity.train.run import run_files as train

    folder = out / "train" / name
    if (folder / "card.json").exists():
        return folder
    train(
        TrainJob(
            task="resolution",
            dataset=DATASET,
            index=out / "index" / f"{layout_of(name)}.tsv",
            out=folder,
            state_folder=out / "train_state" / name,
            spec={
                "seed": recipe.seed,
                **spec,
                "network": {"name": name, **spec.get("network", {})},
            },
            data_folder=out,
            other_checkpoint="restart",
        )
    )
    return folder


def _test(name: str, folder: Path, entries: Sequence[Entry], out: Path) -> list[dict[str, object]]:
    from cryoclarity.predict.common import PredictSettings
    from cryoclarity.predict.model import load_model
    from cryoclarity.predict.resolution import local_resolution

    model = load_model(folder, "resolution")
    rows = []
    for entry in entries:
        if entry.split != "test":
            continue
        volume = read_map(_map(out, entry))
        truth = read_map(_map(out, entry, "truth")).density
        found = local_resolution(volume, model, PredictSettings())
        facts = skill(found.density, truth, model.card["training_median"])
        rows.append(
            {
                "network": name,
                "entry": entry.name,
                "ranges": entry.ranges,
                "version": entry.version,
                **facts,
                "share_at_limits": found.facts["share_at_limits"],
            }
        )
        LOGGER.info("%s %s: %s", name, entry.name, facts)
    return rows


def ship(
    name: str, recipe: Recipe, table: Sequence[Mapping[str, object]], out: Path, to: Path
) -> dict[str, object]:
    """Write the weights of a network in half precision with a card that says what they are.

    Parameters
    ----------
    name : one of the recipe's networks
    recipe : Recipe
    table : rows of ``summary.tsv``
    out : folder of the recipe's run
    to : folder for ``weights.safetensors`` and ``card.json``

    Returns
    -------
    dict
        The card.
    """
    from cryoclarity.train.weights import CARD, WEIGHTS, load_weights, save_weights

    network, card = load_weights(out / "train" / name)
    half = {key: tensor.half() for key, tensor in network.state_dict().items()}
    card |= {
        "weights_sha256": save_weights(to / WEIGHTS, half),
        "precision": "float16",
        "recipe": asdict(recipe),
        "results": [dict(row) for row in table if row["network"] == name],
        "limits": list(LIMITS),
        "not_for": list(NOT_FOR),
    }
    write_json(to / CARD, card)
    return card

"""Everything that the Snakefile looks up: settings, batches, code hashes, weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryoclarity.io.tables import read_table, write_table
from cryoclarity.workflow.batches import assign_batches, members_of, read_entries, rows_hash
from cryoclarity.workflow.code_hash import code_hash
from cryoclarity.workflow.settings import canonical, validated

DATASETS = ("enhance_1.0", "enhance_0.5", "resolution_1.0")
TASKS = ("enhance", "resolution")
# Stages that write one manifest row per entry, in the order of the workflow.
ENTRY_STAGES = (
    "fetch",
    "inspect",
    "qscore",
    "simulate",
    "labels",
    "predict_enhance",
    "predict_resolution",
    "evaluate",
)
# The stage whose output is the target of each task's boxes.
BOX_SOURCES = {"enhance": "simulate", "resolution": "labels"}
BATCH_TABLE = Path("results/batches.tsv")

# Script of each stage, and the module that it imports by name when it runs a batch.
STAGE_SCRIPTS = {
    "demo_archive": ("demo_archive.py", ()),
    "batch": ("batch.py", ()),
    "fetch": ("fetch.py", ("cryoclarity.stages.fetch",)),
    "inspect": ("inspect_inputs.py", ("cryoclarity.stages.inspect",)),
    "qscore": ("qscore.py", ("cryoclarity.stages.qscore",)),
    "simulate": ("simulate.py", ("cryoclarity.stages.simulate",)),
    "labels": ("resmap.py", ("cryoclarity.stages.labels",)),
    "shards": ("shards.py", ("cryoclarity.stages.shards",)),
    "index": ("index.py", ()),
    "train": ("train.py", ()),
    "predict": ("predict.py", ("cryoclarity.stages.predict",)),
    "evaluate": ("evaluate.py", ("cryoclarity.stages.evaluate",)),
    "report": ("report.py", ()),
    "rejected": ("rejected.py", ()),
}


@dataclass(frozen=True)
class Plan:
    """What the rules look up; computed once when the workflow starts.

    Attributes
    ----------
    config : validated configuration with all defaults
    batches : rows of each batch by batch name
    assigned : batch of each entry
    spec : settings of each stage as canonical JSON
    code : hash of the code of each stage
    """

    config: dict
    batches: dict[str, list[dict[str, str]]]
    assigned: dict[str, str]
    spec: dict[str, str]
    code: dict[str, str]

    def rows(self, batch: str) -> str:
        """Return the hash of a batch's rows of the entry table."""
        return rows_hash(self.batches[batch])

    def card(self, dataset: str) -> str:
        """Return the card of the network of a dataset: the user's own, or the trained one."""
        return f"{weights_folder(self.config, dataset)}/card.json"

    def cards(self, task: str) -> list[str]:
        """Return the cards of all networks that serve a task."""
        return [self.card(dataset) for dataset in DATASETS if dataset.startswith(task)]

    def card_options(self, task: str) -> str:
        """Return the command-line options that name the networks of a task."""
        names = [dataset for dataset in DATASETS if dataset.startswith(task)]
        return " ".join(f"--shared {name}={self.card(name)}" for name in names)

    def box_source(self, dataset: str, batch: str) -> str:
        """Return the manifest of the stage that the boxes of a data set come from."""
        return f"results/{BOX_SOURCES[dataset.split('_')[0]]}/{batch}.tsv"

    def save_batches(self) -> None:
        """Record which entry went to which batch, so that none moves when the table changes."""
        rows = [{"emdb_id": entry, "batch": name} for entry, name in self.assigned.items()]
        if not BATCH_TABLE.exists() or read_table(BATCH_TABLE) != rows:
            write_table(BATCH_TABLE, rows, ("emdb_id", "batch"))


def weights_folder(settings: dict, dataset: str) -> str:
    """Return where the weights of a data set are: the user's own cut training off."""
    return settings["predict"]["weights"].get(dataset) or f"results/train/{dataset}"


def make_plan(config: dict, root: Path) -> Plan:
    """Validate a configuration and work out what the rules need.

    Parameters
    ----------
    config : dict
        As read by Snakemake.
    root : Path
        The repository.

    Raises
    ------
    ConfigError
        With the key, or the line of the entry table, that is wrong.
    """
    settings = validated(config, root / "schemas" / "config.schema.yaml")
    entries = read_entries(settings["entries"])
    known = {}
    if BATCH_TABLE.exists():
        known = {row["emdb_id"]: row["batch"] for row in read_table(BATCH_TABLE)}
    assigned = assign_batches(entries, known, settings["batch_size"])
    return Plan(
        config=settings,
        batches=members_of(entries, assigned),
        assigned=assigned,
        spec=stage_specs(settings),
        code=stage_codes(root),
    )


def stage_specs(settings: dict) -> dict[str, str]:
    """Return, as canonical JSON, the part of the configuration that each stage may depend on."""
    shards, train, predict = settings["shards"], settings["train"], settings["predict"]
    specs = {
        "fetch": settings["archive"],
        "inspect": settings["inspect"],
        "qscore": settings["qscore"],
        "simulate": settings["simulate"] | {"sigma": settings["qscore"]["sigma"]},
        "labels": settings["labels"],
        "evaluate": settings["evaluate"]
        | {"weights": {"resolution_1.0": weights_folder(settings, "resolution_1.0")}},
        "report": settings["report"],
    }
    for dataset in DATASETS:
        task = dataset.split("_")[0]
        specs[f"shards_{dataset}"] = shards[task] | {"dataset": dataset}
        specs[f"train_{dataset}"] = train[dataset] | {"seed": settings["seed"]}
    for task in TASKS:
        specs[f"predict_{task}"] = predict[task] | {
            "task": task,
            "splits": predict["splits"],
            "device": settings["device"],
            "weights": {
                name: weights_folder(settings, name) for name in DATASETS if name.startswith(task)
            },
        }
    return {name: canonical(spec) for name, spec in specs.items()}


def stage_codes(root: Path) -> dict[str, str]:
    """Return the hash of the code behind each stage."""
    package = root / "src" / "cryoclarity"
    return {
        stage: code_hash(root / "workflow_scripts" / script, package, extra)
        for stage, (script, extra) in STAGE_SCRIPTS.items()
    }

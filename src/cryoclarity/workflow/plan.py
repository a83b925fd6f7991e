"""Everything that the Snakefile looks up: settings, batches, code hashes, weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryoclarity.io.tables import read_table, write_table
from cryoclarity.selection.settings import filter_settings
from cryoclarity.workflow.batches import (
    assign_batches,
    check_simulated,
    members_of,
    read_entries,
    rows_hash,
)
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
# All simulated entries are one batch, of a name that no measured one will reach.
SIMULATED_BATCH = "90000"
SELECTED = Path("results/select/manifest.tsv")
# Filters of a selection that the inspection asks again, with the files at hand.
FILE_FILTERS = (
    *("F08_map_size", "F09_voxel", "F14_model_size", "F15_nucleic", "F16_unknown"),
    *("F17_backbone", "F18_coverage", "F19_fit", "F20_res_mismatch"),
)
# Settings of the archive that only a selection depends on: another one fetches nothing again.
SELECT_KEYS = (
    *("responses", "api_url", "graphql_url", "metadata"),
    *("requests_per_s", "contact"),
)

# Script of each stage, and the module that it imports by name when it runs a batch.
STAGE_SCRIPTS = {
    "demo_archive": ("demo_archive.py", ()),
    "select": ("select_entries.py", ()),
    "batch": ("batch.py", ()),
    "fetch": ("fetch.py", ("cryoclarity.stages.fetch",)),
    "inspect": ("inspect_inputs.py", ("cryoclarity.stages.inspect",)),
    "qscore": ("qscore.py", ("cryoclarity.stages.qscore",)),
    "simulate": ("simulate.py", ("cryoclarity.stages.simulate",)),
    "degrade": ("degrade_models.py", ("cryoclarity.stages.degrade",)),
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
        return self.manifest(BOX_SOURCES[dataset.split("_")[0]], dataset, batch)

    def manifest(self, stage: str, dataset: str, batch: str) -> str:
        """Return the manifest of a stage; of simulated entries one stage stands for all."""
        if batch == SIMULATED_BATCH:
            return f"results/degrade/{dataset.split('_')[0]}/manifest.tsv"
        return f"results/{stage}/{batch}.tsv"

    def rows_table(self, batch: str) -> str:
        """Return the table of a batch's rows."""
        if batch == SIMULATED_BATCH:
            return self.config["simulated"]["entries"]
        return f"results/batches/{batch}.tsv"

    @property
    def training_batches(self) -> list[str]:
        """Return the batches that boxes are cut from: the measured ones and the simulated one."""
        return [*self.batches, *([SIMULATED_BATCH] if self.config["simulated"]["entries"] else [])]

    @property
    def selection_files(self) -> list[str]:
        """Return the tables that a selection reads."""
        selection = self.config["selection"]
        return [selection[key] for key in ("table", "pairs", "hashes") if selection[key]]

    @property
    def entry_tables(self) -> list[str]:
        """Return the entry table as an input of rules; none when the workflow selects it.

        A selection is a call of its own: the jobs of this one were planned from the table as it
        is, and must not have it replaced under them.
        """
        return [] if is_selected(self.config) else [self.config["entries"]]

    @property
    def one_per_map(self) -> bool:
        """Whether the selection wants one entry per map (F22), proved by what was fetched."""
        selection = self.config["selection"]
        wanted = filter_settings(selection["filters"])["F22_duplicate_data"]
        drops = wanted["enabled"] and wanted["action"] == "drop"
        return is_selected(self.config) and drops and not selection["trust_list"]

    @property
    def unselected(self) -> list[str]:
        """Return what is to be done before entries are known, as the name of a missing input."""
        if is_selected(self.config) and not SELECTED.exists():
            return [f"{SELECTED} (run first: snakemake select)"]
        return []

    def save_batches(self) -> None:
        """Record which entry went to which batch, so that none moves when the table changes."""
        rows = [{"emdb_id": entry, "batch": name} for entry, name in self.assigned.items()]
        if not BATCH_TABLE.exists() or read_table(BATCH_TABLE) != rows:
            write_table(BATCH_TABLE, rows, ("emdb_id", "batch"))


def weights_folder(settings: dict, dataset: str) -> str:
    """Return where the weights of a data set are: the user's own cut training off."""
    return settings["predict"]["weights"].get(dataset) or f"results/train/{dataset}"


def is_selected(settings: dict) -> bool:
    """Whether the entry table is the manifest that the workflow itself selects."""
    return Path(settings["entries"]) == SELECTED


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
    # Before the first selection there is nothing to plan but the selection.
    waits = is_selected(settings) and not SELECTED.exists()
    entries = [] if waits else read_entries(settings["entries"])
    known = {}
    if BATCH_TABLE.exists():
        known = {row["emdb_id"]: row["batch"] for row in read_table(BATCH_TABLE)}
    assigned = assign_batches(entries, known, settings["batch_size"])
    if settings["simulated"]["entries"]:
        check_simulated(settings["simulated"]["entries"])
    return Plan(
        config=settings,
        batches=members_of(entries, assigned),
        assigned=assigned,
        spec=stage_specs(settings),
        code=stage_codes(root),
    )


def file_filters(settings: dict) -> dict[str, object]:
    """Return what of a selection is left to ask once the files are there; {} without one."""
    if not is_selected(settings):
        return {}
    selection = settings["selection"]
    filters = {name: selection["filters"][name] for name in FILE_FILTERS}
    trusted = {"trust_list": True} if selection["trust_list"] else {}
    return {"filters": filters} | trusted


def stage_specs(settings: dict) -> dict[str, str]:
    """Return, as canonical JSON, the part of the configuration that each stage may depend on."""
    shards, train, predict = settings["shards"], settings["train"], settings["predict"]
    archive = settings["archive"]
    asking = [*SELECT_KEYS, "offline", "update", "attempts", "timeout_s"]
    asking += ["base_url", "mirrors"] if archive["metadata"] == "xml" else []
    specs = {
        "select": {
            "selection": settings["selection"],
            "archive": {key: archive[key] for key in asking},
        },
        "fetch": _fetch_spec(settings),
        "inspect": settings["inspect"] | file_filters(settings),
        "qscore": settings["qscore"],
        "simulate": settings["simulate"] | {"sigma": settings["qscore"]["sigma"]},
        "labels": settings["labels"],
        "evaluate": settings["evaluate"]
        | {"weights": {"resolution_1.0": weights_folder(settings, "resolution_1.0")}},
        "report": settings["report"],
    }
    for dataset in DATASETS:
        task = dataset.split("_")[0]
        specs[f"shards_{dataset}"] = _shards_spec(shards[task], train[dataset]) | {
            "dataset": dataset
        }
        specs[f"train_{dataset}"] = train[dataset] | {"seed": settings["seed"]}
    for task in TASKS:
        drawing = {key: settings["simulated"][key] for key in ("seed", "ranges")}
        specs[f"degrade_{task}"] = drawing | {"task": task}
        specs[f"predict_{task}"] = predict[task] | {
            "task": task,
            "splits": predict["splits"],
            "device": settings["device"],
            "weights": {
                name: weights_folder(settings, name) for name in DATASETS if name.startswith(task)
            },
        }
    return {name: canonical(spec) for name, spec in specs.items()}


def _fetch_spec(settings: dict) -> dict:
    """Settings of the archive; after a selection, its answers serve as entry documents."""
    archive = settings["archive"]
    spec = {key: value for key, value in archive.items() if key not in SELECT_KEYS}
    if is_selected(settings) and not spec["documents"]:
        spec |= {key: archive[key] for key in ("api_url", "metadata")}
        spec["documents"] = archive["responses"]
    return spec


def _shards_spec(spec: dict, training: dict) -> dict:
    """Boxes as the network wants them: band powers lie on another grid, with its own sizes."""
    if not str(training["network"].get("name")).startswith("bands"):
        return spec
    kept = {key: value for key, value in spec.items() if key not in ("box_size", "stride")}
    return kept | {"layout": "bands"}


def stage_codes(root: Path) -> dict[str, str]:
    """Return the hash of the code behind each stage."""
    package = root / "src" / "cryoclarity"
    return {
        stage: code_hash(root / "workflow_scripts" / script, package, extra)
        for stage, (script, extra) in STAGE_SCRIPTS.items()
    }

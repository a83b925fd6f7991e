"""What several stages share: where the files of an entry are, what its row says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryoclarity.io.files import read_json
from cryoclarity.stages.batch import FACTS, EntryJob, Skip

MAP = "map.map.gz"
HALF_MAPS = ("half_map_1.map.gz", "half_map_2.map.gz")
MODELS = ("model.cif.gz", "model.pdb.gz")


@dataclass(frozen=True)
class Fetched:
    """Paths of an entry's files as fetched; None where the entry has none."""

    map: Path
    half_maps: tuple[Path, Path] | None
    model: Path | None

    def require_model(self) -> Path:
        """Return the model.

        Raises
        ------
        Skip
            When the entry has none.
        """
        if self.model is None:
            raise Skip("the entry has no model", code="SEL_F04_NO_MODEL")
        return self.model


def fetched(job: EntryJob) -> Fetched:
    """Return the files that the fetch stage left for the entry.

    Half maps that the inspection refused count as missing: the entry loses only what needs them.
    Maps that the inspection copied into another frame stand in for the fetched ones.
    """
    folder = job.upstream["fetch"].folder
    halves = tuple(_in_frame(job, name) for name in HALF_MAPS)
    usable = all(path.exists() for path in halves) and not _refused_half_maps(job)
    models = [folder / name for name in MODELS if (folder / name).exists()]
    return Fetched(
        map=_in_frame(job, MAP),
        half_maps=halves if usable else None,
        model=models[0] if models else None,
    )


def _in_frame(job: EntryJob, name: str) -> Path:
    inspected = job.upstream.get("inspect")
    reframed = inspected.folder / name if inspected else None
    if reframed is not None and reframed.exists():
        return reframed
    return job.upstream["fetch"].folder / name


def stated_resolution(row: Mapping[str, str]) -> float | None:
    """Return the resolution in angstrom that the entry table states, None where it does not."""
    return float(row["resolution"]) if row.get("resolution") else None


def record_path(out: str | Path) -> Path:
    """Return where the record of an output lies: same folder and stem, suffix .json."""
    out = Path(out)
    return (out.with_suffix("") if out.suffix == ".gz" else out).with_suffix(".json")


def _refused_half_maps(job: EntryJob) -> bool:
    inspected = job.upstream.get("inspect")
    facts = inspected.folder / FACTS if inspected else None
    return bool(facts and facts.exists() and read_json(facts).get("half_maps") == "no")

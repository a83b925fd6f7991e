"""The second source of training boxes: simulated entries through the stages of measured ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cryoclarity.boxes.leaks import EntryFacts
from cryoclarity.boxes.sequences import chain_sequences
from cryoclarity.errors import ConfigError, IntegrityError
from cryoclarity.io.files import read_json, sha256_of
from cryoclarity.io.maps import read_map
from cryoclarity.io.model import read_atoms, write_mmcif
from cryoclarity.io.shards import ShardReader
from cryoclarity.io.tables import read_table
from cryoclarity.stages import degrade, index, shards
from cryoclarity.stages.batch import Batch, run_batch
from cryoclarity.workflow.batches import check_simulated
from tests.degrade.models import small_model
from tests.scripts import load_script


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Three models: one twice (kin), one as a trace of phosphorus."""
    folder = tmp_path_factory.mktemp("models")
    atoms = small_model("four_helices")
    write_mmcif(folder / "1aaa.cif.gz", atoms, "1AAA")
    write_mmcif(folder / "2bbb.cif.gz", atoms, "2BBB")
    other = small_model()
    write_mmcif(folder / "3ccc.cif.gz", other, "3CCC")
    write_mmcif(folder / "4ddd.cif.gz", other.take(other.name == "P"), "4DDD")
    return folder


@pytest.fixture(scope="module")
def table(models, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("table") / "simulated.tsv"
    found = degrade.models_below(models)
    degrade.make_table(found, out, draws=2, seed=1, shares=(0.2, 0.2), weight=0.5)
    return out


def batch(stage: str, folder: Path, rows: list[dict[str, str]], **settings) -> Batch:
    return Batch(stage, folder / f"{stage}_manifest" / "manifest.tsv", rows, **settings)


def test_the_table_keeps_kin_together_and_leaves_traces_out(table) -> None:
    rows = read_table(table)
    check_simulated(table)
    assert [row["emdb_id"] for row in rows] == [
        f"SIM-{name}-{draw:03d}" for name in ("1aaa", "2bbb", "3ccc") for draw in (0, 1)
    ]
    assert {row["source"] for row in rows} == {"simulated"}
    assert {row["weight"] for row in rows} == {"0.5"}
    kin = {(row["group"], row["split"]) for row in rows if "ccc" not in row["emdb_id"]}
    assert len(kin) == 1


def test_kin_of_measured_entries_go_where_these_are(models, tmp_path) -> None:
    sequences = tuple(chain_sequences(read_atoms(models / "3ccc.cif.gz")))
    real = [EntryFacts("EMD-1234", "val", "that protein", "9xyz", {}, sequences)]
    found = degrade.models_below(models)
    settings = {"draws": 1, "seed": 1, "shares": (0.0, 0.0)}
    rows = degrade.make_table(found, tmp_path / "t.tsv", measured=real, **settings)
    assert [(row["split"], row["group"]) for row in rows][-1] == ("val", "that protein")
    assert rows[0]["split"] == "train"
    real.append(EntryFacts("EMD-4321", "train", "that protein", "", {}, sequences))
    rows = degrade.make_table(found, tmp_path / "t.tsv", measured=real, **settings)
    assert [row["pdb_id"] for row in rows] == ["1aaa", "2bbb"]


@pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0.1)])
def test_shares_leave_room_for_training(models, tmp_path, shares) -> None:
    with pytest.raises(ConfigError):
        degrade.make_table([], tmp_path / "t.tsv", draws=1, seed=1, shares=shares)


@pytest.mark.parametrize("task", ["enhance", "resolution"])
def test_boxes_are_cut_from_simulated_entries_as_from_measured_ones(task, table, tmp_path) -> None:
    rows = read_table(table)[:2]
    spec = {"task": task, "seed": 1, "ranges": "measured"}
    made = batch("degrade", tmp_path, rows, spec=spec, code="x")
    results = run_batch(made, degrade.run_entry)
    assert [row["status"] for row in results] == ["ok", "ok"], results
    first, second = (tmp_path / "degrade_manifest/entries" / row["emdb_id"] for row in rows)
    source = "simulate" if task == "enhance" else "labels"
    upstream = dict.fromkeys(("fetch", "inspect", source), made.manifest)
    dataset = f"{task}_1.0"
    cut = batch("shards", tmp_path, rows, spec={"dataset": dataset}, upstream=upstream,
                required=tuple(upstream))  # fmt: skip
    results = run_batch(cut, shards.run_entry)
    assert [row["status"] for row in results] == ["ok", "ok"], results
    inputs = index.IndexInputs([table], [made.manifest], [cut.manifest])
    for row in rows:
        boxes = ShardReader(tmp_path / "shards_manifest/entries" / row["emdb_id"] / f"{dataset}.h5")
        assert (boxes.attrs["source"], boxes.attrs["engine"]) == ("simulated", "truth")
    counts = index.run_files(dataset, inputs, tmp_path / "i.tsv", tmp_path / "leaks.tsv")
    assert counts["shards"] == 2 and counts["boxes"] > 1
    entries = [row for row in read_table(tmp_path / "i.tsv") if row["emdb_id"].startswith("SIM-")]
    assert {row["weight"] for row in entries} == {"0.5"}
    record = read_json(first / ("target.json" if task == "enhance" else "local_resolution.json"))
    assert record["source"] == "simulated" and record["engine"] == "truth"
    atoms, density = read_atoms(first / "model.cif.gz"), read_map(first / "map.map.gz")
    assert density.grid.contains(atoms.xyz).mean() > 0.8
    if task == "resolution":
        # Odd draws are masked: hardly any noise far from the molecule.
        corners = [read_map(f / "map.map.gz").density[:4, :4, :4].std() for f in (first, second)]
        assert corners[1] < 1e-3 * corners[0]
        halves = [read_map(first / f"half_map_{n}.map.gz").density for n in (1, 2)]
        np.testing.assert_allclose(
            density.density, 0.5 * (halves[0] + halves[1]), atol=1e-5 * np.ptp(density.density)
        )


def test_by_hand_the_bytes_are_the_same_on_every_run(models, tmp_path) -> None:
    settings = degrade.DegradeSettings("enhance", seed=3, draw=2, resolution=3.0)
    for out in ("a", "b"):
        degrade.run_files(models / "1aaa.cif.gz", tmp_path / out, settings)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["map.map.gz", "model.cif.gz", "target.json", "target.mrc"]
    for name in names:
        assert sha256_of(tmp_path / "a" / name) == sha256_of(tmp_path / "b" / name)
    assert read_json(tmp_path / "a" / "target.json")["drawn"]["resolution"] == 3.0


def test_another_model_than_the_tables_stops_the_batch(table, tmp_path) -> None:
    row = read_table(table)[0] | {"model_sha256": "0" * 64}
    spec = {"task": "enhance", "seed": 1, "ranges": "measured"}
    with pytest.raises(IntegrityError):
        run_batch(batch("degrade", tmp_path, [row], spec=spec), degrade.run_entry)


@pytest.mark.parametrize(
    "settings",
    [{"task": "both"}, {"task": "enhance", "seed": -1}, {"task": "enhance", "resolution": 12.0},
     {"task": "resolution", "ranges": "narrow"}],
)  # fmt: skip
def test_wrong_settings_are_refused(settings) -> None:
    with pytest.raises(ConfigError):
        degrade.DegradeSettings(**settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("SIM-1aaa-000", "EMD-1111"), "no simulated entry"),
        (lambda text: text.replace("SIM-1aaa-001", "SIM-1aaa-000"), "again"),
        (lambda text: text.replace("\tmodel\t", "\tmodels\t"), "no columns"),
        (
            lambda text: text.replace("\ttrain\t", "\tpractice\t").replace("\tval\t", "\tx\t"),
            "split",
        ),
    ],
    ids=["id", "twice", "column", "split"],
)
def test_a_wrong_table_is_refused(table, tmp_path, change, message) -> None:
    path = tmp_path / "t.tsv"
    path.write_text(change(table.read_text()))
    with pytest.raises(ConfigError, match=message):
        check_simulated(path)


def test_the_script_by_hand_and_as_a_table(models, tmp_path) -> None:
    main = load_script("degrade_models").main
    model = str(models / "3ccc.cif.gz")
    assert main(["--model", model, "--task", "enhance", "--out", str(tmp_path / "e")]) == 0
    assert (tmp_path / "e" / "target.json").is_file()
    table = tmp_path / "t.tsv"
    assert main(["--table", str(models), "--draws", "1", "--out", str(table)]) == 0
    assert len(read_table(table)) == 3
    assert main(["--out", str(table)]) == 2
    assert main(["--model", model, "--out", str(tmp_path / "x")]) == 2
    nothing = str(tmp_path / "nothing.cif")
    assert main(["--model", nothing, "--task", "enhance", "--out", str(tmp_path / "x")]) == 3

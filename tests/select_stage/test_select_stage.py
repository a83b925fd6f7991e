"""The stage: from answers to a manifest that can be trusted and repeated."""

import importlib.util
import json
from collections import Counter

import pytest
import yaml

from cryoclarity.archive.responses import Politeness, Responses
from cryoclarity.codes import CODES
from cryoclarity.errors import ConfigError, InputError
from cryoclarity.io.tables import read_table, write_table
from cryoclarity.selection.manifest import MANIFEST_COLUMNS
from cryoclarity.selection.settings import schema
from cryoclarity.stages.select import Services as Sources
from cryoclarity.stages.select import run_files
from cryoclarity.workflow.batches import (
    ENTRY_COLUMNS,
    assign_batches,
    members_of,
    read_entries,
    rows_hash,
)
from cryoclarity.workflow.plan import stage_specs
from cryoclarity.workflow.settings import validated
from tests.select_stage.generated import World, saved_world
from tests.select_stage.server import Services, always, graphql

QUERY = 'current_status:"REL" AND xref_links:"pdb"'
QUICK = Politeness(requests_per_s=1e6, attempts=2, backoff_s=0.001)
API = "https://archive.invalid/emdb/api"
CLUSTERS = "https://clusters.invalid/by-entity-{identity}.txt"
OUTPUTS = (
    "manifest.tsv",
    "funnel.tsv",
    "rejected_all.tsv",
    "hubs.tsv",
    "leakage.tsv",
    "manifest.provenance.json",
    "funnel.png",
)
# All components would be one: a hub stands in five of a hundred entries.
EDGES = {"hub_limit": 20}


@pytest.fixture(scope="module")
def world():
    return World(3000)


@pytest.fixture(scope="module")
def answers(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    saved_world(world, folder, API, QUERY, CLUSTERS.replace("{identity}", "30"))
    return folder


def sources(folder, **options):
    return Sources(folder, API, offline=True, politeness=QUICK, **options)


def settings(**changes):
    return {"query": QUERY, "clusters": CLUSTERS, "edges": EDGES} | changes


@pytest.fixture(scope="module")
def selected(answers, tmp_path_factory):
    out = tmp_path_factory.mktemp("selected")
    return run_files(settings(), sources(answers), out), out


def test_all_outputs_are_there(selected):
    assert sorted(path.name for path in selected[1].iterdir()) == sorted(OUTPUTS)


def test_manifest_is_an_entry_table(selected):
    selection, out = selected
    rows = read_table(out / "manifest.tsv")
    assert rows == selection.rows
    assert set(MANIFEST_COLUMNS) == set(ENTRY_COLUMNS)
    assert [row["emdb_id"] for row in read_entries(out / "manifest.tsv")] == [
        row["emdb_id"] for row in rows
    ]
    numbers = [int(row["emdb_id"][4:]) for row in rows]
    assert numbers == sorted(numbers)
    assert len(rows) > 500


def test_what_is_kept_passes_and_what_is_not_has_a_reason(selected, world):
    rows = {row["emdb_id"]: row for row in selected[0].rows}
    dropped = {
        row["emdb_id"]
        for row in read_table(selected[1] / "rejected_all.tsv")
        if row["charged"] == "yes"
    }
    assert dropped | rows.keys() == world.by_id.keys()
    assert not dropped & rows.keys()
    for name, row in rows.items():
        entry = world.by_id[name]
        assert 2.0 <= entry.resolution <= 6.0
        assert [row["pdb_id"]] == entry.pdb_ids
        assert float(row["resolution"]) == entry.resolution
        assert row["half_maps"] == ("yes" if entry.half_maps else "no")


def test_funnel_adds_up(selected):
    selection, out = selected
    funnel = read_table(out / "funnel.tsv")
    rejected = read_table(out / "rejected_all.tsv")
    charged = Counter(row["filter"] for row in rejected if row["charged"] == "yes")
    before = 3000
    for row in funnel:
        assert int(row["in"]) == before
        before = int(row["out"])
        assert int(row["in"]) - before == int(row["dropped"]) == charged[row["filter"]]
        assert row["code"] in CODES
    assert before == len(selection.rows)
    assert all(row["code"] in CODES and row["message"] for row in rejected)


def test_no_relatives_across_splits(selected, world):
    """Recomputed from the generated archive itself, pair by pair of shared tokens."""
    split = {row["emdb_id"]: row["split"] for row in selected[0].rows}
    sides = {}
    hubs = {row["cluster"] for row in read_table(selected[1] / "hubs.tsv")}
    clusters = {}
    for number, line in enumerate(world.clusters().decode().splitlines(), start=1):
        for token in line.split():
            clusters.setdefault(token.rpartition("_")[0].lower(), set()).add(f"seq30:{number}")
    for name, side in split.items():
        entry = world.by_id[name]
        tokens = {f"xref:{other}" for other in (name, *entry.related)}
        tokens |= {f"rna:{entry.rna}"} if entry.rna else set()
        for pdb_id in entry.pdb_ids:
            tokens |= {pdb_id} | (clusters.get(pdb_id, set()) - hubs)
        for token in tokens:
            sides.setdefault(token, set()).add(side)
    assert [token for token, found in sides.items() if len(found) > 1] == []
    assert hubs
    counts = Counter(split.values())
    assert counts == selected[0].assignment.counts
    assert abs(counts["test"] - 0.1 * len(split)) <= max(0.02 * len(split), 1)


def test_same_answers_same_bytes(selected, answers, tmp_path):
    run_files(settings(), sources(answers), tmp_path)
    for name in OUTPUTS:
        assert (tmp_path / name).read_bytes() == (selected[1] / name).read_bytes(), name


def test_order_of_the_rows_does_not_matter(selected, world, tmp_path):
    folder = tmp_path / "answers"
    saved_world(world, folder, API, QUERY, CLUSTERS.replace("{identity}", "30"), order=7)
    run_files(settings(), sources(folder), tmp_path / "out")
    for name in ("manifest.tsv", "rejected_all.tsv", "funnel.tsv", "funnel.png"):
        assert (tmp_path / "out" / name).read_bytes() == (selected[1] / name).read_bytes(), name


def test_provenance_repeats_no_day_of_the_run(selected):
    record = json.loads((selected[1] / "manifest.provenance.json").read_text())
    assert {answer["date"] for answer in record["answers"]} == {"2026-01-07"}
    assert record["selection"]["query"] == QUERY
    assert record["documents"]["count"] > 500
    assert record["entries"]["selected"] == len(selected[0].rows)


def test_one_filter_changes_its_own_entries_only(selected, answers, tmp_path):
    filters = {"F02_resolution": {"max": 4.0}}
    narrow = run_files(settings(filters=filters), sources(answers), tmp_path)
    before = {row["emdb_id"]: row for row in selected[0].rows}
    after = {row["emdb_id"]: row for row in narrow.rows}
    gone = before.keys() - after.keys()
    assert after.keys() < before.keys()
    assert all(float(before[name]["resolution"]) > 4.0 for name in gone)
    assert all(float(row["resolution"]) <= 4.0 for row in after.values())


def test_downstream_depends_on_changed_rows_only(selected, tmp_path):
    """Batches whose rows stay the same keep their hash when the manifest changes."""

    def hashes(rows, known):
        write_table(tmp_path / "manifest.tsv", rows, MANIFEST_COLUMNS)
        entries = read_entries(tmp_path / "manifest.tsv")
        assigned = assign_batches(entries, known, 50)
        members = members_of(entries, assigned)
        return {name: rows_hash(members[name]) for name in members}, assigned

    rows = [dict(row) for row in selected[0].rows]
    before, assigned = hashes(rows, {})
    gone = rows.pop(120)["emdb_id"]
    rows[300]["split"] = "test" if rows[300]["split"] == "train" else "train"
    after, _ = hashes(rows, assigned)
    differing = {name for name in before if before[name] != after[name]}
    assert differing == {assigned[gone], assigned[rows[300]["emdb_id"]]}


def test_settings_reach_the_selection_only(root):
    def specs(**config):
        file = root / "schemas" / "config.schema.yaml"
        return stage_specs(validated({"entries": "x.tsv"} | config, file))

    before = specs()
    for change in (
        {"selection": {"filters": {"F02_resolution": {"max": 4.0}}}},
        {"archive": {"responses": "elsewhere"}},
        {"archive": {"api_url": "https://other.example"}},
    ):
        after = specs(**change)
        assert {name for name in before if before[name] != after[name]} == {"select"}


def test_the_schema_holds_the_settings_of_the_filters(root):
    file = yaml.safe_load((root / "schemas" / "config.schema.yaml").read_text())
    properties = file["properties"]["selection"]["properties"]
    for section, wanted in schema().items():
        assert properties[section] == wanted, section


def test_the_example_configuration_is_valid(root):
    config = yaml.safe_load((root / "config" / "select_example.yaml").read_text())
    checked = validated(config, root / "schemas" / "config.schema.yaml")
    assert checked["entries"] == "results/select/manifest.tsv"
    assert checked["selection"]["query"]


# Lists and tables


def renamed(world, names, **changes):
    """Documents of the generated archive under other ids."""
    pool = [
        entry
        for entry in world.entries
        if entry.status == "REL"
        and len(entry.pdb_ids) == 1
        and entry.resolution is not None
        and 2.5 < entry.resolution < 5
        and entry.method == "singleParticle"
        and 100 < entry.size < 500
        and not entry.related
        and entry.residues * entry.copies < 9000
        and "Composite" not in entry.title
    ]
    bodies = {}
    for entry, name in zip(pool, names, strict=False):
        text = world.document(entry.emdb_id).decode().replace(entry.emdb_id, name)
        for old, new in changes.get(name.replace("-", "_"), {}).items():
            assert old in text
            text = text.replace(old, new)
        bodies[name] = text.encode()
    return bodies


NAMES = [f"EMD-{number}" for number in range(7001, 7021)]


def table(path, rows):
    columns = list(dict.fromkeys(key for row in rows for key in row))
    write_table(path, rows, columns)
    return str(path)


@pytest.fixture
def services(world):
    with Services([], renamed(world, NAMES)) as services:
        yield services


def served(services, folder, **options):
    return Sources(folder, services.api, politeness=QUICK, **options)


def own(path, **changes):
    return {"table": path, "clusters": "", "edges": {"uniprot": "off"}} | changes


def test_own_table(services, tmp_path):
    rows = [{"emdb_id": name, "pdb_id": "", "contour": "", "map_sha256": ""} for name in NAMES]
    rows[3] |= {"contour": "0.5", "map_sha256": "ab" * 32}
    path = table(tmp_path / "own.tsv", rows)
    selection = run_files(own(path), served(services, tmp_path / "answers"), tmp_path / "out")
    assert [row["emdb_id"] for row in selection.rows] == NAMES
    assert selection.rows[3]["contour"] == "0.5"
    assert selection.rows[3]["map_sha256"] == "ab" * 32
    assert {row["source"] for row in selection.rows} == {"table"}
    assert services.asked("/emdb/api/search") == 0
    asked = sum(services.requests.values())
    offline = served(services, tmp_path / "answers", offline=True)
    run_files(own(path), offline, tmp_path / "again")
    assert sum(services.requests.values()) == asked == len(NAMES)
    manifests = [(tmp_path / name / "manifest.tsv").read_bytes() for name in ("out", "again")]
    assert manifests[0] == manifests[1]


def test_every_bad_id_is_told_before_the_first_request(services, tmp_path, root, capsys):
    rows = [{"emdb_id": name, "pdb_id": ""} for name in ("EMD-7001", "7002", "EMD-7001")]
    rows += [{"emdb_id": "EMD-7003", "pdb_id": "xyz"}]
    path = table(tmp_path / "own.tsv", rows)
    file = root / "workflow_scripts" / "select_entries.py"
    spec = importlib.util.spec_from_file_location("select_entries", file)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    section = {"selection": own(path), "archive": {"api_url": services.api}}
    status = script.main(["--spec", json.dumps(section), "--out", str(tmp_path / "out")])
    told = capsys.readouterr().err
    assert status == 2
    assert len(told.splitlines()) == 1
    for what in ("'7002'", "'XYZ'".lower(), "EMD-7001 is already on line 2"):
        assert what in told
    assert not services.requests
    assert not (tmp_path / "out").exists()


def test_trusted_lists_are_warned_about(world, tmp_path):
    bodies = renamed(
        world, NAMES, EMD_7002={'"singleParticle"': '"tomography"'}, EMD_7005={'"REL"': '"OBS"'}
    )
    path = table(tmp_path / "own.tsv", [{"emdb_id": name} for name in NAMES])
    with Services([], bodies) as services:
        strict = run_files(own(path), served(services, tmp_path / "a"), tmp_path / "strict")
        trust = run_files(
            own(path, trust_list=True), served(services, tmp_path / "a"), tmp_path / "trust"
        )
    assert len(strict.rows) == len(NAMES) - 2
    assert len(trust.rows) == len(NAMES) - 1
    warned = [row for row in trust.funnel.rejected if row["emdb_id"] == "EMD-7002"]
    assert {(row["code"], row["outcome"]) for row in warned} >= {("SEL_F01_METHOD", "warn")}
    assert [(one.emdb_id, one.code) for one in trust.lost] == [("EMD-7005", "ID_OBSOLETE")]
    assert read_table(tmp_path / "trust" / "funnel.tsv")[0]["code"] == "ID_OBSOLETE"


@pytest.mark.parametrize("follow", [True, False])
def test_successors_stand_for_obsolete_entries(world, tmp_path, follow):
    successor = '"obsolete_list": {"entry": [{"entry": "EMD-7010"}]}, "title":'
    bodies = renamed(
        world,
        NAMES,
        EMD_7002={'"REL"': '"OBS"', '"title":': successor},
        EMD_7003={'"REL"': '"OBS"', '"title":': successor},
    )
    path = table(tmp_path / "own.tsv", [{"emdb_id": name} for name in NAMES[:8]])
    with Services([], bodies) as services:
        selection = run_files(
            own(path, follow_obsolete=follow), served(services, tmp_path / "a"), tmp_path / "out"
        )
    found = {row["emdb_id"]: row["source"] for row in selection.rows}
    lost = {one.emdb_id: one.code for one in selection.lost}
    if follow:
        assert found["EMD-7010"] == "table, successor of EMD-7002"
        assert lost == {"EMD-7003": "ID_DUPLICATE"}
    else:
        assert "EMD-7010" not in found
        assert lost == {"EMD-7002": "ID_OBSOLETE", "EMD-7003": "ID_OBSOLETE"}
        assert all("EMD-7010" in one.message for one in selection.lost)


def pinned(tmp_path):
    rows = [{"emdb_id": name, "split": "", "group": ""} for name in NAMES]
    rows[0] |= {"split": "train", "group": "kin"}
    rows[1] |= {"split": "test", "group": "kin"}
    return table(tmp_path / "own.tsv", rows)


def test_relatives_pinned_apart_stop(services, tmp_path):
    with pytest.raises(ConfigError, match=r"SEL_SPLIT_LEAK.*: EMD-700\d -user:\S+- EMD-700\d"):
        run_files(own(pinned(tmp_path)), served(services, tmp_path / "answers"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_relatives_pinned_apart_are_reported(services, tmp_path):
    split = {"pins": "report"}
    selection = run_files(
        own(pinned(tmp_path), split=split),
        served(services, tmp_path / "answers"),
        tmp_path / "out",
    )
    rows = {row["emdb_id"]: row["split"] for row in selection.rows}
    assert (rows["EMD-7001"], rows["EMD-7002"]) == ("train", "test")
    leaks = read_table(tmp_path / "out" / "leakage.tsv")
    (leak,) = [leak for leak in leaks if not leak["edge"].startswith("list:")]
    assert (leak["emdb_id"], leak["related"]) == ("EMD-7002", "EMD-7001")


def test_a_model_named_by_the_list_is_the_choice(world, tmp_path):
    reference = '"pdb_reference": [{"pdb_id": "8aaa", "relationship": {}}, '
    bodies = renamed(
        world,
        NAMES,
        EMD_7001={'"pdb_reference": [': reference},
        EMD_7002={'"pdb_reference": [': reference},
    )
    rows = [{"emdb_id": name, "pdb_id": ""} for name in NAMES]
    rows[0]["pdb_id"] = "8aaa"
    path = table(tmp_path / "own.tsv", rows)
    with Services([], bodies) as services:
        selection = run_files(own(path), served(services, tmp_path / "a"), tmp_path / "out")
    models = {row["emdb_id"]: row["pdb_id"] for row in selection.rows}
    assert models["EMD-7001"] == "8aaa"
    assert "EMD-7002" not in models
    # The other fitted model still makes relatives.
    groups = {row["emdb_id"]: row["group"] for row in selection.rows}
    assert len(set(groups.values())) == len(groups)


def test_published_list_keeps_its_roles(world, tmp_path):
    from cryoclarity.selection.lists import published_list

    names = [entry.emdb_id for entry in published_list("emmivox")]
    bodies = renamed(world, names)
    config = own("", list="emmivox", trust_list=True)
    with Services([], bodies) as services:
        selection = run_files(config, served(services, tmp_path / "a"), tmp_path / "out")
    assert len(selection.rows) == 9
    assert {row["split"] for row in selection.rows} == {"test"}
    assert {row["source"] for row in selection.rows} == {"list:emmivox"}
    leaks = read_table(tmp_path / "out" / "leakage.tsv")
    shared_with = Counter((leak["edge"], leak["related_split"]) for leak in leaks)
    assert shared_with[("list:cryoten", "train")] == 2
    assert shared_with[("list:cryofem_30_identity", "train")] == 2


def test_header_files_of_a_mirror_will_do(shared, tmp_path):
    header = (shared / "reference" / "api" / "emd-90001-v30.xml").read_bytes()
    folder = tmp_path / "mirror" / "emdb" / "structures" / "EMD-90001" / "header"
    folder.mkdir(parents=True)
    (folder / "emd-90001-v30.xml").write_bytes(header)
    path = table(tmp_path / "own.tsv", [{"emdb_id": "EMD-90001"}])
    mirror = Sources(
        tmp_path / "answers", metadata="xml", base_url=str(tmp_path / "mirror"), offline=True
    )
    config = own(path, split={"ratios": {"train": 1.0}})
    (row,) = run_files(config, mirror, tmp_path / "out").rows
    assert (row["pdb_id"], row["resolution"], row["masks"]) == (
        "9za1",
        "3.2",
        "emd_90001_msk_1.map",
    )


@pytest.mark.parametrize("given", [{}, {"query": "*", "list": "cryoten"}])
def test_one_source_is_needed(given, tmp_path):
    with pytest.raises(ConfigError, match="one of list, table or query"):
        run_files(given, sources(tmp_path), tmp_path / "out")


def test_nothing_left_tells_why(answers, tmp_path):
    filters = {"F02_resolution": {"min": 0.1, "max": 0.2}}
    with pytest.raises(ConfigError, match=r"no entry is left of 3000: F02_resolution dropped"):
        run_files(settings(filters=filters), sources(answers), tmp_path)


def test_offline_stops_where_an_answer_is_missing(answers, tmp_path):
    with pytest.raises(InputError, match="NET_OFFLINE"):
        run_files(settings(query="another"), sources(answers), tmp_path)
    with pytest.raises(InputError, match="NET_OFFLINE"):
        run_files(settings(clusters=CLUSTERS + "x"), sources(answers), tmp_path)


def test_cluster_file_is_streamed_and_computed_models_are_left_out(shared, tmp_path):
    from cryoclarity.archive.clusters import read_clusters

    path = shared / "reference" / "api" / "clusters-by-entity-30.txt"
    found = read_clusters(Responses(tmp_path), str(path), {"9za1", "9ze1", "9zb1"})
    assert {name: [one.cluster for one in found[name]] for name in found} == {
        "9za1": ["1"],
        "9zb1": ["2"],
        "9ze1": ["4", "5"],
    }


@pytest.fixture
def answer(shared):
    text = (shared / "reference" / "api" / "rcsb_graphql_entries.json").read_text()
    return json.loads(text)["data"]["entries"][0]


def test_models_by_graphql(services, answer, tmp_path):
    from cryoclarity.archive.models import read_models

    services.vices["/graphql"] = graphql({"9ZA1": answer})
    responses = Responses(tmp_path, QUICK)
    url = f"{services.base}/graphql"
    found = read_models(responses, url, ["9za1", "9zz9"], 30)
    assert list(found) == ["9za1"]
    (entity,) = found["9za1"].entities
    assert (entity.cluster, entity.residues, entity.name) == ("3306", 672, "9za1_1")
    assert found["9za1"].facts.resolution == 3.2
    asked = sum(services.requests.values())
    again = read_models(Responses(tmp_path, QUICK, offline=True), url, ["9zz9", "9za1"], 30)
    assert again == found
    assert sum(services.requests.values()) == asked == 1
    # Errors come with status 200.
    services.vices["/graphql"] = always(b'{"errors": [{"message": "no such field"}]}')
    with pytest.raises(InputError, match=r"NET_PROTOCOL.*no such field"):
        read_models(responses, url, ["8aaa"], 30)


def test_models_join_and_their_resolution_is_compared(services, answer, world, tmp_path):
    bodies = renamed(world, NAMES)
    first, second, third = (
        json.loads(bodies[name])["crossreferences"]["pdb_list"]["pdb_reference"][0]["pdb_id"]
        for name in NAMES[:3]
    )
    shared_chain = {name.upper(): answer | {"rcsb_id": name.upper()} for name in (first, second)}
    other = {"rcsb_id": third.upper(), "rcsb_entry_info": {"resolution_combined": [9.5]}}
    services.vices["/graphql"] = graphql(shared_chain | {third.upper(): other})
    path = table(tmp_path / "own.tsv", [{"emdb_id": name} for name in NAMES])
    filters = {"F20_res_mismatch": {"max_difference": 3.0}}
    selection = run_files(
        own(path, sequences="graphql", filters=filters),
        served(services, tmp_path / "answers", graphql_url=f"{services.base}/graphql"),
        tmp_path / "out",
    )
    groups = {row["emdb_id"]: row["group"] for row in selection.rows}
    assert groups[NAMES[0]] == groups[NAMES[1]] == NAMES[0]
    assert NAMES[2] not in groups
    assert selection.funnel.charged == {NAMES[2]: "F20_res_mismatch"}

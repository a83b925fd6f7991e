"""What each rule looks up: its settings and nothing else."""

import json

import pytest

from cryoclarity.workflow.plan import STAGE_SCRIPTS, make_plan, stage_specs
from cryoclarity.workflow.settings import validated

SELECTED = {"entries": "results/select/manifest.tsv"}


def specs(root, **config):
    settings = validated({"entries": "x.tsv"} | config, root / "schemas" / "config.schema.yaml")
    return stage_specs(settings)


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({"simulate": {"kernel": "molmap"}}, {"simulate"}),
        ({"qscore": {"sigma": 0.4}}, {"qscore", "simulate"}),
        ({"labels": {"step_res": 1.0}}, {"labels"}),
        ({"archive": {"base_url": "elsewhere"}}, {"fetch"}),
        ({"inspect": {"trust_list": True}}, {"inspect"}),
        ({"shards": {"enhance": {"stride": 20}}}, {"shards_enhance_1.0", "shards_enhance_0.5"}),
        ({"train": {"enhance_0.5": {"steps": 7}}}, {"train_enhance_0.5"}),
        ({"predict": {"resolution": {"stride": 4}}}, {"predict_resolution"}),
        ({"report": {"entries": 2}}, {"report"}),
        (
            {"predict": {"weights": {"resolution_1.0": "mine"}}},
            {"predict_resolution", "evaluate"},
        ),
    ],
)
def test_a_setting_reaches_exactly_the_stages_that_may_depend_on_it(root, change, stages):
    before, after = specs(root), specs(root, **change)
    assert {name for name in before if before[name] != after[name]} == stages


def test_settings_are_canonical_json(root):
    for text in specs(root).values():
        assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))


def test_every_script_is_there_and_every_stage_has_a_hash(root, monkeypatch):
    monkeypatch.chdir(root)
    plan = make_plan({"entries": "config/demo_entries.tsv"}, root)
    assert set(plan.code) == set(STAGE_SCRIPTS)
    assert all(len(code) == 16 for code in plan.code.values())
    assert len(set(plan.code.values())) == len(plan.code)


def test_fetch_reads_the_documents_that_a_selection_saved(root):
    asked = {"archive": {"responses": "saved", "api_url": "https://there.invalid/api"}}
    spec = json.loads(specs(root, **SELECTED, **asked)["fetch"])
    assert (spec["documents"], spec["api_url"]) == ("saved", "https://there.invalid/api")
    # One's own folder, and one's own table, come first.
    own = specs(root, **SELECTED, archive={"documents": "mine"})
    assert json.loads(own["fetch"])["documents"] == "mine"
    assert json.loads(specs(root, **asked)["fetch"])["documents"] == ""


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (SELECTED, True),
        ({"entries": "config/demo_entries.tsv"}, False),
        (SELECTED | {"selection": {"trust_list": True}}, False),
        (SELECTED | {"selection": {"filters": {"F22_duplicate_data": {"action": "warn"}}}}, False),
    ],
)
def test_one_entry_per_map_is_a_wish_of_the_selection(root, monkeypatch, settings, wanted):
    monkeypatch.chdir(root)
    assert make_plan(settings, root).one_per_map is wanted

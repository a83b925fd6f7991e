"""What each rule looks up: its settings and nothing else."""

import json

import pytest

from cryoclarity.workflow.plan import STAGE_SCRIPTS, make_plan, stage_specs
from cryoclarity.workflow.settings import validated


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

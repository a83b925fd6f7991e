"""Where a stage finds an entry's files, and which it must not use."""

import pytest

from cryoclarity.io.files import write_json
from cryoclarity.stages.batch import EntryJob, Skip, Upstream
from cryoclarity.stages.common import HALF_MAPS, MAP, fetched


def job(tmp_path, files, half_maps=None):
    for name in files:
        path = tmp_path / "fetch" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    upstream = {stage: Upstream("ok", "", "", tmp_path / stage) for stage in ("fetch", "inspect")}
    if half_maps:
        write_json(tmp_path / "inspect" / "facts.json", {"half_maps": half_maps})
    return EntryJob({"emdb_id": "EMD-1001"}, {}, upstream, tmp_path / "work")


def test_all_files_are_found(tmp_path):
    found = fetched(job(tmp_path, [MAP, *HALF_MAPS, "model.pdb.gz"], "yes"))
    assert found.half_maps is not None
    assert found.require_model().name == "model.pdb.gz"


@pytest.mark.parametrize(
    ("files", "half_maps"),
    [([MAP, *HALF_MAPS], "no"), ([MAP, HALF_MAPS[0]], None), ([MAP], None)],
)
def test_refused_or_missing_half_maps_are_none(tmp_path, files, half_maps):
    assert fetched(job(tmp_path, files, half_maps)).half_maps is None


def test_an_entry_without_a_model_is_skipped(tmp_path):
    with pytest.raises(Skip, match="no model"):
        fetched(job(tmp_path, [MAP])).require_model()

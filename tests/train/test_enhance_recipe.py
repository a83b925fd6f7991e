"""The recipe of the small improvement network: its pieces, and one tiny run on real cut-outs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cryoclarity.cli.one_map import default_weights
from cryoclarity.errors import ConfigError, InputError
from cryoclarity.evaluate.improvement import METRICS, ROWS, summary, verdict
from cryoclarity.grid import Grid
from cryoclarity.nets.refine import from_blocks, to_blocks
from cryoclarity.nets.registry import build_network
from cryoclarity.predict.model import weights_path
from cryoclarity.predict.shipped import shipped_weights
from cryoclarity.stages.enhance_recipe import Recipe, recipe_from, ship
from cryoclarity.stages.measured_pairs import fold_of
from cryoclarity.train.agreement_loss import AgreementLoss, masked_correlation, mean_fsc
from cryoclarity.train.pairs import Pair, PairBatches, padded_cut
from cryoclarity.train.refine import residual_of
from cryoclarity.train.weights import load_weights

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = (("EMD-20353", "6pj6", 2.2), ("EMD-5623", "3j9i", 3.3), ("EMD-6374", "3jb0", 2.9))


@pytest.fixture
def script():
    file = ROOT / "workflow_scripts" / "enhance_recipe.py"
    spec = importlib.util.spec_from_file_location("enhance_recipe_script", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_untrained_network_is_the_clip():
    network = build_network({"name": "refine", "width": 4, "blocks": 1}).eval()
    x = torch.linspace(-0.5, 1.5, 512).reshape(1, 1, 8, 8, 8)
    assert torch.equal(network(x), x.clamp(0, 1))
    with pytest.raises(ValueError, match="even"):
        network(torch.zeros(1, 1, 8, 8, 7))


def test_blocks_are_undone_and_residual_is_bounded():
    x = torch.rand(2, 1, 4, 6, 8)
    assert torch.equal(from_blocks(to_blocks(x)), x)
    assert torch.equal(to_blocks(x)[0, :, 0, 0, 0], x[0, 0, :2, :2, :2].reshape(8))
    network = build_network({"name": "refine", "width": 4, "blocks": 1, "limit": 0.1})
    torch.nn.init.normal_(network.last.weight, std=10.0)
    assert network.residual(x).abs().max() <= 0.1
    network.strength.fill_(0.0)
    assert torch.equal(network.eval()(x), x)


def test_loss_is_zero_at_the_target_and_shells_are_those_of_numpy():
    rng = np.random.default_rng(0)
    first, second = (rng.random((1, 1, 12, 12, 12), dtype=np.float32) for _ in range(2))
    a, b = torch.from_numpy(first), torch.from_numpy(second)
    batch = {"input": a, "target": b, "resolution": torch.tensor([3.0])}
    assert float(AgreementLoss()(b, batch)[0]) == pytest.approx(0.0, abs=1e-4)
    frequency = np.sqrt(sum(f**2 for f in np.meshgrid(
        np.fft.fftfreq(12), np.fft.fftfreq(12), np.fft.rfftfreq(12), indexing="ij")))  # fmt: skip
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(12) + 0.5) / 12)
    window = hann[:, None, None] * hann[:, None] * hann
    f, g = (np.fft.rfftn(v[0, 0].astype(np.float64) * window) for v in (first, second))
    shells = []
    for number in range(1, 5):
        chosen = np.rint(frequency * 12) == number
        p, q = f[chosen], g[chosen]
        norm = np.sqrt((np.abs(p) ** 2).sum() * (np.abs(q) ** 2).sum())
        shells.append((p * q.conj()).real.sum() / norm)
    assert float(mean_fsc(a, b, batch["resolution"], 1.0)) == pytest.approx(np.mean(shells), 1e-4)
    expected = np.corrcoef(first[second > 0.05], second[second > 0.05])[0, 1]
    assert float(masked_correlation(a, b)) == pytest.approx(expected, abs=1e-4)


def make_pair(name: str, value: float, shape=(9, 20, 12)) -> Pair:
    target = np.zeros(shape, dtype=np.float32)
    target[3:7, 5:12, 4:9] = 1.0
    return Pair.scaled(name, value * target, target, 3.0)


def test_batches_follow_from_the_seed_and_renew_the_pool():
    drawn = []

    def simulate(number: int) -> Pair:
        drawn.append(number)
        return make_pair(f"s{number}", 0.2)

    source = PairBatches(
        [make_pair("real", 0.8)], simulate, box=8, batch_size=4, pool=3, renew_every=2, gain=0.0
    )
    first = list(source.batches(5))
    assert drawn == [0, 1, 2, 3, 4]
    assert first[0]["input"].shape == (4, 1, 8, 8, 8)
    again = list(source.batches(5))
    assert all(torch.equal(a["input"], b["input"]) for a, b in zip(first, again, strict=True))
    highest = first[0]["input"].amax(dim=(1, 2, 3, 4))
    assert highest.tolist() == pytest.approx([0.8, 0.8, 0.2, 0.2])
    # The target follows the scale of its input.
    assert torch.allclose(first[0]["target"], first[0]["input"])


def test_boxes_reach_beyond_small_maps():
    values = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    cube = padded_cut(values, np.array([-1, -1, -1]), 4)
    assert np.array_equal(cube[1:3, 1:3, 1:3], values)
    assert cube.sum() == values.sum()
    assert padded_cut(values, np.array([5, 0, 0]), 4).sum() == 0


def rows_of(entry: str, values: tuple[float, ...]) -> list[dict[str, object]]:
    return [
        {"entry": entry, "row": row, **dict.fromkeys(METRICS, value)}
        for row, value in zip(ROWS, values, strict=True)
    ]


def test_verdict_wants_every_reference_beaten_and_no_map_hurt():
    good = rows_of("a", (0.5, 0.5, 0.6, 0.55, 0.7)) + rows_of("b", (0.5, 0.5, 0.5, 0.5, 0.49))
    found = verdict(good)
    assert found["beats_references"] and found["harmless"] and found["serves"]
    assert found["maps_ahead"] == {"CC_mask": 1, "mean_fsc": 1}
    assert not found["improved"]  # on half of the maps, not on most
    assert found["share_worse"]["CC_mask"] == 0.5
    assert list(found["worst"]) == ["b", "a"]
    hurt = rows_of("a", (0.5, 0.5, 0.6, 0.55, 0.7)) + rows_of("b", (0.5, 0.5, 0.5, 0.5, 0.47))
    assert not verdict(hurt)["harmless"]
    beaten = rows_of("a", (0.5, 0.5, 0.7, 0.55, 0.65))
    assert not verdict(beaten)["serves"]
    assert [row["row"] for row in summary(good)] == list(ROWS)


def test_recipe_refuses_what_it_does_not_know():
    with pytest.raises(ConfigError, match="unknown key"):
        recipe_from({"stepz": 1})
    with pytest.raises(ConfigError, match="folds"):
        Recipe(folds=2)
    with pytest.raises(ConfigError, match="ranges"):
        Recipe(ranges=("narrow",))
    with pytest.raises(InputError, match="groups"):
        fold_of([], 3, 1)


def test_what_the_test_does_not_carry_is_not_shipped(tmp_path):
    (tmp_path / "verdict.json").write_text(json.dumps({"serves": False}))
    with pytest.raises(InputError, match="not beat"):
        ship(Recipe(), tmp_path, tmp_path / "shipped")
    assert not (tmp_path / "shipped").exists()


def test_enhance_without_weights_says_what_it_needs(tmp_path):
    if shipped_weights("enhance_1.0") is not None:
        pytest.skip("weights are shipped")
    with pytest.raises(ConfigError, match="beyond cutting negative density off") as caught:
        default_weights("enhance", tmp_path)
    assert "--weights FOLDER" in str(caught.value) and "published" in str(caught.value)


def test_without_a_network_for_fine_voxels_that_of_one_angstrom_serves(tmp_path):
    fine = Grid((8, 8, 8), (0.6, 0.6, 0.6))
    (tmp_path / "enhance_1.0").mkdir()
    assert weights_path(tmp_path, "enhance", fine) == tmp_path / "enhance_1.0"
    (tmp_path / "enhance_0.5").mkdir()
    assert weights_path(tmp_path, "enhance", fine) == tmp_path / "enhance_0.5"


def test_tiny_run_on_real_cut_outs(shared, tmp_path, script, capsys):
    models = tmp_path / "models"
    models.mkdir()
    for name in ("1a62", "2oob", "4oyn"):
        (models / f"{name}.pdb.gz").symlink_to(shared / "models" / f"{name}.pdb.gz")
    entries = tmp_path / "entries.tsv"
    lines = ["emdb_id\tpdb_id\tresolution", *("\t".join(map(str, row)) for row in ENTRIES)]
    entries.write_text("\n".join(lines) + "\n")
    config = tmp_path / "recipe.yaml"
    config.write_text(
        "simulated_box: {max_edge: 48, max_atoms: 400}\n"
        "network: {width: 4, blocks: 1}\nbox: 16\nbatch_size: 2\npool: 2\n"
        "base: {steps: 2}\nfine: {steps: 2, validate_every: 1}\nstrengths: [0.5, 1.0]\n"
    )
    out = tmp_path / "out"
    arguments = ["--models", models, "--archive", shared / "archive", "--entries", entries]
    arguments += ["--config", config, "--out", out]
    assert script.main([str(value) for value in arguments]) == 0
    printed = capsys.readouterr().out
    assert "beats_references" in printed and "EMD-20353" in printed
    network, card = load_weights(out / "final")
    assert card["training"] == [name for name, *_ in ENTRIES]
    per_fold = [load_weights(out / "folds" / str(n))[1] for n in range(3)]
    for fold, seen in enumerate(per_fold):
        tested = {
            line.split("\t")[0]
            for line in (out / "per_map.tsv").read_text().splitlines()
            if line.split("\t")[1] == str(fold)
        }
        assert tested and not tested & {*seen["training"], *seen["chosen_on"]}
    given = np.random.default_rng(0).random((9, 10, 11), dtype=np.float32)
    assert residual_of(network, given, given).shape == given.shape

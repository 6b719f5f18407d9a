"""`seqboat evaluate RUN --shuffle-decisions`: the same decisions at other places, and nothing else."""

import json

import pytest
import torch

from seqboat_lab.cli import main
from seqboat_lab.config import load_experiment
from seqboat_lab.data.loading.batch import IGNORED, Batch
from seqboat_lab.inference.evaluation import evaluate
from seqboat_lab.inference.shuffled import (
    CONTEXT,
    COUNTED,
    PADDING,
    Given,
    Shuffling,
    kinds_of_place,
    row_hash,
    shuffled_decisions,
    sources,
)
from seqboat_lab.training.experiment import make_module
from seqboat_lab.training.model import make_datamodule
from seqboat_lab.training.results import write_config


@pytest.fixture
def untrained(tmp_path):
    """A run directory with random weights, whose routers say yes to some tokens and no to others."""

    def make(config):
        data = make_datamodule(config)
        data.prepare_data()
        module = make_module(config, data)
        with torch.no_grad():
            for layer in module.model.encoder.layers:
                if hasattr(layer, "hx_proj"):
                    layer.hx_proj.weight[:2].normal_()
                    layer.attention.h_proj.weight.normal_()
        (tmp_path / "run" / "checkpoints").mkdir(parents=True)
        write_config(config, tmp_path / "run")
        torch.save({"state_dict": module.state_dict()}, tmp_path / "run" / "checkpoints" / "best.ckpt")
        return tmp_path / "run"

    return make


def per_layer(values: dict, name: str) -> list:
    return [values[key] for key in sorted(values) if key.startswith(f"{name}/layer_")]


def test_a_classifier_keeps_its_rates_and_moves_its_decisions(untrained, tiny):
    run = untrained(tiny())
    found = shuffled_decisions(run, seed=1, split="val")
    assert found.learned == pytest.approx(evaluate(run, "val"), rel=1e-6)
    assert any(0.05 < rate < 0.95 for rate in per_layer(found.learned, "activation_rate"))
    assert per_layer(found.shuffled, "activation_rate") == per_layer(found.learned, "activation_rate")
    assert found.shuffled["loss"] != found.learned["loss"]
    for layer, rate in enumerate(per_layer(found.learned, "activation_rate")):
        for kind in ("digit", "operator", "bracket"):  # places of any kind are as likely
            shuffled = found.shuffled[f"activation_rate_of_{kind}/layer_{layer}"]
            learned = found.learned[f"activation_rate_of_{kind}/layer_{layer}"]
            assert shuffled == pytest.approx(rate, abs=0.06)
            assert abs(shuffled - rate) <= abs(learned - rate) + 0.06
    again = shuffled_decisions(run, seed=1, split="val", overrides=["data.batch_size=7"])
    assert again.shuffled == pytest.approx(found.shuffled, rel=1e-5)
    assert shuffled_decisions(run, seed=2, split="val").shuffled["loss"] != found.shuffled["loss"]


def test_where_all_are_active_nothing_changes(untrained, tiny):
    found = shuffled_decisions(untrained(tiny("model.configurator={kind: always}")), split="val")
    assert found.shuffled == found.learned


def test_text_keeps_the_rates_of_what_is_scored(untrained, tiny_text):
    run = untrained(tiny_text("data.context=8"))
    found = shuffled_decisions(run, seed=3, split="val")
    assert found.learned == pytest.approx(evaluate(run, "val"), rel=1e-6)
    assert any(0.05 < rate < 0.95 for rate in per_layer(found.learned, "activation_rate"))
    assert per_layer(found.shuffled, "activation_rate") == per_layer(found.learned, "activation_rate")
    assert found.shuffled["bpc"] != found.learned["bpc"]
    again = shuffled_decisions(run, seed=3, split="val", overrides=["data.batch_size=3"])
    assert again.shuffled == pytest.approx(found.shuffled, rel=1e-5)


def test_each_decision_keeps_its_confidence_and_evidence(tiny):
    config = tiny()
    data = make_datamodule(config)
    data.prepare_data()
    data.setup()
    module = make_module(config, data).eval()
    batch = next(iter(data.evaluation_loader("val", 0, 1)))
    with torch.no_grad():
        for layer in module.model.encoder.layers:
            layer.hx_proj.weight[:2].normal_()
        learned = module(batch).activations
        for layer in module.model.encoder.layers:
            layer.configurator = Given(layer.configurator)
        given = [layer.configurator for layer in module.model.encoder.layers]
        module.register_forward_pre_hook(Shuffling(given, 5, text=False))
        shuffled = module(batch).activations
    moved = 0
    for before, after in zip(learned, shuffled, strict=True):
        for row, real in enumerate(batch.real()):
            one, other = (
                list(zip(*(field[row][real].tolist() for field in activation), strict=True))
                for activation in (before, after)
            )
            assert sorted(one) == sorted(other)
            moved += one != other
        assert not after.active[~batch.real()].any()
    assert moved > len(batch.inputs)


def test_every_place_of_its_kind_is_as_likely():
    n = 6000
    kinds = torch.tensor([COUNTED, CONTEXT, COUNTED, COUNTED, CONTEXT, PADDING]).expand(n, 6)
    drawn = sources(kinds, torch.arange(n), 7, 0)
    assert torch.equal(drawn.sort(1).values, torch.arange(6).expand(n, 6))
    for place in (0, 2, 3):
        share = torch.bincount(drawn[:, place], minlength=6) / n
        assert share.tolist() == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3, 0, 0], abs=0.025)  # four standard deviations
    orders = {tuple(order) for order in drawn[:, [0, 2, 3]].tolist()}
    assert len(orders) == 6
    assert set(drawn[:, 1].tolist()) == {1, 4}


def test_a_draw_follows_from_seed_layer_and_sequence_alone():
    ids = torch.randint(1, 9, (4, 50), generator=torch.Generator().manual_seed(0))
    none = torch.zeros_like(ids, dtype=torch.bool)
    longer, behind = torch.cat([ids, 0 * ids], 1), torch.cat([none, ~none], 1)
    rows = row_hash(ids, none)
    assert torch.equal(row_hash(longer, behind), rows)
    assert torch.equal(sources(torch.where(behind, PADDING, COUNTED), rows, 1, 0)[:, :50], sources(ids * 0, rows, 1, 0))
    assert torch.equal(row_hash(ids.flip(0), none), rows.flip(0))
    assert len({*rows.tolist(), *row_hash(ids.float() / 7, none).tolist(), *row_hash(ids.flip(1), none).tolist()}) == 12
    first = sources(ids * 0, rows, 1, 0)
    for other in (sources(ids * 0, rows, 2, 0), sources(ids * 0, rows, 1, 1), first.roll(1, 0)):
        assert (other == first).float().mean() < 0.1


def test_of_text_context_and_what_fills_up_are_told_apart():
    labels = torch.tensor([[IGNORED, 5, 6, IGNORED], [IGNORED, IGNORED, IGNORED, 7]])
    kinds = kinds_of_place(Batch(labels * 0, None, labels), text=True)
    assert kinds.tolist() == [[CONTEXT, COUNTED, COUNTED, PADDING], [CONTEXT, CONTEXT, CONTEXT, COUNTED]]


def test_the_command_prints_and_keeps_both(untrained, tiny, capsys):
    run = untrained(tiny())
    assert main(["evaluate", str(run), "--shuffle-decisions", "4", "--split", "val"]) == 0
    printed = capsys.readouterr().out
    kept = json.loads((run / "shuffled_val.json").read_text())
    assert (kept["seed"], kept["checkpoint"]) == (4, "best")
    for name in ("accuracy", "loss", "activation_rate"):
        (line,) = (line for line in printed.splitlines() if f" {name} " in line)
        assert f"{kept['learned'][name]:.4f}" in line
        assert f"{kept['shuffled'][name]:.4f}" in line


@pytest.mark.parametrize(
    ("overrides", "arguments", "message"),
    [
        ([], ["--shuffle-decisions", "-1"], "--shuffle-decisions: -1 is not possible here"),
        ([], ["--shuffle-decisions", "0", "--mode", "streaming"], "--mode: streaming does not go with --shuffle-"),
        ([], ["--rates", "0.5", "--mode", "streaming"], "--mode: streaming does not go with --rates"),
        ([], ["--shuffle-decisions", "0", "--split", "tets"], "--split: unknown split 'tets' (did you mean 'test'?)"),
        ([], ["--rates", "0.5", "--split", "tets"], "--split: unknown split 'tets' (did you mean 'test'?)"),
        (["model.kind=transformer"], ["--shuffle-decisions", "0"], "has no layer that decides"),
        (["model.kind=mod"], ["--shuffle-decisions", "0"], "decides in layer 0 (mod) without a configurator"),
    ],
)
def test_mistakes_give_one_line(untrained, tiny, capsys, overrides, arguments, message):
    run = untrained(tiny(*overrides))
    assert main(["evaluate", str(run), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not list(run.glob("*.json"))


def test_single_tokens_keep_their_rates(untrained, data_root):
    from tests.training.modules.test_tokens import TINY

    run = untrained(load_experiment("recall/noisy_mqar_tiny", [*TINY, f"data.root={data_root}"]))
    found = shuffled_decisions(run, split="test")
    assert per_layer(found.shuffled, "activation_rate") == per_layer(found.learned, "activation_rate")
    assert found.shuffled["loss"] != found.learned["loss"]


def test_of_pairs_each_document_is_shuffled_on_its_own(data_root):
    overrides = ["model.d_model=16", "model.d_hidden=16", "model.d_attention=8", "model.classifier_hidden=16"]
    config = load_experiment("lra/retrieval_tiny", [*overrides, f"data.root={data_root}"])
    module = make_module(config, make_datamodule(config)).eval()
    ids = torch.randint(1, 50, (4, 30), generator=torch.Generator().manual_seed(0))  # two pairs
    padding = torch.arange(30) >= torch.tensor([30, 20, 25, 30])[:, None]
    batch = Batch(ids.masked_fill(padding, 0), padding, torch.tensor([0, 1]))
    layers = module.model.encoder.layers
    with torch.no_grad():
        for layer in layers:
            layer.hx_proj.weight[:2].normal_()
        learned = module(batch)
        for layer in layers:
            layer.configurator = Given(layer.configurator)
        module.register_forward_pre_hook(Shuffling([layer.configurator for layer in layers], 1, text=False))
        shuffled = module(batch)
    assert shuffled.logits.shape == (2, 2)
    for before, after in zip(learned.activations, shuffled.activations, strict=True):
        assert before.active.sum(1).tolist() == after.active.sum(1).tolist()
        assert (before.active != after.active).any(1).all()
        assert not (after.active & padding).any()

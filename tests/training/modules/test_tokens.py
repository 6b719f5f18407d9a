"""Answers at single tokens: exact metrics for any batches and processes, and capacity from the command line."""

import json
from pathlib import Path

import pytest
import torch

import seqboat_lab
from seqboat_lab.cli import main
from seqboat_lab.config import load_experiment
from seqboat_lab.data.loading.batch import IGNORED
from seqboat_lab.inference.evaluation import evaluate
from seqboat_lab.training import experiment
from seqboat_lab.training.model import make_datamodule
from seqboat_lab.training.results import read_summary
from tests.training.test_ddp import run_with_two_processes
from tests.training.test_experiment import StopAt, assert_same_weights, weights

TINY = [
    "data.length=40", "data.pairs=4", "data.noise=0.6", "optim.lr=3e-3", "data.train_size=256", "data.val_size=77", "data.test_size=20",
    "data.batch_size=8", "model.d_model=16", "model.d_hidden=16", "model.d_attention=8", "model.memory_size=8",
    "model.ssm.state_size=4", "optim.warmup_steps=2", "trainer.max_steps=20", "trainer.val_every=10",
    "trainer.log_every=5", "trainer.threads=1", "trainer.progress=false",
]  # fmt: skip


@pytest.fixture
def tiny_recall(data_root):
    def make(*overrides: str):
        return load_experiment("recall/noisy_mqar_tiny", [*TINY, f"data.root={data_root}", *overrides])

    return make


def test_validation_scores_every_answer_once(tiny_recall, tmp_path):
    config = tiny_recall()
    reported = experiment.fit(config, tmp_path)["metrics"]
    assert set(experiment.metric_names(config)) <= set(reported)
    data = make_datamodule(config)
    data.setup()
    module = experiment.make_module(config, data)
    module.load_state_dict(weights(tmp_path))
    module.eval()
    right, lost = [], []
    with torch.no_grad():
        for number in range(77):
            batch = data.dataset("val")[[number]]
            logits = module.model(batch.inputs).logits[0].double()
            for place, label in enumerate(batch.labels[0].tolist()):
                if label != IGNORED:
                    right.append(float(logits[place].argmax() == label))
                    lost.append(-torch.log_softmax(logits[place], -1)[label].item())
        inputs = data.dataset("val")[list(range(77))].inputs
        kinds = data.token_class(inputs)
        for i, activation in enumerate(module.model(inputs).activations):
            for kind in ("key", "value", "noise", "question"):
                share = activation.active[kinds == data.token_classes.index(kind)].float().mean().item()
                assert reported[f"val/activation_rate_of_{kind}/layer_{i}"] == pytest.approx(share, abs=1e-6)
    assert "val/activation_rate_of_blank/layer_0" not in reported
    assert len(right) == 77 * config.data.questions
    assert reported["val/accuracy"] == pytest.approx(sum(right) / len(right))
    assert reported["val/loss"] == pytest.approx(sum(lost) / len(lost), rel=1e-5)
    for overrides in (["data.batch_size=1"], ["data.batch_size=64"]):
        again = evaluate(tmp_path, "val", checkpoint="last", overrides=overrides)
        assert again["accuracy"] == pytest.approx(reported["val/accuracy"])
        assert again["activation_rate"] == pytest.approx(reported["val/activation_rate"])


def test_two_processes_equal_one_on_the_joined_batch(tiny_recall, tmp_path):
    config = tiny_recall(
        "model.configurator={kind: tempered_softmax}", "optim.activation_cost=0.1", "optim.activation_cost_from=0",
        "trainer.max_steps=6", "trainer.precision=64-true",
    )  # fmt: skip
    one = experiment.fit(config, tmp_path / "one")["metrics"]
    two = run_with_two_processes(config, tmp_path / "two")["metrics"]
    assert_same_weights(weights(tmp_path / "one"), weights(tmp_path / "two"), rtol=1e-6, atol=1e-8)
    for name in experiment.metric_names(config):
        if name.startswith("val/"):
            assert two[name] == pytest.approx(one[name], rel=1e-5), name


@pytest.mark.slow
@pytest.mark.parametrize("budget", ["layer", "model"])
def test_capacity_meets_its_rate_in_two_processes_that_decide_alike(tiny_recall, tmp_path, budget):
    config = tiny_recall(
        "trainer.max_steps=240", "trainer.val_every=240", "data.val_size=300", "data.batch_size=16",
        "model.configurator.rate=0.3", f"model.configurator.budget={budget}",
    )  # fmt: skip
    two = run_with_two_processes(config, tmp_path)
    rates = two["activation_rate_per_layer"]
    assert sum(rates) / 2 == pytest.approx(0.3, abs=0.02)
    assert budget == "model" or rates == pytest.approx([0.3, 0.3], abs=0.02)
    thresholds = {k: v for k, v in weights(tmp_path).items() if k.endswith("threshold")}
    assert len(thresholds) == 2
    assert all(t.isfinite() for t in thresholds.values())
    batches = [v for k, v in weights(tmp_path).items() if k.endswith("batches")]
    assert [int(b) for b in batches] == [240, 240]  # one count a batch, on every rank


@pytest.mark.slow
def test_capacity_meets_its_rate_on_text_in_blocks_and_streamed(data_root, tmp_path):
    sources = sorted(Path(seqboat_lab.__file__).parent.rglob("*.py"))
    (tmp_path / "text").write_bytes(b"".join(source.read_bytes() for source in sources)[:400_000])
    small = ["model.d_model=32", "model.d_hidden=32", "model.d_attention=16", "data.batch_size=8"]
    config = load_experiment("text_tiny", [
        *small, f"data.path={tmp_path}/text", f"data.root={data_root}", "model.configurator={kind: capacity, rate: 0.3}", "trainer.max_steps=300",
        "trainer.val_every=300", "trainer.threads=1", "trainer.progress=false",
    ])  # fmt: skip
    experiment.fit(config, tmp_path / "run")
    for mode in ("blocks", "streaming"):
        found = evaluate(tmp_path / "run", "val", mode=mode)
        assert [found[f"activation_rate/layer_{i}"] for i in range(3)] == pytest.approx([0.3] * 3, abs=0.02), mode


def test_a_resumed_capacity_run_ends_as_one_without_the_interruption(tiny_recall, tmp_path):
    config = tiny_recall()
    experiment.fit(config, tmp_path / "whole")
    with pytest.raises(RuntimeError):
        experiment.fit(config, tmp_path / "cut", extra=[StopAt(14)])
    experiment.resume(tmp_path / "cut")
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "cut"), rtol=0, atol=0)


def test_recall_is_trained_and_evaluated_from_the_command_line(data_root, tmp_path, capsys):
    run = tmp_path / "run"
    for variant in ("mqar", "selective_copying", "induction"):
        own = [f"data.variant={variant}", "data.noise=null", f"data.root={data_root}", "trainer.max_steps=4"]
        main(["fit", "recall/noisy_mqar_tiny", *TINY, *own, "--run-dir", str(run / variant)])
        assert 0 <= read_summary(run / variant)["metrics"]["val/accuracy"] <= 1
    main(["evaluate", str(run / "mqar"), "--split", "test"])
    assert "accuracy" in json.loads((run / "mqar" / "evaluation_test.json").read_text())["metrics"]


def test_the_best_checkpoint_has_the_rate_asked_for_whatever_was_better_on_the_way(tiny_recall, tmp_path):
    config = tiny_recall(
        "trainer.val_every=4", "model.configurator.anneal_from=0.5", "model.configurator.anneal_to=0.8"
    )
    experiment.fit(config, tmp_path)  # validated after 4, 8, ... 20 of 20 updates
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] in (16, 20)

"""Bits per byte are those of every byte of the split; carried state makes segments one long text."""

import json
import math

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seqboat_lab.config import ConfigError
from seqboat_lab.training import experiment
from seqboat_lab.training.model import make_datamodule
from tests.training.test_ddp import run_with_two_processes
from tests.training.test_experiment import StopAt, assert_same_weights, weights


def loaded(config, run_dir=None):
    """The experiment's data and module, ready; with the weights of a run."""
    data = make_datamodule(config)
    data.prepare_data()
    data.setup()
    module = experiment.make_module(config, data).to(torch.float64 if config.trainer.precision == "64-true" else None)
    if run_dir is not None:
        module.load_state_dict(weights(run_dir))
    return data, module


def bits_one_by_one(module, text, tokens, context):
    """Bits of byte t + 1, each from its own forward of just the bytes that its block gives before it."""
    bits = []
    with torch.no_grad():
        for t in range(len(text) - 1):
            step = tokens - context
            block = 0 if t < tokens else (t - tokens) // step + 1  # by arithmetic, not by evaluation_blocks
            start = block * step
            logits = module.model(torch.tensor(text[start : t + 1].astype(np.int64))[None]).logits[0, -1].double()
            bits.append(-torch.log_softmax(logits, -1)[text[t + 1]].item() / math.log(2))
    return np.array(bits)


@pytest.mark.parametrize("context", [0, 7])
def test_validation_bpc_is_that_of_every_byte_of_the_split(tiny_text, tmp_path, context):
    config = tiny_text(f"data.context={context}")
    reported = experiment.fit(config, tmp_path)["metrics"]
    data, module = loaded(config, tmp_path)
    module.eval()
    text = np.array(data.scored_bytes("val"))
    assert len(text) == 401
    bits = bits_one_by_one(module, text, 24, context)
    assert reported["val/bpc"] == pytest.approx(bits.mean(), rel=1e-5)
    assert reported["val/loss"] == pytest.approx(bits.mean() * math.log(2), rel=1e-5)
    places = np.arange(400)
    read = np.where(places < 24, places, context + (places - 24) % (24 - context)) + 1  # bytes of the block
    for n in (1, 4, 16):
        here = (read >= n) & (read < 4 * n)
        assert reported[f"val/bpc_after/{n}"] == pytest.approx(bits[here].mean(), rel=1e-4)
    assert "val/bpc_after/64" not in reported
    assert set(experiment.metric_names(config)) <= set(reported)


def test_activation_statistics_count_each_scored_byte_once(tiny_text, tmp_path):
    config = tiny_text("data.context=7", "trainer.max_steps=4")
    reported = experiment.fit(config, tmp_path)["metrics"]
    data, module = loaded(config, tmp_path)
    module.eval()
    text = torch.tensor(np.array(data.scored_bytes("val")).astype(np.int64))
    active = total = span = queries = 0
    with torch.no_grad():
        for block in range(1 + math.ceil((400 - 24) / 17)):
            start = block * 17
            piece = module.model(text[start : min(start + 24, 400)][None]).activations[1].active[0].tolist()
            for t in range(7 if block else 0, len(piece)):
                total += 1
                if piece[t]:
                    active += 1
                    if keys := [j for j in range(t) if piece[j]][-6:]:  # memory of 6
                        queries, span = queries + 1, span + np.mean([t - j for j in keys])
    assert total == 400
    assert reported["val/activation_rate/layer_1"] == pytest.approx(active / total)
    assert reported["val/span/layer_1"] == pytest.approx(span / queries, rel=1e-5)


def test_validation_does_not_depend_on_the_batch_size(tiny_text, tmp_path):
    experiment.fit(tiny_text("trainer.max_steps=4"), tmp_path)
    found = []
    for size in (1, 5, 64):
        data, module = loaded(tiny_text("data.context=5", f"data.batch_size={size}"), tmp_path)
        module.eval()
        with torch.no_grad():
            for batch in data.val_dataloader():
                module.validation_step(batch, 0)
        found.append(module.val_bits.compute()[0].item())
    assert found == pytest.approx([found[0]] * 3, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("carry_state", [False, True])
def test_two_processes_equal_one_on_the_joined_batch(tiny_text, tmp_path, carry_state):
    config = tiny_text(
        "trainer.precision=64-true", "trainer.max_steps=4", "data.tokens_per_sample=40", f"data.carry_state={carry_state}"
    )  # fmt: skip
    one = experiment.fit(config, tmp_path / "one")
    two = run_with_two_processes(config, tmp_path / "two")
    assert_same_weights(weights(tmp_path / "one"), weights(tmp_path / "two"), rtol=1e-6, atol=1e-8)
    for name, value in one["metrics"].items():
        if name.startswith("val/"):
            assert two["metrics"][name] == pytest.approx(value, rel=1e-5), name
    if carry_state:  # the streams of all processes, in their order
        states = [
            torch.load(tmp_path / n / "checkpoints/last.ckpt", weights_only=True)["carried_state"]
            for n in ("one", "two")
        ]
        for a, b in zip(*states, strict=True):
            torch.testing.assert_close(a, b)
            assert not isinstance(a, torch.Tensor) or len(a) == 8


def test_accumulated_batches_carry_the_streams_of_one_large_batch(tiny_text, tmp_path):
    fields = ["trainer.precision=64-true", "data.carry_state=true", "trainer.max_steps=6", "trainer.val_every=6"]
    for accumulate in (1, 4):
        experiment.fit(tiny_text(*fields, f"trainer.accumulate={accumulate}"), tmp_path / str(accumulate))
    assert_same_weights(weights(tmp_path / "1"), weights(tmp_path / "4"), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kernel", ["ema", "s4", "s5"])
def test_carried_segments_have_the_loss_of_one_long_forward(tiny_text, kernel):
    config = tiny_text("data.carry_state=true", "trainer.precision=64-true", f"model.ssm.kernel={kernel}")
    data, module = loaded(config)
    train, passes = np.array(data.split_bytes("train")), []
    for batch, _ in zip(data.train_dataloader(), range(10), strict=False):
        out = module.forward_carrying(batch)
        if batch.fresh:
            passes.append([])
        loss = torch.nn.functional.cross_entropy(out.logits.mT, batch.labels, reduction="none").mean(1)
        passes[-1].append((batch, loss))
        module.tick(1)
    segments = passes[0]
    assert len(segments) > 5
    assert not any(t.requires_grad for t in torch.utils._pytree.tree_leaves(module.carried.parts) if torch.is_tensor(t))
    for row in range(8):
        text = torch.cat([batch.inputs[row] for batch, _ in segments])
        assert bytes(text.tolist()) in bytes(train)
        logits = module.model(text[None]).logits[0]
        for k, (batch, loss) in enumerate(segments):
            expected = torch.nn.functional.cross_entropy(logits[24 * k :][:24], batch.labels[row])
            torch.testing.assert_close(loss[row], expected, rtol=1e-9, atol=1e-9)


def test_the_gradient_stops_at_the_segment(tiny_text):
    config = tiny_text("data.carry_state=true", "trainer.precision=64-true", "data.batch_size=1")
    data, module = loaded(config)
    batches = iter(data.train_dataloader())
    first, second = next(batches), next(batches)
    module.forward_carrying(first)
    state = module.carried.parts[0]
    module.zero_grad()
    module.training_step(second, 1).backward()
    expected = [p.grad.clone() for p in module.parameters()]
    module.zero_grad()
    logits = module.model(second.inputs, state).logits  # the state as a constant
    torch.nn.functional.cross_entropy(logits.mT, second.labels).backward()
    for got, parameter in zip(expected, module.parameters(), strict=True):
        torch.testing.assert_close(got, parameter.grad)


@pytest.mark.parametrize("carry_state", [False, True])
def test_resuming_gives_the_numbers_of_an_uninterrupted_run(tiny_text, tmp_path, carry_state):
    config = tiny_text("model.dropout=0.2", f"data.carry_state={carry_state}", "trainer.accumulate=2")
    experiment.fit(config, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="crash"):
        experiment.fit(config, tmp_path / "cut", extra=[StopAt(6)])
    assert experiment.resume(tmp_path / "cut")["steps"] == 8
    assert_same_weights(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_streams_cannot_be_resumed_with_another_number_of_them(tiny_text, tmp_path):
    experiment.fit(tiny_text("data.carry_state=true", "trainer.max_steps=4"), tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace("batch_size: 8", "batch_size: 4"))
    with pytest.raises(ConfigError, match=r"data.batch_size: 4 is not possible here; the checkpoint carries 8 streams"):
        experiment.resume(tmp_path, ["trainer.max_steps=8"])


def test_a_run_on_text_shows_its_text(tiny_text, tmp_path):
    experiment.fit(tiny_text(), tmp_path)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    tags = events.Tags()
    assert {"activated tokens", "bits per byte by position", "activation raster"} == set(tags["images"])
    assert [e.step for e in events.Images("activated tokens")] == [4, 8]
    kinds = {name.split("_of_")[1] for name in tags["scalars"] if "val/activation_rate_of_" in name}
    assert kinds == {"digit/layer_0", "space/layer_0", "digit/layer_1", "space/layer_1"}  # no others in this text
    assert "attention span/layer_0" in tags["histograms"]
    assert {"train/loss", "train/bpc", "val/bpc", "val/bpc_after/16", "lr", "tokens_per_second"} <= set(tags["scalars"])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["flops_per_token"]["head"] == 2 * 16 * 256


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "model.bidirectional=true",
            "model.bidirectional: True .*expected false, since a language model may see no later",
        ),
        ("model.norm=batchnorm", "model.norm: 'batchnorm' .*a norm of single tokens"),
        ("model.absolute_position=true", "model.absolute_position: True .*no longest text"),
        ("data.context=24", "data.context: 24 .*less than tokens_per_sample = 24"),
    ],
)
def test_models_that_would_see_the_future_are_refused(tiny_text, override, message):
    with pytest.raises(ConfigError, match=message):
        tiny_text(override)


def test_a_corpus_too_short_leaves_no_run_behind(tiny_text, tmp_path):
    (tmp_path / "one").write_bytes(b"x")
    with pytest.raises(ValueError, match="one: 1 bytes are too short a corpus"):
        experiment.fit(tiny_text(f"data.path={tmp_path / 'one'}"), tmp_path / "run")
    (tmp_path / "few").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="80 bytes, which make 2 segments of 24, fewer than one batch of 8"):
        experiment.fit(tiny_text(f"data.path={tmp_path / 'few'}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()

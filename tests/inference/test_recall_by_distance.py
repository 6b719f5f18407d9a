"""Streamed recall against a loop over single tokens, and the command that measures it."""

import json

import numpy as np
import pytest
import torch

from benchmarks import multimodal as benchmark
from seqboat_lab.analysis import tables
from seqboat_lab.cli import main
from seqboat_lab.config import ConfigError, ModelConfig
from seqboat_lab.data.tasks import multimodal
from seqboat_lab.inference.evaluation import evaluate, load_run
from seqboat_lab.inference.recall_by_distance import by_distance, recall_by_distance, seconds_per_step
from seqboat_lab.inference.shuffled import shuffled_decisions
from seqboat_lab.nn import LanguageModel
from seqboat_lab.training import experiment

TINY = [
    "data.source=generated", "data.train_tokens=6000", "data.val_tokens=3000", "data.test_tokens=2000",
    "data.tokens_per_sample=40", "data.batch_size=4", "model.d_model=16", "model.d_hidden=16", "model.d_attention=8",
    "model.memory_size=8", "model.ssm.state_size=4", "optim.warmup_steps=2", "trainer.max_steps=6",
    "trainer.val_every=3", "trainer.log_every=3", "trainer.threads=1", "trainer.progress=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of six updates, from the command line."""
    folder = tmp_path_factory.mktemp("multimodal")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multimodal, "CLIPS", 2)
        patch.setattr(multimodal, "IMAGES", 4)
        main(["fit", "multimodal_tiny", *TINY, f"data.root={folder}", "--run-dir", str(folder / "run")])
        yield folder / "run"


def loop(model: LanguageModel, tokens: np.ndarray) -> tuple[list[int], list[list[bool]]]:
    """What is said behind each token, and which layers are active there, one token after the other."""
    state, said, active = model.init_state(1), [], []
    with torch.no_grad():
        for token in tokens.tolist():
            logits, decisions, state = model.step(torch.tensor([token]), state)
            said.append(int(logits[0].argmax()))
            active.append([bool(decision.active[0]) for decision in decisions])
    return said, active


def test_streamed_answers_rates_spans_and_fills_are_those_of_a_loop_over_single_tokens():
    torch.manual_seed(0)
    config = ModelConfig(
        layers=2, d_model=16, d_hidden=16, d_attention=8, memory_size=7, bidirectional=False, prenorm=True,
        position="local", dropout=0.0,
    )  # fmt: skip
    model = LanguageModel(config, 261).eval()
    with torch.no_grad():
        for layer in model.encoder.layers:
            layer.hx_proj.weight[:2].normal_(std=2)
            layer.attention.mx_proj.weight.normal_(std=0.3)
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 261, 241).astype(np.uint16)
    said, active = loop(model, tokens[:-1])
    tokens[1::2] = np.array([*said, 0])[0::2][: len(tokens[1::2])]  # so that some answers are right
    said, active = loop(model, tokens[:-1])
    distances = np.where(rng.random(241) < 0.3, rng.integers(1, 200, 241), 0)
    distances[-1] = 0
    found = recall_by_distance(model, tokens, distances, window=120, segment=40, keep=(100, 240))
    asked = np.flatnonzero(distances)
    expected = [[place, distances[place], said[place] == tokens[place + 1]] for place in asked]
    assert found.answers.tolist() == expected
    assert 0 < found.answers[:, 2].mean() < 1

    assert [(w["from_token"], w["to_token"]) for w in found.windows] == [(0, 120), (120, 240)]
    assert len({w["state_bytes"] for w in found.windows}) == 1
    for i in range(2):
        places = np.flatnonzero([decided[i] for decided in active])
        reached = [places[max(0, slot - 7) : slot] for slot in range(len(places))]
        fill = [len(r) / 7 for r in reached]
        span = [np.mean(place - r) for place, r in zip(places, reached, strict=True) if len(r)]
        assert found.activation[f"activation_rate/layer_{i}"] == pytest.approx(len(places) / 240)
        assert found.activation[f"memory_fill/layer_{i}"] == pytest.approx(np.mean(fill), rel=1e-5)
        assert found.activation[f"span/layer_{i}"] == pytest.approx(np.mean(span), rel=1e-5)
        second = (places >= 120) & (places < 240)
        assert found.windows[1][f"activation_rate/layer_{i}"] == pytest.approx(second.sum() / 120)
        assert found.windows[1][f"memory_fill/layer_{i}"] == pytest.approx(np.mean(np.array(fill)[second]), rel=1e-5)

    octaves = by_distance(found.answers)
    assert sum(row["questions"] for row in octaves) == len(asked)
    for row in octaves:
        within = [e for e in expected if row["distance_from"] <= e[1] < row["distance_below"]]
        assert (row["questions"], row["right"]) == (len(within), sum(e[2] for e in within))

    assert sorted(found.states) == [120, 240]  # at the ends of segments
    whole = seconds_per_step(model, {120: found.states[120]}, tokens, steps=30, rounds=2)
    assert len(whole[120]) == 2
    assert min(whole[120]) > 0
    with torch.no_grad():  # the state was not written into
        logits, _, _ = model.step(torch.tensor([int(tokens[120])]), found.states[120])
    assert int(logits[0].argmax()) == said[120]


def test_validation_carries_the_state_of_each_row_over_its_segments(run):
    reported = json.loads((run / "validations.jsonl").read_text().splitlines()[-1])
    module, data = load_run(run, "last")
    data.setup()
    split = data.dataset("val")
    length = (len(split.tokens) - 1) // 4
    right, active, fills, spans = [], [], [], []
    for row in range(4):
        tokens = split.tokens[row * length : (row + 1) * length + 1].astype(np.int64)
        with torch.no_grad():
            out = module.model(torch.from_numpy(tokens[None, :-1]))
        asked = np.flatnonzero(split.distances[row * length : (row + 1) * length])
        right += (out.logits[0].argmax(-1).numpy()[asked] == tokens[asked + 1]).tolist()
        first = out.activations[0].active[0].numpy()
        active.append(first)
        places = np.flatnonzero(first)
        for slot, place in enumerate(places):
            reached = places[max(0, slot - 8) : slot]
            fills.append(len(reached) / 8)
            spans += [np.mean(place - reached)] * (len(reached) > 0)
    assert reported["val/accuracy"] == pytest.approx(np.mean(right))
    assert reported["val/activation_rate/layer_0"] == pytest.approx(np.mean(active))
    assert reported["val/memory_fill/layer_0"] == pytest.approx(np.mean(fills), rel=1e-5)
    assert reported["val/span/layer_0"] == pytest.approx(np.mean(spans), rel=1e-5)
    other = evaluate(run, "val", checkpoint="last", overrides=["data.tokens_per_sample=111"])
    assert other["accuracy"] == pytest.approx(reported["val/accuracy"])
    assert other["span/layer_0"] == pytest.approx(reported["val/span/layer_0"], rel=1e-5)


def test_the_command_writes_tidy_lines(run, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "STEPS", 5)
    out = tmp_path / "lines.jsonl"
    small = ["data.longest_piece=200", "data.max_distance=4000", "data.val_tokens=2000"]
    benchmark.main([str(run), *small, "--tokens", "20000", "--out", str(out)])
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    by_kind = {
        what: [line for line in lines if line["what"] == what] for what in dict.fromkeys(x["what"] for x in lines)
    }
    assert list(by_kind) == ["run", "distance", "modalities", "window", "step"]
    (whole,) = by_kind["run"]
    for kind in ("distance", "modalities"):
        assert sum(line["questions"] for line in by_kind[kind]) == whole["questions"] > 50
        assert sum(line["right"] for line in by_kind[kind]) == pytest.approx(whole["accuracy"] * whole["questions"])
    assert all(line["told_in"] != line["asked_in"] for line in by_kind["modalities"])
    assert max(line["distance_from"] for line in by_kind["distance"]) == 2048
    assert {line["after_tokens"] for line in by_kind["step"]} == {10_000, 20_000}
    assert [line["to_token"] for line in by_kind["window"]] == [20_000]
    assert {line["memory_size"] for line in lines} == {8}


def test_a_run_of_another_task_is_one_clear_line(tiny_text, tmp_path):
    experiment.fit(tiny_text("trainer.max_steps=4"), tmp_path)
    with pytest.raises(ConfigError, match=r"is a run of corpus; expected one of the task multimodal"):
        benchmark.main([str(tmp_path), "--tokens", "20000"])


def test_rows_that_go_on_are_shuffled_segment_by_segment_and_decided_with_their_state(run):
    found = shuffled_decisions(run, split="val")
    assert found.learned == pytest.approx(evaluate(run, "val"), rel=1e-6)
    rates = [
        [values[f"activation_rate/layer_{i}"] for i in range(2)] for values in (found.learned, found.shuffled)
    ]  # fmt: skip
    assert rates[0] == rates[1]
    assert found.learned["loss"] != found.shuffled["loss"]
    table = tables.activations(run, sequences=10**6)
    for layer, rows in table.groupby("layer"):
        assert rows["active"].mean() == pytest.approx(rates[0][layer], abs=1e-6)
        spans = rows["span"][rows["span"] > 0]
        assert spans.mean() == pytest.approx(found.learned[f"span/layer_{layer}"], rel=1e-5)

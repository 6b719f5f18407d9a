"""A finished run measured again: every byte and sample once, whatever the batch; and the command line on top."""

import json
import shutil

import numpy as np
import pytest
import torch

from seqboat_lab.cli import main
from seqboat_lab.config import load_experiment
from seqboat_lab.inference.evaluation import evaluate, load_run
from seqboat_lab.inference.streaming import stream
from seqboat_lab.training.experiment import fit, make_module
from seqboat_lab.training.model import make_datamodule
from seqboat_lab.training.results import write_config

SMALL = [
    "data.batch_size=2", "data.tokens_per_sample=100", "data.context=0", "model.layers=2", "model.d_model=16",
    "model.d_hidden=16", "model.d_attention=8", "model.memory_size=16", "optim.warmup_steps=2", "trainer.max_steps=4",
    "trainer.val_every=4", "trainer.threads=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def language_run(tmp_path_factory):
    """A run directory with random weights, over 4,000 bytes of text."""
    root = tmp_path_factory.mktemp("language")
    rng = np.random.default_rng(0)
    (root / "corpus.txt").write_bytes(rng.choice(list(b"the cat sat "), 4000).astype(np.uint8).tobytes())
    config = load_experiment("text_tiny", [*SMALL, f"data.path={root}/corpus.txt", f"data.root={root}/data"])
    module = make_module(config, make_datamodule(config))
    with torch.no_grad():
        for layer in module.model.encoder.layers:
            layer.hx_proj.weight[:2].normal_()
    run_dir = root / "run"
    (run_dir / "checkpoints").mkdir(parents=True)
    write_config(config, run_dir)
    torch.save({"state_dict": module.state_dict()}, run_dir / "checkpoints" / "best.ckpt")
    return run_dir


def test_one_block_as_long_as_the_split_equals_streaming(language_run):
    streamed = evaluate(language_run, "val", "streaming")
    block = evaluate(language_run, "val", overrides=["data.tokens_per_sample=1000", "data.batch_size=1"])
    assert block["bpc"] == pytest.approx(streamed["bpc"], abs=1e-4)
    for name, value in block.items():
        if name in streamed and not name.startswith("bpc"):
            assert streamed[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    written = json.loads((language_run / "evaluation_val_streaming.json").read_text())
    assert written == {"checkpoint": "best", "metrics": streamed}


def test_streaming_reads_the_split_behind_the_byte_before_it(language_run):
    module, data = load_run(language_run)
    data.prepare_data()
    data.setup()
    text = data.scored_bytes("test")
    assert len(text) == len(data.split_bytes("test")) + 1
    assert evaluate(language_run, "test", "streaming")["bpc"] == stream(module.model, text).bpc


def test_the_batch_size_and_workers_change_nothing(language_run):
    one, other, workers = (
        evaluate(language_run, "test", overrides=["data.tokens_per_sample=60", "data.context=30", *overrides])
        for overrides in (["data.batch_size=1"], ["data.batch_size=8"], ["data.batch_size=3", "data.num_workers=1"])
    )
    assert other == pytest.approx(one, rel=1e-5)
    assert workers == pytest.approx(one, rel=1e-5)


def test_context_lowers_nothing_but_what_it_should(language_run):
    """With context, every byte has at least as many before it, and each is still scored once."""
    short, given = (
        evaluate(language_run, "test", overrides=["data.tokens_per_sample=60", f"data.context={c}"]) for c in (0, 59)
    )
    streamed = evaluate(language_run, "test", "streaming")
    assert abs(given["bpc"] - streamed["bpc"]) <= abs(short["bpc"] - streamed["bpc"]) + 1e-6


def test_a_classifier_is_measured_on_the_split_that_is_asked_for(tiny, tmp_path):
    config = tiny()
    summary = fit(config, tmp_path / "run")
    again = evaluate(tmp_path / "run", "val", checkpoint="last", overrides=["data.batch_size=7"])
    for name in ("accuracy", "loss", "activation_rate", "span/layer_0", "span_p95/layer_1"):
        assert again[name] == pytest.approx(summary["metrics"][f"val/{name}"], rel=1e-5), name
    test = evaluate(tmp_path / "run", "test", checkpoint="last")
    assert test["accuracy"] * 20 == pytest.approx(round(test["accuracy"] * 20), abs=1e-4)  # 20 test samples
    assert test["loss"] != again["loss"]


def test_the_command_prints_tables(language_run, capsys):
    assert main(["evaluate", str(language_run), "--split", "val", "--mode", "streaming"]) == 0
    printed = capsys.readouterr().out
    assert "bpc" in printed
    assert "span_p95" in printed


@pytest.mark.parametrize("weights", ["bf16", "int8"])
@pytest.mark.parametrize("mode", ["blocks", "streaming"])
def test_the_command_tells_what_fewer_bytes_change_and_keeps_it_beside_the_rest(language_run, capsys, weights, mode):
    exact = evaluate(language_run, "val", mode)
    path = language_run / f"evaluation_val_{mode}.json"
    kept = path.read_text()
    assert main(["evaluate", str(language_run), "--split", "val", "--mode", mode, "--weights", weights]) == 0
    assert f"{weights} weights" in " ".join(capsys.readouterr().out.split())
    written = json.loads((language_run / f"evaluation_val_{mode}_{weights}.json").read_text())
    assert written["weights"] == weights
    assert written["metrics"]["bpc"] == pytest.approx(exact["bpc"], rel=0.01)
    assert written["metrics"]["bpc"] != exact["bpc"]
    assert path.read_text() == kept


def test_the_command_writes_text(language_run, capfdbinary):
    common = ["generate", str(language_run), "--prompt", "the c", "--bytes", "20", "--seed", "3"]
    assert main(common) == 0
    plain = capfdbinary.readouterr()
    assert plain.out.startswith(b"the c")
    assert len(plain.out) == 25
    assert b"20 bytes, " in plain.err
    assert main([*common, "--weights", "int8"]) == 0
    assert len(capfdbinary.readouterr().out) == 25
    assert main([*common, "--show-activation"]) == 0
    assert b"\x1b[48;5;" in capfdbinary.readouterr().out
    prompt = b"\xff\xfe"
    assert (
        main(["generate", str(language_run), "--prompt", prompt.decode(errors="surrogateescape"), "--bytes", "0"]) == 0
    )
    assert capfdbinary.readouterr().out == prompt


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "nowhere"], "nowhere: is no run directory"),
        (["evaluate", "RUN", "--split", "tets"], "--split: unknown split 'tets' (did you mean 'test'?)"),
        (["evaluate", "RUN", "--mode", "stream"], "--mode: unknown mode 'stream' (did you mean 'streaming'?)"),
        (["evaluate", "RUN", "--checkpoint", "last"], "last.ckpt: does not exist; this run has the checkpoints best"),
        (["evaluate", "RUN", "model.d_model=32"], "best.ckpt: does not hold this run's model: size mismatch"),
        (["evaluate", "RUN", "data.path=nowhere"], "nowhere: no such file or folder"),
        (["evaluate", "RUN", "--weights", "int4"], "--weights: unknown kind of weights 'int4' (did you mean 'int8'?)"),
        (["evaluate", "RUN", "--weights", "int8", "--rates", "0.5"], "--weights: int8 does not go with --rates"),
        (["generate", "RUN", "--weights", "fp16"], "--weights: unknown kind of weights 'fp16'"),
        (["generate", "RUN", "--prompt", ""], "--prompt: is empty"),
        (["generate", "RUN", "--seed", "-1"], "--seed: -1 is not possible here"),
        (["generate", "RUN", "--seed", str(2**64)], "--seed: 18446744073709551616 is not possible here"),
        (["generate", "RUN", "--top-p", "1.5"], "--top-p: 1.5 is not possible here"),
        (["generate", "RUN", "--prompt-file", "nowhere"], "nowhere cannot be read"),
    ],
)
def test_mistakes_give_one_line(language_run, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main([a if a != "RUN" else str(language_run) for a in arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert len(printed.err.splitlines()) == 1


@pytest.mark.parametrize("mode", ["blocks", "streaming"])
def test_values_are_told_before_they_are_saved(language_run, tmp_path, capsys, mode):
    run = tmp_path / "[/x]"  # no markup to rich
    shutil.copytree(language_run, run)
    (run / f"evaluation_val_{mode}.json").unlink(missing_ok=True)
    (run / f"evaluation_val_{mode}.json").mkdir()
    assert main(["evaluate", str(run), "--split", "val", "--mode", mode]) == 2
    printed = capsys.readouterr()
    assert "bpc" in printed.out
    assert "[/x]" in printed.out
    (line,) = printed.err.splitlines()
    assert line.startswith(f"seqboat: {run}/")
    assert "Is a directory" in line


def test_a_classifier_cannot_write_or_be_streamed(tiny, tmp_path, capsys):
    config = tiny()
    module = make_module(config, make_datamodule(config))
    (tmp_path / "checkpoints").mkdir()
    write_config(config, tmp_path)
    torch.save({"state_dict": module.state_dict()}, tmp_path / "checkpoints" / "best.ckpt")
    assert main(["generate", str(tmp_path)]) == 2
    assert "holds a classifier (listops), which cannot write text" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path), "--mode", "streaming"]) == 2
    assert "this run is a classifier" in capsys.readouterr().err
    (tmp_path / "checkpoints" / "best.ckpt").write_bytes(b"damaged")
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "best.ckpt: is not a readable checkpoint" in capsys.readouterr().err

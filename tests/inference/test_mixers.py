"""Language models of every kind of layer from the command line: trained, carried, streamed, written with."""

import json
import warnings

import pytest

from seqboat_lab.cli import main

SHORT = [
    "trainer.max_steps=2", "trainer.val_every=2", "trainer.log_every=2", "optim.warmup_steps=1", "trainer.threads=1",
    "trainer.accelerator=cpu", "trainer.progress=false", "data.tokens_per_sample=32", "data.batch_size=4",
    "data.val_fraction=0.1", "data.test_fraction=0.1", "model.d_model=16", "model.d_hidden=16", "model.d_attention=8",
    "model.mixers={mamba: {head_size: 8, state_size: 4}, rwkv: {lora: 4}, mod: {capacity: 0.5}}",
]  # fmt: skip


@pytest.fixture
def fit(tmp_path, capsysbinary):
    text = tmp_path / "text.txt"
    text.write_text("To be, or not to be, that is the question. " * 60)

    def fit(*overrides: str) -> list[str]:
        where = ["--run-dir", str(tmp_path / "run"), f"data.path={text}", f"data.root={tmp_path / 'data'}"]
        assert main(["fit", "text_tiny", *where, *SHORT, *overrides]) == 0
        capsysbinary.readouterr()
        return [str(tmp_path / "run")]

    return fit


def test_a_stack_of_all_that_carry_a_fixed_state_goes_on_from_it_and_resumes(fit, tmp_path, capsysbinary):
    kinds = "model.blocks=[seqboat, mega, ssm, local_attention, retnet, rwkv, mamba, gla]"
    run = fit(kinds, "model.layers=8", "data.carry_state=true")
    assert main(["fit", "--resume", *run, "trainer.max_steps=4"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["steps"] == 4
    assert len(summary["activation_rate_per_layer"]) == 2
    assert summary["flops_per_token"]["mixer"] > 0
    assert main(["evaluate", *run, "--mode", "streaming"]) == 0
    capsysbinary.readouterr()
    assert main(["generate", *run, "--prompt", "To be", "--bytes", "12"]) == 0
    assert b"12 bytes" in capsysbinary.readouterr().err
    assert main(["describe", *run]) == 0
    assert b"mixer" in capsysbinary.readouterr().out


def test_layers_with_a_growing_cache_stream_and_write_and_say_so_in_one_line(fit, tmp_path, capsysbinary):
    run = fit("model.kind=transformer")
    assert main(["evaluate", *run, "--mode", "streaming"]) == 0
    streamed = json.loads((tmp_path / "run" / "evaluation_test_streaming.json").read_text())["metrics"]
    assert 0 < streamed["bpc"] < 10
    capsysbinary.readouterr()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert main(["generate", *run, "--prompt", "To be", "--bytes", "12"]) == 0
    assert sum("cache of keys and values that grows with every token" in str(warning.message) for warning in told) == 1
    assert main(["evaluate", *run, "--rates", "0.5"]) == 2
    assert b"decisions ignore the input" in capsysbinary.readouterr().err


def test_a_model_without_state_says_so_before_anything_is_written(fit, tmp_path, capsysbinary):
    run = fit("model.blocks=[hyena, mamba]", "model.layers=2")
    assert main(["evaluate", *run]) == 0
    capsysbinary.readouterr()
    for command in (["generate", *run, "--prompt", "To be"], ["evaluate", *run, "--mode", "streaming"]):
        assert main(command) == 2
        out, err = capsysbinary.readouterr()
        assert out.strip() == b""
        assert err.splitlines()[-1].startswith(b"seqboat: model.kind hyena has no recurrent state, so it cannot stream")

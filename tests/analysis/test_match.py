"""Baselines cost what they are matched with, and the sweeps over mixers have the widths that match gives."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from seqboat_lab.analysis.match import match
from seqboat_lab.cli import main
from seqboat_lab.config import load_experiment
from seqboat_lab.config.mixers import MIXER_CONFIGS
from seqboat_lab.sweep.definition.config import parse_sweep
from seqboat_lab.training.experiment import make_module
from seqboat_lab.training.model import make_datamodule

SWEEPS = sorted(path.stem for path in (Path(__file__).parents[2] / "sweeps").glob("baselines_*.yaml"))


def matched(capsys, *arguments: str) -> tuple[dict[str, list[str]], list[str]]:
    """Rows of the table, and the overrides below it."""
    assert main(["match", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in lines if line.count("│") == 5]
    return {row[0]: row[1:] for row in rows}, lines[-1].split(" ")


def number(text: str) -> int:
    return int(text.replace(",", ""))


def test_a_transformer_with_as_many_parameters(capsys):
    rows, overrides = matched(capsys, "lra/listops_short", "--to", "parameters", "--like", "model.kind=transformer")
    width = int(overrides[-1].removeprefix("model.d_model="))

    def weights(d: int) -> int:  # embedding, 2 blocks of attention and MLP, norms, head
        words = make_datamodule(load_experiment("lra/listops_short")).spec.vocab_size
        block = (3 * d * d + 3 * d) + (d * d + d) + (4 * d * d + 4 * d) + (4 * d * d + d) + 4 * d
        return words * d + 2 * block + 2 * d + (d * 128 + 128) + 128 * 10

    ours, theirs = map(number, rows["parameters"][:2])
    assert theirs == weights(width)
    assert abs(theirs - ours) <= min(abs(weights(width + step) - ours) for step in (-8, 8))  # heads of even width
    assert overrides[0] == "model.kind=transformer"


def test_a_hybrid_with_as_many_flops_as_torch_counts(capsys):
    like = [
        "model.blocks=[transformer, local_attention]",
        "model.mixers={transformer: {heads: 2}, local_attention: {heads: 2}}",
    ]
    rows, _ = matched(capsys, "recall/noisy_mqar_tiny", "--to", "flops", "--rate", "0.3", "--like", *like)
    config = load_experiment("recall/noisy_mqar_tiny", [*like, f"model.d_model={number(rows['width'][1])}"])
    model = make_module(config, make_datamodule(config)).model
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 64, dtype=torch.long))
    assert number(rows["FLOPs per token, forward"][1]) == pytest.approx(counter.get_total_flops() / 64, abs=1)
    assert abs(float(rows["FLOPs per token, forward"][2].rstrip("%"))) < 10


def test_what_is_pasted_gives_what_was_shown(capsys):
    """Widths inside SeqBoat-like layers follow."""
    rows, overrides = matched(
        capsys, "lra/listops_short", "--to", "flops", "--like", "model.kind=ssm", "model.ffn_hidden=32"
    )
    assert main(["describe", "lra/listops_short", *overrides]) == 0
    total = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("│ total"))
    assert [cell.strip() for cell in total.split("│")][2:4] == [
        rows["parameters"][1],
        rows["FLOPs per token, forward"][1],
    ]
    width = number(rows["width"][1])
    assert f"model.d_hidden={2 * width}" in overrides
    assert overrides[:2] == ["model.kind=ssm", "model.ffn_hidden=32"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--like", "model.kind=transfomer"], "unknown .*transfomer.*did you mean 'transformer'"),
        (["--like", "model.kind=transformer", "model.d_model=32"], "model.d_model: is what match looks for"),
        (["--like", "model={kind: transformer, d_model: 32}"], "model.d_model: is what match looks for"),
        (["--like", "model.knid=transformer"], "model.knid: unknown field .*did you mean 'kind'"),
        (["--like", "transformer"], "transformer: expected an override of the form key=value"),
        (["--like", "model.kind=bag"], "--to: 'flops' .* not of model.kind bag"),
        (["--like", "model.kind=transformer", "model.layers=40"], "flops cannot be reached: .* multiples of 8"),
        (["--like", "model.kind=mamba", "model.mixers.mamba.state_size=4096"], "flops cannot be reached"),
        (["--like", "model.kind=transformer", "--rate", "2"], "--rate: 2.0 is not possible here"),
        (["--like", "model.kind=transformer", "model.by_layer={0: {memory_size: 4}}"], "by_layer: 0 is not possible"),
    ],
)  # fmt: skip
def test_what_cannot_be_matched_is_one_line(arguments, message, capsys):
    assert main(["match", "lra/listops_short", "--to", "flops", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert re.search(message, line)


@pytest.mark.parametrize("name", SWEEPS)
def test_sweeps_over_mixers_have_the_widths_that_match_gives(name):
    sweep = parse_sweep(name)
    config = sweep.base_with({})
    choices = sweep.space["model"].choices
    kinds = set()
    for choice in choices:
        other = {key: value for key, value in choice.items() if key not in ("d_model", "d_hidden")}
        kinds |= {*sweep.base_with({"model": choice}).model.kinds}
        if choice == {"kind": "seqboat"}:
            continue
        found = match(config, "flops", [f"model={json.dumps(other)}"])
        assert choice["d_model"] == found.width, choice
        assert choice.get("d_hidden", config.model.d_hidden) == found.experiment.model.d_hidden, choice
        assert abs(found.difference("flops")) < 0.11, choice
    assert kinds == set(MIXER_CONFIGS)
    assert len(sweep.search_space().cells()) == len(choices) * 3 * 3

"""The example is the package's model, written plainly."""

import runpy
from itertools import pairwise
from pathlib import Path

import torch

from seqboat_lab.config import ModelConfig
from seqboat_lab.nn import LanguageModel

EXAMPLE = Path(__file__).parents[2] / "examples" / "minimal_seqboat.py"
SIZES = {"layers": 3, "d": 12, "h": 20, "z": 8, "w": 5}
IN_ATTENTION = ("gamma", "beta", "mx_proj", "h_proj")


def our_name(theirs: str) -> str:
    if not theirs.startswith("layers."):
        return theirs
    _, number, rest = theirs.split(".", 2)
    if rest == "log_temperature":
        rest = f"configurator.{rest}"
    elif rest.startswith(IN_ATTENTION):
        rest = f"attention.{rest}"
    return f"encoder.layers.{number}.{rest}"


def test_logits_decisions_and_gradients_equal_the_packages():
    torch.manual_seed(3)  # a start at which every layer's decisions are mixed
    example = runpy.run_path(str(EXAMPLE))["LanguageModel"](30, **SIZES)
    with torch.no_grad():  # far from the start, so that decisions are mixed and every term shows
        for name, parameter in example.named_parameters():
            if any(part in name for part in ("proj", "gamma")) and "ssm" not in name:
                parameter.normal_(std=0.3)
    config = ModelConfig(
        layers=3, d_model=12, d_hidden=20, d_attention=8, memory_size=5, bidirectional=False, prenorm=True,
        position="rotary", dropout=0.0,
    )  # fmt: skip
    ours = LanguageModel(config, 30)
    ours.load_state_dict({our_name(name): value for name, value in example.state_dict().items()})
    tokens = torch.randint(30, (4, 50))
    logits, decisions = example(tokens)
    out = ours(tokens)
    torch.testing.assert_close(logits, out.logits, rtol=1e-4, atol=1e-4)
    for active, activation in zip(decisions, out.activations, strict=True):
        assert torch.equal(active, activation.active)
        assert 0.05 < active.float().mean() < 0.95
    cotangent = torch.randn_like(logits)
    (logits * cotangent).sum().backward()
    (out.logits * cotangent).sum().backward()
    grads = dict(ours.named_parameters())
    for name, parameter in example.named_parameters():
        torch.testing.assert_close(parameter.grad, grads[our_name(name)].grad, rtol=1e-3, atol=1e-3, msg=name)


def test_every_question_of_the_examples_task_has_its_pair_before_it():
    tokens, answers = runpy.run_path(str(EXAMPLE))["recall_batch"](50)
    for row, answer in zip(tokens.tolist(), answers.tolist(), strict=True):
        value_of = {key: value for key, value in pairwise(row) if key < 8 <= value < 16}
        asked = [place for place, value in enumerate(answer) if value >= 0]
        assert len(asked) == 4
        assert all(answer[place] == value_of[row[place]] for place in asked)

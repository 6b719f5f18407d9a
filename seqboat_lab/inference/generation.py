"""Text from a language model, byte by byte from its recurrent state: the same time and memory for each, however
much came before."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seqboat_lab.config import ConfigError
from seqboat_lab.config.checks import UserError, require
from seqboat_lab.inference.streaming import prefill
from seqboat_lab.nn import LanguageModel


class GeneratedByte(NamedTuple):
    """One byte of the prompt or behind it."""

    byte: int
    """0 ... 255"""
    active: float
    """Share of the deciding layers that activated it; 0 where none decides."""
    prompt: bool
    """Whether it was given."""


def generate(
    model: LanguageModel,
    prompt: bytes,
    count: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Iterator[GeneratedByte]:
    """The prompt's bytes, then `count` new ones as they are drawn.

    Args:
        temperature: divides the logits; 0 always takes the likeliest byte.
        top_p: draw only from the likeliest bytes that together have at least this probability (Holtzman et al.
            2020, arXiv 1904.09751).
        seed: equal seeds give equal bytes.

    Raises `ConfigError` for an empty prompt or values out of range, and `UserError` for a model without a state, before
    anything is drawn.
    """
    if not prompt:
        raise ConfigError("--prompt", "is empty; expected at least one byte to go on from, such as a newline")
    require(count >= 0, "--bytes", count, "0 or more")
    require(temperature >= 0, "--temperature", temperature, "0 (always the likeliest byte) or more")
    require(0 < top_p <= 1, "--top-p", top_p, "a number above 0, up to 1")
    require(0 <= seed < 2**64, "--seed", seed, "a whole number from 0 to 2^64 - 1")
    model.init_state(1)  # or why there is none is said after the prompt
    return _generate(model, prompt, count, temperature, top_p, seed)


def read_prompt(path: Path) -> bytes:
    """A file's bytes. Raises `ConfigError` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError("--prompt-file", f"{path} cannot be read: {error.strerror}") from None


@torch.no_grad()
def _generate(
    model: LanguageModel, prompt: bytes, count: int, temperature: float, top_p: float, seed: int
) -> Iterator[GeneratedByte]:
    device = model.embedding.weight.device
    random = torch.Generator().manual_seed(seed)
    logits, active, state = prefill(model, torch.tensor(list(prompt), device=device))
    for byte, share in zip(prompt, (active.float().sum(0) / max(1, len(active))).tolist(), strict=True):
        yield GeneratedByte(byte, share, prompt=True)
    for _ in range(count):
        byte = sample(logits, temperature, top_p, random)
        (logits,), decisions, state = model.step(torch.tensor([byte], device=device), state)
        share = sum(bool(decision.active) for decision in decisions) / max(1, len(decisions))
        yield GeneratedByte(byte, share, prompt=False)


def sample(logits: Tensor, temperature: float, top_p: float, random: torch.Generator) -> int:
    """One id from logits (vocabulary,); see `generate`."""
    if not logits.isfinite().all():
        raise UserError("the model's weights have diverged: its logits are not finite; choose another --checkpoint")
    if temperature == 0:
        return int(logits.argmax())
    p = torch.softmax(logits.double().cpu() / temperature, dim=0)
    return int(torch.multinomial(nucleus(p, top_p), 1, generator=random))


def nucleus(p: Tensor, top_p: float) -> Tensor:
    """Probabilities (n,) with those outside the smallest likeliest set of mass >= top_p set to 0; not normalised."""
    sorted_p, order = p.sort(descending=True, stable=True)
    before = F.pad(sorted_p.cumsum(0)[:-1], (1, 0))  # mass of the likelier ones
    kept = torch.where(before < top_p, sorted_p, 0.0)
    return torch.zeros_like(p).scatter(0, order, kept)

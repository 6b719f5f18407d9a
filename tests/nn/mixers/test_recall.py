"""Every mixer trains, from its published initialisation, to look up what it read: minutes, so `make test-slow`."""

import pytest
import torch
import torch.nn.functional as F

from seqboat_lab.config.mixers import MIXER_CONFIGS
from seqboat_lab.nn import LanguageModel
from tests.nn.mixers.conftest import make_config

KEYS, PAIRS = 8, 4
# mod sends one token of nine past attention: where half of them go past, in every layer, it does not learn this (0.2 with
# two seeds, by its top-k as well as by its predictor)
SETTINGS = {"mod": {"capacity": 0.9}, "mamba": {"head_size": 8, "state_size": 16}, "hyena": {"filter_length": 16}}


def questions(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs of a key (below 8) and a value (from 8), then one of the keys -> tokens (count, 9), its value."""
    keys = torch.rand(count, KEYS).argsort(1)[:, :PAIRS]
    values = torch.randint(KEYS, 2 * KEYS, (count, PAIRS))
    asked = torch.randint(PAIRS, (count, 1))
    tokens = torch.cat([torch.stack([keys, values], 2).flatten(1), keys.gather(1, asked)], 1)
    return tokens, values.gather(1, asked).squeeze(1)


def accuracy_after(kind: str, updates: int, seed: int) -> float:
    torch.manual_seed(seed)
    settings = SETTINGS.get(kind, {})
    model = LanguageModel(make_config(kind, d_model=32, d_hidden=32, d_attention=16, settings=settings), 2 * KEYS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=updates)
    for _ in range(updates):
        tokens, value = questions(64)
        loss = F.cross_entropy(model(tokens).logits[:, -1], value)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    tokens, value = questions(2000)
    with torch.no_grad():
        return (model.eval()(tokens).logits[:, -1].argmax(1) == value).double().mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in MIXER_CONFIGS if kind != "ssm"])
def test_it_learns_to_recall(kind):
    """Who only knows which values were read, not behind which key, is right in some 3 of 10."""
    assert accuracy_after(kind, 1500, seed=0) > 0.5

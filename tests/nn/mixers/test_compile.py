"""`trainer.compile` with batches of changing length, as `torch.compile` does it: minutes, so `make test-slow`."""

import copy

import pytest
import torch

from seqboat_lab.config.mixers import MIXER_CONFIGS
from seqboat_lab.nn import Classifier
from tests.nn.mixers.conftest import make_config


@pytest.mark.slow
@pytest.mark.parametrize("kind", MIXER_CONFIGS)
def test_a_compiled_model_equals_the_eager_one_at_every_length(kind):
    torch.manual_seed(0)
    torch.compiler.reset()
    eager = Classifier(make_config(kind, layers=1, bidirectional=True), num_classes=3, vocab_size=9)
    compiled = copy.deepcopy(eager)
    compiled.compile()
    for length in (30, 45, 70):  # of one part of a chunk, another, and of more than one
        tokens = torch.randint(1, 9, (3, length))
        padding = torch.arange(length) >= torch.tensor([length, length // 2, 1]).unsqueeze(1)
        gradients = []
        for model in (eager, compiled):
            logits = model(tokens, padding).logits
            gradients.append(
                [logits, *torch.autograd.grad(logits.square().sum(), [*model.parameters()], allow_unused=True)]
            )
        for expected, found in zip(*gradients, strict=True):
            if expected is not None:
                torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)

"""Every recipe, mixer and kernel takes steps in bfloat16, and in float16 with a scaled loss, close to float32's.

Of single models: `trainer.precision` has no float16, since bfloat16 needs no scale and the fused optimisers that runs
use would be clipped before the scale is taken off.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seqboat_lab.config import ModelConfig, load_experiment
from seqboat_lab.config.configurator import CONFIGURATOR_CONFIGS
from seqboat_lab.config.mixers import MIXER_CONFIGS
from seqboat_lab.config.ssm import SSM_CONFIGS
from seqboat_lab.nn import Classifier, LanguageModel
from seqboat_lab.training.model import make_datamodule
from tests.nn.mixers.conftest import make_config

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPES = sorted(str(path.relative_to(CONFIGS).with_suffix("")) for path in CONFIGS.rglob("*.yaml"))
CPU_SIZED = ("_short", "_tiny")
HALVES = [torch.bfloat16, torch.float16]
B, L = 4, 25
SCALE = 1024.0
SMALL = {"layers": 2, "d_model": 16, "d_hidden": 16, "d_attention": 8, "memory_size": 6, "max_positions": 32,
         "classifier_hidden": 16, "dropout": 0.0, "hidden_dropout": 0.0, "by_layer": {}}  # fmt: skip


def two_steps(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, half: torch.dtype | None) -> list[float]:
    """The losses of two updates and of what they lead to, with a scaled loss in float16."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE, enabled=half == torch.float16)
    losses = []
    for _ in range(3):
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=half or torch.bfloat16, enabled=half is not None):
            logits = model(inputs).logits
        loss = F.cross_entropy(logits.float().flatten(0, -2), labels.flatten())
        losses.append(loss.item())
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)  # leaves out a step whose gradients are not finite
        scaler.update()
    assert scaler.get_scale() == (SCALE if half == torch.float16 else 1)
    return losses


def check(make, inputs: torch.Tensor, labels: torch.Tensor, half: torch.dtype) -> None:
    losses = {}
    for precision in (None, half):
        torch.manual_seed(0)
        losses[precision] = two_steps(make().train(), inputs, labels, precision)
    assert losses[None][2] < losses[None][0]
    assert losses[half] == pytest.approx(losses[None], rel=0.03)
    assert losses[half][2] < losses[half][0]


@pytest.mark.parametrize("half", HALVES, ids=str)
@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=pytest.mark.slow if name.endswith(CPU_SIZED) else ()) for name in RECIPES]
)
def test_every_recipe(recipe, half):
    config = load_experiment(recipe)
    fields = SMALL | {"layers": min(2, config.model.layers), "ffn_hidden": config.model.ffn_hidden and 16}
    ssm = replace(config.model.ssm, **{k: 4 for k in ("state_size",) if hasattr(config.model.ssm, k)})
    model, spec = replace(config.model, **fields, ssm=ssm), make_datamodule(config).spec
    generator = torch.Generator().manual_seed(0)
    rows = 2 * B if spec.head == "pair" else B
    shape = (rows, L)
    if spec.vocab_size is None:
        inputs = torch.randn(shape, generator=generator)
    else:
        inputs = torch.randint(1, spec.vocab_size, shape, generator=generator)
    if spec.vocabulary_per_token:
        labels = torch.randint(spec.num_classes, shape, generator=generator)
        check(lambda: LanguageModel(model, spec.vocab_size), inputs, labels, half)
    else:
        labels = torch.randint(spec.num_classes, (B,), generator=generator)
        pair = spec.head == "pair"
        check(lambda: Classifier(model, spec.num_classes, spec.vocab_size, pair), inputs, labels, half)


def small_models() -> dict[str, ModelConfig]:
    models = {kind: make_config(kind, bidirectional=True) for kind in MIXER_CONFIGS}
    models |= {f"{kind}, causal": make_config(kind) for kind in MIXER_CONFIGS}
    base = ModelConfig(**SMALL)
    models |= {kernel: replace(base, ssm=SSM_CONFIGS[kernel](state_size=4)) for kernel in SSM_CONFIGS}
    models |= {kind: replace(base, configurator=CONFIGURATOR_CONFIGS[kind]()) for kind in CONFIGURATOR_CONFIGS}
    models |= {name: replace(base, attention=name) for name in ("softmax", "relu2", "laplace")}
    models |= {f"{name} positions": replace(base, position=name) for name in ("bias", "local", "rotary")}
    return models | {name: replace(base, norm=name) for name in ("layernorm", "batchnorm", "scalenorm", "rmsnorm")}


@pytest.mark.slow
@pytest.mark.parametrize("half", HALVES, ids=str)
@pytest.mark.parametrize("name", small_models())
def test_every_part(name, half):
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randint(1, 9, (B, L), generator=generator), torch.randint(3, (B,), generator=generator)
    check(lambda: Classifier(small_models()[name], 3, 9), inputs, labels, half)

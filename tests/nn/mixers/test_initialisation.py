"""Weights start as the authors' code starts them; the formulas are of the files that docs/mixers.md names."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from seqboat_lab.config.mixers import MIXER_CONFIGS
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn.mixers import make_layer

D, LAYERS, NUMBER = 192, 6, 2
LEFT, DEPTH = 1 - NUMBER / LAYERS, NUMBER / (LAYERS - 1)
RESIDUAL = 0.02 / math.sqrt(2 * LAYERS)


def normal(std: float) -> Callable[[Tensor], None]:
    def check(w: Tensor) -> None:
        n = w.numel()
        assert abs(w.mean()) < 5 * std / n**0.5
        assert abs(w.std() / std - 1) < 5 / (2 * n) ** 0.5
        assert abs((w / std).pow(4).mean() - 3) < 5 * (96 / n) ** 0.5  # unlike a uniform's 1.8

    return check


def uniform(low: float, high: float, of: Callable[[Tensor], Tensor] = lambda w: w) -> Callable[[Tensor], None]:
    def check(w: Tensor) -> None:
        share = (of(w) - low) / (high - low)
        n = w.numel()
        assert -1e-5 <= share.min() < 10 / n
        assert 1 - 10 / n < share.max() <= 1 + 1e-5
        assert abs(share.mean() - 1 / 2) < 5 * (1 / 12 / n) ** 0.5

    return check


def around(bound: float) -> Callable[[Tensor], None]:
    return uniform(-bound, bound)


def fan_in(n: int) -> Callable[[Tensor], None]:
    """torch's own."""
    return around(n**-0.5)


def xavier(gain: float, rows: int, columns: int) -> Callable[[Tensor], None]:
    return around(gain * math.sqrt(6 / (rows + columns)))


def exactly(value) -> Callable[[Tensor], None]:
    return lambda w: torch.testing.assert_close(w, torch.as_tensor(value, dtype=w.dtype).expand_as(w))


def orthogonal(gain: float) -> Callable[[Tensor], None]:
    def check(w: Tensor) -> None:
        w = w / gain
        product = w @ w.T if len(w) <= w.shape[1] else w.T @ w
        torch.testing.assert_close(product, torch.eye(len(product)), rtol=0, atol=1e-4)

    return check


zeros, ones = exactly(0.0), exactly(1.0)
NORMS = {"norms.0.weight": ones, "norms.0.bias": zeros, "norms.1.weight": ones, "norms.1.bias": zeros}
ATTENTION = {"qkv_proj.weight": normal(0.02), "qkv_proj.bias": zeros, "out_proj.weight": normal(RESIDUAL), "out_proj.bias": zeros}  # fmt: skip
MLP = {"fc1.weight": normal(0.02), "fc1.bias": zeros, "fc2.weight": normal(RESIDUAL), "fc2.bias": zeros}


def under(prefix: str, expected: dict) -> dict:
    return {f"{prefix}.{name}": check for name, check in expected.items()}


TRANSFORMER = NORMS | under("mixer", ATTENTION) | under("feed_forward", MLP)
SMALLER = 2**-2.5

RETNET = NORMS | {
    "mixer.q_proj.weight": xavier(SMALLER, D, D),
    "mixer.k_proj.weight": xavier(SMALLER, D, D),
    "mixer.v_proj.weight": xavier(SMALLER, D, 2 * D),
    "mixer.g_proj.weight": xavier(SMALLER, D, 2 * D),
    "mixer.out_proj.weight": xavier(0.5, D, 2 * D),
    "feed_forward.fc1.weight": fan_in(D),
    "feed_forward.fc1.bias": fan_in(D),
    "feed_forward.fc2.weight": fan_in(2 * D),
    "feed_forward.fc2.bias": fan_in(2 * D),
}

ramp = [1 - (i / D) ** LEFT for i in range(D)]
late = [1 - (i / D) ** LEFT - 0.3 * DEPTH for i in range(D)]
half = [1 - (i / D) ** (LEFT / 2) for i in range(D)]
place = [i / (D - 1) for i in range(D)]
RWKV = NORMS | {
    "mixer.mu": exactly(ramp),
    "mixer.lam": exactly([*ramp, *half, *ramp, *late, *half]),  # of decay, r, k, v, gate
    "mixer.mix_down": zeros,
    "mixer.mix_up": around(0.01),
    "mixer.decay": exactly([-6 + 5 * p ** (0.7 + 1.3 * DEPTH) for p in place]),
    "mixer.decay_down": zeros,
    "mixer.decay_up": around(0.01),
    "mixer.u": exactly([DEPTH * (1 - p) + 0.1 * ((i + 1) % 3 - 1) for i, p in enumerate(place)]),
    "mixer.r_proj.weight": orthogonal(1),
    "mixer.k_proj.weight": orthogonal(0.1),
    "mixer.v_proj.weight": orthogonal(1),
    "mixer.g_proj.weight": orthogonal(0.1),
    "mixer.out_proj.weight": zeros,
    "mixer.norm.weight": exactly(((1 + NUMBER) / LAYERS) ** 0.7),
    "mixer.norm.bias": zeros,
    "feed_forward.mu": exactly([*ramp, *ramp]),
    "feed_forward.k_proj.weight": orthogonal(1),
    "feed_forward.r_proj.weight": zeros,
    "feed_forward.v_proj.weight": zeros,
}

HYENA = (
    NORMS
    | under("feed_forward", MLP)
    | {
        "mixer.in_proj.weight": normal(0.02),
        "mixer.in_proj.bias": zeros,
        "mixer.out_proj.weight": normal(RESIDUAL),
        "mixer.out_proj.bias": zeros,
        "mixer.short.weight": fan_in(3),
        "mixer.short.bias": fan_in(3),
        "mixer.skip": normal(1),
        "mixer.filters.frequency": exactly(14.0),
        "mixer.filters.last.weight": normal(0.02),
    }
    | {f"mixer.filters.layers.{i}.weight": normal(0.02) for i in range(3)}
    | {f"mixer.filters.layers.{i}.bias": zeros for i in range(3)}
)


def log_step(w: Tensor) -> Tensor:
    return torch.nn.functional.softplus(w).log()


MAMBA = {
    "norms.0.weight": ones,
    "norms.0.bias": zeros,
    "mixer.in_proj.weight": fan_in(D),
    "mixer.conv.weight": fan_in(4),
    "mixer.conv.bias": fan_in(4),
    "mixer.dt_bias": uniform(math.log(1e-3), math.log(0.1), log_step),
    "mixer.A_log": uniform(1, 16, torch.exp),
    "mixer.D": ones,
    "mixer.norm.weight": ones,
    "mixer.out_proj.weight": around((2 * D * LAYERS) ** -0.5),
}
GATED_MAMBA = MAMBA | {
    "norms.1.weight": ones,
    "norms.1.bias": zeros,
    "mixer.out_proj.weight": around((2 * D * 2 * LAYERS) ** -0.5),
    "feed_forward.fc1.weight": fan_in(D),
    "feed_forward.fc2.weight": around((2 * D * 2 * LAYERS) ** -0.5),
}


def both(check: Callable[[Tensor], None]) -> Callable[[Tensor], None]:
    return lambda w: [check(half) for half in w.chunk(2)]


GLA = NORMS | {
    "mixer.qk_proj.weight": both(xavier(SMALLER, D, D // 2)),
    "mixer.v_proj.weight": normal(0.02),
    "mixer.alpha_down.weight": xavier(SMALLER, D, 16),
    "mixer.alpha_up.weight": xavier(SMALLER, D // 2, 16),
    "mixer.alpha_up.bias": zeros,
    "mixer.gate_proj.weight": normal(0.02),
    "mixer.gate_proj.bias": zeros,
    "mixer.out_proj.weight": normal(0.02),
    "feed_forward.fc1.weight": normal(0.02),
    "feed_forward.fc2.weight": normal(0.02),
}

MOD = (
    under("attention", ATTENTION)
    | under("mlp", MLP)
    | {"norm1.weight": ones, "norm1.bias": zeros, "norm2.weight": ones, "norm2.bias": zeros}
    | {"router.weight": normal(0.02)}
    | {f"predictor.{i}.{what}": fan_in(n) for i, n in ((0, D), (2, D // 2)) for what in ("weight", "bias")}
)

PUBLISHED = {
    "transformer": ({}, TRANSFORMER),
    "local_attention": ({}, TRANSFORMER),
    "retnet": ({}, RETNET),
    "rwkv": ({}, RWKV),
    "hyena": ({}, HYENA),
    "mamba": ({"head_size": 4}, MAMBA),
    "mamba with a feed-forward part": ({"head_size": 4, "ffn_ratio": 2.0}, GATED_MAMBA),
    "gla": ({}, GLA),
    "mod": ({}, MOD),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_parameter_starts_as_published(name):
    kind, (settings, expected) = name.split()[0], PUBLISHED[name]
    torch.manual_seed(0)
    mixers = {kind: MIXER_CONFIGS[kind](**settings)}
    config = ModelConfig(kind=kind, mixers=mixers, d_model=D, layers=LAYERS, norm="layernorm", bidirectional=False)
    parameters = dict(make_layer(config.layer(NUMBER), NUMBER).named_parameters())
    assert sorted(parameters) == sorted(expected)
    for parameter, check in expected.items():
        try:
            check(parameters[parameter].detach())
        except AssertionError as error:
            raise AssertionError(f"{parameter}: {error}") from None

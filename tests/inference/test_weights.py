"""Weights in bf16 and int8, against products in float64 of what they stand for."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from seqboat_lab.config import ConfigError, ModelConfig
from seqboat_lab.config.configurator import AlwaysConfig
from seqboat_lab.config.mixers import MIXER_CONFIGS
from seqboat_lab.inference.generation import generate
from seqboat_lab.inference.streaming import stream
from seqboat_lab.inference.weights import FEW_ROWS, WEIGHTS, BF16Linear, CompactLinear, Int8Linear, with_weights
from seqboat_lab.nn import LanguageModel, SeqBoat
from tests.inference.test_streaming import make_language_model, text  # noqa: F401

KINDS = {name: kind for name, kind in WEIGHTS.items() if kind is not None}
each_kind = pytest.mark.parametrize("kind", KINDS)
SIZES = [(1, 1), (5, 3), (16, 17), (31, 64), (64, 31), (100, 130), (512, 514)]  # (in, out), of blocks and of none


def linear(size: tuple[int, int] = (100, 130), bias: bool = True, seed: int = 0) -> nn.Linear:
    """With rows of very different sizes."""
    torch.manual_seed(seed)
    made = nn.Linear(*size, bias=bias)
    with torch.no_grad():
        made.weight.mul_(10 ** torch.linspace(-6, 3, size[1]).unsqueeze(1))
    return made


def values(weight: torch.Tensor) -> torch.Tensor:
    """Each row as whole numbers and a scale, worked out anew in float64: what int8 stands for, (out, in)."""
    rows = []
    for row in weight.double():
        least = row.abs().max().item() / 127
        exponent = math.floor(math.log2(least))
        scale = math.ceil(least / 2 ** (exponent - 7)) * 2 ** (exponent - 7)  # 8 significant bits, rounded up
        rows.append(torch.round(row / scale) * scale)
    return torch.stack(rows)


@pytest.mark.parametrize("size", SIZES)
def test_what_int8_stands_for_is_worked_out_by_hand(size):
    made = linear(size)
    torch.testing.assert_close(Int8Linear(made).weight.double(), values(made.weight.detach()), rtol=1e-6, atol=0)


@pytest.mark.parametrize("size", SIZES)
def test_each_entry_is_off_by_half_its_rows_scale_at_most(size):
    weight = linear(size).weight.detach().double()
    error = (Int8Linear(linear(size)).weight.double() - weight).abs()
    scale = weight.abs().amax(1, keepdim=True) / 127
    assert (error <= 0.5 * scale * (1 + 2**-7) + 1e-12 * scale).all()
    bf16 = (BF16Linear(linear(size)).weight.double() - weight).abs()
    assert (bf16 <= 2**-8 * weight.abs()).all()


@pytest.mark.parametrize("rows", [0, 1, 3, FEW_ROWS, FEW_ROWS + 1, 40])
@pytest.mark.parametrize("size", SIZES)
@each_kind
def test_the_product_is_that_of_the_weights_it_stands_for(kind, size, rows):
    made = linear(size)
    held = KINDS[kind](made)
    x = torch.randn(rows, size[0])
    rounded = x.bfloat16().double()
    expected = rounded @ held.weight.double().T
    products = rounded.abs() @ held.weight.double().abs().T
    y = held(x) - made.bias.detach()
    assert y.dtype == torch.float32
    # the sum is rounded to bf16, and with many rows once more behind the scale; the bias is added in float32
    bound = 2.1 * 2**-8 * expected.abs() + 1e-5 * products + 1e-6 * made.bias.detach().abs()
    assert ((y.double() - expected).abs() <= bound).all()


@each_kind
def test_any_shape_and_layout_and_no_bias(kind):
    held = KINDS[kind](linear(bias=False))
    x = torch.randn(100, 3, 2).permute(2, 1, 0)  # (2, 3, 100), not contiguous
    y = held(x)
    assert y.shape == (2, 3, 130)
    torch.testing.assert_close(y[1, 2], held(x[1, 2].unsqueeze(0))[0])
    assert held(x.double()).dtype == torch.float64


@each_kind
def test_a_row_does_not_depend_on_the_others(kind):
    held, x = KINDS[kind](linear()), torch.randn(FEW_ROWS, 100)
    alone = torch.cat([held(row.unsqueeze(0)) for row in x])
    torch.testing.assert_close(held(x * torch.tensor([1.0] + [1e3] * (FEW_ROWS - 1)).unsqueeze(1))[0], alone[0])
    torch.testing.assert_close(held(x), alone, rtol=2**-7, atol=1e-5)


def test_rows_of_zeros_stay_zero_and_what_diverged_shows():
    made = linear((16, 4), bias=False)
    with torch.no_grad():
        made.weight[0] = 0
        made.weight[1] = 1e-42
        made.weight[2, 3] = math.nan
        made.weight[3, 3] = math.inf
    y = Int8Linear(made)(torch.ones(1, 16))[0]
    assert y[0] == 0
    assert abs(y[1]) < 1e-36
    assert not y[2:].isfinite().any()


def steps(model: LanguageModel, text: np.ndarray) -> torch.Tensor:  # noqa: F811
    """Logits (n, vocabulary), token by token."""
    state, logits = model.init_state(1), []
    with torch.no_grad():
        for byte in text.tolist():
            out, _, state = model.step(torch.tensor([byte]), state)
            logits.append(out[0])
    return torch.stack(logits)


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Size of the difference beside that of the other one."""
    return ((one - other).norm() / other.norm()).item()


def with_their_values(model: LanguageModel, held: LanguageModel) -> LanguageModel:
    """The model with the values that the other one's matrices stand for, in float64."""
    modules = dict(held.named_modules())
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear):
                module.weight.copy_(modules[name].weight)
    return model.double()


@each_kind
def test_steps_are_those_of_a_float64_model_of_the_same_values(make_language_model, text, kind):  # noqa: F811
    """Of one that always attends: no decision can tip over."""
    make = lambda: make_language_model(configurator=AlwaysConfig())  # noqa: E731
    held, original = with_weights(make(), kind), make()
    logits, expected = steps(held, text[:60]), steps(with_their_values(make(), held), text[:60])
    assert apart(logits, expected) < 0.005  # activations are rounded to bf16
    assert 0.001 < apart(logits, steps(original, text[:60])) < 0.02


@each_kind
def test_segments_and_steps_agree(make_language_model, text, kind):  # noqa: F811
    model = with_weights(make_language_model(configurator=AlwaysConfig()), kind)
    with torch.no_grad():
        whole = model(torch.from_numpy(text[None, :100].astype(np.int64))).logits[0]
    assert apart(steps(model, text[:100]), whole) < 0.005


@each_kind
def test_bits_per_byte_are_close_with_learned_decisions(make_language_model, text, kind):  # noqa: F811
    exact, held = (stream(with_weights(make_language_model(), name), text) for name in ("float32", kind))
    assert held.bpc == pytest.approx(exact.bpc, rel=0.01)
    assert held.bpc != exact.bpc
    assert held.activation["activation_rate"] == pytest.approx(exact.activation["activation_rate"], abs=0.05)


@pytest.mark.parametrize("mixer", MIXER_CONFIGS)
@each_kind
def test_every_kind_of_layer_takes_them(mixer, kind):
    torch.manual_seed(0)
    sizes = {"layers": 2, "d_model": 64, "d_hidden": 32, "d_attention": 8, "memory_size": 8}
    config = ModelConfig(kind=mixer, bidirectional=False, position="rotary", prenorm=True, **sizes)
    one, other = SeqBoat(config), SeqBoat(config)
    other.load_state_dict(one.state_dict())
    x = torch.randn(2, 40, 64)
    with torch.no_grad():
        assert apart(with_weights(one, kind)(x)[0], other.eval()(x)[0]) < 0.1
    assert not any(type(module) is nn.Linear for module in one.modules())


@each_kind
def test_a_half_or_a_quarter_of_the_bytes_and_nothing_to_train(make_language_model, kind):  # noqa: F811
    model = make_language_model(d_model=512, d_hidden=1024, d_attention=128)
    size = lambda: sum(t.numel() * t.element_size() for t in model.state_dict().values())  # noqa: E731
    embedding, before = 256 * 512 * 4, size()
    with_weights(model, kind)
    assert (size() - embedding) / (before - embedding) < {"bf16": 0.53, "int8": 0.29}[kind]
    assert not any(p.requires_grad for p in model.parameters())
    assert all(isinstance(layer.hx_proj, CompactLinear) for layer in model.encoder.layers)
    with pytest.raises(ValueError, match="not for training; load the run again"):
        model.train()
    again = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    assert torch.equal(again.encoder.layers[1].hx_proj.held, model.encoder.layers[1].hx_proj.held)


def test_float32_stays_as_it_is_but_frozen(make_language_model, text):  # noqa: F811
    model = make_language_model()
    expected = steps(model, text[:30])
    assert torch.equal(steps(with_weights(model, "float32"), text[:30]), expected)
    assert not any(p.requires_grad for p in model.parameters())


def test_other_weights_are_refused(make_language_model):  # noqa: F811
    message = r"--weights: unknown kind of weights 'in8' \(did you mean 'int8'\?\); allowed: bf16, float32, int8"
    with pytest.raises(ConfigError, match=message):
        with_weights(make_language_model(), "in8")


@each_kind
def test_text_is_written_with_them(make_language_model, kind):  # noqa: F811
    model = with_weights(make_language_model(), kind)
    assert sum(1 for _ in generate(model, b"The first", 20)) == 29

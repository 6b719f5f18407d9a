"""The recurrent state over a long text, against one plain forward pass and a loop over single bytes."""

import math

import numpy as np
import pytest
import torch

from seqboat_lab.config import ModelConfig
from seqboat_lab.config.ssm import SSM_CONFIGS
from seqboat_lab.inference.streaming import prefill, stream
from seqboat_lab.nn import LanguageModel


@pytest.fixture(scope="session")
def make_language_model():
    def make(kernel: str = "ema", **fields) -> LanguageModel:
        torch.manual_seed(0)
        defaults = {
            "layers": 2, "d_model": 16, "d_hidden": 16, "d_attention": 8, "memory_size": 7, "max_positions": 64,
            "bidirectional": False, "prenorm": True, "position": "rotary", "dropout": 0.0,
        }  # fmt: skip
        config = ModelConfig(ssm=SSM_CONFIGS[kernel](state_size=4), **(defaults | fields))
        model = LanguageModel(config, 256).eval()
        with torch.no_grad():
            for layer in model.encoder.layers:
                layer.hx_proj.weight[:2].normal_(std=2)
                layer.attention.mx_proj.weight.normal_(std=0.3)
        return model

    return make


@pytest.fixture(scope="session")
def text() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, 500, dtype=np.uint8)


def bits_of_one_forward(model: LanguageModel, text: np.ndarray) -> float:
    ids = torch.from_numpy(text.astype(np.int64))
    with torch.no_grad():
        p = torch.softmax(model(ids[None, :-1]).logits[0].double(), dim=-1)
    return -p[torch.arange(len(p)), ids[1:]].log2().mean().item()


@pytest.mark.parametrize("kernel", SSM_CONFIGS)
def test_streaming_equals_one_forward_over_everything_for_every_kernel(make_language_model, text, kernel):
    model = make_language_model(kernel)
    result = stream(model, text, segment=37)
    assert result.bpc == pytest.approx(bits_of_one_forward(model, text), abs=1e-4)


@pytest.mark.parametrize("position", ["rotary", "local", "bias"])
def test_the_segment_changes_nothing(make_language_model, text, position):
    model = make_language_model(position=position)
    results = [stream(model, text, segment) for segment in (1, 6, 100, 10_000)]
    assert 0.1 < results[0].activation["activation_rate"] < 0.9
    for other in results[1:]:
        assert other.bpc == pytest.approx(results[0].bpc, abs=1e-5)
        assert other.activation == pytest.approx(results[0].activation, rel=1e-5)
        assert other.bpc_after == pytest.approx(results[0].bpc_after, abs=1e-4)


def test_bits_spans_and_rates_are_those_of_a_loop_over_single_bytes(make_language_model, text):
    model = make_language_model()
    w, layers = model.encoder.config.memory_size, len(model.encoder.layers)
    state, bits = model.init_state(1), []
    spans, fills, active = ([[] for _ in range(layers)] for _ in range(3))
    with torch.no_grad():
        for t in range(len(text) - 1):
            logits, decisions, state = model.step(torch.tensor([int(text[t])]), state)
            bits.append(-torch.log_softmax(logits[0].double(), 0)[int(text[t + 1])].item() / math.log(2))
            for i, decision in enumerate(decisions):
                if decision.active:
                    reached = active[i][-w:]
                    fills[i].append(len(reached) / w)
                    if reached:
                        spans[i].append(np.mean([t - p for p in reached]))
                    active[i].append(t)
    result = stream(model, text, segment=64)
    assert result.bpc == pytest.approx(np.mean(bits), abs=1e-5)
    assert result.bpc_after[16] == pytest.approx(np.mean(bits[15:63]), abs=1e-5)
    assert sorted(result.bpc_after) == [1, 4, 16, 64, 256]
    for i in range(layers):
        assert result.activation[f"activation_rate/layer_{i}"] == pytest.approx(len(active[i]) / len(bits))
        assert result.activation[f"span/layer_{i}"] == pytest.approx(np.mean(spans[i]), rel=1e-5)
        assert result.activation[f"memory_fill/layer_{i}"] == pytest.approx(np.mean(fills[i]), rel=1e-5)
        p95 = np.quantile(spans[i], 0.95, method="inverted_cdf")
        assert result.activation[f"span_p95/layer_{i}"] == pytest.approx(p95, rel=0.02, abs=0.05)


def test_prefill_is_the_forward_pass_and_leaves_its_state(make_language_model, text):
    model = make_language_model()
    prompt = torch.from_numpy(text[:100].astype(np.int64))
    logits, active, state = prefill(model, prompt, segment=33)
    with torch.no_grad():
        whole = model(prompt[None])
        following, _, _ = model.step(torch.tensor([5]), state)
        expected = model(torch.cat([prompt, torch.tensor([5])])[None]).logits[0, -1]
    torch.testing.assert_close(logits, whole.logits[0, -1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(following[0], expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(active, torch.stack([a.active[0] for a in whole.activations]))

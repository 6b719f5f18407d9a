"""Writing byte by byte, against the parallel forward pass and distributions worked out by hand."""

import time

import pytest
import torch

from seqboat_lab.config import ConfigError
from seqboat_lab.inference.generation import generate, nucleus, read_prompt, sample
from seqboat_lab.inference.streaming import prefill
from tests.inference.test_streaming import make_language_model  # noqa: F401


def test_greedy_generation_is_the_argmax_of_the_parallel_forward(make_language_model):  # noqa: F811
    model = make_language_model()
    text = [b.byte for b in generate(model, b"The first", 60, temperature=0)]
    assert bytes(text[:9]) == b"The first"
    assert len(text) == 69
    with torch.no_grad():
        likeliest = model(torch.tensor([text])).logits[0].argmax(-1).tolist()
    assert text[9:] == likeliest[8:-1]


def test_activations_are_those_of_the_forward_pass(make_language_model):  # noqa: F811
    model = make_language_model()
    generated = list(generate(model, b"abcdefgh", 40))
    with torch.no_grad():
        out = model(torch.tensor([[b.byte for b in generated]]))
    share = torch.stack([a.active[0] for a in out.activations]).float().mean(0)
    torch.testing.assert_close(torch.tensor([b.active for b in generated]), share)
    assert [b.prompt for b in generated] == [True] * 8 + [False] * 40


def test_equal_seeds_give_equal_text_and_other_seeds_another(make_language_model):  # noqa: F811
    model = make_language_model()
    one, same, other = ([b.byte for b in generate(model, b"x", 50, seed=s)] for s in (1, 1, 2))
    assert one == same
    assert one != other


def test_the_nucleus_is_the_smallest_likeliest_set_of_enough_mass():
    p = torch.tensor([0.1, 0.4, 0.3, 0.2], dtype=torch.double)
    kept = {0.3: [1], 0.4: [1], 0.41: [1, 2], 0.7: [1, 2], 0.71: [1, 2, 3], 0.95: [0, 1, 2, 3], 1.0: [0, 1, 2, 3]}
    for top_p, expected in kept.items():
        assert nucleus(p, top_p).nonzero().flatten().tolist() == expected, top_p
    torch.testing.assert_close(nucleus(p, 0.5), torch.tensor([0, 0.4, 0.3, 0], dtype=torch.double))


def test_samples_follow_the_tempered_distribution():
    logits = torch.tensor([0.0, 1.0, 2.0])
    random = torch.Generator().manual_seed(0)
    drawn = torch.tensor([sample(logits, 0.5, 1.0, random) for _ in range(4000)])
    expected = torch.softmax(logits / 0.5, 0)
    torch.testing.assert_close(torch.bincount(drawn, minlength=3) / 4000, expected, rtol=0, atol=0.03)


def test_the_state_does_not_grow_with_the_context(make_language_model):  # noqa: F811
    model = make_language_model()

    def elements(n: int) -> int:
        _, _, state = prefill(model, torch.zeros(n, dtype=torch.long))
        return sum(t.numel() for layer in state for t in (layer.ssm, *layer.memory))

    assert elements(100) == elements(20_000)


@pytest.mark.slow
def test_a_byte_takes_as_long_after_100000_bytes_as_after_1000(make_language_model):  # noqa: F811
    model = make_language_model(layers=4, d_model=64, memory_size=64)
    seconds = {1_000: [], 100_000: []}
    for _ in range(5):
        for context, times in seconds.items():
            text = generate(model, bytes(context), 300)
            for byte in text:
                if not byte.prompt:
                    break
            start = time.perf_counter()
            assert sum(1 for _ in text) == 299
            times.append(time.perf_counter() - start)
    assert min(seconds[100_000]) < 1.2 * min(seconds[1_000])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": b""}, "--prompt: is empty"),
        ({"count": -1}, "--bytes: -1 is not possible"),
        ({"temperature": -0.5}, "--temperature: -0.5 is not possible"),
        ({"top_p": 0.0}, "--top-p: 0.0 is not possible"),
        ({"top_p": 1.5}, "--top-p: 1.5 is not possible"),
        ({"temperature": float("nan")}, "--temperature: nan"),
    ],
)
def test_what_cannot_be_generated_is_refused_before_anything_is_written(make_language_model, arguments, message):  # noqa: F811
    with pytest.raises(ConfigError, match=message):
        generate(make_language_model(), **({"prompt": b"x", "count": 1} | arguments))


def test_a_prompt_file_may_hold_any_bytes_but_must_be_there(tmp_path):
    (tmp_path / "prompt").write_bytes(b"\xff\x00")
    assert read_prompt(tmp_path / "prompt") == b"\xff\x00"
    with pytest.raises(ConfigError, match="none cannot be read: No such file"):
        read_prompt(tmp_path / "none")

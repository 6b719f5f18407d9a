"""Small made-up tasks of the same form as data that cannot be generated. Easy on purpose, never the benchmark.

Every sample is a pure function of (seed, split, index). For trying out the code and for tests.
"""

from collections.abc import Iterator

import numpy as np

SIZES = {"train": 1.0, "val": 0.25, "test": 0.25}


def _rngs(seed: int, split: str, samples: int) -> Iterator[np.random.Generator]:
    for index in range(int(samples * SIZES[split])):
        yield np.random.default_rng([seed, list(SIZES).index(split), index])


def _words(seed: int, count: int, letters: str) -> list[bytes]:
    rng = np.random.default_rng([seed, 99])
    alphabet = np.frombuffer(letters.encode(), np.uint8)
    return [rng.choice(alphabet, rng.integers(3, 8)).tobytes() for _ in range(count)]


_NEUTRAL = _words(1, 200, "abcdefghijklmnopqrstuvwxyz")
_TONES = (_words(2, 30, "abcdefghijkl"), _words(3, 30, "mnopqrstuvwxyz"))
_TOPICS = [_words(100 + topic, 6, "abcdefghijklmnopqrstuvwxyz"[3 * topic :][:5]) for topic in range(8)]


def _text(rng: np.random.Generator, length: int, special: list[bytes], share: float) -> np.ndarray:
    """About `length` bytes of words, a `share` of them special."""
    chosen, size = [], 0
    while size < length:
        words = special if rng.random() < share else _NEUTRAL
        chosen.append(words[rng.integers(len(words))])
        size += len(chosen[-1]) + 1
    return np.frombuffer(b" ".join(chosen)[:length], np.uint8)


def text(seed: int, split: str, samples: int, max_length: int):
    """Two classes: texts with a sixth of their words from one of two word lists."""
    for rng in _rngs(seed, split, samples):
        label = int(rng.integers(2))
        length = int(rng.integers(max(max_length // 4, 1), max_length + 1))
        yield (_text(rng, length, _TONES[label], 1 / 6),), label


def retrieval(seed: int, split: str, samples: int, max_length: int):
    """Two classes: both texts are on the same of 8 topics (own words for half of the text), or not."""
    for rng in _rngs(seed, split, samples):
        label, topic = int(rng.integers(2)), int(rng.integers(8))
        other = topic if label else (topic + int(rng.integers(1, 8))) % 8
        lengths = rng.integers(max(max_length // 4, 1), max_length + 1, 2)
        yield tuple(_text(rng, int(n), _TOPICS[t], 1 / 2) for n, t in zip(lengths, (topic, other), strict=True)), label


def image(seed: int, split: str, samples: int, size: int):
    """Ten classes: noisy gratings of five directions and two widths, (size * size,) uint8."""
    y, x = np.mgrid[:size, :size] / size
    for rng in _rngs(seed, split, samples):
        label = int(rng.integers(10))
        angle, waves = np.pi * (label % 5) / 5, (2, 4)[label // 5]
        wave = np.sin(2 * np.pi * (waves * (x * np.cos(angle) + y * np.sin(angle)) + rng.random()))
        picture = 128 + 70 * wave + 20 * rng.standard_normal((size, size))
        yield (picture.clip(0, 255).astype(np.uint8).ravel(),), label


def speech(seed: int, split: str, samples: int, length: int):
    """Ten classes: a tone of 4 to 40 periods in noise, (length,) int16."""
    time = np.arange(length) / length
    for rng in _rngs(seed, split, samples):
        label = int(rng.integers(10))
        tone = np.sin(2 * np.pi * (4 * (label + 1) * time + rng.random()))
        wave = (0.3 + 0.5 * rng.random()) * tone + 0.1 * rng.standard_normal(length)
        yield ((wave * 8000).clip(-32768, 32767).astype(np.int16),), label

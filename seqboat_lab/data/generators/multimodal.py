"""One stream of bytes of several modalities, in which facts are told and asked for later, in another modality.

A piece is a marker of its modality and bytes of it, among which stand facts, `TELL key value`, and questions,
`ASK key value`, whose last token is what is to be predicted. A key is told again only after it was asked for, so the
right answer is what was told last. Only uniform numbers are drawn, whose stream does not depend on NumPy's version.

Ids: 0-255 the bytes (key i is byte i, value i is byte 255 - i: few contents have many of these), then the markers.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seqboat_lab.config.data import MultimodalConfig

MODALITIES = ("text", "audio", "image")
MARKERS = (*MODALITIES, "tell", "ask")
TELL, ASK = 259, 260
VOCABULARY = 256 + len(MARKERS)
LAST_VALUE = 255
IMAGE = 1024
"""Pixels of an image: pieces of them begin with one's first."""
SPLIT_NUMBERS = {"train": 0, "val": 1, "test": 2}
CLASSES = (*MODALITIES, "marker", "key", "value", "question", "answer")
"""What a token is: see `token_classes`."""


class Stream(NamedTuple):
    """A stream and what is asked in it."""

    tokens: np.ndarray
    """(n,) uint16"""
    questions: np.ndarray
    """(q, 2) int64: where each question's key stands, whose next token is the answer, and where that was told."""


class Pending(NamedTuple):
    """A fact that waits to be asked for."""

    due: float
    told: int
    """Where its value stands."""
    key: int
    value: int
    modality: int


def draw_stream(config: MultimodalConfig, split: str, length: int, contents: Sequence[np.ndarray]) -> Stream:
    """A split's stream of `length` tokens, out of the bytes (n,) uint8 of each modality that is a part of it."""
    seed = np.random.SeedSequence([config.generator_seed, SPLIT_NUMBERS[split]])
    uniform = np.random.Generator(np.random.PCG64(seed)).random
    # a piece may end behind the stream: with its marker, its bytes, its facts, and all questions that wait
    tokens = np.empty(length + 1 + config.longest_piece + 3 * (config.facts + config.keys), np.uint16)
    questions: list[tuple[int, int]] = []
    pending: list[Pending] = []
    free = list(range(config.keys))
    at, kind = 0, int(uniform() * len(contents))
    while at < length:
        kind = (kind + 1 + int(uniform() * (len(contents) - 1))) % len(contents)  # another than before
        n = round(log_uniform(uniform(), config.shortest_piece, config.longest_piece))
        content = excerpt(contents[kind], n, uniform(), IMAGE if MODALITIES[kind] == "image" else 1)
        tokens[at] = 256 + kind
        at += 1
        # what is put between the bytes, in order of their places: facts, and questions that are due
        due = [fact for fact in pending if fact.due <= at + n and fact.modality != kind]
        places: list[tuple[int, Pending | None]] = [
            *((at + int(uniform() * (n + 1)), None) for _ in range(config.facts)),
            *((max(at, math.ceil(fact.due)), fact) for fact in due),
        ]
        taken = 0
        for place, fact in sorted(places, key=lambda item: item[0]):
            before = min(max(place - at, 0), n - taken)
            tokens[at : at + before] = content[taken : taken + before]
            taken, at = taken + before, at + before
            if fact is not None:
                pending.remove(fact)
                free.append(fact.key)
                if at + 1 - fact.told > config.max_distance:
                    continue
                tokens[at : at + 3] = ASK, fact.key, LAST_VALUE - fact.value
                questions.append((at + 1, fact.told))
            elif free:
                key = free.pop(int(uniform() * len(free)))
                value = int(uniform() * config.values)
                tokens[at : at + 3] = TELL, key, LAST_VALUE - value
                wait = log_uniform(uniform(), 1, config.max_distance)
                pending.append(Pending(at + 2 + wait, at + 2, key, value, kind))
            else:
                continue
            at += 3
        tokens[at : at + n - taken] = content[taken:]
        at += n - taken
    asked = np.array([q for q in questions if q[0] + 1 < length], np.int64).reshape(-1, 2)
    return Stream(tokens[:length].copy(), asked)


def log_uniform(u: float, low: float, high: float) -> float:
    return low * (high / low) ** u


def excerpt(content: np.ndarray, n: int, u: float, grain: int) -> np.ndarray:
    """n bytes from a random multiple of `grain` on, from the beginning again where they end."""
    first = int(u * (len(content) // grain)) * grain
    if first + n <= len(content):
        return content[first : first + n]
    return content[np.arange(first, first + n) % len(content)]


def modality(ids: np.ndarray) -> np.ndarray:
    """Number in `MODALITIES` of the piece that each token stands in, (B, L) -> (B, L) int64; -1 before the first."""
    begins = (ids >= 256) & (ids < TELL)
    last = np.maximum.accumulate(np.where(begins, np.arange(ids.shape[1]), -1), axis=1)  # (B, L) where it began
    return np.where(last < 0, -1, np.take_along_axis(ids, last.clip(0), axis=1).astype(np.int64) - 256)


def token_classes(ids: np.ndarray) -> np.ndarray:
    """Index into `CLASSES` of each token, (B, L) -> (B, L) int64. Bytes before a row's first marker count as text."""
    kind = modality(ids).clip(0)
    kind[ids >= 256] = CLASSES.index("marker")
    for marker, key, value in ((TELL, "key", "value"), (ASK, "question", "answer")):
        found = ids == marker
        kind[:, 1:][found[:, :-1]] = CLASSES.index(key)
        kind[:, 2:][found[:, :-2]] = CLASSES.index(value)
    return kind

"""Associative recall, selective copying and induction: whole chunks of sequences at once, repeatably.

Sequences come in numbered chunks, each drawn from its own random stream, so that a sequence is a function of its
number alone. Only uniform numbers are drawn, whose stream does not depend on NumPy's version.

Ids: 0 a blank, 1 the mark that asks for copies, then keys, values, noise.
"""

from typing import NamedTuple

import numpy as np

from seqboat_lab.config.data import RecallConfig

BLANK, MARK, FIRST_KEY = 0, 1, 2
CHUNK = 256
"""Sequences drawn together."""
SPLIT_NUMBERS = {"train": 0, "val": 1, "test": 2}
CLASSES = ("blank", "key", "value", "noise", "question")
"""What a token is: see `token_classes`."""


class Sequences(NamedTuple):
    """Inputs and what is to be answered."""

    inputs: np.ndarray
    """(n, L) ids."""
    answers: np.ndarray
    """(n, L) id of the right answer at this position; `BLANK` where nothing is asked."""


def vocabulary(config: RecallConfig) -> list[str]:
    """What a person reads for each id."""
    kinds = (("k", config.keys), ("v", config.values), ("n", config.noise_tokens))
    return ["·", "?", *(f"{letter}{i}" for letter, count in kinds for i in range(count))]


def draw_chunk(config: RecallConfig, split: str, number: int) -> Sequences:
    """Chunk `number` of a split's endless stream: `CHUNK` sequences."""
    seed = np.random.SeedSequence([config.generator_seed, SPLIT_NUMBERS[split], number])
    uniform = np.random.Generator(np.random.PCG64(seed)).random
    n, L, P, Q = CHUNK, config.length, config.pairs, config.questions
    c = config.context_length
    first_value, first_noise = FIRST_KEY + config.keys, FIRST_KEY + config.keys + config.values
    rows = np.arange(n)[:, None]

    def any_of(first: int, count: int, *shape: int) -> np.ndarray:
        return first + (uniform(shape) * count).astype(np.int64)

    inputs = {
        "mqar": lambda: np.full((n, L), BLANK),
        "noisy_mqar": lambda: any_of(first_noise, config.noise_tokens, n, L),
        "selective_copying": lambda: any_of(first_noise, config.noise_tokens, n, L),
        "induction": lambda: any_of(first_value, config.values, n, L),
    }[config.variant]()
    answers = np.full((n, L), BLANK)
    if config.variant == "selective_copying":
        data = any_of(first_value, config.values, n, P)
        inputs[rows, np.sort(chosen(uniform((n, c)), P))] = data
        inputs[:, c:] = MARK
        answers[:, c:] = data
        return Sequences(inputs, answers)

    # P disjoint places of two tokens within the context: choose P of c - P slots, then make each one wider
    place = np.sort(chosen(uniform((n, c - P)), P)) + np.arange(P)
    key = FIRST_KEY + chosen(uniform((n, config.keys)), P)  # (n, P), all different
    inputs[rows, place] = key
    if config.variant != "induction":  # there, what happens to follow is the value
        inputs[rows, place + 1] = any_of(first_value, config.values, n, P)
    value = inputs[rows, place + 1]

    # smallest of exponentials at rates p = drawn by p, one after the other without replacement
    weight = np.arange(1, L - c + 1) ** (config.gap_power - 1.0)
    asking = c + chosen(-np.log1p(-uniform((n, L - c))) / weight, Q)
    # every pair is asked for equally often, save that some are asked once more
    rounds = -(-Q // P)
    which = np.concatenate([chosen(uniform((n, P)), P) for _ in range(rounds)], axis=1)[:, :Q]
    inputs[rows, asking] = key[rows, which]
    answers[rows, asking] = value[rows, which]
    return Sequences(inputs, answers)


def chosen(x: np.ndarray, count: int) -> np.ndarray:
    """(n, m) -> the places (n, count) of each row's smallest numbers, the smallest first."""
    return np.argsort(x, axis=1, kind="stable")[:, :count]


def token_classes(config: RecallConfig, ids: np.ndarray) -> np.ndarray:
    """Index into `CLASSES` of each token of whole sequences, (n, L) -> (n, L) int64.

    A key is a question where it stands in its row for the second time or later; marks are questions.
    """
    edges = np.cumsum([BLANK + 1, 1, config.keys, config.values])  # where marks, keys, values, noise begin
    kind = np.array([0, 4, 1, 2, 3])[np.searchsorted(edges, ids, side="right")]
    order = np.argsort(ids, axis=1, kind="stable")
    ordered = np.take_along_axis(ids, order, axis=1)
    again = np.zeros(ids.shape, bool)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return np.where((kind == 1) & again, 4, kind)

"""A plain reader finds every answer where it is said to be, in another modality; splits share nothing."""

import math
from dataclasses import replace

import numpy as np
import pytest

from seqboat_lab.config.data import MultimodalConfig
from seqboat_lab.data.generators.multimodal import CLASSES, MODALITIES, VOCABULARY, Stream, draw_stream, token_classes

SHORT = MultimodalConfig(keys=8, values=4)
LONG = MultimodalConfig(shortest_piece=3, longest_piece=700, facts=5, keys=20, max_distance=3_000)
each = pytest.mark.parametrize("config", [SHORT, LONG, replace(SHORT, facts=9, keys=2)], ids=["short", "long", "keys"])


def contents(first: int = 0) -> list[np.ndarray]:
    """Bytes that tell which modality they are of, and which of its bytes they are."""
    return [(np.arange(first, first + n) % 80 + 80 * i).astype(np.uint8) for i, n in enumerate((500, 777, 2048))]


def draw(config: MultimodalConfig, split: str = "train", length: int = 20_000) -> Stream:
    return draw_stream(config, split, length, contents())


def scan(tokens: np.ndarray) -> tuple[list[tuple[int, int]], list[str]]:
    """Questions that a reader who notes down the facts can answer, and of what kind he thinks each token is."""
    known: dict[int, tuple[int, int, int]] = {}
    questions, kinds, modality, place = [], [], None, 0
    ids = tokens.tolist()
    while place < len(ids):
        token = ids[place]
        if token in (256, 257, 258):
            modality = token - 256
            kinds.append("marker")
        elif token < 256:
            kinds.append(MODALITIES[modality])
        else:
            kinds += ["marker", *(("key", "value") if token == 259 else ("question", "answer"))]
            if place + 2 < len(ids):
                key, value = ids[place + 1 : place + 3]
                if token == 259:
                    known[key] = (place + 2, value, modality)
                else:
                    told, expected, where = known.pop(key)  # asked for once
                    assert value == expected
                    assert where != modality
                    questions.append((place + 1, told))
            place += 2
        place += 1
    return questions, kinds[: len(ids)]


@each
def test_every_question_has_its_answer_in_another_modality_where_it_is_said_to_be(config):
    stream = draw(config)
    questions, _ = scan(stream.tokens)
    assert len(questions) > 100
    assert stream.questions.tolist() == [list(question) for question in questions]
    distances = stream.questions[:, 0] - stream.questions[:, 1]
    assert distances.min() > 1
    assert distances.max() <= config.max_distance


@each
def test_keys_values_and_bytes_are_those_asked_for(config):
    tokens = draw(config).tokens
    assert (tokens.dtype, len(tokens)) == (np.uint16, 20_000)
    assert tokens.max() == VOCABULARY - 1
    tell = np.flatnonzero(tokens[:-2] >= 259)
    assert set(tokens[tell + 1].tolist()) == set(range(config.keys))
    assert set(tokens[tell + 2].tolist()) == {255 - i for i in range(config.values)}
    begins = np.flatnonzero((tokens >= 256) & (tokens < 259))
    kinds = tokens[begins]
    assert (kinds[1:] != kinds[:-1]).all()  # a piece is followed by one of another modality
    assert set(kinds.tolist()) == {256, 257, 258}


@each
def test_pieces_are_excerpts_of_their_modality_of_log_uniform_lengths(config):
    tokens = draw(config).tokens
    lengths, first_of_images = [], set()
    for piece in np.split(tokens, np.flatnonzero((tokens >= 256) & (tokens < 259)))[1:-1]:
        inside, keep = piece[1:], np.ones(len(piece) - 1, bool)
        for place in np.flatnonzero(inside >= 259):
            keep[place : place + 3] = False
        content, kind = inside[keep].astype(int), int(piece[0]) - 256
        assert ((content >= 80 * kind) & (content < 80 * (kind + 1))).all()
        lengths.append(len(content))
        if kind == 2:
            first_of_images.add(int(content[0]))
        assert (np.diff(content) % 80 != 1).sum() <= 1 + len(content) // 500  # where the bytes begin again
    assert first_of_images <= {160, 160 + 1024 % 80}  # an image begins with its first pixel
    assert min(lengths) >= config.shortest_piece
    assert max(lengths) <= config.longest_piece
    middle = math.sqrt(config.shortest_piece * config.longest_piece)
    assert np.mean(np.array(lengths) < middle) == pytest.approx(0.5, abs=0.15)


def test_distances_are_log_uniform_where_pieces_are_short():
    config = MultimodalConfig(shortest_piece=1, longest_piece=2, facts=1, keys=128, max_distance=2**14)
    questions = draw(config, length=60_000).questions
    octaves = np.log2(questions[:, 0] - questions[:, 1]).astype(int)
    counts = np.bincount(octaves, minlength=14)[5:12]
    assert counts.min() > 0.6 * counts.max()


def test_tokens_are_classed_as_a_reader_would():
    tokens = draw(LONG).tokens
    _, kinds = scan(tokens)
    found = token_classes(tokens[None].astype(np.int64))[0]
    assert [CLASSES[i] for i in found] == kinds
    assert set(kinds) == set(CLASSES)


def test_streams_are_functions_of_seed_and_split_and_begin_alike_whatever_their_length():
    first = draw(SHORT)
    assert (draw(SHORT).tokens == first.tokens).all()
    assert (draw(SHORT, length=500).tokens == first.tokens[:500]).all()
    for other in (draw(SHORT, "val"), draw(SHORT, "test"), draw(replace(SHORT, generator_seed=1))):
        assert (other.tokens != first.tokens).mean() > 0.5

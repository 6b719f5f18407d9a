"""Segments: one global order for any number of ranks, nothing twice, streams without gaps."""

import pickle
from itertools import chain, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.loading.batch import IGNORED
from seqboat_lab.data.loading.segments import (
    EvaluationBatches,
    IndependentSegments,
    Request,
    Segments,
    StreamSegments,
    evaluation_blocks,
)

KINDS = {"independent": IndependentSegments, "streams": lambda *a, **k: StreamSegments(*a, streams=12, **k)}


def starts(sampler, batches: int, skip: int = 0) -> list[list[int]]:
    return [[start for start, _, _ in request.blocks] for request in islice(sampler, skip, skip + batches)]


@given(n=st.integers(1, 400), tokens=st.integers(1, 20), size=st.integers(1, 6), world=st.integers(1, 3))
@settings(max_examples=80, deadline=None)
def test_an_epoch_draws_no_byte_twice_and_stays_inside(n, tokens, size, world):
    try:
        ranks = [IndependentSegments(n, tokens, size, 5, rank=r, world=world) for r in range(world)]
    except DataError as error:
        assert "lower data.tokens_per_sample" in str(error)  # noqa: PT017 (hypothesis decides whether it is raised)
        assert n < 2 * tokens * size * world
        return
    count = ranks[0].batches_per_epoch
    for epoch in range(2):
        drawn = [s for rank in ranks for batch in starts(rank, count, epoch * count) for s in batch]
        predictions = np.concatenate([np.arange(s, s + tokens) for s in drawn])
        assert len(np.unique(predictions)) == len(predictions)
        assert predictions.min() >= 0
        assert predictions.max() < n
        assert len(predictions) > n - (size * world + 2) * tokens


def test_epochs_differ_in_order_and_in_where_they_cut():
    sampler = IndependentSegments(1000, 10, 7, seed=1)
    assert sampler.batches_per_epoch == 14
    first, second = starts(sampler, 14), starts(sampler, 14, 14)
    assert {s % 10 for batch in first for s in batch} != {s % 10 for batch in second for s in batch}
    assert starts(IndependentSegments(1000, 10, 7, seed=1), 28) == first + second
    assert starts(IndependentSegments(1000, 10, 7, seed=2), 14) != first


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("world", [2, 3])
def test_the_ranks_batches_joined_are_those_of_one_process(kind, world):
    one = starts(KINDS[kind](2000, 9, 6, 3), 50)
    ranks = [starts(KINDS[kind](2000, 9, 6 // world, 3, rank=r, world=world), 50) for r in range(world)]
    assert [list(chain(*parts)) for parts in zip(*ranks, strict=True)] == one


@pytest.mark.parametrize("kind", KINDS)
def test_any_batch_can_be_the_first(kind):
    whole = list(islice(KINDS[kind](500, 9, 4, 3), 60))
    for start in (1, 13, 40):
        assert list(islice(KINDS[kind](500, 9, 4, 3, start_batch=start), 20)) == whole[start : start + 20]


def test_each_row_of_an_update_reads_one_stream_without_gaps():
    # 12 rows in 3 accumulated batches of 4
    sampler = StreamSegments(2000, 9, 4, 3, streams=12)
    requests = list(islice(sampler, 3 * 3 * sampler.cut.count))  # three passes
    updates = [list(chain(*(r.blocks for r in requests[i : i + 3]))) for i in range(0, len(requests), 3)]
    fresh = [{r.fresh for r in requests[i : i + 3]} for i in range(0, len(requests), 3)]
    places = set()
    for number, (blocks, begins) in enumerate(zip(updates, fresh, strict=True)):
        assert begins == {number % sampler.cut.count == 0}
        for row, (start, stop, first) in enumerate(blocks):
            assert first == start
            assert stop - start == 9
            assert row * (2000 // 12) <= start < stop <= (row + 1) * (2000 // 12)  # no byte in two streams
            if begins == {False}:
                assert start == updates[number - 1][row][1]  # where the row stopped
        if begins == {True}:
            places.add(blocks[0][0])
    assert len(places) > 1  # each pass cuts elsewhere


def test_a_text_too_short_for_its_streams():
    with pytest.raises(DataError, match=r"101 bytes, too few for 12 streams of at least one segment of 9; lower data"):
        StreamSegments(100, 9, 4, 3, streams=12)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_block_is_evaluated_once_over_all_ranks(world):
    blocks = evaluation_blocks(1003, 10, 3)
    ranks = [EvaluationBatches(blocks, 4, rank=r, world=world) for r in range(world)]
    seen = [block for rank in ranks for request in rank for block in request.blocks]
    assert sorted(seen) == blocks
    assert all(len(list(rank)) == len(rank) for rank in ranks)


def test_a_rank_without_a_block_takes_part_with_an_unscored_byte(tmp_path):
    (tmp_path / "text").write_bytes(b"abc")
    (request,) = EvaluationBatches([(0, 2, 0)], 4, rank=1, world=2)
    batch = Segments(tmp_path / "text", 0, 3)[request]
    assert batch.inputs.tolist() == [[ord("a")]]
    assert batch.labels.tolist() == [[IGNORED]]


def test_a_batch_pairs_each_byte_with_the_next_and_ignores_context_and_filling(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"0123456789")
    segments = Segments(path, 2, 10)  # 23456789
    batch = segments[Request([(0, 4, 0), (2, 5, 4)])]
    assert batch.inputs.tolist() == [list(b"2345"), [*b"456", 0]]
    assert batch.labels.tolist() == [list(b"3456"), [IGNORED, IGNORED, ord("7"), IGNORED]]
    again = pickle.dumps(segments)
    assert len(again) < 500  # no bytes of the text travel to workers
    assert bytes(pickle.loads(again).text) == b"23456789"

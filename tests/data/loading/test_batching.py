"""Batches: every sample, little padding, and one global order for any number of ranks and workers."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.loading.batching import EvalBatches, TrainBatches


def some_lengths(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(10, 101, n)


def padding_share(batches, lengths) -> float:
    cells = sum(len(b) * lengths[b].max() for b in batches)
    return 1 - sum(lengths[b].sum() for b in batches) / cells


@given(n=st.integers(1, 300), size=st.integers(1, 40), world=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_an_epoch_has_every_sample_at_most_once_and_leaves_out_less_than_one_batch(n, size, world, seed):
    lengths = some_lengths(n)
    if n < size * world:
        with pytest.raises(DataError, match=r"lower data\.batch_size"):
            TrainBatches(lengths, size, seed, world=world)
        return
    ranks = [TrainBatches(lengths, size, seed, rank=r, world=world) for r in range(world)]
    steps = ranks[0].batches_per_epoch
    drawn = np.concatenate([np.concatenate(list(islice(rank, steps))) for rank in ranks])
    assert len(np.unique(drawn)) == len(drawn) > n - size * world


@pytest.mark.parametrize("world", [2, 3, 8])
def test_the_ranks_batches_joined_are_the_batches_of_one_process(world):
    lengths = some_lengths(1000)
    single = TrainBatches(lengths, 4 * world, seed=7)
    ranks = [TrainBatches(lengths, 4, seed=7, rank=r, world=world) for r in range(world)]
    for joined, *parts in islice(zip(single, *ranks, strict=False), 2 * single.batches_per_epoch):
        assert all(len(part) == 4 for part in parts)
        assert sorted(joined) == sorted(np.concatenate(parts))


@pytest.mark.parametrize(("world", "parts"), [(1, 8), (2, 4), (4, 2)])
def test_accumulated_batches_are_the_shares_of_as_many_processes(world, parts):
    lengths = some_lengths(1000)
    eight = [TrainBatches(lengths, 4, seed=7, rank=r, world=8) for r in range(8)]
    updates = list(islice(zip(*eight, strict=True), 50))
    for rank in range(world):
        batches = TrainBatches(lengths, 4, seed=7, rank=rank, world=world, parts=parts, start_batch=3)
        for number, batch in zip(range(3, 50 * parts), batches, strict=False):
            update, part = divmod(number, parts)
            np.testing.assert_array_equal(batch, updates[update][part * world + rank])


@pytest.mark.parametrize("start", [1, 14, 15, 16, 47])
def test_starting_later_continues_the_same_stream(start):
    lengths = some_lengths(250)  # 15 batches of 16 an epoch
    whole = list(islice(TrainBatches(lengths, 16, seed=3), start + 40))
    resumed = list(islice(TrainBatches(lengths, 16, seed=3, start_batch=start), 40))
    np.testing.assert_array_equal(whole[start:], resumed)


def test_epochs_and_seeds_differ():
    lengths = some_lengths(256)
    one = TrainBatches(lengths, 16, seed=1)
    assert not np.array_equal(one.epoch(0), one.epoch(1))
    assert not np.array_equal(one.epoch(0), TrainBatches(lengths, 16, seed=2).epoch(0))


def test_samples_left_out_of_one_epoch_come_in_others():
    batches = TrainBatches(some_lengths(20), 8, seed=0)
    assert len(np.unique(np.concatenate([batches.epoch(e).ravel() for e in range(10)]))) == 20


def test_training_batches_have_little_padding():
    lengths = some_lengths(8000)
    batches = TrainBatches(lengths, 32, seed=0)
    assert padding_share(batches.epoch(0), lengths) < 0.03
    shuffled = np.random.default_rng(0).permutation(8000).reshape(-1, 32)
    assert padding_share(shuffled, lengths) > 0.4  # what it would be without buckets


def test_batches_of_short_and_long_samples_are_mixed_over_the_epoch():
    lengths = some_lengths(8000)
    longest = np.array([lengths[b].max() for b in TrainBatches(lengths, 32, seed=0).epoch(0)])
    trend = np.corrcoef(np.arange(len(longest)), longest)[0, 1]
    assert abs(trend) < 0.2


@given(n=st.integers(1, 200), size=st.integers(1, 30), world=st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_evaluation_sees_every_sample_exactly_once_over_all_ranks(n, size, world):
    lengths = some_lengths(n)
    if n < world:
        with pytest.raises(DataError, match=rf"has {n} samples for {world} processes; lower trainer\.devices"):
            EvalBatches(lengths, size, rank=0, world=world)
        return
    ranks = [EvalBatches(lengths, size, rank=r, world=world) for r in range(world)]
    seen = [i for rank in ranks for batch in rank for i in batch]
    assert sorted(seen) == list(range(n))
    assert all(1 <= len(batch) <= size for rank in ranks for batch in rank)
    counts = [len(rank) for rank in ranks]
    assert max(counts) - min(counts) <= 1
    if n >= world * max(counts):
        assert max(counts) == min(counts)


def test_evaluation_batches_have_little_padding_and_a_fair_beginning():
    lengths = some_lengths(2000)
    batches = list(EvalBatches(lengths, 32))
    assert padding_share(batches, lengths) < 0.03
    first = np.mean([lengths[b].mean() for b in batches[:16]])
    assert abs(first - lengths.mean()) < 15

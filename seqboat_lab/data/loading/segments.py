"""Pieces of one long text as batches: which bytes make which batch, and how they look to the model.

As in batching.py, a batch is a pure function of the seed and its number, and the ranks' batches joined in order
are the one batch that a single process with a `world`-times larger batch would see.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.loading.batch import IGNORED, Batch

Block = tuple[int, int, int]
"""(start, stop, first_scored), see `evaluation_blocks`."""


def evaluation_blocks(length: int, tokens_per_sample: int, context: int) -> list[tuple[int, int, int]]:
    """Blocks (start, stop, first_scored) that score each of `length` predictions exactly once, in order.

    Prediction t reads byte t of `text` (length + 1,) and is scored against byte t + 1; `text` is what
    `LanguageDataModule.scored_bytes` gives. A block reads text[start:stop] and scores the predictions
    first_scored ... stop - 1. No block reads more than `tokens_per_sample` bytes. The first one scores all it
    reads; each later one begins with the `context` bytes before its first scored prediction, so that a
    prediction never sees fewer than `context` bytes, but at the very start.
    """
    if not 0 <= context < tokens_per_sample:
        raise ValueError(f"context must be from 0 to tokens_per_sample - 1 = {tokens_per_sample - 1}, not {context}")
    blocks, first = [], 0
    while first < length:
        start = max(0, first - context)
        stop = min(start + tokens_per_sample, length)
        blocks.append((start, stop, first))
        first = stop
    return blocks


class Request(NamedTuple):
    """One batch to be read."""

    blocks: list[Block]
    fresh: bool = True
    """See `Batch.fresh`."""


class Segments(Dataset[Batch]):
    """Batches of the n predictions of text[0 .. n], the bytes `start` to `stop` of a file, memory-mapped.

    Pickles as its arguments, so handing it to loader workers copies no data.
    """

    def __init__(self, path: Path, start: int, stop: int):
        self.arguments = (path, start, stop)
        self.text = map_bytes(path, start, stop)  # (n + 1,)

    def __reduce__(self):
        return Segments, self.arguments

    def __getitem__(self, request: Request) -> Batch:
        """Blocks side by side; the shorter ones are filled up at the end, where a causal model sees it nowhere."""
        length = max(stop - start for start, stop, _ in request.blocks)
        inputs = np.zeros((len(request.blocks), length), np.int64)
        labels = np.full_like(inputs, IGNORED)
        for row, (start, stop, first) in enumerate(request.blocks):
            inputs[row, : stop - start] = self.text[start:stop]
            labels[row, first - start : stop - start] = self.text[first + 1 : stop + 1]
        return Batch(torch.from_numpy(inputs), None, torch.from_numpy(labels), request.fresh)


def map_bytes(path: Path, start: int, stop: int) -> np.ndarray:
    """The bytes `start` to `stop` of a file as a read-only memory map."""
    return np.memmap(path, np.uint8, "r", offset=start, shape=(stop - start,))


class Cut(NamedTuple):
    """How a text is cut into segments: `count` a pass, the first one up to `slack` predictions late."""

    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody calls
    slack: int


def cut(predictions: int, tokens: int) -> Cut:
    """Where it can, it gives up one segment, so that each pass can cut at other places."""
    count = predictions // tokens
    count -= count > 1
    return Cut(count, min(tokens - 1, predictions - count * tokens))


class IndependentSegments(Sampler[Request]):
    """Endless shuffled segments of one rank, from batch number `start_batch` on.

    Each epoch cuts at other places and draws every segment at most once; those that would fill no update's batch, of
    `parts` batches of every rank, are left out, others in each epoch.
    """

    def __init__(
        self, predictions: int, tokens: int, batch_size: int, seed: int, *,
        rank: int = 0, world: int = 1, parts: int = 1, start_batch: int = 0,
    ):  # fmt: skip
        self.tokens, self.batch_size, self.seed = tokens, batch_size, seed
        self.rank, self.world, self.parts, self.start_batch = rank, world, parts, start_batch
        self.cut = cut(predictions, tokens)
        self.global_size = batch_size * world * parts
        self.batches_per_epoch = self.cut.count // self.global_size
        if self.batches_per_epoch == 0:
            raise DataError(
                f"the training split has {predictions + 1:,} bytes, which make {self.cut.count} segments of "
                f"{tokens:,}, fewer than one batch of {self.global_size}; lower data.tokens_per_sample or "
                "data.batch_size, or give more text"
            )

    def epoch(self, epoch: int) -> np.ndarray:
        """The batches of an epoch's updates: (batches_per_epoch, global_size) first predictions."""
        rng = np.random.default_rng([self.seed, epoch])
        late = rng.integers(self.cut.slack + 1)
        order = rng.permutation(self.cut.count)[: self.batches_per_epoch * self.global_size]
        return late + self.tokens * order.reshape(-1, self.global_size)

    def __iter__(self) -> Iterator[Request]:
        number, current = self.start_batch, None
        while True:
            update, part = divmod(number, self.parts)
            epoch, position = divmod(update, self.batches_per_epoch)
            if epoch != current:
                current, starts = epoch, self.epoch(epoch)
            mine = starts[position, (part * self.world + self.rank) * self.batch_size :][: self.batch_size]
            yield Request([(int(start), int(start) + self.tokens, int(start)) for start in mine])
            number += 1


class StreamSegments(Sampler[Request]):
    """Endless segments in reading order: `streams` equal parts of the text, one for each row of an update.

    A batch takes the next segment of its rows. An update that is accumulated over several batches has other
    rows in each, which return with the next update. At the end of the text all begin again, cut elsewhere.
    """

    def __init__(
        self, predictions: int, tokens: int, batch_size: int, seed: int, *,
        streams: int, rank: int = 0, world: int = 1, start_batch: int = 0,
    ):  # fmt: skip
        self.tokens, self.batch_size, self.seed, self.world = tokens, batch_size, seed, world
        self.rank, self.start_batch = rank, start_batch
        self.batches_per_update = streams // (batch_size * world)
        self.stream_length = predictions // streams
        self.cut = cut(self.stream_length, tokens)
        if self.cut.count == 0:
            raise DataError(
                f"the training split has {predictions + 1:,} bytes, too few for {streams} streams of at least one "
                f"segment of {tokens:,}; lower data.tokens_per_sample or data.batch_size, or give more text"
            )

    def __iter__(self) -> Iterator[Request]:
        number = self.start_batch
        while True:
            update, part = divmod(number, self.batches_per_update)
            epoch, segment = divmod(update, self.cut.count)
            late = int(np.random.default_rng([self.seed, epoch]).integers(self.cut.slack + 1))
            row = (part * self.world + self.rank) * self.batch_size
            starts = [(row + i) * self.stream_length + late + segment * self.tokens for i in range(self.batch_size)]
            yield Request([(start, start + self.tokens, start) for start in starts], fresh=segment == 0)
            number += 1


UNSCORED: Block = (0, 1, 1)


class EvaluationBatches(Sampler[Request]):
    """Every block exactly once over all ranks, in a fixed random order: the first few are a fair sample.

    A rank that there is no block for reads a byte, unscored: the others would wait for its sums for ever.
    """

    def __init__(self, blocks: list[Block], batch_size: int, *, rank: int = 0, world: int = 1):
        order = np.random.default_rng(0).permutation(len(blocks))[rank::world]
        self.batches = [[blocks[i] for i in order[k : k + batch_size]] for k in range(0, len(order), batch_size)]
        self.batches = self.batches or [[UNSCORED]]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Request]:
        return (Request(blocks) for blocks in self.batches)


class StreamPass(Sampler[Request]):
    """Once through a text in `streams` equal parts, in reading order: what a rank's rows carry goes from each batch to
    the next, until the next of its rows begin. Whatever the segments, the same is read: the last ones are shorter, and
    the fewer than `streams` tokens behind the last part are left out.
    """

    def __init__(
        self, predictions: int, tokens: int, batch_size: int, *, streams: int, rank: int = 0, world: int = 1
    ):  # fmt: skip
        self.tokens, self.batch_size, self.rank, self.world = tokens, batch_size, rank, world
        self.parts = streams // (batch_size * world)
        self.stream_length = predictions // streams
        if self.stream_length == 0:
            raise DataError(
                f"the split has {predictions + 1:,} tokens, too few for {streams} streams; lower data.batch_size, or "
                "make more"
            )

    def __len__(self) -> int:
        return self.parts * -(-self.stream_length // self.tokens)

    def __iter__(self) -> Iterator[Request]:
        for part in range(self.parts):
            first = (part * self.world + self.rank) * self.batch_size
            rows = [(first + i) * self.stream_length for i in range(self.batch_size)]
            for at in range(0, self.stream_length, self.tokens):
                stop = min(at + self.tokens, self.stream_length)
                yield Request([(row + at, row + stop, row + at) for row in rows], fresh=at == 0)

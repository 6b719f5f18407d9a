"""Which samples make which batch: a pure function of the seed and the batch's number.

Nothing here depends on workers. The batch of an update is cut into shares, one for each rank and each of the `parts`
that are accumulated: a share is what it is however many of them are taken at once, and how many one after the other.
"""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from seqboat_lab.data.files.errors import DataError

POOL = 64
"""Batches whose samples are sorted by length together: more leave less padding but mix lengths less."""


class TrainBatches(Sampler[np.ndarray]):
    """Endless length-bucketed batches of one rank, from batch number `start_batch` on.

    Each epoch draws every sample at most once, shuffled by (seed, epoch); the n % (batch_size * world * parts)
    samples that would fill no update's batch are left out, others in each epoch. `parts` batches make an update.
    Setting `start_batch` to the number of batches already consumed resumes exactly.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        world: int = 1,
        parts: int = 1,
        start_batch: int = 0,
    ):
        self.lengths, self.seed = lengths, seed
        self.rank, self.world, self.parts, self.start_batch = rank, world, parts, start_batch
        self.global_size = batch_size * world * parts
        self.batches_per_epoch = len(lengths) // self.global_size
        if self.batches_per_epoch == 0:
            raise DataError(
                f"the training split has {len(lengths)} samples, fewer than one batch of {self.global_size}; "
                "lower data.batch_size or make more data"
            )

    def epoch(self, epoch: int) -> np.ndarray:
        """The batches of an epoch's updates: (batches_per_epoch, global_size) sample indices."""
        rng = np.random.default_rng([self.seed, epoch])
        size, count = self.global_size, self.batches_per_epoch
        order = rng.permutation(len(self.lengths))[: count * size]
        for start in range(0, len(order), POOL * size):
            pool = order[start : start + POOL * size]  # a view: sorted in place
            pool[:] = pool[np.argsort(self.lengths[pool], kind="stable")]
        return rng.permutation(order.reshape(count, size), axis=0)

    def __iter__(self) -> Iterator[np.ndarray]:
        number, current = self.start_batch, None
        while True:
            update, part = divmod(number, self.parts)
            epoch, position = divmod(update, self.batches_per_epoch)
            if epoch != current:
                current, batches = epoch, self.epoch(epoch)
            # An update's batch is sorted by length, so strided shares cost all ranks the same.
            yield batches[position, part * self.world + self.rank :: self.parts * self.world]
            number += 1


class EvalBatches(Sampler[np.ndarray]):
    """Every sample exactly once over all ranks, in batches of similar length and at most `batch_size`.

    The batches come in a fixed random order: the first few are a fair sample of all lengths. Ranks have the
    same number of batches, save that some lack one where there are not enough samples for all. A rank without any
    would let the others wait for its sums for ever: that is a `DataError`, on every rank.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, *, rank: int = 0, world: int = 1):
        if len(lengths) < world:
            raise DataError(
                f"the evaluation split has {len(lengths)} samples for {world} processes; "
                "lower trainer.devices or make more data"
            )
        count = -(-len(lengths) // (batch_size * world))
        share = np.argsort(lengths, kind="stable")[rank::world]
        order = np.random.default_rng(0).permutation(count)  # the same on all ranks
        pieces = np.array_split(share, count)
        self.batches = [pieces[i] for i in order if len(pieces[i])]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.batches)

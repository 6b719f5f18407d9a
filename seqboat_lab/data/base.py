"""What every task has in common: the batch, the task's description, and the DataModule that loads batches."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler

from seqboat_lab.config import DataConfig
from seqboat_lab.data.batching import EvalBatches, TrainBatches
from seqboat_lab.data.errors import DataError
from seqboat_lab.data.files import locked, readable, reading
from seqboat_lab.data.progress import counted
from seqboat_lab.data.store import Store, is_complete, write_store

SPLITS = ("train", "val", "test")
Split = Literal["train", "val", "test"]


IGNORED = -100
"""Label of a position that is not to be scored."""


class Batch(NamedTuple):
    """What a model is given."""

    inputs: torch.Tensor
    """(B, L) int64 ids or float32 real values; pairs (2B, L): all first documents, then all second ones."""
    padding_mask: torch.Tensor | None
    """(B, L) bool like `inputs`, True = padding; None when nothing is padded, and of text, whose labels tell."""
    labels: torch.Tensor
    """(B,) int64 class; of text and single tokens (B, L), the right answer, `IGNORED` where none is to be scored."""
    fresh: bool = True
    """The rows begin here, with no state; False: they go on where the last batch of the same rows ended."""


@dataclass(frozen=True)
class TaskSpec:
    """What a model must know about a task."""

    vocab_size: int | None
    """Number of ids (id 0 = padding, but in text, which has none); None for real-valued inputs."""
    num_classes: int
    """Labels are 0 ... num_classes - 1."""
    head: Literal["classifier", "pair", "language_model", "tokens"]
    """What the network ends in."""
    max_length: int
    """No sequence is longer."""

    @property
    def vocabulary_per_token(self) -> int:
        """Logits that the model gives for every token; 0 if it gives some only for whole sequences."""
        return self.num_classes if self.head in ("language_model", "tokens") else 0


@dataclass(frozen=True)
class Official:
    """Where official files come from and where they lie."""

    archive: str
    """Key of the archive in sources.SOURCES."""
    members: tuple[str, ...]
    """Directories inside the archive that hold the task, the preferred one first."""
    place: str
    """Directory under the data root that they are unpacked to."""
    needed: tuple[str, ...]
    """Files and directories that are all there when the task is."""
    wanted: str = ""
    """Regular expression of the members' paths to unpack; empty = all."""
    single_file: bool = False
    """The archive is a zip of one file, or that file itself."""
    size: int | None = None
    """Bytes of that one file."""

    def is_whole(self, place: Path) -> bool:
        """Whether a directory has all that is needed."""
        return all((place / name).exists() for name in self.needed)


class StoreDataset(Dataset[Batch]):
    """Whole batches from a store: indexed by the sample numbers of a batch."""

    def __init__(self, store: Store, max_length: int, encode: Callable[..., torch.Tensor]):
        self.store, self.max_length, self.encode = store, max_length, encode

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, samples: Sequence[int] | np.ndarray) -> Batch:
        values, lengths = self.store.gather(samples, self.max_length)  # (B, L), (B,); pairs (2B, L), (2B,)
        padding = np.arange(values.shape[1]) >= lengths[:, None]  # (B, L)
        if not padding.any():
            padding = None
        mask = None if padding is None else torch.from_numpy(padding)
        labels = torch.from_numpy(np.asarray(self.store.labels[np.asarray(samples)], dtype=np.int64))
        return Batch(self.encode(values, padding), mask, labels)


class TaskDataModule(LightningDataModule):
    """Loads the batches of one task.

    config: the task's section of the experiment.
    seed: decides the order of training; equal seeds give equal batches for any number of workers and, joined
        over the ranks, for any number of processes with the same global batch.
    batch_size: sequences per process and backward pass.
    Set `start_batch` before `fit` to the number of batches already consumed: training resumes exactly there.
    """

    name: ClassVar[str]
    """The task's key in TASKS."""

    def __init__(self, config: DataConfig, *, seed: int, batch_size: int):
        super().__init__()
        self.config, self.seed, self.batch_size = config, seed, batch_size
        self.start_batch = 0
        self.processes: int | None = None  # for generating and reading; null = all CPUs

    @property
    def spec(self) -> TaskSpec:
        raise NotImplementedError

    @property
    def official(self) -> Official | None:
        """Which official files this configuration reads; None if it reads none."""
        return None

    @property
    def variant(self) -> str:
        """Name of the prepared data: settings that need different files need different names."""
        raise NotImplementedError

    @property
    def place(self) -> Path:
        """Where this configuration's data is, or would be."""
        raise NotImplementedError

    def sizes(self) -> dict[str, int]:
        """How much each split has, of data that is ready to be loaded. Raises `DataError` if it is not."""
        raise NotImplementedError

    def decode(self, ids: Sequence[int]) -> list[str]:
        """What a person reads at each position."""
        raise NotImplementedError

    @property
    def command(self) -> str:
        """What a user types to prepare this data."""
        return f"seqboat data prepare {self.name}"

    def official_directory(self) -> Path:
        """Where the official files are, or (where none are) should be."""
        root, official = Path(self.config.root), self.official
        places = [root / place for place in dict.fromkeys([*filter(None, official.members), official.place])]
        whole = [place for place in places if official.is_whole(place)]
        return (whole or [place for place in places if place.is_dir()] or places[-1:])[0]

    def missing(self, path: Path, alternative: str) -> DataError:
        """The error for official data that is not there."""
        return DataError(
            f"{path}: no such file; run `{self.command}` (with `--from ARCHIVE` if you have "
            f"{self.official.archive} already), or {alternative} (no network needed)"
        )

    def val_dataloader(self) -> DataLoader:
        return self.evaluation_dataloader("val")

    def test_dataloader(self) -> DataLoader:
        return self.evaluation_dataloader("test")

    def evaluation_dataloader(self, split: Split) -> DataLoader:
        """This rank's share of the split's batches: over all ranks, everything exactly once."""
        raise NotImplementedError

    def loader(self, dataset: Dataset[Batch], sampler: Sampler) -> DataLoader:
        """Batches of a dataset that returns whole ones."""
        workers = self.config.num_workers
        return DataLoader(
            dataset,
            sampler=sampler,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


class SequenceDataModule(TaskDataModule):
    """Samples in stores, one per split. A task says where its samples are and what they look like."""

    dtype: ClassVar[type] = np.uint8
    """How values are stored."""
    parts: ClassVar[int] = 1
    """Sequences per sample."""

    def __init__(self, config: DataConfig, *, seed: int, batch_size: int):
        super().__init__(config, seed=seed, batch_size=batch_size)
        self.facts: dict[str, Any] = {}
        self.stores: dict[str, Store] = {}

    # What a task defines ------------------------------------------------------------------------------------

    def prepare_source(self) -> None:
        """Make what can be made without a network (generated data). Called before `fingerprint`."""

    def fingerprint(self, split: Split) -> dict[str, Any]:
        """What the split's store is made from. Raises `DataError` if the source is missing."""
        raise NotImplementedError

    def samples(self, split: Split) -> Iterator[tuple[Sequence[np.ndarray], int]]:
        """The split's samples: their parts and their label. Raises `DataError` with file and line.

        What it puts into `self.facts` is kept in the store's `info`.
        """
        raise NotImplementedError

    def encoder(self) -> Callable[..., torch.Tensor]:
        """How stored values become inputs (see encode.py)."""
        raise NotImplementedError

    # What all tasks share -----------------------------------------------------------------------------------

    @property
    def place(self) -> Path:
        return self.store_path("train").parent if self.official is None else self.official_directory()

    def sizes(self) -> dict[str, int]:
        return {split: len(Store(self.store_path(split))) for split in SPLITS}

    def store_path(self, split: Split) -> Path:
        return Path(self.config.root) / "prepared" / self.name / self.variant / split

    def prepare_data(self) -> None:
        """Build what is missing. Any number of processes may call it at the same time."""
        self.prepare_source()
        for split in SPLITS:
            path = self.store_path(split)
            with reading(self.place):
                fingerprint = self.fingerprint(split)
            if is_complete(path, fingerprint):
                continue
            with locked(path):
                if not is_complete(path, fingerprint):  # another process may have been first
                    self.facts = {}
                    samples = readable(self.samples(split), self.place)
                    samples = counted(samples, f"preparing {self.name} ({split})")
                    write_store(path, samples, self.dtype, fingerprint, self.parts, self.facts)

    def setup(self, stage: str | None = None) -> None:
        """Open the stores (memory maps: at once)."""
        for split in SPLITS:
            self.stores[split] = Store(self.store_path(split))

    def train_dataloader(self) -> DataLoader:
        """An endless stream of this rank's batches from `start_batch` on."""
        rank, world = rank_and_world()
        sampler = TrainBatches(
            self._lengths("train"), self.batch_size, self.seed,
            rank=rank, world=world, start_batch=self.start_batch,
        )  # fmt: skip
        return self.loader(self.dataset("train"), sampler)

    def dataset(self, split: Split) -> StoreDataset:
        """The split's batches by sample numbers: `dataset(split)[[3, 7]]`."""
        if split not in self.stores:
            raise DataError(f"{self.name}: call setup() before asking for the {split} split")
        return StoreDataset(self.stores[split], self.spec.max_length, self.encoder())

    def evaluation_dataloader(self, split: Split) -> DataLoader:
        rank, world = rank_and_world()
        batches = EvalBatches(self._lengths(split), self.batch_size, rank=rank, world=world)
        return self.loader(self.dataset(split), batches)

    def _lengths(self, split: Split) -> np.ndarray:
        return np.minimum(self.stores[split].lengths(), self.spec.max_length)


_planned = 1


@contextmanager
def as_first_of(world: int) -> Iterator[None]:
    """Within it, data is dealt out as to the first of `world` processes, which need not have been started."""
    global _planned
    before, _planned = _planned, world
    try:
        yield
    finally:
        _planned = before


def rank_and_world() -> tuple[int, int]:
    """This process's number and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, _planned

"""What every task has in common: the DataModule that loads batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, Dataset, Sampler

from seqboat_lab.config import DataConfig
from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.files.files import locked, readable, reading, user_path, writing
from seqboat_lab.data.files.official import Official
from seqboat_lab.data.files.origin import FEW, scan
from seqboat_lab.data.files.progress import counted
from seqboat_lab.data.loading.batch import SPLITS, Batch, Split, TaskSpec
from seqboat_lab.data.loading.batching import EvalBatches, TrainBatches
from seqboat_lab.data.loading.store import Store, is_complete, is_undamaged, made_from, write_store
from seqboat_lab.data.loading.workers import leave_sigterm_to_the_run


class StoreDataset(Dataset[Batch]):
    """Whole batches from a store: indexed by the sample numbers of a batch."""

    def __init__(self, store: Store, max_length: int, encode: Callable[..., torch.Tensor]):
        self.store, self.max_length, self.encode = store, max_length, encode

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, samples: Sequence[int] | np.ndarray) -> Batch:
        values, lengths = self.store.gather(samples, self.max_length)  # (B, L), (B,); pairs (2B, L), (2B,)
        beyond = np.arange(values.shape[1]) >= lengths[:, None]  # (B, L)
        padding = beyond if beyond.any() else None
        mask = None if padding is None else torch.from_numpy(padding)
        labels = torch.from_numpy(np.asarray(self.store.labels[np.asarray(samples)], dtype=np.int64))
        return Batch(self.encode(values, padding), mask, labels)


class TaskDataModule:
    """Loads the batches of one task. `training.lightning_data` hands it to Lightning.

    config: the task's section of the experiment.
    seed: decides the order of training; equal seeds give equal batches for any number of workers and, joined
        over the ranks, for any number of processes with the same global batch.
    batch_size: sequences per process and backward pass.
    Set `accumulate` to the batches that each process takes for one update: equal seeds and equal batches of an update
    then give equal shares, on however many processes.
    Set `start_batch` before `fit` to the number of batches already consumed: training resumes exactly there.
    """

    name: str
    """The task's key in TASKS."""
    token_classes: Sequence[str] = ()
    """Kinds of token whose activation a run tells apart, such as operators and digits; none of pixels and waves."""

    def __init__(self, config: DataConfig, *, seed: int, batch_size: int):
        self.config, self.seed, self.batch_size = config, seed, batch_size
        self.start_batch = 0
        self.accumulate = 1
        self.processes: int | None = None  # for generating and reading; null = all CPUs
        self.thorough = False  # whether `prepare_data` looks at every byte and file, however many (`data prepare`)

    @property
    def root(self) -> Path:
        """Directory of all tasks' files."""
        return user_path(self.config.root)

    def prepare_data(self) -> None:
        """Make what has to be there before `setup`, if anything: called once a machine. Raises `DataError`."""

    def setup(self, stage: str | None = None) -> None:
        """Open what `prepare_data` left, if it has to be opened."""

    @property
    def spec(self) -> TaskSpec:
        """What a model must know. A task that learns it from its files prepares them for it; raises `DataError`."""
        raise NotImplementedError

    @property
    def head(self) -> Literal["classifier", "pair", "language_model", "tokens"]:
        """What the network ends in: known before any file is there."""
        return self.spec.head

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

    def token_class(self, ids: torch.Tensor) -> torch.Tensor:
        """Index into `token_classes` of each token of whole sequences, (B, L) -> (B, L)."""
        raise NotImplementedError

    @property
    def command(self) -> str:
        """What a user types to prepare this data."""
        return f"seqboat data prepare {self.name}"

    def official_directory(self) -> Path:
        """Where the official files are, or (where none are) should be."""
        root, official = self.root, self.official
        assert official is not None  # not to be asked of others
        places = [root / place for place in dict.fromkeys([*filter(None, official.members), official.place])]
        whole = [place for place in places if official.is_whole(place)]
        return (whole or [place for place in places if place.is_dir()] or places[-1:])[0]

    def missing(self, path: Path, alternative: str) -> DataError:
        """The error for official data that is not there."""
        assert self.official is not None
        return DataError(
            f"{path}: no such file; run `{self.command}` (with `--from ARCHIVE` if you have "
            f"{self.official.archive} already), or {alternative} (no network needed)"
        )

    def train_dataloader(self) -> Iterable[Batch]:
        return self.training_loader(*rank_and_world())

    def val_dataloader(self) -> DataLoader:
        return self.evaluation_dataloader("val")

    def test_dataloader(self) -> DataLoader:
        return self.evaluation_dataloader("test")

    def evaluation_dataloader(self, split: Split) -> DataLoader:
        """This process's share of the split's batches."""
        return self.evaluation_loader(split, *rank_and_world())

    def training_loader(self, rank: int, world: int) -> Iterable[Batch]:
        """An endless stream of the batches of one of `world` processes, from `start_batch` on. Raises `DataError` if
        there is too little for so many."""
        raise NotImplementedError

    def evaluation_loader(self, split: Split, rank: int, world: int) -> DataLoader:
        """The same of a split's batches: over all processes, everything exactly once."""
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
            worker_init_fn=leave_sigterm_to_the_run,
            pin_memory=torch.cuda.is_available(),
        )


class SequenceDataModule(TaskDataModule):
    """Samples in stores, one per split. A task says where its samples are and what they look like."""

    dtype: type = np.uint8
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

    def places(self, split: Split) -> Sequence[Path]:
        """Folders with files of the source that `fingerprint` does not name one by one (see origin.py)."""
        return ()

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
        return self.root / "prepared" / self.name / self.variant / split

    def prepare_data(self) -> None:
        """Build what is missing, damaged, or made from other files than are there (see origin.py for what is looked
        at). Any number of processes may call it at the same time."""
        with writing(self.root):
            self.prepare_source()
        for split in SPLITS:
            if self._is_current(split):
                continue
            with locked(self.store_path(split)):
                if not self._is_current(split):  # another process may have been first
                    self._write_store(split)

    def _is_current(self, split: Split) -> bool:
        path = self.store_path(split)
        with reading(self.place):
            if not is_complete(path, self.fingerprint(split)):
                return False
            made = made_from(path)
            if made and (self.thorough or made["files"] <= FEW) and made != scan(self.places(split)):
                return False
            return not self.thorough or is_undamaged(path)

    def _write_store(self, split: Split) -> None:
        self.facts = {}
        with reading(self.place):
            fingerprint, places = self.fingerprint(split), self.places(split)
            made = scan(places) if places else None  # before the first sample: what changes meanwhile is noticed later
        samples = counted(readable(self.samples(split), self.place), f"preparing {self.name} ({split})")
        write_store(self.store_path(split), samples, self.dtype, fingerprint, self.parts, self.facts, made)

    def setup(self, stage: str | None = None) -> None:
        """Open the stores (memory maps: at once)."""
        for split in SPLITS:
            self.stores[split] = Store(self.store_path(split))

    def training_loader(self, rank: int, world: int) -> DataLoader:
        sampler = TrainBatches(
            self._lengths("train"), self.batch_size, self.seed,
            rank=rank, world=world, parts=self.accumulate, start_batch=self.start_batch,
        )  # fmt: skip
        return self.loader(self.dataset("train"), sampler)

    def dataset(self, split: Split) -> StoreDataset:
        """The split's batches by sample numbers: `dataset(split)[[3, 7]]`."""
        if split not in self.stores:
            raise DataError(f"{self.name}: call setup() before asking for the {split} split")
        return StoreDataset(self.stores[split], self.spec.max_length, self.encoder())

    def evaluation_loader(self, split: Split, rank: int, world: int) -> DataLoader:
        batches = EvalBatches(self._lengths(split), self.batch_size, rank=rank, world=world)
        return self.loader(self.dataset(split), batches)

    def _lengths(self, split: Split) -> np.ndarray:
        return np.minimum(self.stores[split].lengths(), self.spec.max_length)


def rank_and_world() -> tuple[int, int]:
    """This process's number and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1

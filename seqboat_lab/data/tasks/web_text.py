"""Web corpora streamed from Hugging Face `datasets`: C4, The Pile, or any with a column of text.

Validation and test are the first bytes of the held-out split, kept in a file and scored like any other text (the very
first byte, which nothing precedes, is not predicted).
Training reads one endless text per row of the global batch: the documents of that row's shards, so that what a row
reads depends neither on the number of processes nor on that of loader workers.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from seqboat_lab.config.data import WebTextConfig
from seqboat_lab.data.files import sources
from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.files.files import landing, locked
from seqboat_lab.data.loading.batch import Batch, Split
from seqboat_lab.data.loading.workers import leave_sigterm_to_the_run
from seqboat_lab.data.tasks.language import LanguageDataModule

KNOWN = {"c4": ("allenai/c4", "en"), "pile": ("monology/pile-uncopyrighted", None)}
"""Short names: the data set and its usual subset on the hub."""


def open_split(config: WebTextConfig, split: str) -> Any:
    """The `IterableDataset` of a split."""
    name, subset = KNOWN.get(config.dataset, (config.dataset, None))
    return sources.open_web_dataset(name, config.subset or subset, split)


def texts(dataset: Any, config: WebTextConfig) -> Iterator[str]:
    """The text of each document. By `iter`, for an iterator of its own would give each loader worker a part."""
    for documents in dataset.iter(batch_size=16):
        for text in documents.get(config.text_column, [None]):
            if not isinstance(text, str):
                raise DataError(
                    f"data.dataset={config.dataset}: a document has no text in the column {config.text_column!r}; "
                    f"its columns are {', '.join(documents)}: set data.text_column"
                )
            yield text


def row_texts(dataset: Any, row: int, config: WebTextConfig) -> Iterator[str]:
    """The documents of one of the batch's rows: those of its own shards, or where there are more rows than shards,
    its share of a shard's documents. Every document belongs to exactly one row."""
    rows = config.batch_size
    shards = min(rows, getattr(dataset, "num_shards", None) or dataset.n_shards)
    sharers = len(range(row % shards, rows, shards))
    shard = dataset.shard(num_shards=shards, index=row % shards)
    return islice(texts(shard, config), row // shards, None, sharers)


def with_separator(documents: Iterable[str], config: WebTextConfig) -> Iterator[bytes]:
    """Each document in UTF-8 with the separator behind it."""
    return ((document + config.separator).encode(errors="replace") for document in documents)


def row_segments(documents: Callable[[], Iterator[bytes]], tokens: int, skip: int = 0) -> Iterator[np.ndarray]:
    """An endless text in segments of `tokens` + 1 bytes, each beginning with the last byte of the one before; after
    the last document the first one comes again. `skip` segments are read without being given."""
    held, unread = b"", skip * tokens
    while True:
        read = 0
        for document in documents():
            read += len(document)
            held += document
            dropped = min(unread, len(held))
            held, unread = held[dropped:], unread - dropped
            while len(held) > tokens:
                yield np.frombuffer(held[: tokens + 1], np.uint8)
                held = held[tokens:]
        if not read:
            raise DataError("data.dataset: a row of the batch has no documents to read; lower data.batch_size")


class WebSegments(IterableDataset[Batch]):
    """Endless batches of one rank, from batch number `start_batch` on; each loader worker makes some of its rows."""

    def __init__(
        self, config: WebTextConfig, batch_size: int, seed: int, *, rank: int = 0, world: int = 1, start_batch: int = 0
    ):
        self.config, self.batch_size, self.seed = config, batch_size, seed
        self.rank, self.world, self.start_batch = rank, world, start_batch
        self.batches_per_update = config.batch_size // (batch_size * world)

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        mine = range(self.batch_size)[slice(None) if info is None else slice(info.id, None, info.num_workers)]
        dataset = open_split(self.config, self.config.train_split)
        if self.config.shuffle_buffer:
            dataset = dataset.shuffle(seed=self.seed, buffer_size=self.config.shuffle_buffer)
        number, rows = self.start_batch, {}
        while True:
            update, part = divmod(number, self.batches_per_update)
            if part not in rows:
                first = (part * self.world + self.rank) * self.batch_size
                rows[part] = [self.segments(dataset, first + i, skip=update) for i in mine]
            pieces = torch.from_numpy(np.stack([next(row) for row in rows[part]]).astype(np.int64))  # (rows, T + 1)
            yield Batch(pieces[:, :-1], None, pieces[:, 1:], fresh=update == 0)
            number += 1

    def segments(self, dataset: Any, row: int, skip: int) -> Iterator[np.ndarray]:
        def documents() -> Iterator[bytes]:
            return with_separator(row_texts(dataset, row, self.config), self.config)

        return row_segments(documents, self.config.tokens_per_sample, skip)


class JoinedWorkers:
    """Whole batches from a loader whose workers make every `workers`-th row each."""

    def __init__(self, loader: DataLoader, workers: int):
        self.loader, self.workers = loader, workers

    def __iter__(self) -> Iterator[Batch]:
        pieces = iter(self.loader)  # workers take turns
        while True:
            turn = [next(pieces) for _ in range(self.workers)]
            inputs, labels = (_interleave([getattr(p, name) for p in turn]) for name in ("inputs", "labels"))
            yield Batch(inputs, None, labels, turn[0].fresh)


def _interleave(parts: list[torch.Tensor]) -> torch.Tensor:
    """Row i of part w becomes row i * len(parts) + w."""
    joined = parts[0].new_empty(sum(map(len, parts)), *parts[0].shape[1:])
    for w, part in enumerate(parts):
        joined[w :: len(parts)] = part
    return joined


class WebTextDataModule(LanguageDataModule):
    """A stream to train on, a file to evaluate on. Resuming reads again, and drops, what was read before."""

    name = "web_text"
    config: WebTextConfig

    @property
    def variant(self) -> str:
        c = self.config
        settings = (c.dataset, c.subset, c.held_out_split, c.text_column, c.separator, c.val_bytes, c.test_bytes)
        return f"{Path(c.dataset).name}-{sha256(json.dumps(settings).encode()).hexdigest()[:8]}"

    @property
    def place(self) -> Path:
        return self.root / "prepared" / self.name / self.variant

    def text_file(self) -> Path:
        if not self.place.is_file():
            raise DataError(f"{self.place}: no such file; run `{self.command}`")
        size, expected = self.place.stat().st_size, self.config.val_bytes + self.config.test_bytes
        if size != expected:
            raise DataError(
                f"{self.place}: has {size:,} bytes, expected {expected:,}; delete it and run `{self.command}`"
            )
        return self.place

    def split_bounds(self) -> dict[str, tuple[int, int]]:
        """Of what is on disk: the training split is not."""
        self.text_file()
        val, test = self.config.val_bytes, self.config.test_bytes
        return {"val": (0, val), "test": (val, val + test)}

    def bounds_of(self, split: Split) -> tuple[int, int]:
        if split == "train":
            raise DataError("web_text: the training split is streamed and has no bytes on disk; use its loader")
        return super().bounds_of(split)

    def prepare_data(self) -> None:
        """Fetch the held-out bytes, unless they are there."""
        if self.place.is_file():
            return
        with locked(self.place):
            if not self.place.is_file():  # another process may have been first
                self._fetch()

    def _fetch(self) -> None:
        c, missing = self.config, self.config.val_bytes + self.config.test_bytes
        with landing(self.place) as temporary, open(temporary, "wb") as file:
            for text in with_separator(texts(open_split(c, c.held_out_split), c), c):
                missing -= file.write(text[:missing])
                if not missing:
                    return
            raise DataError(
                f"data.dataset={c.dataset}: its split {c.held_out_split!r} ends {missing:,} bytes too early for "
                f"data.val_bytes + data.test_bytes = {c.val_bytes + c.test_bytes:,}; lower them"
            )

    def training_loader(self, rank: int, world: int) -> DataLoader | JoinedWorkers:
        segments = WebSegments(
            self.config, self.batch_size, self.seed, rank=rank, world=world, start_batch=self.start_batch
        )
        workers = min(self.config.num_workers, self.batch_size)
        loader = DataLoader(
            segments,
            batch_size=None,
            num_workers=workers,
            worker_init_fn=leave_sigterm_to_the_run,
            pin_memory=torch.cuda.is_available(),
        )
        return JoinedWorkers(loader, workers) if workers > 1 else loader

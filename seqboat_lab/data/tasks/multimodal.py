"""A stream of text, audio and images with questions across them (see generators/multimodal.py)."""

import platform
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from seqboat_lab.config.data import CorpusConfig, ImageConfig, MultimodalConfig, SpeechCommandsConfig
from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.files.origin import fingerprint_of
from seqboat_lab.data.generators import synthetic
from seqboat_lab.data.generators.multimodal import CLASSES, MARKERS, MODALITIES, VOCABULARY, draw_stream, token_classes
from seqboat_lab.data.loading.base import SequenceDataModule
from seqboat_lab.data.loading.batch import IGNORED, SPLITS, Batch, Split, TaskSpec
from seqboat_lab.data.loading.encode import decode_bytes
from seqboat_lab.data.loading.segments import Request, StreamPass, StreamSegments
from seqboat_lab.data.loading.store import Store
from seqboat_lab.data.tasks.image import ImageDataModule
from seqboat_lab.data.tasks.language import CorpusDataModule
from seqboat_lab.data.tasks.speech_commands import LENGTH, SpeechCommandsDataModule

CLIPS, IMAGES = 128, 1024
"""Seconds of audio and images of a split, of which pieces are excerpts."""
REAL = {"audio": "speech_commands", "image": "image"}
"""The task that brings each modality's files."""
LOCAL = ("root", "batch_size", "num_workers", "tokens_per_sample", "carry_state")
"""Fields that decide how a stream is read, not what it is."""


class StreamDataset(Dataset[Batch]):
    """Segments of a stored stream: tokens, and how far back the answer to each question lies."""

    def __init__(self, store: Store):
        self.store = store
        self.tokens, self.distances = np.split(store.values, 2)  # (n,) each

    def __reduce__(self):
        return StreamDataset, (self.store,)

    def __getitem__(self, request: Request) -> Batch:
        rows = [slice(start, stop) for start, stop, _ in request.blocks]
        inputs = np.stack([self.tokens[row] for row in rows]).astype(np.int64)
        following = np.stack([self.tokens[row.start + 1 : row.stop + 1] for row in rows]).astype(np.int64)
        asked = np.stack([self.distances[row] for row in rows]) > 0
        labels = np.where(asked, following, IGNORED)
        return Batch(torch.from_numpy(inputs), None, torch.from_numpy(labels), request.fresh)


class MultimodalDataModule(SequenceDataModule):
    """`labels` hold the answer at each question's key, `IGNORED` elsewhere. A split is one stored sample of two parts:
    the tokens, and at each question's key how many tokens before it the answer was told."""

    name = "multimodal"
    dtype = np.uint32
    parts = 2
    token_classes = CLASSES
    config: MultimodalConfig

    @property
    def spec(self) -> TaskSpec:
        return TaskSpec(VOCABULARY, VOCABULARY, "tokens", self.config.tokens_per_sample)

    @cached_property
    def real(self) -> dict[str, SequenceDataModule | CorpusDataModule]:
        """The modalities that are read from files, and the task that reads them."""
        if self.config.source == "generated":
            return {}
        root = self.config.root
        audio = SpeechCommandsDataModule(SpeechCommandsConfig(root=root), seed=0, batch_size=1)
        image = ImageDataModule(ImageConfig(root=root, pixels="bytes"), seed=0, batch_size=1)
        found: dict[str, SequenceDataModule | CorpusDataModule] = {
            "text": CorpusDataModule(CorpusConfig(root=root), seed=0, batch_size=1)
        }
        for name, module in (("audio", audio), ("image", image)):
            if module.official and module.official.is_whole(module.place):
                found[name] = module
        return found

    @property
    def origins(self) -> dict[str, str]:
        """Where each modality is from."""
        files = {
            "audio": "speech-commands",
            "image": "cifar-10",
            "text": f"standard-library-{platform.python_version()}",
        }
        return {name: files[name] if name in self.real else "generated" for name in MODALITIES}

    @property
    def variant(self) -> str:
        c = self.config
        return (
            f"{'_'.join(self.origins.values())}_pieces{c.shortest_piece}-{c.longest_piece}_facts{c.facts}-{c.keys}-"
            f"{c.values}_distance{c.max_distance}_size{c.train_tokens}-{c.val_tokens}-{c.test_tokens}_seed{c.generator_seed}"
        )

    def prepare_source(self) -> None:
        if "text" in self.real:
            self.real["text"].prepare_data()
        made_up = [name for name, origin in self.origins.items() if origin == "generated"]
        if made_up and self.config.source == "auto":
            verb = "is" if len(made_up) == 1 else "are"
            get = " and ".join(f"`seqboat data prepare {REAL[name]}`" for name in made_up)
            warnings.warn(
                f"multimodal: {' and '.join(made_up)} {verb} generated, since data.root={self.config.root} has none of "
                f"its own; {get} gets what is real",
                stacklevel=2,
            )

    def fingerprint(self, split: Split) -> dict[str, Any]:
        drawn_from = {key: value for key, value in asdict(self.config).items() if key not in LOCAL}
        files = [module.place for _, module in sorted(self.real.items())]
        return fingerprint_of(files, origins=self.origins, **drawn_from)

    def samples(self, split: Split) -> Iterator[tuple[Sequence[np.ndarray], int]]:
        length = getattr(self.config, f"{split}_tokens")
        stream = draw_stream(self.config, split, length, [self.content(name, split) for name in MODALITIES])
        asked, told = stream.questions.T
        if not len(asked):
            raise DataError(
                f"data.{split}_tokens={length:,}: so short a stream asks nothing; raise it, or lower data.longest_piece"
            )
        distances = np.zeros(length, np.uint32)
        distances[asked] = asked - told
        self.facts |= {"questions": len(asked), "origins": self.origins}
        yield (stream.tokens, distances), 0

    def content(self, modality: str, split: Split) -> np.ndarray:
        """Bytes of a modality that belong to this split alone, (n,) uint8."""
        source = self.real.get(modality)
        if isinstance(source, CorpusDataModule):
            source.setup()
            return source.split_bytes(split)
        seed = self.config.generator_seed
        count = 4 * CLIPS  # of which validation and test get a quarter
        samples = {
            "text": lambda: synthetic.text(seed, split, count, 4000),
            "audio": lambda: synthetic.speech(seed, split, count, LENGTH),
            "image": lambda: synthetic.image(seed, split, 4 * IMAGES, 32),
        }[modality]() if source is None else source.samples(split)  # fmt: skip
        taken = [parts[0] for parts, _ in islice(samples, IMAGES if modality == "image" else CLIPS)]
        return mu_law(np.concatenate(taken)) if modality == "audio" else np.concatenate(taken)

    def sizes(self) -> dict[str, int]:
        return {split: len(Store(self.store_path(split)).values) // 2 for split in SPLITS}

    def dataset(self, split: Split) -> StreamDataset:  # type: ignore[override]  # one stream, no samples to count
        if split not in self.stores:
            raise DataError(f"{self.name}: call setup() before asking for the {split} split")
        return StreamDataset(self.stores[split])

    def training_loader(self, rank: int, world: int) -> DataLoader:
        c, dataset = self.config, self.dataset("train")
        return self.loader(dataset, StreamSegments(
            len(dataset.tokens) - 1, c.tokens_per_sample, self.batch_size, self.seed,
            streams=c.batch_size, rank=rank, world=world, start_batch=self.start_batch,
        ))  # fmt: skip

    def evaluation_loader(self, split: Split, rank: int, world: int) -> DataLoader:
        c, dataset = self.config, self.dataset(split)
        return self.loader(dataset, StreamPass(
            len(dataset.tokens) - 1, c.tokens_per_sample, self.batch_size, streams=c.batch_size, rank=rank, world=world
        ))  # fmt: skip

    def token_class(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(token_classes(ids.cpu().numpy())).to(ids.device)

    def decode(self, ids: Sequence[int]) -> list[str]:
        return [decode_bytes([i + 1])[0] if i < 256 else f"<{MARKERS[i - 256]}>" for i in ids]


def mu_law(wave: np.ndarray) -> np.ndarray:
    """16-bit samples (n,) as bytes (n,) uint8, by the companding of ITU-T G.711 (continuous, mu = 255)."""
    x = wave / 32768
    y = np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256)
    return ((y + 1) * 127.5 + 0.5).astype(np.uint8)

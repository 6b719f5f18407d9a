"""Speech Commands SC10: ten spoken words as raw 16 kHz audio (Warden 2018, arXiv 1804.03209)."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqboat_lab.config.data import SpeechCommandsConfig
from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.files.files import LONGEST_LINE, data_files, is_data, read_bounded
from seqboat_lab.data.files.official import Official
from seqboat_lab.data.files.origin import fingerprint_of
from seqboat_lab.data.formats import wav
from seqboat_lab.data.generators import synthetic
from seqboat_lab.data.loading.base import SequenceDataModule
from seqboat_lab.data.loading.batch import Split, TaskSpec
from seqboat_lab.data.loading.encode import Real

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
"""Word of each label."""
RATE = LENGTH = 16_000
LISTS = {"val": "validation_list.txt", "test": "testing_list.txt"}
EXACT_SHARES = (0.70, 0.85)
"""Where the exact split's training clips and its validation clips end."""


def read_wav(path: Path) -> np.ndarray:
    """A clip's samples, (n,) int16. Raises `DataError` unless it is mono 16-bit audio of 16 kHz, up to a second."""
    return wav.read_wav(path, RATE, LENGTH)


class SpeechCommandsDataModule(SequenceDataModule):
    """SC10 from the official tree of WAV files, or a synthetic stand-in."""

    name = "speech_commands"
    dtype = np.int16
    config: SpeechCommandsConfig

    @property
    def spec(self) -> TaskSpec:
        return TaskSpec(None, len(WORDS), "classifier", self.config.max_length)

    @property
    def official(self) -> Official | None:
        if self.config.source != "official":
            return None
        wanted = rf"^(({'|'.join(WORDS)})/[^/]+\.wav|(validation|testing)_list\.txt)$"
        return Official(
            "speech_commands",
            ("",),
            "speech_commands_v0.02",
            (*LISTS.values(), *WORDS),
            wanted,
            largest=1 << 24,
            unpacked=1 << 34,
        )

    @property
    def variant(self) -> str:
        c = self.config
        if c.source == "synthetic":
            return f"synthetic_length{c.max_length}_samples{c.synthetic_samples}_seed{c.generator_seed}"
        return f"exact_seed{c.split_seed}" if c.split == "exact" else "official"

    def fingerprint(self, split: Split) -> dict[str, Any]:
        if self.config.source == "synthetic":
            return fingerprint_of([])
        assert self.official is not None  # the source is official
        paths = [self.official_directory() / name for name in self.official.needed]
        for path in paths:
            if not path.exists():
                raise self.missing(path, "set data.source=synthetic to try things out on a small stand-in")
        return fingerprint_of(paths)

    def places(self, split: Split) -> Sequence[Path]:
        if self.config.source == "synthetic":
            return ()
        return [self.official_directory() / word for word in WORDS]

    def listed(self, split: Split) -> Iterator[tuple[Path, int]]:
        """Clips and labels of an official split: the lists name validation and test, the rest is training."""
        root = self.official_directory()
        lists: dict[str, list[str]] = {}
        for name, file in LISTS.items():
            text = read_bounded(root / file, LONGEST_LINE, "a list of clips").decode("utf-8", "surrogateescape")
            lines = text.splitlines()
            lists[name] = [line.strip() for line in lines if line.split("/")[0] in WORDS]
            if not lists[name]:
                raise DataError(f"{root / file}: lists no clip of the ten words; unpack the archive again")
            for number, line in enumerate(lines, start=1):
                if line.split("/")[0] in WORDS and not _is_clip(root, line.strip()):
                    raise DataError(
                        f"{root / file}, line {number}: {line[:200]} is not there; unpack the archive again"
                    )
        if split == "train":
            held = {*lists["val"], *lists["test"]}
            clips = [f"{word}/{path.name}" for word in WORDS for path in data_files(root / word, ".wav")]
            chosen = [clip for clip in clips if clip not in held]
        else:
            chosen = lists[split]
        return ((root / clip, WORDS.index(clip.split("/")[0])) for clip in chosen)

    def exact(self, split: Split) -> Iterator[tuple[Path, int]]:
        """Clips and labels of a drawn split of the clips of exactly 16,000 samples, 70/15/15 in each class."""
        for label, word in enumerate(WORDS):
            files = data_files(self.official_directory() / word, ".wav")
            files = [file for file in files if len(read_wav(file)) == LENGTH]
            order = np.random.default_rng([self.config.split_seed, label]).permutation(len(files))
            ends = [0, *(round(share * len(files)) for share in EXACT_SHARES), len(files)]
            part = ("train", "val", "test").index(split)
            yield from ((files[i], label) for i in order[ends[part] : ends[part + 1]])

    def samples(self, split: Split) -> Iterator[tuple[Sequence[np.ndarray], int]]:
        c = self.config
        if c.source == "synthetic":
            clips = synthetic.speech(c.generator_seed, split, c.synthetic_samples, c.max_length)
        else:
            files = self.exact(split) if c.split == "exact" else self.listed(split)
            clips = (((_to_second(read_wav(file)),), label) for file, label in files)
        count = total = squares = 0
        for parts, label in clips:
            exact = parts[0].astype(np.int64)
            count, total, squares = count + len(exact), total + int(exact.sum()), squares + int((exact**2).sum())
            yield parts, label
        mean = total / max(count, 1)
        self.facts |= {"mean": mean, "std": max(squares / max(count, 1) - mean**2, 1.0) ** 0.5}

    def encoder(self) -> Callable[..., torch.Tensor]:
        info = self.stores["train"].info  # every split is standardised by the training clips
        return Real(info["mean"], info["std"])

    def decode(self, ids: Sequence[int]) -> list[str]:
        return [""] * len(ids)  # a sample of a wave has no character


def _is_clip(root: Path, clip: str) -> bool:
    """Whether a line of a list names a clip in the folder of a word."""
    word, _, name = clip.partition("/")
    if "/" in name or not is_data(name) or len(os.fsencode(name)) > 255:
        return False
    return (root / word / name).is_file()


def _to_second(samples: np.ndarray) -> np.ndarray:
    """Zeros at the end of a short clip: (16000,)."""
    return np.pad(samples, (0, LENGTH - len(samples)))

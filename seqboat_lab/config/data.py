"""The data's part of an experiment: one dataclass per task."""

from dataclasses import dataclass
from typing import Literal

from seqboat_lab.config.checks import at_least, fraction, positive, require


@dataclass(frozen=True)
class DataConfig:
    """What every task has."""

    root: str = "data"
    """Directory that holds all tasks' files."""
    batch_size: int = 64
    """Sequences per optimiser update, over all devices and accumulated batches together."""
    num_workers: int = 0
    """Loader processes; 0 loads in the training process."""

    def __post_init__(self):
        at_least(self, "batch_size", 1)
        at_least(self, "num_workers", 0)


@dataclass(frozen=True)
class ListOpsConfig(DataConfig):
    """ListOps (Nangia & Bowman 2018) in the form of the Long Range Arena."""

    source: Literal["official", "generated"] = "official"
    """`official`: the files of the LRA release; `generated`: made on the spot from the fields below."""
    min_length: int = 500
    """Generated trees are longer than this (tokens as LRA counts them)."""
    max_length: int = 2000
    """Generated trees are shorter than this; sequences of the official files are cut here."""
    max_depth: int = 10
    """Depth at which every node is a digit."""
    max_args: int = 10
    """Most arguments of one operator."""
    train_size: int = 96_000
    """Generated training trees."""
    val_size: int = 2_000
    """Generated validation trees."""
    test_size: int = 2_000
    """Generated test trees."""
    generator_seed: int = 0
    """Seed of the generated trees; independent of the experiment's seed."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("min_length", "train_size", "val_size", "test_size"):
            at_least(self, name, 1)
        for name in ("max_depth", "max_args"):
            at_least(self, name, 2)
        require(
            self.max_length > self.min_length + 1,
            "max_length",
            self.max_length,
            f"more than min_length + 1 = {self.min_length + 1}, since lengths lie strictly between",
        )


@dataclass(frozen=True)
class StandInConfig(DataConfig):
    """Tasks whose data cannot be generated: the official files, or a small synthetic stand-in for trying out."""

    source: Literal["official", "synthetic"] = "official"
    """`official`: the benchmark; `synthetic`: an easy made-up task of the same form, never the benchmark."""
    synthetic_samples: int = 2_000
    """Training samples of the synthetic stand-in; validation and test have a quarter each."""
    generator_seed: int = 0
    """Seed of the synthetic stand-in; independent of the experiment's seed."""
    split_seed: int = 42
    """Seed of splits that are drawn (where the official data has none)."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "synthetic_samples", 4)


@dataclass(frozen=True)
class TextConfig(StandInConfig):
    """Sentiment of IMDb reviews, byte by byte (Maas et al. 2011, in the form of the Long Range Arena)."""

    max_length: int = 4000
    """Bytes of a review that are read; longer ones are cut."""
    validation: Literal["carve", "test"] = "carve"
    """`carve`: a tenth of the training reviews; `test`: the test split, as LRA did (it then chooses on test)."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "max_length", 1)


@dataclass(frozen=True)
class RetrievalConfig(StandInConfig):
    """Whether two papers cite each other (ACL Anthology Network, Radev et al. 2013), byte by byte."""

    max_length: int = 4000
    """Bytes of each document that are read; longer ones are cut."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "max_length", 1)


@dataclass(frozen=True)
class ImageConfig(StandInConfig):
    """CIFAR-10 in grayscale, pixel by pixel (sCIFAR)."""

    size: int = 32
    """Pixels a side; other sizes than 32 only for the synthetic stand-in."""
    pixels: Literal["real", "bytes"] = "real"
    """`real`: one normalised number a pixel; `bytes`: one of 256 ids a pixel."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "size", 4)
        require(
            self.source == "synthetic" or self.size == 32,
            "size",
            self.size,
            "32 (CIFAR-10's size) for source: official",
        )


PATHFINDER_SIZES = (16, 32, 64, 128, 256)


@dataclass(frozen=True)
class PathfinderConfig(DataConfig):
    """Whether two marked ends belong to one curve (Linsley et al. 2018); 128 is Path-X, 256 is Path-256."""

    source: Literal["official", "generated"] = "official"
    """`official`: the files of the LRA release; `generated`: drawn here from the fields below."""
    size: int = 32
    """Pixels a side. 16 is ours, with shorter curves, for quick trials; only generated."""
    images: int = 200_000
    """Generated images in all; 80 % train, 10 % validation, 10 % test."""
    generator_seed: int = 0
    """Seed of the generated images; independent of the experiment's seed."""
    split_seed: int = 42
    """Seed of the division into splits."""
    pixels: Literal["real", "bytes"] = "real"
    """`real`: one normalised number a pixel; `bytes`: one of 256 ids a pixel."""
    skip_broken: bool = False
    """Leave broken images out with a warning instead of stopping (the official 32-pixel set has one)."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "images", 10)
        require(self.size in PATHFINDER_SIZES, "size", self.size, f"one of {', '.join(map(str, PATHFINDER_SIZES))}")
        require(self.size != 16 or self.source == "generated", "size", self.size, "32 or more for source: official")


@dataclass(frozen=True)
class SpeechCommandsConfig(StandInConfig):
    """Ten spoken words as raw 16 kHz audio (Speech Commands v0.02, Warden 2018)."""

    split: Literal["official", "exact"] = "official"
    """`official`: the published lists; `exact`: only clips of exactly 16,000 samples, 70/15/15 by class, as in
    the S4 line of work."""
    max_length: int = 16_000
    """Samples of a clip that are read."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "max_length", 1)
        require(self.max_length <= 16_000, "max_length", self.max_length, "at most 16000 (one second)")


@dataclass(frozen=True)
class LanguageConfig(DataConfig):
    """Byte-level language modelling: every byte is predicted from those before it. Ids are bytes."""

    tokens_per_sample: int = 8192
    """Bytes of a training segment, and of an evaluation block with its context."""
    context: int = 0
    """Bytes at the start of an evaluation block that are read but not scored: they were, in the block before.
    More give lower bits per byte and cost tokens_per_sample / (tokens_per_sample - context) times the work."""
    carry_state: bool = False
    """Train on contiguous streams, one per row of the global batch: the model goes on from the state that the
    row's last segment left, without its gradient (truncated back-propagation). False: independent segments."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "tokens_per_sample", 1)
        at_least(self, "context", 0)
        require(
            self.context < self.tokens_per_sample,
            "context",
            self.context,
            f"less than tokens_per_sample = {self.tokens_per_sample}",
        )


@dataclass(frozen=True)
class Enwik8Config(LanguageConfig):
    """enwik8: the first 100 million bytes of an English Wikipedia dump of 2006, split 90/5/5 million."""


@dataclass(frozen=True)
class Text8Config(LanguageConfig):
    """text8: 100 million letters and spaces of the English Wikipedia, split 90/5/5 million."""


@dataclass(frozen=True)
class CorpusConfig(LanguageConfig):
    """Any file, or the files of a folder one after the other; its bytes are split in order."""

    path: str | None = None
    """A file or a folder; null = the sources of Python's standard library, which need no download."""
    pattern: str = "*"
    """Which files of a folder are read, at any depth (`*.txt`); the standard library gives its `*.py`."""
    val_fraction: float = 0.05
    """Share of the bytes that validates: those before the test split."""
    test_fraction: float = 0.05
    """Share of the bytes that tests: the last ones."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("val_fraction", "test_fraction"):
            positive(self, name)
        require(
            self.val_fraction + self.test_fraction < 1,
            "val_fraction",
            self.val_fraction,
            f"less than 1 - test_fraction = {1 - self.test_fraction:g}, so that bytes are left to train on",
        )


@dataclass(frozen=True)
class WebTextConfig(LanguageConfig):
    """A web corpus streamed from Hugging Face `datasets` (the extra `web`) while training, so that it needs no disk.
    Every row of the global batch reads documents of its own, one after the other."""

    dataset: str = "c4"
    """`c4`, `pile`, or the name of any text data set on the hub, or a local folder."""
    subset: str | None = None
    """Which part of it (`en`); null = the usual one."""
    train_split: str = "train"
    """The split that is streamed."""
    held_out_split: str = "validation"
    """The split whose first bytes validate, and whose next ones test; they are kept on disk."""
    text_column: str = "text"
    """The column that holds the text."""
    separator: str = "\n\n"
    """What stands between documents."""
    val_bytes: int = 5_000_000
    """Bytes that validate."""
    test_bytes: int = 5_000_000
    """Bytes that test."""
    shuffle_buffer: int = 0
    """Documents among which each row draws its next one, by the experiment's seed, in shuffled shards; 0 = the order
    of the data set."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("val_bytes", "test_bytes"):
            at_least(self, name, 2)
        at_least(self, "shuffle_buffer", 0)


@dataclass(frozen=True)
class RecallConfig(DataConfig):
    """Associative recall, generated: tokens to be kept among others, and asked for later. Only what is asked for is
    scored. A model without attention must squeeze all of it into a state of fixed size."""

    variant: Literal["mqar", "noisy_mqar", "selective_copying", "induction"] = "noisy_mqar"
    """`mqar`: key-value pairs first, keys asked for among blanks (Arora et al. 2024, arXiv 2312.04927); `noisy_mqar`:
    both lie among random tokens of another vocabulary; `selective_copying`: tokens among noise, to be said in order at
    the end (Gu & Dao 2023, arXiv 2312.00752); `induction`: which token followed this one (Olsson et al. 2022,
    arXiv 2209.11895), in a text of tokens that may all be answers."""
    length: int = 96
    """Tokens of a sequence; any number that has room for what the other fields ask for."""
    pairs: int = 8
    """Key-value pairs of a sequence; tokens to be copied (`selective_copying`)."""
    noise: float | None = None
    """Share of the tokens that belong to no pair and no question; what is left asks, again and again if there are
    fewer pairs than questions. null: every pair is asked for once."""
    context: float = 0.5
    """Pairs lie within this first share of a sequence, questions behind it: where the answer is. (`mqar` has its pairs
    right at the start; `selective_copying` and `induction` ask at the very end.)"""
    gap_power: float = 1.0
    """a: a place n tokens behind the context asks with probability ~ n^(a - 1). 1: all alike; Arora et al. take 0.01,
    where most questions follow soon."""
    keys: int = 32
    """Size of the keys' vocabulary."""
    values: int = 32
    """Size of the values' vocabulary: guessing among those of a sequence is right 1 / pairs of the time."""
    noise_tokens: int = 32
    """Size of the noise's vocabulary (`noisy_mqar`, `selective_copying`; there 1 is Gu & Dao's blank)."""
    train_size: int = 64_000
    """Training sequences."""
    val_size: int = 1_000
    """Validation sequences."""
    test_size: int = 2_000
    """Test sequences."""
    generator_seed: int = 0
    """Seed of the sequences; independent of the experiment's seed."""

    @property
    def questions(self) -> int:
        """Scored positions of a sequence."""
        if self.noise is None:
            return self.pairs
        return self.length - round(self.noise * self.length) - 2 * self.pairs

    @property
    def context_length(self) -> int:
        """Tokens of a sequence before the first place that may ask."""
        if self.variant == "mqar":
            return 2 * self.pairs
        if self.variant == "noisy_mqar":
            return round(self.context * self.length)
        return self.length - self.pairs

    def __post_init__(self):
        super().__post_init__()
        for name in ("pairs", "keys", "values", "noise_tokens", "train_size", "val_size", "test_size"):
            at_least(self, name, 1)
        fraction(self, "context")
        positive(self, "gap_power")
        asking = self.variant.endswith("mqar")
        if self.noise is not None:
            fraction(self, "noise")
            require(asking, "noise", self.noise, f"null, since {self.variant} asks for each once")
            left = 1 - (2 * self.pairs + 1) / self.length
            require(self.questions >= 1, "noise", self.noise, f"at most {left:.3g}, which leaves room for one question")
        copying = self.variant == "selective_copying"
        require(
            copying or self.keys >= self.pairs, "keys", self.keys, f"at least pairs = {self.pairs}, each its own key"
        )
        room = self.context_length // (1 if copying else 2)
        expected = f"at most {max(room, 0)}, which fit into a context of {self.context_length} tokens"
        require(room >= self.pairs, "pairs", self.pairs, expected)
        behind = self.length - self.context_length
        expected = f"at least {self.context_length + self.questions}, for {self.questions} questions behind a context "
        require(behind >= self.questions, "length", self.length, f"{expected}of {self.context_length} tokens")


DATA_CONFIGS: dict[str, type[DataConfig]] = {
    "listops": ListOpsConfig,
    "text": TextConfig,
    "retrieval": RetrievalConfig,
    "image": ImageConfig,
    "pathfinder": PathfinderConfig,
    "speech_commands": SpeechCommandsConfig,
    "enwik8": Enwik8Config,
    "text8": Text8Config,
    "corpus": CorpusConfig,
    "web_text": WebTextConfig,
    "recall": RecallConfig,
}

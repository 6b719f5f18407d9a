"""The data's part of an experiment: one dataclass per task."""

from dataclasses import dataclass
from typing import Literal

from seqboat_lab.config.checks import at_least, expand_path, positive, require, seed
from seqboat_lab.config.components import Components

LONGEST = 2**24
"""Tokens of a sequence that a configuration may ask for."""
MOST_SAMPLES = 10**8
"""Samples of a split that are made."""


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
        expand_path(self, "root")
        at_least(self, "batch_size", 1, 2**20)
        at_least(self, "num_workers", 0, 1024)


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
        for name in ("min_length", "max_length"):
            at_least(self, name, 1, LONGEST)
        for name in ("train_size", "val_size", "test_size"):
            at_least(self, name, 1, MOST_SAMPLES)
        for name in ("max_depth", "max_args"):
            at_least(self, name, 2, 100)
        seed(self, "generator_seed")
        require(
            self.max_length > self.min_length + 1,
            "max_length",
            self.max_length,
            f"more than min_length + 1 = {self.min_length + 1}, since lengths lie strictly between",
        )
        require(
            self.source == "official" or self.longest_tree > self.min_length,
            "min_length",
            self.min_length,
            f"fewer than the {self.longest_tree} tokens of the largest tree of max_depth = {self.max_depth} and "
            f"max_args = {self.max_args}",
        )

    @property
    def longest_tree(self) -> int:
        """Tokens of the full tree: a digit at `max_depth`, above it operators (2 tokens) with all arguments."""
        tokens = 1
        for _ in range(self.max_depth - 1):
            tokens = 2 + self.max_args * tokens
        return tokens


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
        at_least(self, "synthetic_samples", 4, MOST_SAMPLES)
        for name in ("generator_seed", "split_seed"):
            seed(self, name)


@dataclass(frozen=True)
class TextConfig(StandInConfig):
    """Sentiment of IMDb reviews, byte by byte (Maas et al. 2011, in the form of the Long Range Arena)."""

    max_length: int = 4000
    """Bytes of a review that are read; longer ones are cut."""
    validation: Literal["carve", "test"] = "carve"
    """`carve`: a tenth of the training reviews; `test`: the test split, as LRA did (it then chooses on test)."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "max_length", 1, LONGEST)


@dataclass(frozen=True)
class RetrievalConfig(StandInConfig):
    """Whether two papers cite each other (ACL Anthology Network, Radev et al. 2013), byte by byte."""

    max_length: int = 4000
    """Bytes of each document that are read; longer ones are cut."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "max_length", 1, LONGEST)


@dataclass(frozen=True)
class ImageConfig(StandInConfig):
    """CIFAR-10 in grayscale, pixel by pixel (sCIFAR)."""

    size: int = 32
    """Pixels a side; other sizes than 32 only for the synthetic stand-in."""
    pixels: Literal["real", "bytes"] = "real"
    """`real`: one normalised number a pixel; `bytes`: one of 256 ids a pixel."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "size", 4, 1024)
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
        at_least(self, "images", 10, MOST_SAMPLES)
        for name in ("generator_seed", "split_seed"):
            seed(self, name)
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
        at_least(self, "max_length", 1, 16_000)  # one second


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
        at_least(self, "tokens_per_sample", 1, LONGEST)
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
        expand_path(self, "path")
        require(self.pattern != "", "pattern", self.pattern, "a pattern of file names, such as *.txt")
        for name in ("val_fraction", "test_fraction"):
            positive(self, name, 1e-9, 1)
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
        if self.dataset.startswith("~"):
            expand_path(self, "dataset")
        for name in ("dataset", "train_split", "held_out_split", "text_column"):
            require(getattr(self, name) != "", name, getattr(self, name), "a name")
        for name in ("val_bytes", "test_bytes"):
            at_least(self, name, 2, 10**11)
        at_least(self, "shuffle_buffer", 0)


ARRAY_FILES = (".csv", ".tsv", ".parquet", ".npz", ".npy")
"""How the names of files with labelled sequences end."""


@dataclass(frozen=True)
class ArrayConfig(DataConfig):
    """Classes of anyone's sequences of ids or numbers, from a file: a table (CSV, TSV, Parquet) with a row a sample, an
    .npz, or a pair of .npy files."""

    path: str | None = None
    """The file; of an .npy pair that with the sequences, an array (n, L). It trains, and gives what `val_path` and
    `test_path` do not."""
    labels: str | None = None
    """Where the classes are: the name of a column (null = `label`) or of an array in the .npz (null = `y`); of an .npy
    pair the path of the other file. Distinct labels, in sorted order, are the classes 0, 1, ..."""
    sequence: str | None = None
    """Where the sequences are. A table: the column that holds a whole one, numbers between spaces or commas; null =
    `sequence` if there is such a column, else each column but the label is a position. An .npz: the array; null = `x`
    (n, L), with `lengths` (n,) if they differ, or `values` (total,) with `offsets` (n + 1,)."""
    kind: Literal["ids", "real"] = "ids"
    """`ids`: whole numbers from 0, each with an embedding of its own; `real`: numbers as they are measured."""
    val_path: str | None = None
    """A file of its own that validates; null = drawn from `path`."""
    test_path: str | None = None
    """A file of its own that tests; null = drawn from `path`."""
    val_fraction: float = 0.1
    """Share of the samples of `path` that is drawn to validate, where there is no `val_path`."""
    test_fraction: float = 0.1
    """Share of the samples of `path` that is drawn to test, where there is no `test_path`."""
    split_seed: int = 42
    """Seed of the drawn splits; independent of the experiment's seed."""
    max_length: int | None = None
    """Values of a sequence that are read; longer ones are cut; null = none is."""
    vocab_size: int | None = None
    """Ids are below this, without the padding that is added; null = one more than the largest id in `path`. Set it if
    other files have larger ids."""
    standardise: bool = True
    """Subtract the training samples' mean from real values and divide by their standard deviation."""

    def __post_init__(self):
        super().__post_init__()
        pair = self.path is not None and self.path.lower().endswith(".npy")
        for name in ("path", "val_path", "test_path", *(("labels",) if pair else ())):
            expand_path(self, name)
            value = getattr(self, name)
            allowed = (".npy",) if name == "labels" else ARRAY_FILES if name == "path" else ARRAY_FILES[:-1]
            expected = f"a file that ends in {', '.join(allowed)}"
            require(value is None or value.lower().endswith(allowed), name, value, expected)
        require(not pair or self.labels is not None, "labels", self.labels, "the path of the .npy file with the labels")
        for name in ("val_path", "test_path"):
            value, expected = getattr(self, name), "null beside an .npy pair; put each split into an .npz"
            require(not pair or value is None, name, value, expected)
        for name in ("labels", "sequence"):
            require(getattr(self, name) != "", name, getattr(self, name), "a name, or null")
        for name in ("val_fraction", "test_fraction"):
            positive(self, name, 1e-9, 1)
        drawn = self.val_fraction * (self.val_path is None) + self.test_fraction * (self.test_path is None)
        name = "val_fraction" if self.val_path is None else "test_fraction"
        expected = "a share that, with that of the other split, is less than 1, so that samples are left to train on"
        require(drawn < 1, name, getattr(self, name), expected)
        seed(self, "split_seed")
        at_least(self, "max_length", 1, LONGEST)
        at_least(self, "vocab_size", 1, LONGEST)
        require(self.vocab_size is None or self.kind == "ids", "vocab_size", self.vocab_size, "null for kind: real")


DATA_CONFIGS = Components(
    "task",
    {
        "listops": (ListOpsConfig, "seqboat_lab.data.tasks.listops:ListOpsDataModule"),
        "text": (TextConfig, "seqboat_lab.data.tasks.text:TextDataModule"),
        "retrieval": (RetrievalConfig, "seqboat_lab.data.tasks.retrieval:RetrievalDataModule"),
        "image": (ImageConfig, "seqboat_lab.data.tasks.image:ImageDataModule"),
        "pathfinder": (PathfinderConfig, "seqboat_lab.data.tasks.pathfinder:PathfinderDataModule"),
        "speech_commands": (SpeechCommandsConfig, "seqboat_lab.data.tasks.speech_commands:SpeechCommandsDataModule"),
        "enwik8": (Enwik8Config, "seqboat_lab.data.tasks.language:Enwik8DataModule"),
        "text8": (Text8Config, "seqboat_lab.data.tasks.language:Text8DataModule"),
        "corpus": (CorpusConfig, "seqboat_lab.data.tasks.language:CorpusDataModule"),
        "web_text": (WebTextConfig, "seqboat_lab.data.tasks.web_text:WebTextDataModule"),
        "array": (ArrayConfig, "seqboat_lab.data.tasks.array:ArrayDataModule"),
    },
)

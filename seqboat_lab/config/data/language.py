"""Tasks that predict the next byte."""

from dataclasses import dataclass

from seqboat_lab.config.checks import at_least, expand_path, positive, require
from seqboat_lab.config.data.base import LONGEST, DataConfig


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

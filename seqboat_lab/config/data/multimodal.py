"""A stream of text, audio and images in which facts are asked for much later, in another modality."""

from dataclasses import dataclass
from typing import Literal

from seqboat_lab.config.checks import at_least, require, seed
from seqboat_lab.config.data.base import LONGEST, DataConfig


@dataclass(frozen=True)
class MultimodalConfig(DataConfig):
    """One endless stream of bytes: pieces of text, of 16 kHz audio (8-bit mu-law) and of images, each behind a marker.
    Facts, a key byte and a value byte, are told in pieces of one modality and asked for in pieces of another; only the
    answers are scored. It is read in segments that carry the state on, so that how far back an answer lies is no matter
    of the segment."""

    source: Literal["auto", "generated"] = "auto"
    """`auto`: text from Python's standard library, audio from Speech Commands and images from CIFAR-10 where they lie
    under `root`, else generated ones; `generated`: all three made up. Which it was is in the name of the data."""
    tokens_per_sample: int = 256
    """Tokens of a segment: gradients go no further back, the state does."""
    carry_state: bool = True
    """Go on from the state that a row's last segment left. False: each segment by itself, for layers without a state of
    fixed size; what lies further back cannot be known then."""
    shortest_piece: int = 8
    """Bytes of the shortest pieces; their lengths are drawn log-uniformly."""
    longest_piece: int = 32
    """Bytes of the longest pieces. Real ones have some 1,000 (an image) to 16,000 (a second of audio): a run is
    trained on short ones, where questions are many, and evaluated on long ones."""
    facts: int = 2
    """Facts told in a piece, as long as a key is free; each is asked for once."""
    keys: int = 32
    """Different keys; one is told again only after it was asked for. Few are easier to learn, and fewer facts wait."""
    values: int = 16
    """Different values: guessing is right 1 / values of the time."""
    max_distance: int = 1024
    """Tokens between the value and the question's key are drawn log-uniformly up to here; a question then waits for
    the next piece of another modality, and is not asked if that is further away."""
    train_tokens: int = 1_000_000
    """Tokens of the training stream, which is cut into as many rows as a batch has."""
    val_tokens: int = 65_536
    """Tokens of the validation stream; its rows begin with nothing told."""
    test_tokens: int = 131_072
    """Tokens of the test stream."""
    generator_seed: int = 0
    """Seed of the streams; independent of the experiment's seed."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "tokens_per_sample", 1, LONGEST)
        at_least(self, "shortest_piece", 1, LONGEST)
        at_least(self, "longest_piece", 1, LONGEST)
        require(
            self.longest_piece >= self.shortest_piece, "longest_piece", self.longest_piece,
            f"at least shortest_piece = {self.shortest_piece}",
        )  # fmt: skip
        at_least(self, "facts", 1, 1024)
        at_least(self, "keys", 1, 128)  # a byte holds keys and values
        at_least(self, "values", 2, 128)
        at_least(self, "max_distance", 2, LONGEST)
        for name in ("train_tokens", "val_tokens", "test_tokens"):
            at_least(self, name, 2, 10**9)
        seed(self, "generator_seed")

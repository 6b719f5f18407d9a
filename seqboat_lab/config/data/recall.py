"""Generated tasks that ask for what was read before."""

from dataclasses import dataclass
from typing import Literal

from seqboat_lab.config.checks import at_least, fraction, positive, require, seed
from seqboat_lab.config.data.base import LONGEST, MOST_SAMPLES, DataConfig


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
        at_least(self, "length", 2, LONGEST)
        for name in ("pairs", "keys", "values", "noise_tokens"):
            at_least(self, name, 1, 2**16)
        for name in ("train_size", "val_size", "test_size"):
            at_least(self, name, 1, MOST_SAMPLES)
        seed(self, "generator_seed")
        fraction(self, "context")
        positive(self, "gap_power", 1e-3, 100)
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

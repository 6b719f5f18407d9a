"""What a language model must beat: byte-level n-gram models and xz on the same bytes.

    .venv/bin/python -m benchmarks.text_baselines text_tiny [key=value ...] [--run runs/text_tiny/TIME] [--out FILE]

The n-gram models are counted on the training split. Order k mixes the relative frequencies after the last k, k-1, ...,
0 bytes and the uniform distribution; the weights, one set for each power of two of how often the longest context was
seen, are fitted on the validation split (expectation maximisation); all are scored on every byte of the test split.
With --run, the run's best checkpoint is scored on the same bytes.
"""

import argparse
import lzma
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seqboat_lab.config import load_experiment
from seqboat_lab.data.loading.segments import map_bytes
from seqboat_lab.data.tasks.language import LanguageDataModule
from seqboat_lab.inference.evaluation import evaluate
from seqboat_lab.training.model import make_datamodule

PIECE = 1 << 22


class NGrams:
    """How often each byte follows each of the 256^k contexts of k bytes, for k = 0 ... order."""

    def __init__(self, text: np.ndarray, order: int):
        self.counts = []
        for k in range(order + 1):
            counts = np.zeros(256 ** (k + 1), np.int64)
            for start in range(k, len(text), PIECE):  # pieces, so that a large text needs little memory
                keys = self.keys(text[max(0, start - k) : start + PIECE], k)
                counts += np.bincount(keys, minlength=len(counts))
            self.counts.append(counts.reshape(-1, 256))
        self.seen = [counts.sum(1) for counts in self.counts]

    @staticmethod
    def keys(text: np.ndarray, k: int) -> np.ndarray:
        """Of each byte after the first k: its context and itself as one number."""
        keys = np.zeros(max(0, len(text) - k), np.int64)
        for i in range(k + 1):
            keys = keys * 256 + text[i : len(text) - k + i]
        return keys

    def experts(self, text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each byte after the first `order`: the probabilities (n, order + 2) that the uniform distribution and
        orders 0 ... give it, 0 after a context never seen; and the class (n,) of its longest context's count."""
        order = len(self.counts) - 1
        columns = [np.full(len(text) - order, 1 / 256)]
        for k in range(order + 1):
            keys = self.keys(text[order - k :], k)
            seen = self.seen[k][keys // 256]
            columns.append(self.counts[k].reshape(-1)[keys] / np.maximum(seen, 1))
        return np.stack(columns, axis=1), np.log2(seen + 1).astype(int)


def fit_weights(experts: np.ndarray, classes: np.ndarray, rounds: int = 100) -> np.ndarray:
    """The mixture weights (classes, experts) that give the bytes the highest probability, by EM from equal ones."""
    weights = np.full((64, experts.shape[1]), 1 / experts.shape[1])
    for c in np.unique(classes):
        here = experts[classes == c]
        for _ in range(rounds):
            share = here * weights[c]
            weights[c] = (share / share.sum(1, keepdims=True)).mean(0)
        weights[c] = 0.999 * weights[c] + 0.001 / experts.shape[1]  # the test split may hold what validation did not
    return weights


def ngram_bits(train: np.ndarray, val: np.ndarray, test: np.ndarray, order: int) -> float:
    """Bits per byte of `test`; the first `order` bytes of val and test are context only."""
    model = NGrams(train, order)
    weights = fit_weights(*model.experts(val))
    experts, classes = model.experts(test)
    return float(-np.log2((experts * weights[classes]).sum(1)).mean())


def xz_bits(text: np.ndarray) -> float:
    """Bits per byte of `xz -9`."""
    return 8 * len(lzma.compress(text.tobytes(), preset=9)) / len(text)


def baselines(data: LanguageDataModule, orders: Sequence[int] = (0, 1, 2)) -> list[tuple[str, float]]:
    """(name, bits per byte of the test split) of each."""
    train, test = data.split_bytes("train"), data.split_bytes("test")
    rows = [("xz -9, which sees nothing but the test split", xz_bits(test))]
    for order in orders:
        parts = [
            map_bytes(data.path, data.bounds[split][0] - order, data.bounds[split][1]) for split in ("val", "test")
        ]
        rows.append((f"order {order}, interpolated with all lower orders", ngram_bits(train, *parts, order)))
    return rows


def run_rows(run: Path) -> list[tuple[str, float]]:
    """(name, bits per byte of the test split) of a run's best checkpoint: in blocks, and in one stream."""
    tokens = load_experiment(run / "config.yaml").data.tokens_per_sample
    rows = []
    for context in (0, 3 * tokens // 4):
        name = f"the run, in blocks of {tokens} bytes of which {context} are context"
        rows.append((name, evaluate(run, overrides=[f"data.context={context}"])["bpc"]))
    return [*rows, ("the run, streaming: one pass from state to state", evaluate(run, mode="streaming")["bpc"])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="an experiment on text, such as text_tiny")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--run", type=Path, help="a finished run of it")
    parser.add_argument("--out", type=Path, help="also write the table here")
    options = parser.parse_args()
    data = make_datamodule(load_experiment(options.config, options.overrides))
    data.prepare_data()
    data.setup()
    rows = baselines(data)
    if options.run:
        rows += run_rows(options.run)
    sizes = " / ".join(f"{n:,}" for n in data.sizes().values())
    lines = [f"{data.name} ({data.variant}), bytes of train / validation / test: {sizes}", ""]
    lines += ["| model | test bits per byte |", "| --- | --- |", *(f"| {name} | {bits:.3f} |" for name, bits in rows)]
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

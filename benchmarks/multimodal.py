"""Recall across modalities by distance, and whether a token costs the same after a million: streams a trained run.

    .venv/bin/python -m benchmarks.multimodal RUN [--tokens 1000000] [--out FILE] [key=value ...]

A held-out stream of the run's task, of the longest pieces and distances that it is made for (`STREAM`; overrides change
them), goes through the recurrent state in segments; then a hundred tokens, one by one, from the states after 10,000
tokens and after all of them, in turn. Appends JSON lines to `--out`, of the kinds (`what`) run, distance, modalities,
window and step. Machine time is that of the threads the run was trained with, or OMP_NUM_THREADS.
"""

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from benchmarks.measure import machine
from seqboat_lab import command
from seqboat_lab.config import ConfigError
from seqboat_lab.data.generators.multimodal import MODALITIES, modality
from seqboat_lab.data.tasks.multimodal import MultimodalDataModule
from seqboat_lab.inference.evaluation import load_run, root_device
from seqboat_lab.inference.recall_by_distance import by_distance, recall_by_distance, seconds_per_step
from seqboat_lab.training.experiment import quiet
from seqboat_lab.training.results import code_version
from seqboat_lab.training.run_config import run_config

STREAM = ("data.longest_piece=16384", "data.facts=1", "data.max_distance=200000")
"""Pieces of up to a second of audio, a fact in each: some 80 facts lie between the furthest question and its answer."""
EARLY, SEGMENT, STEPS = 10_000, 5_000, 100


def lines(run: Path, tokens: int, overrides: Sequence[str] = (), checkpoint: str = "best") -> Iterator[dict[str, Any]]:
    """What the output holds."""
    quiet()
    task = run_config(run).task
    if task != MultimodalDataModule.name:
        raise ConfigError(str(run), f"is a run of {task}; expected one of the task multimodal")
    module, loaded = load_run(run, checkpoint, [*STREAM, *overrides, f"data.test_tokens={tokens + STEPS + 1}"])
    data = cast(MultimodalDataModule, loaded)
    data.prepare_source()
    ((stream, distances), _) = next(data.samples("test"))
    model = module.model.to(root_device(module))
    found = recall_by_distance(
        model, stream[: tokens + 1], distances, window=10 * SEGMENT, segment=SEGMENT, keep=(EARLY, tokens)
    )
    steps = seconds_per_step(model, found.states, stream, steps=STEPS)
    medians = [statistics.median(times) for _, times in sorted(steps.items())]
    config = module.config
    of = {"run": run.name, "memory_size": config.model.memory_size, "seed": config.seed}
    right = found.answers[:, 2]
    yield {
        "what": "run", **of, "tokens": tokens, "questions": len(right), "accuracy": float(right.mean()),
        "guessing": 1 / config.data.values, "origins": data.origins, "longest_piece": config.data.longest_piece,
        "max_distance": config.data.max_distance, **found.activation,
        "step_seconds_early": medians[0], "step_seconds_late": medians[-1], "late_over_early": medians[-1] / medians[0],
        "state_bytes": found.windows[-1]["state_bytes"], "process_bytes": found.windows[-1]["process_bytes"],
        "process_bytes_first_window": found.windows[0]["process_bytes"],
        "machine": machine(), "code_version": code_version(),
    }  # fmt: skip
    yield from ({"what": "distance", **of, **row} for row in by_distance(found.answers))
    yield from ({"what": "modalities", **of, **row} for row in by_modalities(stream, found.answers))
    yield from ({"what": "window", **of, **row} for row in found.windows)
    for at, times in sorted(steps.items()):
        yield from ({"what": "step", **of, "after_tokens": at, "seconds_per_token": taken} for taken in times)


def by_modalities(stream: np.ndarray, answers: np.ndarray) -> Iterator[dict[str, Any]]:
    """Accuracy by where an answer was told and where it was asked for."""
    piece = modality(stream[None].astype(np.int64))[0]
    asked, told = piece[answers[:, 0]], piece[answers[:, 0] - answers[:, 1]]
    for i, telling in enumerate(MODALITIES):
        for j, asking in enumerate(MODALITIES):
            right = answers[(told == i) & (asked == j), 2]
            if len(right):
                yield {
                    "told_in": telling, "asked_in": asking, "questions": len(right), "right": int(right.sum()),
                    "accuracy": float(right.mean()),
                }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--tokens", type=int, default=1_000_000, help=f"at least {2 * EARLY}")
    parser.add_argument("--checkpoint", default="best")
    parser.add_argument("--out", type=Path, default=Path("multimodal.jsonl"))
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    given = parser.parse_intermixed_args(arguments)
    if given.tokens < 2 * EARLY:
        parser.error(f"--tokens {given.tokens}: expected at least {2 * EARLY}")
    torch.manual_seed(0)
    text = "".join(
        json.dumps(line) + "\n" for line in lines(given.run, given.tokens, given.overrides, given.checkpoint)
    )
    with given.out.open("a") as file:
        file.write(text)


if __name__ == "__main__":
    raise SystemExit(command.run(main))

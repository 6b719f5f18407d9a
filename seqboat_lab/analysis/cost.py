"""What an experiment's model costs: parameters, FLOPs of each pass; and, measured, time and memory."""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from seqboat_lab.config import ExperimentConfig
from seqboat_lab.data.loading.base import TaskDataModule
from seqboat_lab.nn.cost import cost_per_token, count_parameters
from seqboat_lab.training.model import make_datamodule, make_model

REPEATS = 3


class Cost(NamedTuple):
    """Of one model on sequences of its task's length."""

    length: int
    """Tokens."""
    rates: list[float]
    """Activation rates that it was counted with, one per layer that decides."""
    parameters: int
    forward: float | None
    """FLOPs per token; None of an encoder that is no stack of layers, whose FLOPs are not counted."""
    training: float | None
    """FLOPs per token of a forward and a backward pass."""


def cost_of(config: ExperimentConfig, rates: Sequence[float]) -> Cost:
    """With these activation rates, one per layer that decides."""
    datamodule = make_datamodule(config)
    parameters = count_parameters(make_model(config, datamodule.spec))
    length, counted = datamodule.spec.max_length, config.model.is_stack
    forward, training = (flops_of(config, datamodule, rates, step) if counted else None for step in (False, True))
    return Cost(length, list(rates), parameters, forward, training)


def flops_of(
    config: ExperimentConfig, datamodule: TaskDataModule, rates: Sequence[float], training: bool = False
) -> float:
    """FLOPs per token of a forward pass; `training`: of a forward and a backward pass."""
    spec = datamodule.spec
    return cost_per_token(config.model, spec.max_length, rates, spec.vocabulary_per_token, training)["total"]


class Measured(NamedTuple):
    """On this machine."""

    forward: float
    """Seconds of a forward pass of a batch, without gradients."""
    step: float
    """Seconds of a forward and a backward pass."""
    peak: int
    """Bytes of tensors that these hold at one time, besides the model."""
    rate: float | None
    """Share of active tokens then; None where no layer decides."""


def measure(config: ExperimentConfig) -> Measured:
    """A batch of random tokens of full length through the untrained model: medians of some repeats."""
    datamodule = make_datamodule(config)
    spec, size = datamodule.spec, config.data.batch_size * (2 if datamodule.spec.head == "pair" else 1)
    device = "cuda" if torch.cuda.is_available() and config.trainer.accelerator != "cpu" else "cpu"
    model = make_model(config, spec).to(device)
    shape = (size, spec.max_length)
    words = spec.vocab_size  # of which 0 may be padding
    inputs = (torch.randn(shape) if words is None else torch.randint(int(words > 1), words, shape)).to(device)

    def step() -> None:
        model.zero_grad()
        model(inputs).logits.logsumexp(-1).mean().backward()

    model.train()
    seconds = median_seconds(step)
    peak = peak_of_tensors(step)
    model.eval()
    with torch.no_grad():
        forward = median_seconds(lambda: model(inputs))
        active: list[Tensor] = [each.active.float().mean() for each in model(inputs).activations]
    return Measured(forward, seconds, peak, torch.stack(active).mean().item() if active else None)


def median_seconds(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """Of some repeats, after one that does not count; waits for a GPU."""
    times = []
    for _ in range(repeats + 1):
        _wait()
        start = time.perf_counter()
        run()
        _wait()
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[repeats // 2]


def peak_of_tensors(run: Callable[[], object]) -> int:
    """The most bytes of tensors that `run` holds at one time, besides those that were there before it.

    Counted from the allocator's own record, so it is the same in every run; what the heap keeps for later is not in it.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    with tempfile.TemporaryDirectory() as directory:
        trace = Path(directory) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    held = peak = 0
    for event in sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: e["ts"]):
        held += event["args"]["Bytes"]
        peak = max(peak, held)
    return peak


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()

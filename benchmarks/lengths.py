"""Every mixer by length: seconds of a forward pass, a training step and a streamed token, memory, size of the state.

    .venv/bin/python -m benchmarks.lengths [--out FILE] [KIND ...]

One causal layer of width 128, one sequence of 1k to 64k random tokens, each measurement in a process of its own. A
mixer is not measured further where a pass would take more than a minute, by how its time grew, or more memory than
there is.
Every measurement is a line of docs/results_lengths.jsonl (or `--out`); those that are there are not made again.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import Case, layer_and_input, training_step
from benchmarks.measure import DEVICE, few_seconds, in_own_process, limit_memory, machine, wait
from seqboat_lab.analysis.cost import peak_of_tensors
from seqboat_lab.config.mixers import MIXER_CONFIGS
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn.cost import cost_per_token
from seqboat_lab.nn.mixers import make_layer
from seqboat_lab.nn.state_size import bytes_of

RESULTS = Path("docs/results_lengths.jsonl")
LENGTHS = (1024, 4096, 16384, 65536)
LONGEST = 60.0
"""Seconds of a pass that is still measured."""
RATE = 0.3
"""Share of active tokens of the SeqBoat layer."""
CONFIG = ModelConfig(
    layers=1, d_model=128, d_hidden=256, d_attention=64, memory_size=128, bidirectional=False, position="rotary",
    prenorm=True, dropout=0.0,
)  # fmt: skip
STREAMED = 20


def layer_of(kind: str, length: int) -> tuple[torch.nn.Module, torch.Tensor, float | None]:
    """One layer, its input (1, L, d), and the share of tokens that it activates, None if it does not decide."""
    config = replace(CONFIG, kind=kind)
    if kind == "seqboat":
        return *layer_and_input(Case(config, 1, length, RATE)), RATE
    torch.manual_seed(0)
    layer = make_layer(config.layer(0), 0).to(DEVICE)
    x = torch.randn(1, length, config.d_model, device=DEVICE, requires_grad=True)
    if kind == "mod":  # after training, its predictor chooses as many as its top-k
        capacity = config.layer(0).mixer.capacity
        with torch.no_grad():
            layer.predictor[-1].bias -= layer.predictor(x).quantile(1 - capacity)
        return layer, x, capacity
    return layer, x, 1.0 if kind == "mega" else None


def measured(kind: str, length: int) -> dict[str, Any]:
    """One line of the results."""
    layer, x, rate = layer_of(kind, length)
    rates = [] if rate is None else [rate]
    counted = (cost_per_token(replace(CONFIG, kind=kind), length, rates, 0, t)["total"] for t in (False, True))
    row = {"mixer": kind, "length": length, "rate": rate} | dict(
        zip(("forward_flops", "training_flops"), counted, strict=True)
    )
    layer.eval()
    with torch.no_grad():
        row["forward"] = few_seconds(lambda: layer(x))
    layer.train()
    row["step"] = few_seconds(lambda: training_step(layer, x))
    row["peak_bytes"] = peak_of_tensors(lambda: training_step(layer, x)) if row["step"] < LONGEST / 4 else None
    layer.eval()
    if MIXER_CONFIGS.settings("kind", kind).state != "none":
        row["token"], row["state_bytes"] = streamed(layer, x)
    return {**row, "machine": machine()}


@torch.no_grad()
def streamed(layer: Any, x: torch.Tensor) -> tuple[float, int]:
    """Seconds of a token after all of x, and what is carried then."""
    state = layer(x, state=layer.init_state(1)).state
    size, times = bytes_of(state), []
    for n in range(STREAMED):
        wait()
        start = time.perf_counter()
        _, _, state = layer.step(x[:, n], state)
        wait()
        times.append(time.perf_counter() - start)
    return sorted(times)[STREAMED // 2], size


def finished(path: Path = RESULTS) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def too_long(rows: list[dict[str, Any]], length: int) -> bool:
    """Would the next pass take more than a minute, going on as from the last length but one to the last?"""
    if not rows:
        return False
    last, before = rows[-1], rows[-2] if len(rows) > 1 else None
    growth = last["step"] / before["step"] if before else 1.0
    return last["step"] * max(growth, length / last["length"]) > LONGEST


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=[], metavar="KIND")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    options = parser.parse_args(arguments)
    for kind in options.kinds or MIXER_CONFIGS:
        rows: list[dict[str, Any]] = []
        for length in options.lengths:
            known = [r for r in finished(options.out) if (r["mixer"], r["length"]) == (kind, length)]
            if not known and too_long(rows, length):
                print(f"{kind}: not measured at {length:,}: a pass would take more than a minute")
                break
            try:
                row = known[0] if known else in_own_process("lengths", "--one", kind, str(length))
            except subprocess.CalledProcessError:
                print(f"{kind}: not measured at {length:,}: it needs more memory than there is")
                break
            rows.append(row)
            if not known:
                with options.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{kind} {length:,}: forward {row['forward']:.3g} s, training step {row['step']:.3g} s")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        limit_memory()
        print(json.dumps(measured(sys.argv[2], int(sys.argv[3]))))
    else:
        main()

"""Measuring: seconds as medians, peak memory of a process of its own, and the machine's matmul rate."""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from seqboat_lab.analysis.cost import median_seconds
from seqboat_lab.native.library import native

REPEATS = 9
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def seconds(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median wall-clock seconds of `run` after one warm-up; waits for a GPU."""
    return median_seconds(run, repeats)


def few_seconds(run: Callable[[], object], long: float = 2.0) -> float:
    """The median of three after a first one; of what takes long, the first one."""
    times: list[float] = []
    while len(times) < 4 and (not times or times[0] < long):
        wait()
        start = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - start)
    return times[0] if len(times) == 1 else statistics.median(times[1:])


def side_by_side(runs: dict[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, float]:
    """Medians of several runs whose repeats take turns, so that a noisy moment hits them alike."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            wait()
            start = time.perf_counter()
            run()
            wait()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def matmul_rate(size: int = 2048) -> float:
    """FLOPs per second of a large float32 matmul: the best this machine does."""
    a, b = torch.randn(2, size, size, device=DEVICE)
    return 2 * size**3 / seconds(lambda: a @ b, repeats=9)


ROOT = Path(__file__).parents[1]


def in_own_process(
    module: str, *arguments: str, root: Path = ROOT, environment: Mapping[str, str] = MappingProxyType({})
) -> Any:
    """What `python -m benchmarks.<module>` prints as its last line, JSON, in the checkout `root`: peak memory starts
    from nothing there."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, cwd=root, env=os.environ | environment, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def step_memory(case: str, kind: str) -> dict[str, int]:
    """Peak bytes of one training step: `tensor_bytes` that it adds, `process_bytes` with all that is around them."""
    return in_own_process("memory", case, kind)


def machine() -> str:
    """The kind of machine, without its name."""
    if DEVICE == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    model = "CPU"
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    threads = torch.get_num_threads()
    parts = "torch alone" if native(torch.empty(0)) is None else "parts in C"
    return f"{threads} thread{'s' * (threads != 1)} of {model}, torch {torch.__version__}, {parts}"


def limit_memory(share: float = 0.8) -> None:
    """Lets this process have so much of the machine's memory and no more: what needs more fails, and nothing else."""
    if DEVICE == "cpu":
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        resource.setrlimit(resource.RLIMIT_DATA, (int(share * total), resource.RLIM_INFINITY))


def wait() -> None:
    """For a GPU to finish what it was given."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()

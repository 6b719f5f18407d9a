"""An ordered map over processes: the same results for any number of them."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from seqboat_lab.data.files.errors import DataError

T = TypeVar("T")
R = TypeVar("R")


def available_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    function: Callable[[T], R], arguments: Iterable[T], processes: int | None = None
) -> Generator[R, None, None]:
    """`map(function, arguments)` in `processes` processes (null = all CPUs), results in the arguments' order.

    The arguments may be endless: only a window of them is under way at any time.
    """
    processes = available_cpus() if processes is None else processes
    if processes <= 1:
        yield from map(function, arguments)
        return
    # Forked workers start at once; spawned ones would each import torch to draw digits.
    executor = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("fork"))
    window: deque = deque()
    try:
        for argument in arguments:
            window.append(executor.submit(function, argument))
            if len(window) >= 3 * processes:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    except BrokenProcessPool:
        raise DataError(
            f"one of {processes} processes was killed, perhaps for want of memory; try fewer (--processes 1)"
        ) from None
    finally:
        executor.shutdown(wait=True, cancel_futures=True)

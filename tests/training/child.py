"""The command line in a process of its own that has imported everything already, to be killed or starved."""

import contextlib
import multiprocessing as mp
import os
import resource
import signal
import sys
from pathlib import Path

import torch


def run(*arguments: str, log: Path, killed_in_save: int = 0, largest_file: int = 0) -> mp.Process:
    """Starts `seqboat ARGUMENTS`, its output in `log`.

    killed_in_save: the checkpoint, counted from 1, that is cut off half way by SIGKILL.
    largest_file: bytes, if not 0; a larger file cannot be written, as on a full disk.
    """
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["seqboat_lab.training.experiment"])
    process = context.Process(target=_run, args=(arguments, str(log), killed_in_save, largest_file))
    process.start()
    return process


def _run(arguments: tuple[str, ...], log: str, killed_in_save: int, largest_file: int) -> None:
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if killed_in_save:
        _die_in_save(killed_in_save)
    from seqboat_lab.cli import main

    with contextlib.suppress(BrokenPipeError):
        sys.exit(main(list(arguments)))


def _die_in_save(nth: int) -> None:
    save, calls = torch.save, 0

    class Cut:
        def __init__(self, file):
            self.file, self.written = file, 0

        def write(self, data):
            self.written += len(data)
            self.file.write(data)
            if self.written > 20_000:
                self.file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            return len(data)

        def flush(self):
            self.file.flush()

    def counted(contents, file, *args, **kwargs):
        nonlocal calls
        calls += 1
        save(contents, Cut(file) if calls == nth else file, *args, **kwargs)

    torch.save = counted

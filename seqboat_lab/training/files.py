"""What may go wrong with the files of a run, and what killed runs leave."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from seqboat_lab.data.files.files import writing

LEFTOVERS = (".*.partial", "checkpoints/.*.partial")
"""What killed processes leave in a run directory: files that were not whole yet."""


def run_files(path: Path) -> AbstractContextManager[None]:
    """Within it, refusals of the operating system (a full disk, no permission) are one-line errors about `path`."""
    return writing(path, "another run directory")


@contextmanager
def told_once() -> Iterator[None]:
    """Within it, a refusal that a thread meets (TensorBoard's writer) prints no traceback: that writer raises it again
    in the thread that uses it."""
    usual = threading.excepthook

    def hook(failed: threading.ExceptHookArgs) -> None:
        if not issubclass(failed.exc_type, OSError):
            usual(failed)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = usual


def remove_leftovers(run_dir: Path) -> None:
    """Deletes what killed processes left unfinished."""
    for pattern in LEFTOVERS:
        for path in run_dir.glob(pattern):
            path.unlink(missing_ok=True)

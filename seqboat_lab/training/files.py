"""Files of a run that are there whole or not at all, and JSON that every reader can read."""

import json
import math
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

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


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary sibling to write, which takes the place of `path` if the block ends well: a process killed at any
    moment, or a full disk, leaves the old file or the new one. One writer at a time."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with run_files(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
            sync_directory(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def sync_directory(path: Path) -> None:
    """Makes the names in a directory last through a power cut, where the file system knows how to."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems do not sync directories
            os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Replaces a file's text. Raises a one-line `UserError` if the operating system refuses."""
    with replacing(path) as temporary:
        temporary.write_text(text)


def remove_leftovers(run_dir: Path) -> None:
    """Deletes what killed processes left unfinished."""
    for pattern in LEFTOVERS:
        for path in run_dir.glob(pattern):
            path.unlink(missing_ok=True)


def to_json(values: Any, indent: int | None = None) -> str:
    """Strict JSON: numbers that are not finite become null."""
    return json.dumps(_finite(values), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

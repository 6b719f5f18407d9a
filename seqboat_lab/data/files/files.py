"""Files that appear whole or not at all: locks between processes and landing by atomic rename."""

import errno
import fcntl
import io
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from seqboat_lab.data.files.errors import DataError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path` (a file `.<name>.lock` beside it) against other processes.

    The kernel frees the lock of a killed process, so no stale lock can block anyone. Not reentrant.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(path.parent / f".{path.name}.lock", "w")  # noqa: SIM115 (closed below)
    with handle:
        with writing(path):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def landing(path: Path) -> Iterator[Path]:
    """A temporary sibling to write (file or directory), renamed to `path` if the block ends well.

    On an error nothing is left behind. Call it under `locked(path)`: it removes what killed processes left.
    """
    for leftover in path.parent.glob(f".{path.name}.*.partial"):
        remove(leftover)
    temporary = path.parent / f".{path.name}.{os.getpid()}.partial"
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _sync(temporary)
            if path.is_dir():  # a directory cannot be renamed onto a full one
                old = path.parent / f".{path.name}.old.partial"
                path.rename(old)
                temporary.rename(path)
                remove(old)
            else:
                temporary.rename(path)
    finally:
        remove(temporary)


@contextmanager
def writing(path: Path, elsewhere: str = "another data.root") -> Iterator[None]:
    """Turn the operating system's refusals into one-line `DataError`s that name the file, or else `path`.

    elsewhere: what the user may choose instead. What is read meanwhile is to be read under `reading`.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            problem = f"the disk is full; nothing unfinished is taken for complete: free space, or choose {elsewhere}"
        else:
            problem = f"{error.strerror or error}; check its permissions, or choose {elsewhere}"
        raise DataError(f"{error.filename or path}: {problem}") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """The same of a source, so that it is not taken for trouble with the place that is written to."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{error.filename or path}: cannot be read ({reason}); check what it is") from error


SYSTEM_FILES = ("Thumbs.db", "ehthumbs.db", "desktop.ini", "__MACOSX")


def is_data(name: str) -> bool:
    """Whether a file or folder of this name is data: not what systems put beside it (`._x.txt`, `.DS_Store`)."""
    return not name.startswith(".") and name not in SYSTEM_FILES


def data_files(folder: Path, suffix: str) -> list[Path]:
    """The files of a folder that end so and are data, in the order of their names."""
    with reading(folder):
        return sorted(folder / name for name in os.listdir(folder) if name.endswith(suffix) and is_data(name))


def user_path(path: Path | str, key: str = "data.root") -> Path:
    """A path as the user gave it, with `~`. Raises `DataError` for what cannot be one."""
    if "\0" in str(path):
        raise DataError(f"{key}: {str(path)!r} has a NUL byte in it, which no path can have")
    return Path(os.path.expanduser(path))


def read_bounded(path: Path, limit: int, what: str) -> bytes:
    """A file's bytes, if it is no larger than such a file can be. Raises `DataError`."""
    with reading(path):
        mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a pipe would let us wait for ever
        raise DataError(f"{path}: a pipe or a device, expected a file; check what it is")
    with reading(path), open(path, "rb") as file:
        data = file.read(limit + 1) if os.fstat(file.fileno()).st_size > limit else file.read()
    if len(data) > limit:
        raise DataError(f"{path}: more than {limit:,} bytes, too many for {what}; get it again")
    return data


LONGEST_LINE = 1 << 24
"""Bytes: a hundred times the longest paper or expression."""


def read_lines(path: Path, limit: int = LONGEST_LINE) -> Iterator[tuple[int, bytes]]:
    """Each line with its number, from 1; only a line feed ends one. Raises `DataError` for a line without end."""
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(limit + 1):
            number += 1
            if len(line) > limit:
                raise DataError(f"{path}, line {number}: longer than {limit:,} bytes; is it the right file?")
            yield number, line


T = TypeVar("T")


def readable(items: Iterable[T], path: Path) -> Iterator[T]:
    """The items, which come from files at `path`, under `reading`; their consumer is not."""
    with reading(path):
        yield from items


class _Source(io.FileIO):
    def readinto(self, buffer: Any) -> int | None:
        with reading(Path(self.name)):
            return super().readinto(buffer)


def open_source(path: Path) -> io.BufferedReader:
    """A file to read bytes from; whoever copies it to another file learns which of the two is in trouble."""
    with reading(path):
        return io.BufferedReader(_Source(path))


def remove(path: Path) -> None:
    """Delete a file or a tree; nothing there is fine too."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Force contents to disk before the rename makes them official."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    if len(files) > 16:
        os.sync()  # one wait for all: thousands of pictures would each cost a disk's round trip
        return
    for file in files:
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())

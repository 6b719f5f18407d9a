"""What a store was made from: which files, of what size and time, so that changed ones are noticed.

Looking at a file costs a system call, and Pathfinder has 200,000 of them. Hence two looks:

- `fingerprint_of` names each file or folder that a task gives, its size and time; of a folder, its subfolders too. A
  file that is added, removed or renamed changes the time of its folder. Looked at whenever a split is opened.
- `scan` looks at every file in the folders. Looked at whenever a split is opened if there were at most `FEW` files when
  the store was made (25,000 reviews take a fifth of a second), and else by `seqboat data prepare` only.

A file that is rewritten with the same size and then given its old time back is not noticed by either.
"""

import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from seqboat_lab.data.files.files import is_data

FEW = 60_000
"""Files that are all looked at whenever a split is opened."""


def fingerprint_of(files: Iterable[Path], **settings: Any) -> dict[str, Any]:
    """Names, sizes and times of files and folders (and of these, of the folders in them), and the reader's settings."""
    stats = []
    for file in files:
        stat = file.stat()
        if file.is_dir():
            inside = sorted([e.name, e.stat().st_mtime_ns] for e in os.scandir(file) if is_data(e.name) and e.is_dir())
            stats.append([str(file), stat.st_mtime_ns, inside])
        else:
            stats.append([str(file), stat.st_size, stat.st_mtime_ns])
    return {"files": stats, **settings}


def scan(places: Iterable[Path]) -> dict[str, Any]:
    """How many files there are in all the places, and a digest of their names, sizes and times in ns."""
    digest, count = sha256(), 0
    for place in places:
        for name, stat in sorted(_files(place)):
            digest.update(os.fsencode(name) + b"\0%d\0%d\n" % (stat.st_size, stat.st_mtime_ns))
            count += 1
    return {"files": count, "digest": digest.hexdigest()}


def _files(place: Path) -> Iterator[tuple[str, os.stat_result]]:
    if place.is_file():
        yield place.name, place.stat()
        return
    folders = [(place, "")]
    while folders:
        folder, prefix = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if not is_data(entry.name):
                    continue
                if entry.is_dir():
                    folders.append((Path(entry.path), f"{prefix}{entry.name}/"))
                else:
                    yield prefix + entry.name, entry.stat()

"""The directory of a trial's run: a study knows it by a key, so that another study of the same name cannot take it."""

import errno
import itertools
from pathlib import Path

KEY_FILE = "trial.key"


def make_run_directory(run_dir: Path, key: str) -> Path | None:
    """An empty directory for a trial, marked with the `key` that its study knows it by.

    One that is there already belongs to another study of the same name: it is set aside, and where to is returned.
    """
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    new = run_dir.parent / f".{run_dir.name}-{key}"
    new.mkdir()
    (new / KEY_FILE).write_text(key + "\n")
    aside = None
    while True:
        try:
            new.rename(run_dir)  # only onto nothing, or an empty directory
            return aside
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            aside = set_aside(run_dir)


def key_of(run_dir: Path) -> str | None:
    """The key that a trial's directory is marked with."""
    try:
        return (run_dir / KEY_FILE).read_text(errors="replace").strip()
    except OSError:
        return None


def set_aside(run_dir: Path) -> Path:
    """Moves a run out of `trials/` into a directory beside it, and returns that."""
    for n in itertools.count(1):
        aside = run_dir.parents[1] / f"trials-of-another-study-{n}"
        aside.mkdir(exist_ok=True)
        if not (aside / run_dir.name).exists():
            run_dir.rename(aside / run_dir.name)
            return aside
    raise AssertionError("unreachable")

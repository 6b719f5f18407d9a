"""Where a run's files are, and which directory may take which run."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO, Any

from lightning.fabric.plugins.environments import LightningEnvironment

from seqboat_lab.config import ConfigError, ExperimentConfig
from seqboat_lab.config.files import to_dict
from seqboat_lab.training.checkpoints import Checkpoint, has_checkpoint
from seqboat_lab.training.checkpoints import read_checkpoint as read_checkpoint
from seqboat_lab.training.files import remove_leftovers, run_files
from seqboat_lab.training.launch import is_first_process, job, launched
from seqboat_lab.training.run_config import run_config

RUN_DIR_VARIABLE = "SEQBOAT_RUN_DIR"  # the processes of one DDP run agree on their directory through it
MAY_CHANGE = (
    *(f"trainer.{field}" for field in ("max_steps", "val_every", "val_batches", "log_every", "checkpoint_minutes")),
    *(f"trainer.{field}" for field in ("accelerator", "devices", "num_nodes", "compile", "threads")),
    *(f"trainer.{field}" for field in ("progress", "loggers")),
    *(f"data.{field}" for field in ("root", "num_workers")),
)
"""Fields of a run that may differ once it is resumed: the length and the place of training, not what is trained."""


def new_run_dir(experiment: str, root: Path = Path("runs")) -> Path:
    """`runs/<experiment>/<time>`, made by this call and so no other run's; the same for all processes of a run.

    Where a launcher has a name for its job, that takes the place of the time, and the directory is the job's however
    often it is started. Raises `ConfigError` in processes that a launcher without one started together: nothing tells
    them one time. Raises a one-line `UserError` where there can be no directory.
    """
    if name := job():
        return root / experiment / name
    launch = launched()
    if launch and (launch.processes > 1 or launch.by == "torchrun") and launch.environment is not LightningEnvironment:
        raise ConfigError("--run-dir", f"is missing; processes that torchrun or srun starts ({launch.by} did) have to "
                          "be given the same, or their job a name (torchrun: --rdzv-id)")  # fmt: skip
    if RUN_DIR_VARIABLE not in os.environ:
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
        names = (root / experiment / (f"{stamp}_{n}" if n else stamp) for n in count())
        with run_files(root / experiment):
            os.environ[RUN_DIR_VARIABLE] = str(next(name for name in names if _make(name)))
    return Path(os.environ[RUN_DIR_VARIABLE])


def _make(run_dir: Path) -> bool:
    """Whether this call has made the directory: one of any number of processes and hosts has."""
    try:
        run_dir.mkdir(parents=True)
    except FileExistsError:
        if not os.path.lexists(run_dir):  # then it is about a parent
            raise
        return False
    return True


def is_taken(run_dir: Path) -> bool:
    """Whether a run or an imported model is there that starting anew would destroy."""
    if has_checkpoint(run_dir):
        return True
    # a run killed at its first validation may have come to its best checkpoint, but to none to go on from
    return any(run_dir.glob("checkpoints/*.ckpt")) and not (run_dir / "validations.jsonl").exists()


@contextmanager
def occupied(run_dir: Path, resuming: bool) -> Iterator[None]:
    """A run's directory, made if need be, cleared of what earlier runs left unfinished (half-written files, and all
    results of one that never came to a checkpoint), and closed to other processes within it.

    Raises `ConfigError` where there can be none, where another run has left its results, or runs just now.
    """
    if "\0" in str(run_dir):
        raise ConfigError(repr(str(run_dir)), "cannot hold a run (no path has a NUL); choose another directory")
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = None
        if is_first_process():
            if not resuming and is_taken(run_dir):
                problem = "already holds a run; continue it with --resume, or choose another directory"
                raise ConfigError(str(run_dir), problem)
            lock = _lock(run_dir)
            remove_leftovers(run_dir)
            for path in () if resuming else _results(run_dir):
                path.unlink()
    except OSError as error:
        raise ConfigError(str(run_dir), f"cannot hold a run ({error.strerror}); choose another directory") from None
    try:
        yield
    finally:
        if lock is not None:
            lock.close()


def _results(run_dir: Path) -> Iterator[Path]:
    names = ("metrics.csv", "validations.jsonl", "decisions.jsonl", "summary.json", "tracked.json")
    for pattern in (*names, "events.out.tfevents.*", "checkpoints/*.ckpt"):
        yield from run_dir.glob(pattern)


def _lock(run_dir: Path) -> IO:
    """Open, it keeps other processes out; on file systems with locks those of other hosts, too."""
    handle = (run_dir / ".lock").open("w")
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock's, not inherited by workers that live on
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            handle.close()
            problem = "is in use by another process; wait for its end, or choose another directory"
            raise ConfigError(str(run_dir), problem) from None
    return handle


def give_up(run_dir: Path) -> None:
    """Forgets the directory that `new_run_dir` made, and removes it and those around it if nothing came into it."""
    if os.environ.get(RUN_DIR_VARIABLE) == str(run_dir) and is_first_process():
        del os.environ[RUN_DIR_VARIABLE]
        with suppress(OSError):
            for empty in (run_dir, *run_dir.parents[:2]):
                empty.rmdir()


def resumable(run_dir: Path, wanted: ExperimentConfig | Sequence[str]) -> tuple[ExperimentConfig, Checkpoint]:
    """The experiment to go on with and the checkpoint to go on from.

    wanted: that experiment, or overrides of the one in the directory.

    Raises `ConfigError`: no run, no checkpoint, a field that would make it another run, or fewer steps than done.
    """
    config = wanted if isinstance(wanted, ExperimentConfig) else run_config(run_dir, wanted)
    checkpoint = Checkpoint.newest(run_dir)
    check_same_run(run_dir, config)
    if config.trainer.max_steps < checkpoint.step:
        done = f"{checkpoint.step} steps done already"
        problem = f"{config.trainer.max_steps} is not possible here; expected at least the {done}"
        raise ConfigError("trainer.max_steps", problem)
    return config, checkpoint


def check_same_run(run_dir: Path, config: ExperimentConfig) -> None:
    """Raises `ConfigError` if that is not the experiment of the directory."""
    for key in _differences(to_dict(run_config(run_dir)), to_dict(config)):
        if key not in MAY_CHANGE:
            only = ", ".join(MAY_CHANGE)
            raise ConfigError(key, f"cannot change when a run is resumed (only {only} can); start a run of its own")


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Full keys of the fields that are not the same in both."""
    for key in old.keys() | new.keys():
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            yield f"{prefix}{key}"

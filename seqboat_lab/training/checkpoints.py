"""Checkpoints: written so that a good one is never lost, read with a way back to the one before."""

import itertools
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from seqboat_lab.atomic import replacing
from seqboat_lab.config import ConfigError
from seqboat_lab.nn.capacity import Capacity
from seqboat_lab.training.files import run_files

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
"""The newest checkpoint of a run, and the newest but one."""
VALIDATION_DUE = "validation_due"
"""Key of a checkpoint: its step was to be validated, and was not yet."""


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, syncs, and renames: a kill or a full disk at any moment leaves a whole file.

    Lightning's own writes in the directory for temporary files and moves, which truncates the target where that is on
    another file system. What `last.ckpt` was before stays as `previous.ckpt`.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        with run_files(path), replacing(path) as temporary:
            with temporary.open("wb") as file:
                target = _Remembering(file)
                try:
                    torch.save(checkpoint, target)  # type: ignore[arg-type]  # torch only writes and flushes
                except Exception as error:  # torch turns an OSError into a RuntimeError of its own
                    raise target.error or error from None
            if path.name == LAST and path.exists():
                _keep(path, path.with_name(PREVIOUS))


class _Remembering:
    """A file that keeps the operating system's answer if it refused."""

    def __init__(self, file: Any):
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def _keep(path: Path, previous: Path) -> None:
    """A second name for the file, so that there is no moment without the first one."""
    temporary = previous.with_name(f".{previous.name}.partial")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # no hard links here: `Checkpoint.newest` knows the moment without a last one
        path.replace(previous)
    else:
        temporary.replace(previous)


class MovableCheckpoint(ModelCheckpoint):
    """Knows its scores also in a run whose directory was moved, or is called by another path."""

    dirpath: str | Path

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def here(path: str) -> str:
            return str(Path(self.dirpath) / Path(path).name) if path else path

        paths = {key: here(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        scores = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": scores, "dirpath": self.dirpath})


class BestCheckpoint(MovableCheckpoint):
    """The best model with the activation rate asked for: while a schedule still lowers it, no model counts."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if all(m.has_arrived() for m in pl_module.modules() if isinstance(m, Capacity)):
            super().on_validation_end(trainer, pl_module)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's contents, plain data only. Raises `ConfigError` if it cannot be read."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ConfigError(str(path), "does not exist") from None
    except Exception as error:  # torch raises many types for damaged files
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
        raise ConfigError(str(path), f"is not a readable checkpoint ({reason})") from None


class Checkpoint(NamedTuple):
    """Where a run goes on."""

    path: Path
    step: int
    """Updates done."""
    validation_due: bool
    """The step is to be validated before training goes on."""

    def covers(self, step: int) -> bool:
        """Whether this step was done, and validated if that was due, when the checkpoint was written."""
        return step < self.step or (step == self.step and not self.validation_due)

    @classmethod
    def read(cls, path: Path) -> "Checkpoint":
        """Raises `ConfigError` if the file cannot be read or is no checkpoint of a training."""
        contents = read_checkpoint(path)
        if not isinstance(contents, dict) or not {"global_step", "loops", "optimizer_states"} <= contents.keys():
            raise ConfigError(str(path), "is no checkpoint of a training, so there is nothing to go on from")
        return cls(path, contents["global_step"], contents.get(VALIDATION_DUE, False))

    @classmethod
    def newest(cls, run_dir: Path) -> "Checkpoint":
        """The last one, or the one before it if that cannot be read, which is said. Raises `ConfigError` if there is
        none."""
        last, previous = (run_dir / "checkpoints" / name for name in (LAST, PREVIOUS))
        if not last.is_file() and not previous.is_file():
            raise ConfigError(str(last), "does not exist, so there is nothing to resume; start the run anew")
        try:
            return cls.read(last)
        except ConfigError as error:
            with suppress(ConfigError):
                before = cls.read(previous)
                print(f"warning: {error}; going on from the one before, {previous} (step {before.step})",
                      file=sys.stderr)  # fmt: skip
                return before
            raise


def has_checkpoint(run_dir: Path) -> bool:
    """Whether there is anything to go on from."""
    return any((run_dir / "checkpoints" / name).is_file() for name in (LAST, PREVIOUS))


def set_checkpoints_aside(run_dir: Path) -> Path:
    """Moves a run's checkpoints out of the way; returns where they are."""
    names = (run_dir / f"checkpoints-unreadable{f'-{n}' if n else ''}" for n in itertools.count())
    aside = next(name for name in names if not name.exists())
    (run_dir / "checkpoints").rename(aside)
    return aside

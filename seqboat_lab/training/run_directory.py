"""Where a run's files are, and which directory may take which run."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from seqboat_lab.config import ConfigError, ExperimentConfig, load_experiment
from seqboat_lab.config.files import to_dict

RUN_DIR_VARIABLE = "SEQBOAT_RUN_DIR"  # the processes of one DDP run agree on their directory through it
MAY_CHANGE = (
    *(f"trainer.{field}" for field in ("max_steps", "val_every", "val_batches", "log_every")),
    *(f"trainer.{field}" for field in ("accelerator", "devices", "compile", "threads", "progress")),
    *(f"data.{field}" for field in ("root", "num_workers")),
)
"""Fields of a run that may differ once it is resumed: the length and the place of training, not what is trained."""


def new_run_dir(experiment: str, root: Path = Path("runs")) -> Path:
    """`runs/<experiment>/<time>`, the same for all processes of a run.

    Raises `ConfigError` in processes that torchrun or srun started together: nothing tells them one time.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        raise ConfigError("--run-dir", "is missing; processes that torchrun or srun starts have to be given the same")
    if RUN_DIR_VARIABLE not in os.environ:
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
        run_dir, n = root / experiment / stamp, 1
        while run_dir.exists():
            run_dir, n = root / experiment / f"{stamp}_{n}", n + 1
        os.environ[RUN_DIR_VARIABLE] = str(run_dir)
    return Path(os.environ[RUN_DIR_VARIABLE])


def make_run_dir(run_dir: Path, resuming: bool) -> None:
    """Create it. Raises `ConfigError` where there can be none, or where another run has left its results."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        results = (run_dir / "metrics.csv").exists() or any(run_dir.glob("checkpoints/*.ckpt"))
        taken = not resuming and is_first_process() and results
    except OSError as error:
        raise ConfigError(str(run_dir), f"cannot hold a run ({error.strerror}); choose another directory") from None
    if taken:
        raise ConfigError(str(run_dir), "already holds a run; continue it with --resume, or choose another directory")


def is_first_process() -> bool:
    """Of a run's processes, whoever started them; true before there are others."""
    return all(os.environ.get(rank, "0") == "0" for rank in ("LOCAL_RANK", "RANK", "SLURM_PROCID"))


def run_config(run_dir: Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """The experiment of a run directory. Raises `ConfigError` if it is none."""
    if run_dir.is_file():
        raise ConfigError(str(run_dir), "is a file; expected the directory of a run, such as runs/listops_short/<time>")
    if not (run_dir / "config.yaml").is_file():
        raise ConfigError(str(run_dir), "is no run directory: it has no config.yaml")
    return load_experiment(run_dir / "config.yaml", overrides)


def resumable(run_dir: Path, overrides: Sequence[str]) -> tuple[ExperimentConfig, Path]:
    """The experiment to go on with and the checkpoint to go on from.

    Raises `ConfigError`: no run, no checkpoint, an override that would make it another run, or fewer steps than done.
    """
    before, config = run_config(run_dir), run_config(run_dir, overrides)
    checkpoint = run_dir / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file():
        raise ConfigError(str(checkpoint), "does not exist, so there is nothing to resume; start the run anew")
    for key in _differences(to_dict(before), to_dict(config)):
        if key not in MAY_CHANGE:
            only = ", ".join(MAY_CHANGE)
            raise ConfigError(key, f"cannot change when a run is resumed (only {only} can); start a run of its own")
    done = read_checkpoint(checkpoint)["global_step"]
    if config.trainer.max_steps < done:
        problem = f"{config.trainer.max_steps} is not possible here; expected at least the {done} steps done already"
        raise ConfigError("trainer.max_steps", problem)
    return config, checkpoint


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Full keys of the fields that are not the same in both."""
    for key in old.keys() | new.keys():
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            yield f"{prefix}{key}"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's contents, plain data only. Raises `ConfigError` if it cannot be read."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ConfigError(str(path), "does not exist") from None
    except Exception as error:  # torch raises many types for damaged files
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
        raise ConfigError(str(path), f"is not a readable checkpoint ({reason})") from None

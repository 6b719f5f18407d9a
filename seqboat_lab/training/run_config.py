"""The experiment that a run's directory holds: read without torch."""

from collections.abc import Sequence
from pathlib import Path

from seqboat_lab.config import ConfigError, ExperimentConfig, load_experiment


def run_config(run_dir: Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """The experiment of a run directory. Raises `ConfigError` if it is none."""
    if run_dir.is_file():
        raise ConfigError(str(run_dir), "is a file; expected the directory of a run, such as runs/listops_short/<time>")
    if not (run_dir / "config.yaml").is_file():
        raise ConfigError(str(run_dir), "is no run directory: it has no config.yaml")
    path = run_dir / "config.yaml"
    try:
        return load_experiment(path, overrides)
    except ConfigError as error:
        if overrides:
            run_config(run_dir)  # raises if the file is to blame, and no override
            raise
        problem = f"holds no experiment that can be run; is it damaged? ({error})"
        raise ConfigError(str(path), problem) from None

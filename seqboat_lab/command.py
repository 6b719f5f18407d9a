"""Runs one experiment, or any other command, and turns what can go wrong into an exit status."""

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from seqboat_lab.config import ConfigError, load_experiment
from seqboat_lab.config.checks import UserError
from seqboat_lab.config.files import find_config
from seqboat_lab.process import importing
from seqboat_lab.terminal import complain, give_up_output, is_out_of_memory
from seqboat_lab.training.run_config import run_config


def run(action: Callable[[], int | None]) -> int:
    """Calls `action`. Returns the exit status: its own, else 0; 2 (or its own) for a user's error and what the
    operating system refuses, each told in one line; 130 when interrupted."""
    os.environ.setdefault("MPLBACKEND", "Agg")  # figures go to files; a notebook keeps its own way of showing them
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"  # a user needs no line of our source
    try:
        status = action() or 0
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as interrupt:
        complain(f"interrupted{f': {interrupt}' if str(interrupt) else ''}")
        return 130
    except BrokenPipeError:  # the reader of a pipe went away, as in `seqboat ... | head`
        give_up_output()
        return 0
    except UserError as error:
        complain(f"seqboat: {error}")
        return error.status
    except OSError as error:  # a full disk, a directory that is not ours
        give_up_output()
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        complain(f"seqboat: {where}{error.strerror or error}")
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        complain("seqboat: out of memory; try a smaller data.batch_size, or a larger trainer.accumulate")
    return 2


def fit(config: str, overrides: Sequence[str], run_dir: Path | None = None, resume_or_start: bool = False) -> None:
    """Trains the experiment called `config` (a name under configs/, or a file), and tells where its results are.

    Args:
        run_dir: where they go; None = `runs/<experiment>/<time>`, or the launcher's name for its job.
        resume_or_start: go on with the run in `run_dir` if there is one; a launcher that starts its job again, or whose
            job the directory is named after, means that, too.
    """
    if resume_or_start and run_dir is None:
        raise ConfigError("--resume-or-start", "needs --run-dir: the directory that is the same every time")
    experiment_config = load_experiment(config, overrides)  # a mistake is told before torch is loaded
    with importing():
        from seqboat_lab.training import experiment
        from seqboat_lab.training.launch import is_restart, job
        from seqboat_lab.training.run_directory import give_up, new_run_dir

    resume_or_start = resume_or_start or is_restart() or (run_dir is None and job() is not None)
    run_dir = run_dir or new_run_dir(find_config(config).name.removesuffix(".yaml"))
    start = experiment.resume_or_start if resume_or_start else experiment.fit
    try:
        summary = start(experiment_config, run_dir)
    finally:
        give_up(run_dir)
    _tell(summary, run_dir)


def resume(run_dir: Path, overrides: Sequence[str]) -> None:
    """Goes on with the run in a directory, and tells where its results are."""
    run_config(run_dir, overrides)  # a mistake is told before torch is loaded
    with importing():
        from seqboat_lab.training import experiment

    _tell(experiment.resume(run_dir, overrides), run_dir)


def _tell(summary: dict, run_dir: Path) -> None:
    if summary:  # of several processes, the first one tells
        curves = f"; curves: tensorboard --logdir {run_dir}" if any(run_dir.glob("events.out.tfevents.*")) else ""
        print(f"results in {run_dir}{curves}")

"""A worker that a scheduler runs: it knows when its time is up, saves what it is at, and is queued again."""

import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import optuna
from optuna.trial import TrialState

from seqboat_lab.atomic import write_text
from seqboat_lab.config.files import to_yaml
from seqboat_lab.data.files.files import locked
from seqboat_lab.sweep.definition.config import SweepConfig, parse_sweep
from seqboat_lab.sweep.running.gpus import devices_of
from seqboat_lab.sweep.running.promotion import promotable
from seqboat_lab.sweep.running.run import conclude
from seqboat_lab.sweep.running.trial import TrialProcess
from seqboat_lab.sweep.running.worker import work
from seqboat_lab.sweep.stages.plan import Stages
from seqboat_lab.sweep.study.storage import STORAGE_VARIABLE, errors_in_one_line, storage_url, without_secrets
from seqboat_lab.sweep.study.study import at_work, counts, nameless, open_study


def prepare(sweep: SweepConfig) -> dict[str, str]:
    """Makes the study and the sweep.yaml that its workers read, and returns what their environment must hold beside."""
    with errors_in_one_line(sweep.directory, sweep.storage):
        open_study(sweep)
        shown = replace(sweep, storage=sweep.storage and without_secrets(sweep.storage))
        write_text(sweep.directory / "sweep.yaml", to_yaml(shown))
    return {STORAGE_VARIABLE: sweep.storage} if sweep.storage else {}


def run_job(settings: Path, seconds: float | None, notice: float) -> int:
    """Works on the sweep in `settings` for as long as there is time, and has the job queued again if work is left.

    Args:
        seconds: the job's time limit; None = unknown.
        notice: seconds between SIGUSR1 and the limit.

    Returns the exit status. The last worker of a sweep writes its report.
    """
    begun = time.monotonic()
    sweep = parse_sweep(settings)
    sweep = replace(sweep, storage=storage_url(sweep.storage))
    TrialProcess.patience = max(TrialProcess.patience, notice / 2)

    def has_time(study: optuna.Study) -> bool:
        if seconds is None:
            return True
        return is_enough(seconds - notice - (time.monotonic() - begun), seconds - notice, durations(study))

    own = os.environ.get("SLURM_CPUS_ON_NODE", "")
    threads = max(1, int(own) // max(1, devices_of(sweep))) if own.isdecimal() else None
    ended_by = work(sweep, os.getppid(), threads, may_begin=has_time)
    if ended_by not in (None, signal.SIGUSR1):
        return 128 + ended_by  # whoever cancels or preempts a job queues it again, or does not
    with errors_in_one_line(sweep.directory, sweep.storage):
        study = open_study(sweep)
        stages = Stages(study, sweep)
        if ended_by or is_left(study, sweep, stages):
            return _queue_again()
        if not any(at_work(each, sweep) for each in (study, *(side.study for side in stages.sides))):
            with locked(sweep.directory / "report"):
                if not _is_reported(study, sweep):
                    conclude(study, sweep, stages)
    return 0


def is_enough(left: float, whole: float, took: Sequence[float]) -> bool:
    """Whether to begin a trial with `left` of the `whole` seconds that a job can use, where others `took` so long: if
    it will probably end, or would not in a fresh job either and there is half of one to spend on it."""
    return left >= min(statistics.fmean(took) if took else 0.0, whole / 2) and left > 0


def durations(study: optuna.Study) -> list[float]:
    """Seconds of the complete trials."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [trial.duration.total_seconds() for trial in complete if trial.duration]


def is_left(study: optuna.Study, sweep: SweepConfig, stages: Stages) -> bool:
    """Whether there is anything that nobody is at yet."""
    begun = sum(map(counts, study.get_trials(deepcopy=False)))
    return bool(begun < sweep.trials or nameless(study) or promotable(study, sweep)) or (
        bool(stages.unfinished()) and not at_work(study, sweep)
    )


def progress(settings: Path) -> str:
    """One line on how far a sweep is."""
    sweep = parse_sweep(settings)
    sweep = replace(sweep, storage=storage_url(sweep.storage))
    with errors_in_one_line(sweep.directory, sweep.storage):
        trials = open_study(sweep).get_trials(deepcopy=False)
    states = Counter(trial.state.name.lower() for trial in trials if counts(trial))
    told = ", ".join(f"{n} {state}" for state, n in states.items()) or "none yet"
    return f"trials: {sum(states.values())} of {sweep.trials} ({told})"


def _is_reported(study: optuna.Study, sweep: SweepConfig) -> bool:
    ended = [t.datetime_complete.timestamp() for t in study.get_trials(deepcopy=False) if t.datetime_complete]
    report = sweep.directory / "report.html"
    return report.is_file() and report.stat().st_mtime > max(ended, default=0)


def _queue_again() -> int:
    """Of an array, only this task. Slurm then ends what is left of it, this process included."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID")
    if job is None:
        return 0
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(f"work is left: job {job} is queued again", flush=True)
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"scontrol: {done.stderr.strip()}; seqboat submit goes on with the sweep", file=sys.stderr)
    return done.returncode

"""A worker: takes trials from the study until the budget is used up."""

import errno
import math
import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from seqboat_lab.config import ConfigError
from seqboat_lab.sweep.config import SweepConfig
from seqboat_lab.sweep.stopping import make_rule
from seqboat_lab.sweep.storage import errors_in_one_line
from seqboat_lab.sweep.study import (
    ERROR,
    KEY,
    MEASURED,
    RUN,
    TABLE,
    WorkerLock,
    claim,
    measured_at,
    nameless,
    open_study,
    requeue,
    requeue_lost,
)
from seqboat_lab.sweep.trial import TrialProcess, make_run_directory

POLL_SECONDS = 0.5
LEAST_SPACE = 2**16  # bytes; with less, a run that failed is taken for one that found the disk full
NAMELESS_SECONDS = 20  # after which a trial without a worker's name is lost; a living one takes milliseconds


class Interruption(Exception):  # noqa: N818 - nothing went wrong
    """The worker was asked to end, or the sweep that started it has ended."""


def work(sweep: SweepConfig, parent: int, threads: int | None) -> None:
    """Runs trials until the study's budget is used up.

    Args:
        parent: process id of the sweep that started this worker.
        threads: CPU threads of each trial; None leaves it to the experiment.
    """

    def interrupt(*_):
        raise Interruption

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
    with errors_in_one_line(sweep.directory, sweep.storage):
        _work(sweep, parent, threads)


def _work(sweep: SweepConfig, parent: int, threads: int | None) -> None:
    trial = None
    try:
        threading.Thread(target=_end_with_sweep, args=(parent,), daemon=True).start()
        study = open_study(sweep)
        lock = WorkerLock(sweep.directory)
        requeue_lost(study, sweep)
        while True:
            while (trial := claim(study, sweep, lock)) is not None:
                run_trial(study, sweep, trial, threads)
                trial = None
                requeue_lost(study, sweep)
            if not _requeue_abandoned(study, sweep):
                break
    except Interruption:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if trial is not None:
            with suppress(RuntimeError):  # it had just ended
                requeue(study, study.trials[trial.number], "interrupted")


def _requeue_abandoned(study: optuna.Study, sweep: SweepConfig) -> int:
    """Queues trials again whose worker died before it could say that they are its own; how many."""
    seen = waiting = nameless(study)
    for _ in range(int(NAMELESS_SECONDS / POLL_SECONDS)):
        if not waiting:
            return 0
        time.sleep(POLL_SECONDS)
        waiting = seen & nameless(study)
    return requeue_lost(study, sweep, waiting)


def _end_with_sweep(parent: int) -> None:
    """Nothing else tells a worker that the sweep was killed: it would go on unseen."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def run_trial(study: optuna.Study, sweep: SweepConfig, trial: optuna.Trial, threads: int | None) -> None:
    """Runs one trial to its end and tells the study how it went. A failure is recorded, never raised."""
    run_dir, key = sweep.directory / "trials" / f"{trial.number:04d}", uuid.uuid4().hex
    trial.set_user_attr(RUN, str(run_dir))
    trial.set_user_attr(KEY, key)
    try:
        extra = {} if threads is None else {"trainer.threads": threads}
        config = sweep.experiment_with({**trial.params, **extra})
    except ConfigError as error:
        return _fail(study, trial, str(error))

    if aside := make_run_directory(run_dir, key):
        print(f"{run_dir} held a run of another study; it is set aside in {aside}")
    process = TrialProcess(config, run_dir)
    deadline = time.monotonic() + (sweep.trial_timeout or math.inf)
    rule = make_rule(sweep.stopping, sweep.maximize) if sweep.stopping else None
    rungs = rule.steps(config.trainer.max_steps, config.trainer.val_every) if rule else []
    measured: dict[str, list[float]] = {}
    try:
        ended = False
        while not ended:
            ended = process.wait(POLL_SECONDS)
            for validation in process.new_validations():
                step = validation["step"]
                values, problem = _values(validation, sweep, f"at step {step}")
                if problem:
                    return _fail(study, trial, problem)
                measured[str(step)] = values
                trial.set_user_attr(MEASURED, measured)
                others = measured_at(study, step, but=trial.number)
                if rule and step in rungs and not ended and rule.stops(values, others):
                    study.tell(trial, state=TrialState.PRUNED)
                    return None
            if not ended and time.monotonic() > deadline:
                reached = f"after step {max(map(int, measured))}" if measured else "before its first validation"
                return _fail(study, trial, f"took longer than trial_timeout = {sweep.trial_timeout:g} s, {reached}")
    finally:
        process.stop()
    failure = process.failure()
    if failure is not None and _disk_is_full(run_dir, failure):  # not this trial's fault: it is run again
        requeue(study, study.trials[trial.number], "the disk was full")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run_dir))
    if failure is not None:
        return _fail(study, trial, failure)
    summary = process.summary()
    values, problem = _values(summary, sweep, "at its end")
    if problem:
        return _fail(study, trial, problem)
    trial.set_user_attr(TABLE, {k: v for k, v in summary.items() if isinstance(v, str) or _is_finite(v)})
    study.tell(trial, values)
    return None


def _disk_is_full(run_dir: Path, failure: str) -> bool:
    told = any(os.strerror(number) in failure for number in (errno.ENOSPC, errno.EDQUOT))
    return told or shutil.disk_usage(run_dir).free < LEAST_SPACE  # a log may have had no room for its error


def _values(metrics: Mapping[str, Any], sweep: SweepConfig, when: str) -> tuple[list[float], str | None]:
    """The objectives' values, or what is wrong with them."""
    unknown = sorted(set(sweep.metrics) - set(metrics))
    if unknown:
        return [], f"the experiment does not report {', '.join(unknown)}"
    values = [metrics[metric] for metric in sweep.metrics]
    if not all(map(_is_finite, values)):
        return [], f"diverged: {when} {dict(zip(sweep.metrics, values, strict=True))}"
    return values, None


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _fail(study: optuna.Study, trial: optuna.Trial, error: str) -> None:
    trial.set_user_attr(ERROR, error)
    study.tell(trial, state=TrialState.FAIL)

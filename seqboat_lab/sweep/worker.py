"""A worker: takes trials from the study until the budget is used up."""

import json
import math
import os
import signal
import threading
import time
from contextlib import suppress

import optuna
from optuna.trial import TrialState

from seqboat_lab.config import ConfigError
from seqboat_lab.sweep.config import SweepConfig
from seqboat_lab.sweep.stopping import measured_at, should_stop
from seqboat_lab.sweep.study import (
    ERROR,
    MEASURED,
    RUN,
    TABLE,
    WorkerLock,
    claim,
    open_study,
    requeue,
    requeue_lost,
)
from seqboat_lab.sweep.trial import TrialProcess

POLL_SECONDS = 0.5


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
    trial = None
    try:
        threading.Thread(target=_end_with_sweep, args=(parent,), daemon=True).start()
        study = open_study(sweep)
        lock = WorkerLock(sweep.directory)
        requeue_lost(study, sweep)
        while (trial := claim(study, sweep, lock)) is not None:
            run_trial(study, sweep, trial, threads)
            trial = None
            requeue_lost(study, sweep)
    except Interruption:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if trial is not None:
            with suppress(RuntimeError):  # it had just ended
                requeue(study, study.trials[trial.number], "interrupted")


def _end_with_sweep(parent: int) -> None:
    """Nothing else tells a worker that the sweep was killed: it would go on unseen."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def run_trial(study: optuna.Study, sweep: SweepConfig, trial: optuna.Trial, threads: int | None) -> None:
    """Runs one trial to its end and tells the study how it went. A failure is recorded, never raised."""
    run_dir = sweep.directory / "trials" / f"{trial.number:04d}"
    trial.set_user_attr(RUN, str(run_dir))
    try:
        extra = {} if threads is None else {"trainer.threads": threads}
        config = sweep.experiment_with({**trial.params, **extra})
    except ConfigError as error:
        return _fail(study, trial, str(error))

    process = TrialProcess(config, run_dir)
    maximize = [direction == "maximize" for direction in sweep.objectives.values()]
    measured: dict[str, list[float]] = {}
    try:
        ended = False
        while not ended:
            ended = process.wait(POLL_SECONDS)
            for validation in process.new_validations():
                unknown = sorted(set(sweep.metrics) - set(validation))
                if unknown:
                    return _fail(study, trial, f"the experiment does not report {', '.join(unknown)}")
                values = [validation[metric] for metric in sweep.metrics]
                if not all(map(math.isfinite, values)):
                    reached = dict(zip(sweep.metrics, values, strict=True))
                    return _fail(study, trial, f"diverged: at step {validation['step']} {reached}")
                measured[str(validation["step"])] = values
                trial.set_user_attr(MEASURED, measured)
                others = measured_at(study, validation["step"], but=trial.number)
                done = ended or validation["step"] >= config.trainer.max_steps
                if sweep.stopping and not done and should_stop(sweep.stopping, values, others, maximize):
                    study.tell(trial, state=TrialState.PRUNED)
                    return None
    finally:
        process.stop()
    failure = process.failure()
    if failure is not None:
        return _fail(study, trial, failure)
    summary = json.loads((run_dir / "summary.json").read_text())
    trial.set_user_attr(TABLE, summary["metrics"])
    study.tell(trial, [summary["metrics"][metric] for metric in sweep.metrics])
    return None


def _fail(study: optuna.Study, trial: optuna.Trial, error: str) -> None:
    trial.set_user_attr(ERROR, error)
    study.tell(trial, state=TrialState.FAIL)

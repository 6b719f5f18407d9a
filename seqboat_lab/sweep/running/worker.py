"""A worker: takes trials from the study until the budget is used up, and runs what comes before and after them."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from seqboat_lab.sweep.definition.config import SweepConfig
from seqboat_lab.sweep.running.attempt import POLL_SECONDS, carried, run_job, run_trial
from seqboat_lab.sweep.running.promotion import claim_promoted
from seqboat_lab.sweep.stages.plan import Stages
from seqboat_lab.sweep.stages.side import Job, SideStudy
from seqboat_lab.sweep.study.patient import PATIENCE_SECONDS, Patient
from seqboat_lab.sweep.study.storage import errors_in_one_line
from seqboat_lab.sweep.study.study import (
    SignsOfLife,
    WorkerLock,
    at_work,
    claim,
    nameless,
    open_study,
    requeue,
    requeue_lost,
)

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Signals that end a worker: the sweep's, a service manager's, a scheduler's before a time limit."""
NAMELESS_SECONDS = 20  # after which a trial without a worker's name is lost; a living one takes milliseconds
LAST_PATIENCE = 10.0  # seconds that a worker which is to end waits for a storage that is away


class Interruption(Exception):  # noqa: N818 - nothing went wrong
    """The worker was asked to end, or the sweep that started it has ended."""

    def __init__(self, number: int):
        self.number = signal.Signals(number)


class Claimed(NamedTuple):
    """What a worker has taken: the trial of a study, and how it is run."""

    study: optuna.Study
    number: int
    run: Callable[[], None]


def work(
    sweep: SweepConfig,
    parent: int,
    threads: int | None,
    search: bool = True,
    may_begin: Callable[[optuna.Study], bool] = lambda study: True,
) -> signal.Signals | None:
    """Runs trials until the study's budget is used up, the references before them and the confirmation after. Returns
    the signal that ended it before, or None.

    Args:
        parent: process id of the sweep that started this worker.
        threads: CPU threads of each trial; None leaves it to the experiment.
        search: whether to run any trials, or only what comes before and after.
        may_begin: asked before each run; the worker ends where the answer is no.
    """

    def interrupt(number: int, _):
        raise Interruption(number)

    for number in ENDING:
        signal.signal(number, interrupt)
    with errors_in_one_line(sweep.directory, sweep.storage):
        return _work(sweep, parent, threads, search, may_begin)


def _work(
    sweep: SweepConfig,
    parent: int,
    threads: int | None,
    search: bool,
    may_begin: Callable[[optuna.Study], bool] = lambda study: True,
) -> signal.Signals | None:
    claimed = None
    try:
        threading.Thread(target=_end_with_sweep, args=(parent,), daemon=True).start()
        study = open_study(sweep, PATIENCE_SECONDS)
        stages, lock = Stages(study, sweep), WorkerLock(sweep.directory)
        studies = [study, *(side.study for side in stages.sides)]
        while True:
            for each in studies:
                requeue_lost(each, sweep)
            if not may_begin(study):
                break
            try:
                if (claimed := _next(stages, lock, threads, search)) is not None:
                    with SignsOfLife(claimed.study, claimed.number):
                        claimed.run()
                    claimed = None
                    continue
            except UpdateFinishedTrialError:  # this worker fell silent for too long
                print("a trial of this worker was taken for lost, and is queued again", flush=True)
                claimed = None
                continue
            if not sum(_requeue_abandoned(each, sweep) for each in studies):
                if not any(at_work(each, sweep) for each in studies):
                    break
                time.sleep(POLL_SECONDS)  # what others find may be a reason to go on with a trial, or they may die
    except Interruption as interruption:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        if claimed is not None:
            trial = claimed.study.trials[claimed.number]
            if isinstance(storage := claimed.study._storage, Patient):
                storage.patience = LAST_PATIENCE  # without word from here it is found out by others
            with suppress(RuntimeError):  # it had just ended
                requeue(claimed.study, sweep, trial, "interrupted", carried(trial))
        return interruption.number
    return None


def _next(stages: Stages, lock: WorkerLock, threads: int | None, search: bool) -> Claimed | None:
    """What is next in line: references, stopped trials that go on, new trials, the confirmation."""
    study, sweep = stages.search, stages.sweep
    if stages.references and (found := _job(stages.references, stages.reference_jobs(), lock, threads)):
        return found
    if search and (trial := claim_promoted(study, sweep, lock) or claim(study, sweep, lock)):
        return Claimed(study, trial.number, partial(run_trial, study, sweep, trial, threads))
    if stages.confirm and not at_work(study, sweep):
        return _job(stages.confirm, stages.confirm_jobs(), lock, threads)
    return None


def _job(side: SideStudy, jobs: list[Job], lock: WorkerLock, threads: int | None) -> Claimed | None:
    trial = side.claim(lock.name, jobs)
    return None if trial is None else Claimed(side.study, trial.number, partial(run_job, side, trial, threads))


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

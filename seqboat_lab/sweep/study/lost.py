"""What becomes of the trials of workers that died: each is queued again, once."""

import fcntl
import os
import platform
import threading
import uuid
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._heartbeat import BaseHeartbeat, is_heartbeat_enabled
from optuna.trial import FrozenTrial, TrialState

from seqboat_lab.data.files.files import locked
from seqboat_lab.sweep.definition.config import SweepConfig
from seqboat_lab.sweep.sampling.queue import REQUEUED, SURPLUS, configuration
from seqboat_lab.sweep.sampling.seen import CONTINUES
from seqboat_lab.sweep.study import patient
from seqboat_lab.sweep.study.attributes import INSTEAD, JOB, WORKER, set_attribute
from seqboat_lab.sweep.study.journal import LOST_WORKER
from seqboat_lab.sweep.study.patient import Patient

T = TypeVar("T")


class WorkerLock:
    """A file that its worker holds locked while it lives: the kernel frees it however the worker ends.

    Workers that do not share the sweep's directory cannot see each other's. They know of each other by the signs of
    life that a database keeps, or leave each other's trials alone.
    """

    def __init__(self, directory: Path):
        self.name = f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        path = self.path(directory, self.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    @staticmethod
    def path(directory: Path, name: str) -> Path:
        return directory / "workers" / f"{name}.lock"

    @classmethod
    def is_alive(cls, directory: Path, name: str) -> bool:
        return cls.path(directory, name).exists() and not cls.is_dead(directory, name)

    @classmethod
    def is_dead(cls, directory: Path, name: str) -> bool:
        try:
            with cls.path(directory, name).open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
        except OSError:  # held, or not visible from here
            return False


class SignsOfLife:
    """Context manager: the trial with this id is under way, and its storage told so again and again, if it keeps it.

    (Optuna's own thread ends with the first error, and outlives a worker that is to end.)
    """

    def __init__(self, study: optuna.Study, number: int):
        self._storage, self._ended = study._storage, threading.Event()
        if is_heartbeat_enabled(self._storage):
            trial = self._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
            threading.Thread(target=self._tell, args=(trial,), daemon=True).start()

    def _tell(self, trial: int) -> None:
        assert isinstance(self._storage, BaseHeartbeat)
        while True:
            with suppress(Exception):  # whatever it is, the next one may come through
                self._storage.record_heartbeat(trial)
            if self._ended.wait(patient.HEARTBEAT_SECONDS):
                return

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        self._ended.set()


def alone(study: optuna.Study, sweep: SweepConfig, do: Callable[[], T]) -> T:
    """What `do` returns, which no two workers of a sweep do at the same time, wherever they are.

    Where the storage goes away in the middle it is done anew: what it did by then must be found, not done twice.
    """
    if isinstance(study._storage, Patient):
        return study._storage.alone(sweep.name, do)
    with locked(sweep.directory / "claim"):
        return do()


def requeue(
    study: optuna.Study, sweep: SweepConfig, trial: FrozenTrial, why: str, carried: Mapping[str, Any] | None = None
) -> bool:
    """Ends a running trial that was lost and queues its parameters again, with the attributes `carried`; False if
    someone else did, or it lives.

    One that was lost before it had them all is only ended: what it would have had is proposed anew. Nobody may ask for
    a trial in between, to whom its place in a grid would seem free; and whoever dies, or loses the storage, in between
    leaves a trial in its place by which the next one sees what is done.
    """

    def do() -> bool:
        now = study._storage.get_trial(trial._trial_id)
        if now.state != TrialState.RUNNING or now.user_attrs.get(WORKER) != trial.user_attrs.get(WORKER):
            return False  # finished, queued again, or taken meanwhile
        _queue_again(study, sweep, now, carried or {})
        try:
            set_attribute(study, now, REQUEUED, why)
        except UpdateFinishedTrialError:  # its worker had fallen silent, and has just ended it
            _withdraw(study, now.number)
            return False
        with suppress(ValueError, UpdateFinishedTrialError):  # or does so now, in vain
            study.tell(trial.number, state=TrialState.FAIL)
        return True

    return alone(study, sweep, do)


def _queue_again(study: optuna.Study, sweep: SweepConfig, trial: FrozenTrial, carried: Mapping[str, Any]) -> None:
    again = _again(sweep, trial)
    if again is None or any(t.user_attrs.get(INSTEAD) == trial.number for t in study.get_trials(deepcopy=False)):
        return
    job = {JOB: trial.user_attrs[JOB]} if JOB in trial.user_attrs else {}
    study.enqueue_trial(again, user_attrs={**carried, **job, INSTEAD: trial.number})


def _withdraw(study: optuna.Study, number: int) -> None:
    for waiting in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        if waiting.user_attrs.get(INSTEAD) == number:
            set_attribute(study, waiting, SURPLUS, True)
            study._storage.set_trial_state_values(waiting._trial_id, TrialState.FAIL)


def _again(sweep: SweepConfig, trial: FrozenTrial) -> dict[str, Any] | None:
    """The values with which a lost trial is queued, if it is."""
    if JOB in trial.user_attrs:
        return trial.params
    if CONTINUES in trial.user_attrs:  # what it went on with is stopped still, and may go on again
        return None
    return found if sweep.search_space().is_complete(found := configuration(trial)) else None


def take(study: optuna.Study, trial_id: int, worker: str) -> None:
    """Puts the worker's name to a running trial; a sign of life comes first, so that no name is without one."""
    if is_heartbeat_enabled(study._storage):
        cast(BaseHeartbeat, study._storage).record_heartbeat(trial_id)
    study._storage.set_trial_user_attr(trial_id, WORKER, worker)


def nameless(study: optuna.Study) -> set[int]:
    """Numbers of the running trials that no worker has put its name to: it does so at once, or it died before."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return {trial.number for trial in running if WORKER not in trial.user_attrs}


def requeue_lost(study: optuna.Study, sweep: SweepConfig, abandoned: Container[int] = ()) -> int:
    """Queues the trials of dead workers again, and those with the `abandoned` numbers; how many."""
    lost = 0
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    silent = set(storage._get_stale_trial_ids(study._study_id)) if running and (storage := _alive(study)) else set()
    for trial in running:
        name, directory = trial.user_attrs.get(WORKER), sweep.directory
        why = f"worker {name} died"
        dead = name == LOST_WORKER or (name is not None and WorkerLock.is_dead(directory, name))
        if not dead and name and trial._trial_id in silent and not WorkerLock.is_alive(directory, name):
            dead, why = True, f"worker {name} gave no sign of life"
        if dead or (name is None and trial.number in abandoned):
            with suppress(RuntimeError):
                lost += requeue(study, sweep, trial, why)
    return lost


def _alive(study: optuna.Study) -> BaseHeartbeat | None:
    """The storage, if it keeps signs of life."""
    return cast(BaseHeartbeat, study._storage) if is_heartbeat_enabled(study._storage) else None


def at_work(study: optuna.Study, sweep: SweepConfig) -> bool:
    """Is any worker that lives at a trial of this study? Elsewhere, too, where the storage tells of those; the others
    are those that can be seen from here."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    names = [trial.user_attrs[WORKER] for trial in running if WORKER in trial.user_attrs]
    if is_heartbeat_enabled(study._storage):
        return bool(names)
    return any(WorkerLock.is_alive(sweep.directory, name) for name in names)

"""The Optuna study behind a sweep: who may start a trial, and what becomes of a dead worker's."""

import fcntl
import os
import platform
import uuid
import warnings
from collections import Counter
from collections.abc import Container, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from seqboat_lab.config.checks import ConfigError
from seqboat_lab.data.files.files import locked
from seqboat_lab.sweep.definition.config import SweepConfig
from seqboat_lab.sweep.definition.constraints import is_broken
from seqboat_lab.sweep.sampling.queue import REQUEUED as REQUEUED
from seqboat_lab.sweep.sampling.queue import SURPLUS as SURPLUS
from seqboat_lab.sweep.sampling.queue import configuration, replaced
from seqboat_lab.sweep.sampling.sampler import TrialSampler
from seqboat_lab.sweep.sampling.seen import CONTINUES as CONTINUES
from seqboat_lab.sweep.study.journal import LOST_WORKER
from seqboat_lab.sweep.study.storage import errors_in_one_line, open_storage
from seqboat_lab.sweep.study.trial_directory import key_of, set_aside

WORKER, ERROR = "worker", "error"  # attributes of trials
RUN, MEASURED, BROKEN, TABLE, KEY, JOB = "run", "measured", "broken", "row", "key", "job"
BY_SEED = "by_seed"
"""Attribute: the objectives of each seed, in the order they ran."""
IDENTITY, TOKEN, REFERENCE = "sweep", "token", "reference"
"""Attributes of the study: what it searches, who it is, and the hypervolume's reference."""
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def open_study(sweep: SweepConfig) -> optuna.Study:
    """The sweep's study, created at the first call.

    Raises `ConfigError` if a study of this name exists and searched something else.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    directions = list(sweep.objectives.values())
    if sweep.storage is None:
        make_directory(sweep)
        numbers = [int(StudyDirection[d.upper()]) for d in directions]
        record = {"op_code": 0, "worker_id": "", "study_name": sweep.name, "directions": numbers}
        with errors_in_one_line(sweep.directory):
            storage = open_storage(None, sweep.directory / "study.journal", record)
    else:
        storage = open_storage(sweep.storage, sweep.directory)
        make_directory(sweep)
    try:
        study = optuna.load_study(storage=storage, study_name=sweep.name)
    except KeyError:  # no such study; another worker may be creating it at this moment
        study = optuna.create_study(storage=storage, study_name=sweep.name, directions=directions, load_if_exists=True)
    known = study.user_attrs.get(IDENTITY)
    if study.metric_names is None:  # for optuna-dashboard, and whoever else looks at the study
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            study.set_metric_names(sweep.metrics)
    if known is None:
        study.set_user_attr(IDENTITY, sweep.identity())
    elif known != sweep.identity():
        differs = [k for k, v in sweep.identity().items() if known.get(k) != v]
        raise ConfigError(
            f"study {sweep.name}",
            f"already holds a search with other {', '.join(differs)} (in {sweep.directory}); "
            "give this one another name (name=...), or move that directory away",
        )
    if TOKEN not in study.user_attrs:
        study.set_user_attr(TOKEN, uuid.uuid4().hex)
    return study


def make_directory(sweep: SweepConfig) -> None:
    """The sweep's directory. Raises `ConfigError` where there can be none."""
    try:
        sweep.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"cannot hold a sweep ({error.strerror}); give another name (name=...)"
        raise ConfigError(str(sweep.directory), reason) from None


def set_attribute(study: optuna.Study, trial: FrozenTrial, name: str, value: Any) -> None:
    study._storage.set_trial_user_attr(trial._trial_id, name, value)


def counts(trial: FrozenTrial) -> bool:
    """Does this trial use up budget? Not if it was lost and queued again, started by mistake, or goes on with one."""
    return not (trial.state == TrialState.WAITING or replaced(trial) or CONTINUES in trial.user_attrs)


def candidates(study: optuna.Study) -> dict[int, FrozenTrial]:
    """Number of each candidate's first trial -> its newest one, which went on with it; lost ones are left out."""
    found = {}
    for trial in study.get_trials(deepcopy=False):
        if not {REQUEUED, SURPLUS} & trial.user_attrs.keys():
            found[trial.user_attrs.get(CONTINUES, trial.number)] = trial
    return found


def claim(study: optuna.Study, sweep: SweepConfig, worker: "WorkerLock") -> optuna.Trial | None:
    """A new trial within the budget, or None when it is used up.

    Storages have no transaction over counting and creating: a worker that was beaten to the last trial sees
    so by the numbers of the trials, and gives its own back. And SQLite gives one waiting trial to two who ask at once,
    so workers that share the directory take turns.
    """
    with locked(sweep.directory / "claim"):
        return _claim(study, sweep, worker)


def _claim(study: optuna.Study, sweep: SweepConfig, worker: "WorkerLock") -> optuna.Trial | None:
    if sum(map(counts, study.get_trials(deepcopy=False))) >= sweep.trials:
        return None
    sampler = TrialSampler(sweep, {WORKER: worker.name})  # a worker that dies while it asks is found out, too
    study.sampler = sampler
    trial = study.ask()
    sampler.space.suggest(trial)
    before = sum(counts(t) for t in study.get_trials(deepcopy=False) if t.number < trial.number)
    if before >= sweep.trials:
        trial.set_user_attr(SURPLUS, True)
        study.tell(trial, state=TrialState.FAIL)
        return None
    return trial


def requeue(
    study: optuna.Study, sweep: SweepConfig, trial: FrozenTrial, why: str, carried: Mapping[str, Any] | None = None
) -> bool:
    """Ends a running trial that was lost and queues its parameters again, with the attributes `carried`; False if
    someone else did.

    One that was lost before it had them all is only ended: what it would have had is proposed anew. Nobody may ask for
    a trial in between, to whom its place in a grid would seem free.
    """
    set_attribute(study, trial, REQUEUED, why)
    with locked(sweep.directory / "claim"):
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except ValueError:  # finished or requeued meanwhile
            return False
        if JOB in trial.user_attrs:
            study.enqueue_trial(trial.params, user_attrs={JOB: trial.user_attrs[JOB]})
        elif CONTINUES in trial.user_attrs:
            pass  # what it went on with is stopped still, and may go on again
        elif sweep.search_space().is_complete(configuration(trial)):
            study.enqueue_trial(configuration(trial), user_attrs=dict(carried or {}))
    return True


def nameless(study: optuna.Study) -> set[int]:
    """Numbers of the running trials that no worker has put its name to: it does so at once, or it died before."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return {trial.number for trial in running if WORKER not in trial.user_attrs}


def requeue_lost(study: optuna.Study, sweep: SweepConfig, abandoned: Container[int] = ()) -> int:
    """Queues the trials of dead workers again, and those with the `abandoned` numbers; how many."""
    lost = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        name = trial.user_attrs.get(WORKER)
        dead = name == LOST_WORKER or (name is not None and WorkerLock.is_dead(sweep.directory, name))
        if dead or (name is None and trial.number in abandoned):
            with suppress(RuntimeError):
                lost += requeue(study, sweep, trial, f"worker {name} died")
    return lost


def at_work(study: optuna.Study, sweep: SweepConfig) -> bool:
    """Is any worker that can be seen from here, and lives, at a trial of this study?"""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return any(WorkerLock.is_alive(sweep.directory, name) for t in running if (name := t.user_attrs.get(WORKER)))


def set_strangers_aside(study: optuna.Study, sweep: SweepConfig) -> list[tuple[Path, int]]:
    """Moves the directories under trials/ that this study did not make out of it: where to, and how many.

    They are of another study of this name, whose journal was deleted or replaced, and must not pass for its own.
    """
    runs = sorted(path for path in sweep.directory.glob("trials/*") if path.name.isdecimal())
    there = [(path, key_of(path)) for path in runs]
    known = {t.number: t.user_attrs.get(KEY) for t in study.get_trials(deepcopy=False)}  # read after the directories
    strangers = [path for path, key in there if known.get(int(path.name), "none") != key] if there else []
    return list(Counter(set_aside(path) for path in strangers).items())


def measured_at(study: optuna.Study, step: int) -> dict[int, list[float]]:
    """Candidate -> its objective values at `step`, of those that were measured there and broke no constraint: whatever
    the others reach, they must stop none that keeps them."""
    kept = {n: t for n, t in candidates(study).items() if step not in t.user_attrs.get(BROKEN, ())}
    found = {n: t.user_attrs.get(MEASURED, {}) for n, t in kept.items()}
    return {n: measured[str(step)] for n, measured in found.items() if str(step) in measured}


class WorkerLock:
    """A file that its worker holds locked while it lives: the kernel frees it however the worker ends.

    Workers on machines that do not share the sweep's directory cannot see each other's, and leave each
    other's trials alone.
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


def summary_rows(study: optuna.Study, sweep: SweepConfig) -> list[dict[str, Any]]:
    """One flat row per candidate, in the order they were started: what trials.csv holds.

    A stopped trial that went on has one row with what became of it, under its first number.
    """
    rows, newest = [], candidates(study)
    chains: dict[int, list[FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False):
        if SURPLUS not in trial.user_attrs:
            chains.setdefault(trial.user_attrs.get(CONTINUES, trial.number), []).append(trial)
    for number, (first, *later) in chains.items():
        trial = newest.get(number, first)
        state = "requeued" if REQUEUED in trial.user_attrs else STATES[trial.state]
        measured = trial.user_attrs.get(MEASURED, {})
        last = measured[max(measured, key=int)] if measured else [None] * len(sweep.metrics)
        values = trial.values if trial.values is not None else last
        durations = [t.duration.total_seconds() for t in (first, *later) if t.duration]
        rows.append(
            {
                "number": number,
                "state": state,
                **dict(zip(sweep.metrics, values, strict=True)),
                **trial.params,
                **({"feasible": not is_broken(trial.constraints)} if trial.constraints else {}),
                "step": max(map(int, measured), default=0),
                "started": first.datetime_start.isoformat() if first.datetime_start else "",
                "seconds": round(sum(durations), 1) if durations else None,
                "worker": trial.user_attrs.get(WORKER, ""),
                **trial.user_attrs.get(TABLE, {}),
                "run": trial.user_attrs.get(RUN, ""),
                "error": trial.user_attrs.get(ERROR) or trial.user_attrs.get(REQUEUED, ""),
            }
        )
    return rows

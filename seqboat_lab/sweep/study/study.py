"""The Optuna study behind a sweep: who may start a trial, and what becomes of a dead worker's."""

import uuid
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from seqboat_lab.config.checks import ConfigError
from seqboat_lab.sweep.definition.config import SweepConfig
from seqboat_lab.sweep.definition.constraints import is_broken
from seqboat_lab.sweep.sampling.queue import ERROR, REQUEUED, SURPLUS, replaced
from seqboat_lab.sweep.sampling.sampler import TrialSampler
from seqboat_lab.sweep.sampling.seen import CONTINUES
from seqboat_lab.sweep.study.attributes import (
    BROKEN,
    BY_SEED,
    DEFINITION,
    IDENTITY,
    JOB,
    KEY,
    MEASURED,
    REFERENCE,
    RUN,
    TABLE,
    TOKEN,
    WORKER,
    set_attribute,
)
from seqboat_lab.sweep.study.definition import keep_definition, other_search
from seqboat_lab.sweep.study.lost import (
    SignsOfLife,
    WorkerLock,
    alone,
    at_work,
    nameless,
    requeue,
    requeue_lost,
    take,
)
from seqboat_lab.sweep.study.storage import errors_in_one_line, open_storage, without_secrets
from seqboat_lab.sweep.study.trial_directory import key_of, set_aside

__all__ = [
    "BROKEN", "BY_SEED", "CONTINUES", "DEFINITION", "ERROR", "IDENTITY", "JOB", "KEY", "MEASURED", "REFERENCE",
    "REQUEUED", "RUN", "SURPLUS", "TABLE", "TOKEN", "WORKER", "SignsOfLife", "WorkerLock", "alone", "at_work",
    "candidates", "claim", "counts", "end", "make_directory", "measured_at", "nameless", "open_study", "requeue",
    "requeue_lost", "set_attribute", "set_strangers_aside", "summary_rows", "take",
]  # fmt: skip
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def open_study(sweep: SweepConfig, patience: float = 0.0) -> optuna.Study:
    """The sweep's study, created at the first call.

    Raises `ConfigError` if a study of this name exists and searched something else.

    Args:
        patience: seconds for which a storage that is away is waited for.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    directions = list(sweep.objectives.values())
    journal = sweep.directory / "study.journal"
    if sweep.storage is None:
        make_directory(sweep)
        numbers = [int(StudyDirection[d.upper()]) for d in directions]
        record = {"op_code": 0, "worker_id": "", "study_name": sweep.name, "directions": numbers}
        with errors_in_one_line(sweep.directory):
            storage = open_storage(None, journal, record)
    else:
        storage = open_storage(sweep.storage, journal, None, patience)
        make_directory(sweep)
    try:
        study = optuna.load_study(storage=storage, study_name=sweep.name)
    except KeyError:  # no such study; another worker may be creating it at this moment
        study = optuna.create_study(storage=storage, study_name=sweep.name, directions=directions, load_if_exists=True)
    alone(study, sweep, lambda: _introduce(study, sweep))
    return study


def _introduce(study: optuna.Study, sweep: SweepConfig) -> None:
    """Writes down what the study searches, and who it is, or compares it with what is there."""
    known = study.user_attrs.get(IDENTITY)
    if study.metric_names is None:  # for optuna-dashboard, and whoever else looks at the study
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            study.set_metric_names(sweep.metrics)
    if known is None:
        study.set_user_attr(IDENTITY, sweep.identity())
    elif differs := other_search(known, sweep.identity(), DEFINITION in study.user_attrs):
        place = without_secrets(sweep.storage) if sweep.storage else sweep.directory
        raise ConfigError(
            f"study {sweep.name}",
            f"already holds a search with other {', '.join(differs)} (in {place}); "
            f"give this one another name (name=...){'' if sweep.storage else ', or move that directory away'}",
        )
    keep_definition(study, sweep)
    if TOKEN not in study.user_attrs:
        study.set_user_attr(TOKEN, uuid.uuid4().hex)


def make_directory(sweep: SweepConfig) -> None:
    """The sweep's directory. Raises `ConfigError` where there can be none."""
    try:
        sweep.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"cannot hold a sweep ({error.strerror}); give another name (name=...)"
        raise ConfigError(str(sweep.directory), reason) from None


def counts(trial: FrozenTrial) -> bool:
    """Does this trial use up budget? Not if it was lost and queued again, started by mistake, or goes on with one."""
    return not (trial.state == TrialState.WAITING or replaced(trial) or CONTINUES in trial.user_attrs)


def candidates(study: optuna.Study) -> dict[int, FrozenTrial]:
    """Number of each candidate's first trial -> its newest one, which went on with it; lost ones are left out."""
    found = {}
    for trial in study.get_trials(deepcopy=False):
        if not replaced(trial):
            found[trial.user_attrs.get(CONTINUES, trial.number)] = trial
    return found


def claim(study: optuna.Study, sweep: SweepConfig, worker: WorkerLock) -> optuna.Trial | None:
    """A new trial within the budget, or None when it is used up.

    Storages have no transaction over counting and creating, and SQLite gives one waiting trial to two who ask at once:
    so workers take turns. One that was beaten to the last trial nevertheless (where its machine shares neither database
    nor directory's lock) sees so by the numbers of the trials, and gives its own back.
    """
    return alone(study, sweep, lambda: _claim(study, sweep, worker))


def _claim(study: optuna.Study, sweep: SweepConfig, worker: WorkerLock) -> optuna.Trial | None:
    if sum(map(counts, study.get_trials(deepcopy=False))) >= sweep.trials:
        return None
    sampler = TrialSampler(sweep, {WORKER: worker.name})  # a worker that dies while it asks is found out, too
    study.sampler = sampler
    with warnings.catch_warnings(action="ignore"):  # of its heartbeats Optuna sees none: they are given from elsewhere
        trial = study.ask()
    sampler.space.suggest(trial)
    before = sum(counts(t) for t in study.get_trials(deepcopy=False) if t.number < trial.number)
    if before >= sweep.trials:
        trial.set_user_attr(SURPLUS, True)
        study.tell(trial, state=TrialState.FAIL)
        return None
    return trial


def end(
    study: optuna.Study, number: int, values: Sequence[float] | None = None, state: TrialState | None = None
) -> None:
    """`study.tell`. Raises `UpdateFinishedTrialError` if this worker was taken for dead, and the trial from it."""
    try:
        study.tell(number, values, state)
    except ValueError:
        if study.trials[number].state == TrialState.RUNNING:
            raise
        raise UpdateFinishedTrialError from None


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
        state = "requeued" if replaced(trial) else STATES[trial.state]
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

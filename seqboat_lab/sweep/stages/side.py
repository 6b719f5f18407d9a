"""Runs beside the search: a study of their own in the same storage, so that no sampler, front or budget sees them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from seqboat_lab.config import ExperimentConfig
from seqboat_lab.sweep.definition.config import SweepConfig
from seqboat_lab.sweep.sampling.queue import ERROR, SURPLUS, replaced
from seqboat_lab.sweep.study.attributes import JOB, RUN, TOKEN, set_attribute
from seqboat_lab.sweep.study.lost import alone, take


class Job(NamedTuple):
    """One run: an experiment with one seed."""

    name: str
    """A reference's name, or the number of the candidate."""
    seed: int
    values: Mapping[str, Any]
    """Fields of the experiment: those of a reference, or what the search proposed."""
    trial: int | None = None
    """The candidate, if it is one."""
    split: str | None = None
    """The best checkpoint is evaluated on it; None: what the last validation found counts."""

    @property
    def key(self) -> str:
        """The same for the same measurement only."""
        return _hash(self._asdict())

    @property
    def run_key(self) -> str:
        """The same for the same training only."""
        return _hash(self._replace(split=None)._asdict())

    def config(self, sweep: SweepConfig, extra: Mapping[str, Any]) -> ExperimentConfig:
        """Raises `ConfigError` if there is no such experiment."""
        values = {**self.values, "seed": self.seed, **extra}
        return sweep.base_with(values) if self.trial is None else sweep.experiment_with(values)


class SideStudy:
    """The runs of one stage of a sweep (`references`, `confirm`).

    What is to run is said anew with each call: nothing is queued twice, and what is no longer wanted is left alone.
    """

    def __init__(self, search: optuna.Study, sweep: SweepConfig, stage: str):
        self.sweep, self.stage = sweep, stage
        self.directory = sweep.directory / stage
        self.token = search.user_attrs[TOKEN]
        self.study = alone(search, sweep, lambda: self._open_own(search))

    def _open_own(self, search: optuna.Study) -> optuna.Study:
        study = self._open(search)
        if study.user_attrs.get(TOKEN, self.token) != self.token:  # of another search of this name
            optuna.delete_study(study_name=study.study_name, storage=search._storage)
            study = self._open(search)
        if TOKEN not in study.user_attrs:
            study.set_user_attr(TOKEN, self.token)
        return study

    def _open(self, search: optuna.Study) -> optuna.Study:
        name, storage = f"{self.sweep.name}-{self.stage}", search._storage
        with suppress(KeyError):
            return optuna.load_study(study_name=name, storage=storage)
        directions = list(self.sweep.objectives.values())
        return optuna.create_study(study_name=name, storage=storage, directions=directions, load_if_exists=True)

    def trials(self) -> dict[str, FrozenTrial]:
        """Job's key -> its trial, the first one that was not lost."""
        found: dict[str, FrozenTrial] = {}
        for trial in self.study.get_trials(deepcopy=False):
            if JOB in trial.user_attrs and not replaced(trial):
                found.setdefault(job_of(trial).key, trial)
        return found

    def _queue(self, jobs: Sequence[Job]) -> None:
        there = self.trials()
        for job in jobs:
            if job.key not in there:
                self.study.enqueue_trial({}, user_attrs={JOB: job._asdict()})

    def unfinished(self, jobs: Sequence[Job]) -> int:
        """How many of the jobs have not ended, well or badly."""
        there = self.trials()
        return sum(job.key not in there or not there[job.key].state.is_finished() for job in jobs)

    def claim(self, worker: str, jobs: Sequence[Job]) -> FrozenTrial | None:
        """The next of these jobs that nobody has taken, now running, or None."""

        def do() -> FrozenTrial | None:
            self._queue(jobs)
            return self._claim(worker, jobs)

        return alone(self.study, self.sweep, do)

    def _claim(self, worker: str, jobs: Sequence[Job]) -> FrozenTrial | None:
        wanted, first = {job.key for job in jobs}, self.trials()
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            if JOB not in trial.user_attrs or job_of(trial).key not in wanted:
                continue
            if not self.study._storage.set_trial_state_values(trial._trial_id, state=TrialState.RUNNING):
                continue
            take(self.study, trial._trial_id, worker)
            if first[job_of(trial).key].number == trial.number:
                return self.study.get_trials(deepcopy=False)[trial.number]
            set_attribute(self.study, trial, SURPLUS, True)  # queued by two at the same time
            self.study.tell(trial.number, state=TrialState.FAIL)
        return None

    def run_directory(self, job: Job) -> Path:
        return self.directory / f"{job.name}-{job.seed}"

    def run_key(self, job: Job) -> str:
        """What marks the directory of this job: one of another search, or with other fields, must not pass for it."""
        return f"{self.token}-{job.run_key}"

    def results(self, jobs: Sequence[Job]) -> list[tuple[Job, str, dict[str, float]]]:
        """Job, run directory and objectives of those that ended well, in the order of the jobs."""
        there = self.trials()
        found = []
        for job in jobs:
            trial = there.get(job.key)
            if trial is not None and trial.state == TrialState.COMPLETE:
                values = dict(zip(self.sweep.metrics, trial.values, strict=True))
                found.append((job, trial.user_attrs[RUN], values))
        return found

    def failures(self, jobs: Sequence[Job]) -> list[tuple[Job, str]]:
        """Jobs that failed, and why."""
        there = self.trials()
        failed = [(job, there[job.key]) for job in jobs if job.key in there]
        return [(job, t.user_attrs.get(ERROR, "")) for job, t in failed if t.state == TrialState.FAIL]


def _hash(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def job_of(trial: FrozenTrial) -> Job:
    return Job(**trial.user_attrs[JOB])

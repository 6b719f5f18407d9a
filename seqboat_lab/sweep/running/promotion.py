"""Stopped trials that go on, from their own checkpoint."""

from pathlib import Path

import optuna
from optuna.samplers import RandomSampler
from optuna.storages._heartbeat import is_heartbeat_enabled
from optuna.trial import FrozenTrial, TrialState, create_trial

from seqboat_lab.sweep.definition.config import SweepConfig
from seqboat_lab.sweep.definition.constraints import unset
from seqboat_lab.sweep.sampling.sampler import TrialSampler
from seqboat_lab.sweep.stopping.rules import make_rule
from seqboat_lab.sweep.study.study import (
    BROKEN,
    CONTINUES,
    KEY,
    MEASURED,
    RUN,
    WORKER,
    WorkerLock,
    alone,
    candidates,
    take,
)
from seqboat_lab.sweep.study.trial_directory import key_of

CARRIED = (RUN, KEY, MEASURED, BROKEN)
"""Attributes that a trial hands on to the one that goes on with it."""


def promotable(study: optuna.Study, sweep: SweepConfig) -> list[tuple[int, FrozenTrial]]:
    """The candidates that were stopped and are to go on after all, and can: their checkpoint is here."""
    if sweep.stopping is None:
        return []
    newest, stopped = candidates(study), {}
    measured: dict[int, dict[int, list[float]]] = {}
    for number, trial in newest.items():
        steps = {int(step): values for step, values in trial.user_attrs.get(MEASURED, {}).items()}
        for step, values in steps.items():
            if step not in trial.user_attrs.get(BROKEN, ()):
                measured.setdefault(step, {})[number] = values
        if trial.state == TrialState.PRUNED:
            stopped[number] = max(steps)
    chosen = make_rule(sweep.stopping, sweep.maximize).goes_on(measured, stopped)
    return [(number, newest[number]) for number in chosen if _is_here(newest[number])]


def claim_promoted(study: optuna.Study, sweep: SweepConfig, worker: WorkerLock) -> optuna.Trial | None:
    """A new trial that goes on with the most promising stopped one, or None if none is to go on.

    An ended trial of Optuna's is never changed, so this is another one, with the same values. It is made in one stroke:
    whenever its worker dies, the stopped trial is simply one that may go on again.
    """
    return None if sweep.stopping is None else alone(study, sweep, lambda: _claim_promoted(study, sweep, worker))


def _claim_promoted(study: optuna.Study, sweep: SweepConfig, worker: WorkerLock) -> optuna.Trial | None:
    named = {} if is_heartbeat_enabled(study._storage) else {WORKER: worker.name}  # a sign of life comes before
    for number, trial in promotable(study, sweep):
        carried = {name: trial.user_attrs[name] for name in CARRIED if name in trial.user_attrs}
        successor = create_trial(
            state=TrialState.RUNNING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={**carried, **named, CONTINUES: number},
            system_attrs=unset(trial.system_attrs),
        )
        made = study._storage.create_new_trial(study._study_id, successor)
        if not named:
            take(study, made, worker.name)
        study.sampler = RandomSampler()  # there is nothing to propose
        going_on = optuna.Trial(study, made)
        study.sampler = TrialSampler(sweep, {})  # is told how it ends
        return going_on
    return None


def _is_here(trial: FrozenTrial) -> bool:
    run_dir = Path(trial.user_attrs[RUN])
    return key_of(run_dir) == trial.user_attrs[KEY] and any(run_dir.glob("checkpoints/*.ckpt"))

"""Runs what a worker has claimed: a trial with its seeds, or a run beside the search. Failures are recorded."""

import errno
import math
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from seqboat_lab.config import ConfigError, ExperimentConfig
from seqboat_lab.sweep.definition.config import SweepConfig
from seqboat_lab.sweep.definition.confirm import search_seeds
from seqboat_lab.sweep.definition.constraints import is_broken, violations
from seqboat_lab.sweep.running.trial import EvaluationProcess, TrialProcess
from seqboat_lab.sweep.stages.noise import average, is_hopeless, mean, standard_errors
from seqboat_lab.sweep.stages.side import SideStudy, job_of
from seqboat_lab.sweep.stopping.rules import dominates, make_rule
from seqboat_lab.sweep.study.artifacts import send_run
from seqboat_lab.sweep.study.study import (
    BROKEN,
    BY_SEED,
    CONTINUES,
    ERROR,
    JOB,
    KEY,
    MEASURED,
    RUN,
    TABLE,
    candidates,
    end,
    measured_at,
    requeue,
    set_attribute,
)
from seqboat_lab.sweep.study.trial_directory import key_of, make_run_directory

POLL_SECONDS = 0.5
RESUMES = "resumes"
"""Attribute: the directory of the interrupted trial that this one goes on with."""
LEAST_SPACE = 2**16  # bytes; with less, a run that failed is taken for one that found the disk full


class RunFailed(Exception):  # noqa: N818 - its one line is for the study
    """Why a run came to no end."""


def run_trial(study: optuna.Study, sweep: SweepConfig, trial: optuna.Trial, threads: int | None) -> None:
    """Runs one trial to its end and tells the study how it went. A failure is recorded, never raised."""
    number = trial.user_attrs.get(CONTINUES, trial.number)
    run_dir, key = sweep.directory / "trials" / f"{number:04d}", trial.user_attrs.get(KEY) or uuid.uuid4().hex
    trial.set_user_attr(RUN, str(run_dir))
    trial.set_user_attr(KEY, key)
    try:
        config = sweep.experiment_with({**trial.params, **_threads(threads)})
    except ConfigError as error:
        return _fail(study, trial, str(error))
    if CONTINUES not in trial.user_attrs and not _take_over(trial.user_attrs.get(RESUMES), run_dir, key):
        _take_directory(run_dir, key)

    rule = make_rule(sweep.stopping, sweep.maximize) if sweep.stopping else None
    rungs = rule.steps(config.trainer.max_steps, config.trainer.val_every) if rule else []
    measured: dict[str, list[float]] = dict(trial.user_attrs.get(MEASURED, {}))

    def leave(checkpoint: bool = False) -> None:
        send_run(study, trial.number, run_dir, sweep.artifacts, checkpoint)

    def stops(step: int, metrics: Mapping[str, Any], ended: bool) -> bool:
        if str(step) in measured:  # before it went on
            return False
        values, kept = _values(metrics, sweep, f"at step {step}"), _violations(metrics, sweep, f"at step {step}")
        if is_broken(kept):  # told first: nobody is to measure itself by it in between
            trial.set_user_attr(BROKEN, [*trial.user_attrs.get(BROKEN, ()), step])
        measured[str(step)] = values
        trial.set_user_attr(MEASURED, measured)
        others = [v for n, v in measured_at(study, step).items() if n != number]
        stopped = bool(rule and step in rungs and not ended and rule.stops(values, others))
        if stopped:
            _set_constraints(trial, kept)
        return stopped

    try:
        found = [_train(config, run_dir, sweep, stops)]
        if found[0] is None:
            leave()
            end(study, trial.number, state=TrialState.PRUNED)
            return None
        values = [_values(found[0], sweep, "at its end")]
        _violations(found[0], sweep, "at its end")  # raises where they cannot be told
        for seed in _further_seeds(study, sweep, config.seed, values[0]):
            seed_dir = run_dir / f"seed-{seed}"
            seed_dir.mkdir(exist_ok=True)
            try:
                found.append(_train(replace(config, seed=seed), seed_dir, sweep))
                values.append(_values(found[-1] or {}, sweep, "at its end"))
                _violations(found[-1] or {}, sweep, "at its end")
            except RunFailed as error:
                raise RunFailed(f"with seed {seed}: {error}") from None
    except RunFailed as error:
        leave()
        return _fail(study, trial, str(error))
    except OSError as error:
        if error.errno == errno.ENOSPC:  # not this trial's fault: it is run again
            requeue(study, sweep, study.trials[trial.number], "the disk was full")
        raise
    leave(checkpoint=_is_ahead(study, sweep, values))
    _complete(study, sweep, trial, [each for each in found if each is not None], values)
    return None


def _is_ahead(study: optuna.Study, sweep: SweepConfig, values: Sequence[list[float]]) -> bool:
    """Is a candidate whose seeds gave `values` on the front of those that are complete by now?"""
    if sweep.artifacts is None:
        return False
    complete = [t.values for t in candidates(study).values() if t.state == TrialState.COMPLETE]
    return not any(dominates(other, mean(values), sweep.maximize) for other in complete)


def _complete(
    study: optuna.Study,
    sweep: SweepConfig,
    trial: optuna.Trial,
    found: Sequence[Mapping[str, Any]],
    values: Sequence[list[float]],
) -> None:
    table = {k: v for k, v in average(found).items() if isinstance(v, str) or _is_finite(v)}
    if sweep.seeds > 1:
        trial.set_user_attr(BY_SEED, values)
        errors = standard_errors(values)
        named = {f"{metric}_se": e for metric, e in zip(sweep.metrics, errors, strict=True)} if errors else {}
        table |= {"seeds": len(values), **named}
    trial.set_user_attr(TABLE, table)
    _set_constraints(trial, _violations(average(found), sweep, "at its end"))
    end(study, trial.number, mean(values))


def _further_seeds(study: optuna.Study, sweep: SweepConfig, first: int, values: list[float]) -> list[int]:
    """The seeds to run after the first one, which gave `values`."""
    seeds = search_seeds(first, sweep.seeds)[1:]
    finished = [t for t in candidates(study).values() if t.state == TrialState.COMPLETE] if seeds else []
    finished = [t for t in finished if not is_broken(t.constraints)]
    known = [t.user_attrs.get(BY_SEED, [t.values]) for t in finished]
    return [] if seeds and is_hopeless(values, known, sweep.maximize) else seeds


def run_job(side: SideStudy, trial: FrozenTrial, threads: int | None) -> None:
    """Runs one job of a stage to its end, from its checkpoint if it was begun, and tells the stage's study."""
    job, study, sweep = job_of(trial), side.study, side.sweep
    run_dir = side.run_directory(job)
    set_attribute(study, trial, RUN, str(run_dir))
    try:
        if key_of(run_dir) != side.run_key(job):
            _take_directory(run_dir, side.run_key(job))
        found = _train(job.config(sweep, _threads(threads)), run_dir, sweep)
        if job.split:
            found = follow(EvaluationProcess(run_dir, job.split), run_dir, sweep)
        values = _values(found or {}, sweep, "at its end")
        send_run(study, trial.number, run_dir, sweep.artifacts)
    except (ConfigError, RunFailed) as error:
        set_attribute(study, trial, ERROR, str(error))
        end(study, trial.number, state=TrialState.FAIL)
        return
    except OSError as error:
        if error.errno == errno.ENOSPC:
            requeue(study, side.sweep, trial, "the disk was full")
        raise
    end(study, trial.number, values)


def carried(trial: FrozenTrial) -> dict[str, Any]:
    """Attributes by which a trial that was interrupted goes on from its checkpoint once it is run again."""
    known = trial.user_attrs
    if RUN not in known or KEY not in known or JOB in known or CONTINUES in known:
        return {}
    return {name: known[name] for name in (KEY, MEASURED, BROKEN) if name in known} | {RESUMES: known[RUN]}


def _take_over(old: str | None, run_dir: Path, key: str) -> bool:
    """Whether the directory of the trial that this one goes on with is here; it is this one's from now on."""
    if old is None or key_of(Path(old)) != key or os.path.lexists(run_dir):
        return old is not None and key_of(run_dir) == key
    Path(old).rename(run_dir)
    return True


def _take_directory(run_dir: Path, key: str) -> None:
    if aside := make_run_directory(run_dir, key):
        print(f"{run_dir} held a run of another study; it is set aside in {aside}")


Stops = Callable[[int, Mapping[str, Any], bool], bool]
"""Step, metrics and whether the run has ended -> whether it is to end now."""


def _train(
    config: ExperimentConfig, run_dir: Path, sweep: SweepConfig, stops: Stops = lambda *_: False
) -> dict[str, Any] | None:
    return follow(TrialProcess(config, run_dir), run_dir, sweep, stops)


def follow(
    process: TrialProcess, run_dir: Path, sweep: SweepConfig, stops: Stops = lambda *_: False
) -> dict[str, Any] | None:
    """What a process reports at its end, or None where `stops` ended it at a validation.

    Raises `RunFailed`, and `OSError` if the disk is full.
    """
    deadline = time.monotonic() + (sweep.trial_timeout or math.inf)
    reached = 0
    try:
        ended = False
        while not ended:
            ended = process.wait(POLL_SECONDS)
            for validation in process.new_validations():
                reached = validation["step"]
                _values(validation, sweep, f"at step {reached}")  # raises where it diverged
                if stops(reached, validation, ended):
                    return None
            if not ended and time.monotonic() > deadline:
                when = f"after step {reached}" if reached else "before its first validation"
                raise RunFailed(f"took longer than trial_timeout = {sweep.trial_timeout:g} s, {when}")
    finally:
        process.stop()
    failure = process.failure()
    if failure is not None and _disk_is_full(run_dir, failure):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(run_dir))
    if failure is not None:
        raise RunFailed(failure)
    return process.summary()


def _threads(threads: int | None) -> dict[str, Any]:
    return {} if threads is None else {"trainer.threads": threads}


def _disk_is_full(run_dir: Path, failure: str) -> bool:
    told = any(os.strerror(number) in failure for number in (errno.ENOSPC, errno.EDQUOT))
    return told or shutil.disk_usage(run_dir).free < LEAST_SPACE  # a log may have had no room for its error


def _values(metrics: Mapping[str, Any], sweep: SweepConfig, when: str) -> list[float]:
    """The objectives' values. Raises `RunFailed` if they are none."""
    unknown = sorted(set(sweep.metrics) - set(metrics))
    if unknown:
        raise RunFailed(f"the experiment does not report {', '.join(unknown)}")
    values = [metrics[metric] for metric in sweep.metrics]
    if not all(map(_is_finite, values)):
        raise RunFailed(f"diverged: {when} {dict(zip(sweep.metrics, values, strict=True))}")
    return values


def _violations(metrics: Mapping[str, Any], sweep: SweepConfig, when: str) -> dict[str, float]:
    """How far each constraint is broken or kept. Raises `RunFailed` if that cannot be told."""
    for metric in sweep.constraints:
        if not _is_finite(metrics.get(metric)):
            raise RunFailed(f"{when} {metric}, on which there is a constraint, is {metrics.get(metric)}")
    return violations(sweep.constraints, metrics)


def _set_constraints(trial: optuna.Trial, values: Mapping[str, float]) -> None:
    """Tells Optuna, which takes each only once: so at the trial's end."""
    for name, value in values.items():
        trial.set_constraint(name, value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _fail(study: optuna.Study, trial: optuna.Trial, error: str) -> None:
    trial.set_user_attr(ERROR, error)
    end(study, trial.number, state=TrialState.FAIL)

"""Which searched fields decide: Optuna's PED-ANOVA of each objective."""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seqboat_lab.analysis.pareto import completed, is_number, signed

FEWEST_TRIALS = 12
SHUFFLES = 20
BETTER = 0.5
"""Share of the trials that is set against all. Measured on 24 made-up trials, where one of four fields decides alone:
it is found in 31 of 32 cases; with the best fifth in 24. Without shuffling, in 29 and 21."""


def importance(
    rows: Sequence[Mapping[str, Any]], objectives: Mapping[str, str], space: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """Objective -> searched field -> its share of what decides whether a trial is in the better half; they sum to 1.

    PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255) by Optuna, over the completed trials: the better half against
    all. Few trials make every field look important, those with many values most: what a field gets on average when
    the objective is shuffled is taken off. Empty with fewer than `FEWEST_TRIALS`, and for an objective that no field
    explains better than chance.

    space: the searched fields as in sweep.yaml, each with choices, or low and high.
    """
    complete = completed(rows, objectives)
    if len(complete) < FEWEST_TRIALS:
        return {}
    study = _study(
        complete, {k: d for k, spec in space.items() if (d := _distribution(spec, [r.get(k) for r in complete]))}
    )
    generator = np.random.default_rng(0)
    found: dict[str, dict[str, float]] = {}
    for metric, direction in objectives.items():
        values = signed(complete, {metric: direction})[:, 0]
        if len(set(values)) == 1:
            continue
        shuffled = [_divergences(study, generator.permutation(values)) for _ in range(SHUFFLES)]
        real = _divergences(study, values)
        beyond = {key: max(0.0, value - sum(s[key] for s in shuffled) / SHUFFLES) for key, value in real.items()}
        total = sum(beyond.values())
        if total > 0 and math.isfinite(total):
            found[metric] = {key: beyond.get(key, 0.0) / total for key in space}
    return found


def _study(rows: Sequence[Mapping[str, Any]], known: Mapping[str, Any]) -> Any:
    """The trials as Optuna knows them, without values; fields outside of their distribution are left out."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler())
        for row in rows:
            params = {key: v for key, d in known.items() if _contains(d, v := _shown(row.get(key)))}
            distributions = {key: known[key] for key in params}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=0.0))
        return study
    finally:
        optuna.logging.set_verbosity(verbosity)


def _divergences(study: Any, values: np.ndarray) -> dict[str, float]:
    """PED-ANOVA's importance of each field, for values of the trials of which more is better."""
    from optuna.importance import PedAnovaImportanceEvaluator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it minimises, and that a conditional field has few trials
        evaluator = PedAnovaImportanceEvaluator(target_quantile=BETTER)
        return evaluator.evaluate(study, target=lambda trial: -float(values[trial.number]))


def deciding(importances: Mapping[str, Mapping[str, float]]) -> str | None:
    """The field with the largest mean importance over the objectives."""
    mean: dict[str, float] = {}
    for shares in importances.values():
        for key, share in shares.items():
            mean[key] = mean.get(key, 0.0) + share / len(importances)
    return max(mean, key=lambda key: mean[key], default=None)


def _distribution(spec: Mapping[str, Any], values: Sequence[Any]) -> Any:
    """Optuna's distribution of a field, or None where its values do not fit what sweep.yaml says."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    try:
        if spec.get("choices"):
            return CategoricalDistribution([_shown(choice) for choice in spec["choices"]])
        low, high, log = spec["low"], spec["high"], bool(spec.get("log"))
        whole = all(isinstance(v, int) for v in values if v is not None) and low == int(low) and high == int(high)
        return IntDistribution(int(low), int(high), log=log) if whole else FloatDistribution(low, high, log=log)
    except (KeyError, TypeError, ValueError):
        return None


def _contains(distribution: Any, value: Any) -> bool:
    choices = getattr(distribution, "choices", None)
    if choices is not None:
        return any(type(value) is type(choice) and value == choice for choice in choices)
    return is_number(value) and distribution.low <= value <= distribution.high


def _shown(value: Any) -> Any:
    """A section as trials.csv has it."""
    return json.dumps(value) if isinstance(value, (list, dict)) else value

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
    known = {key: d for key, spec in space.items() if (d := _distribution(spec, [row.get(key) for row in complete]))}
    params = [{k: v for k, d in known.items() if _contains(d, v := _shown(row.get(k)))} for row in complete]
    generator = np.random.default_rng(0)
    found: dict[str, dict[str, float]] = {}
    for metric, direction in objectives.items():
        values = signed(complete, {metric: direction})[:, 0]
        if len(set(values)) == 1:
            continue
        shuffled = [_divergences(params, known, generator.permutation(values)) for _ in range(SHUFFLES)]
        real = _divergences(params, known, values)
        beyond = {k: max(0.0, real.get(k, 0.0) - sum(s.get(k, 0.0) for s in shuffled) / SHUFFLES) for k in known}
        total = sum(beyond.values())
        if total > 0 and math.isfinite(total):
            found[metric] = {key: value / total for key, value in beyond.items()}
    return found


def _divergences(
    params: Sequence[Mapping[str, Any]], distributions: Mapping[str, Any], values: np.ndarray
) -> dict[str, float]:
    """PED-ANOVA's importance of each field; more is better."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a regime of a conditional field is small
            study = optuna.create_study(sampler=optuna.samplers.RandomSampler(), direction="maximize")
            study.add_trials(
                optuna.trial.create_trial(
                    params=dict(chosen), distributions={k: distributions[k] for k in chosen}, value=float(value)
                )
                for chosen, value in zip(params, values, strict=True)
            )
            return PedAnovaImportanceEvaluator(target_quantile=BETTER).evaluate(study)
    finally:
        optuna.logging.set_verbosity(verbosity)


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

"""Which searched fields decide: Optuna's PED-ANOVA of each objective."""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from seqboat_lab.analysis.pareto import completed, is_number, signed

FEWEST_TRIALS = 8
FEWEST_GOOD = 4  # trials among the best, whose distribution is set against that of all
GOOD = 0.2  # share of the trials that count as the best, where that is enough of them


def importance(
    rows: Sequence[Mapping[str, Any]], objectives: Mapping[str, str], space: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """Objective -> searched field -> its share of what decides whether a trial is among the best; shares sum to 1.

    PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255) by Optuna, over the completed trials: the best fifth against
    all. With few trials it is a hint, no measurement. Empty with fewer than `FEWEST_TRIALS`.

    space: the searched fields as in sweep.yaml, each with choices, or low and high.
    """
    complete = completed(rows, objectives)
    if len(complete) < FEWEST_TRIALS:
        return {}
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator

    known = {key: d for key, spec in space.items() if (d := _distribution(spec, [row.get(key) for row in complete]))}
    quantile = min(0.5, max(GOOD, FEWEST_GOOD / len(complete)))
    found: dict[str, dict[str, float]] = {}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it minimises, and that a regime of a conditional field is small
        for metric in objectives:
            study = optuna.create_study(sampler=optuna.samplers.RandomSampler())
            for row, (value,) in zip(complete, signed(complete, {metric: objectives[metric]}), strict=True):
                params = {key: v for key, d in known.items() if _contains(d, v := _shown(row.get(key)))}
                distributions = {key: known[key] for key in params}
                study.add_trial(
                    optuna.trial.create_trial(params=params, distributions=distributions, value=-float(value))
                )
            evaluator = PedAnovaImportanceEvaluator(target_quantile=quantile)
            shares = evaluator.evaluate(study) if len({t.value for t in study.trials}) > 1 else {}
            total = sum(shares.values())
            if total > 0 and math.isfinite(total):
                found[metric] = {key: shares.get(key, 0.0) / total for key in known}
    optuna.logging.set_verbosity(verbosity)
    return found


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

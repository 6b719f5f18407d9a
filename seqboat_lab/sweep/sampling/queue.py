"""Which configurations a study has to try before its sampler proposes any: start points, and the cells of a grid."""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from seqboat_lab.sweep.definition.search_space import SearchSpace

REQUEUED, SURPLUS = "requeued", "surplus"  # attributes of trials that another took the place of, or none
ERROR = "error"
"""Attribute of a trial that failed by itself: why."""
FIXED = "fixed_params"  # where Optuna keeps the values of a trial that was queued


def replaced(trial: FrozenTrial) -> bool:
    """Was it lost and queued again, or started by mistake?"""
    return REQUEUED in trial.user_attrs or SURPLUS in trial.user_attrs


def configuration(trial: FrozenTrial) -> dict[str, Any]:
    """The values that a trial has, or will have once it starts."""
    return {**trial.system_attrs.get(FIXED, {}), **trial.params}


def planned(
    points: Sequence[Mapping[str, Any]],
    cells: Sequence[Mapping[str, Any]] | None,
    space: SearchSpace,
    trials: Sequence[FrozenTrial],
    trial: FrozenTrial,
) -> Mapping[str, Any]:
    """The values that `trial` has to take: those of the first point, or cell, that no other trial has.

    What is left to do is read from the trials that are there and kept nowhere else: so nothing is tried twice or left
    out, whoever was killed when. A trial that is being asked for elsewhere takes the first, and this one then the next.

    Args:
        points: configurations to try first, each with values for some of the fields or all.
        cells: all cells of a grid, if it is one: those first that agree with a point.
        trials: all of the study.
    """
    if not points and cells is None:
        return {}
    earlier = [t for t in trials if t.number < trial.number or FIXED in t.system_attrs]
    others = [configuration(t) for t in earlier if t.number != trial.number and not replaced(t)]
    done = {frozenset(params.items()) for params in others if space.is_complete(params)}
    asking = sum(not space.is_complete(params) for params in others)
    given = configuration(trial)
    if space.is_complete(given):  # queued again with what it had
        return {}
    if cells is None:
        left = [point for point in points if not any(_agree(point, params) for params in others)]
    else:
        left = [cell for cell in cells if frozenset(cell.items()) not in done]
        left.sort(key=lambda cell: next((n for n, point in enumerate(points) if _agree(point, cell)), len(points)))
    left = [params for params in left if all(params.get(key, value) == value for key, value in given.items())]
    if asking < len(left):
        return left[asking]
    return left[-1] if left and cells is not None else {}


def _agree(point: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
    return all(key in params and params[key] == value for key, value in point.items())

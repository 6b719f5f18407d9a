"""Configurations that a sweep tries first: written out, or those of another sweep's front."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqboat_lab.analysis.pareto import front_of
from seqboat_lab.analysis.sweeps import read_sweep
from seqboat_lab.config.checks import ConfigError, require, show
from seqboat_lab.sweep.definition.search_space import SearchSpace, by_field


def start_points(start: Sequence[Any], space: SearchSpace) -> list[dict[str, Any]]:
    """The labels of each configuration's values, for some of the searched fields or all; the sampler draws the rest.

    Raises `ConfigError` for what is outside the space, and for a conditional field whose condition is not met.
    """
    return [_point(values, space, f"start.{n}") for n, values in enumerate(start)]


def _point(values: Any, space: SearchSpace, where: str) -> dict[str, Any]:
    require(isinstance(values, Mapping) and bool(values), where, values, "a mapping of searched fields to values")
    point: dict[str, Any] = {}
    for key, value in by_field(values, space.parameters, where):
        if not (label := space.find(key, value)):
            raise ConfigError(f"{where}.{key}", f"{show(value)} is outside the space; expected {space.describe(key)}")
        point[key] = label[0]
    for key in point:
        for other, allowed in space.conditions[key].items():
            if other not in point or point[other] not in allowed:
                needed = " or ".join(map(str, allowed))
                reason = f"is searched only where {other} is {needed}; expected that beside it, or not this field"
                raise ConfigError(f"{where}.{key}", reason)
    return point


def front_points(source: Any, space: SearchSpace) -> list[dict[str, Any]]:
    """The configurations of a sweep's front, `{from: runs/sweeps/NAME/front}`: those of their values that `space` has.

    Raises `ConfigError` if there is no such sweep, or nothing of it fits.
    """
    named = isinstance(source, Mapping) and set(source) == {"from"} and isinstance(source["from"], str)
    require(named, "start", source, "a list of configurations, or {from: runs/sweeps/NAME/front}")
    path = Path(source["from"]).expanduser()
    require(path.name == "front", "start.from", source["from"], "a sweep's directory and /front")
    sweep = read_sweep(path.parent)
    points: list[dict[str, Any]] = []
    for row in front_of(sweep.rows, sweep.objectives):
        point: dict[str, Any] = {}
        for key in space.distributions:  # those that a condition names come first
            label = space.find(key, _plain(row.get(key))) if key in sweep.searched else []
            if label and space.is_active(key, point):
                point[key] = label[0]
        if point and point not in points:
            points.append(point)
    if not points:
        raise ConfigError("start.from", f"{path.parent} has no front with a value that this space has")
    return [{key: space.parameters[key].value(label) for key, label in point.items()} for point in points]


def _plain(value: Any) -> Any:
    """A cell of trials.csv; sections and lists are JSON there."""
    try:
        return json.loads(value) if isinstance(value, str) and value[:1] in ("{", "[") else value
    except ValueError:
        return value

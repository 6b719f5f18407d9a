"""The search space as Optuna sees it: a distribution for each field, and when it is searched at all."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from seqboat_lab.config.checks import ConfigError, choose, require, show
from seqboat_lab.config.experiment import ExperimentConfig
from seqboat_lab.config.files import field_type, merge
from seqboat_lab.sweep.definition.space import Parameter

MOST_CELLS = 100_000
"""Configurations of a grid: nobody runs more."""


class SearchSpace:
    """What a sweep searches.

    A trial's `params` are as Optuna and trials.csv hold them: labels of choices, numbers of ranges, nothing for a field
    that is not searched in it.
    """

    def __init__(self, parameters: Mapping[str, Parameter], base: Mapping[str, Any]):
        """`base` is the experiment, as plain data, whose fields are searched. Raises `ConfigError`."""
        self.parameters = parameters
        self.distributions: dict[str, BaseDistribution] = {}
        """In the order of drawing: a field comes after those that its `when` names."""
        self.conditions: dict[str, dict[str, list[Any]]] = {}
        """For each field all others that it depends on, be it through others, with the values that they must have."""
        for key in drawing_order(parameters):
            self.conditions[key] = self._condition(key, parameters[key].when or {})
            example = {other: parameters[other].value(values[0]) for other, values in self.conditions[key].items()}
            try:
                values = merge(base, example, ExperimentConfig) if example else base
                hint = field_type(ExperimentConfig, key, values)
            except ConfigError as error:
                raise error.under("space") from None
            try:
                self.distributions[key] = parameters[key].distribution(hint)
            except ConfigError as error:
                raise error.under(f"space.{key}") from None

    def _condition(self, key: str, when: Mapping[str, Any]) -> dict[str, list[Any]]:
        condition: dict[str, list[Any]] = {}
        for other, given in by_field(when, self.parameters, f"space.{key}.when"):
            labels = self._labels(key, other, given)
            for name, possible in [(other, labels), *self.conditions[other].items()]:  # it must be searched itself
                both = [label for label in possible if label in condition.get(name, possible)]
                if not both:
                    reason = f"can never hold: it needs {name} to have two values at once, through {other}"
                    raise ConfigError(f"space.{key}.when", reason)
                condition[name] = both
        return condition

    def _labels(self, key: str, other: str, given: Any) -> list[Any]:
        """The values of `other` that a `when` of `key` names."""
        where, distribution = f"space.{key}.when.{other}", self.distributions[other]
        if isinstance(distribution, FloatDistribution) and distribution.step is None:
            reason = f"can never hold: any number from {distribution.low:g} to {distribution.high:g} may be drawn"
            raise ConfigError(where, f"{reason}; give {other} choices or a step")
        if found := self.find(other, given):  # a list may be a choice of its own
            return found
        wanted = given if isinstance(given, list) else [given]
        require(bool(wanted), where, given, "at least one value")
        for value in wanted:
            if not (label := self.find(other, value)):
                raise ConfigError(where, f"{show(value)} can never hold: expected {self.describe(other)}")
            found += label
        return found

    def find(self, key: str, value: Any) -> list[Any]:
        """What Optuna calls this value of the field: one label, or none if the field cannot have it."""
        distribution = self.distributions[key]
        if isinstance(distribution, CategoricalDistribution):
            parameter = self.parameters[key]
            both = zip(parameter.choices or (), parameter.labels, strict=True)
            return [label for choice, label in both if choice == value or label == value][:1]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return []
        assert isinstance(distribution, (IntDistribution, FloatDistribution))  # there are no others
        whole = isinstance(distribution, IntDistribution)
        if not distribution.low <= value <= distribution.high or (whole and value != int(value)):
            return []  # NaN and infinities, too; a whole number of any size can be compared
        number = int(value) if whole else float(value)
        return [number] if distribution._contains(number) else []  # which a step may leave out

    def describe(self, key: str) -> str:
        """The field's values, as an error names them."""
        found: Any = self.distributions[key]
        if isinstance(found, CategoricalDistribution):
            return f"one of {', '.join(map(show, found.choices))}"
        step = f" in steps of {found.step:g}" if found.step not in (None, 1) else ""
        kind = "a whole number" if isinstance(found, IntDistribution) else "a number"
        return f"{kind} from {found.low:g} to {found.high:g}{step}"

    def is_active(self, key: str, params: Mapping[str, Any]) -> bool:
        """Is the field searched in a trial with these values of the others?"""
        return all(name in params and params[name] in values for name, values in self.conditions[key].items())

    def is_complete(self, params: Mapping[str, Any]) -> bool:
        """Has every field that is searched in this trial its value?"""
        return all(key in params or not self.is_active(key, params) for key in self.distributions)

    def suggest(self, trial: optuna.Trial) -> None:
        """Draws the trial's values, as `study.ask` does for spaces without conditions."""
        for key, distribution in self.distributions.items():
            if self.is_active(key, trial.params):
                trial._suggest(key, distribution)

    def complete(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """`params` without what is not searched then, and with the first value of what is missing."""
        found: dict[str, Any] = {}
        for key, distribution in self.distributions.items():
            if self.is_active(key, found):
                found[key] = params[key] if key in params else examples(distribution)[0]
        return found

    def cells(self) -> list[dict[str, Any]]:
        """Every configuration once, in the order of the file, the last field fastest. Raises `ConfigError`."""
        values = {key: self._grid_values(key) for key in self.distributions}
        found: list[dict[str, Any]] = []
        for cell in self._below(values, list(values), {}):
            found.append(cell)
            if len(found) > MOST_CELLS:
                raise ConfigError("space", f"is a grid of more than {MOST_CELLS:,} configurations; make it smaller")
        return found

    def _below(
        self, values: Mapping[str, Sequence[Any]], keys: Sequence[str], params: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        if not keys:
            yield params
        elif not self.is_active(keys[0], params):
            yield from self._below(values, keys[1:], params)
        else:
            for value in values[keys[0]]:
                yield from self._below(values, keys[1:], {**params, keys[0]: value})

    def _grid_values(self, key: str) -> Sequence[Any]:
        distribution = self.distributions[key]
        if isinstance(distribution, CategoricalDistribution):
            return distribution.choices
        if isinstance(distribution, IntDistribution):
            return range(distribution.low, distribution.high + 1, distribution.step)
        if self.parameters[key].step is None:
            raise ConfigError(f"space.{key}", "has no end of values; a grid needs choices, or a step")
        return self.parameters[key].steps()


def examples(distribution: BaseDistribution) -> Sequence[Any]:
    """All choices, or the ends of a range."""
    ends: Any = distribution
    return ends.choices if isinstance(distribution, CategoricalDistribution) else (ends.low, ends.high)


def by_field(values: Mapping[str, Any], parameters: Mapping[str, Parameter], where: str) -> Iterator[tuple[str, Any]]:
    """Searched fields with their values, however nested. Raises `ConfigError` for a field that is not searched."""

    def walk(inner: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in inner.items():
            key = f"{prefix}{name}"
            if key in parameters:
                yield key, value
            elif isinstance(value, Mapping) and any(other.startswith(f"{key}.") for other in parameters):
                yield from walk(value, f"{key}.")
            else:
                choose(where, key, parameters, "searched field")

    return walk(values, "")


def drawing_order(parameters: Mapping[str, Parameter]) -> list[str]:
    """The fields as they were given, but each after those that its `when` names. Raises `ConfigError` for a circle."""
    order: dict[str, None] = {}

    def visit(key: str, way: tuple[str, ...]) -> None:
        if key in way:
            circle = " → ".join((*way[way.index(key) :], key))
            raise ConfigError(f"space.{key}.when", f"can never hold: it goes round in a circle, {circle}")
        if key not in order:
            for other, _ in by_field(parameters[key].when or {}, parameters, f"space.{key}.when"):
                visit(other, (*way, key))
            order[key] = None

    for key in parameters:
        visit(key, ())
    return list(order)

"""The search space of a sweep: the values that fields of an experiment may take."""

import json
import math
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Union, get_args, get_origin

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from seqboat_lab.config.checks import ConfigError, require

LARGEST_INT = 2**53  # Optuna draws whole numbers through floats, which are exact up to here
MOST_STEPS = 10**9


@dataclass(frozen=True)
class Parameter:
    """The values one field may take: `choices`, or a range from `low` to `high`."""

    choices: list | None = None
    """Values to choose from, each as it is (quoted text stays text); a mapping is a whole section, such as
    `{kind: sigmoid}`."""
    low: float | None = None
    """Smallest value of a range."""
    high: float | None = None
    """Largest value of a range."""
    log: bool = False
    """Draw from the range on a logarithmic scale."""
    step: float | None = None
    """Distance between the values of a range, from `low` on; null = every number in it (of a whole-number field, every
    whole number)."""
    when: dict[str, Any] | None = None
    """Other searched fields, each with the value, or list of values, for which this one is searched. In all other
    trials it is what the experiment says."""

    def __post_init__(self):
        is_range = self.low is not None and self.high is not None
        given = (bool(self.choices), self.low is not None or self.high is not None)
        require(
            given.count(True) == 1 and (bool(self.choices) or is_range),
            "choices",
            self.choices,
            "either choices, or low and high",
        )
        if self.low is not None and self.high is not None:
            for name in ("low", "high"):
                require(math.isfinite(getattr(self, name)), name, getattr(self, name), "a finite number")
            require(self.low < self.high, "low", self.low, f"less than high = {self.high}")
            require(math.isfinite(self.high - self.low), "high", self.high, "a range whose width is a finite number")
            require(not self.log or self.low > 0, "low", self.low, "a number above 0 on a logarithmic scale")
            if self.step is not None:
                self._check_step()
        else:
            require(not self.log, "log", self.log, "low and high beside it: choices have no scale")
            require(self.step is None, "step", self.step, "low and high beside it: choices have no step")
            require(
                all(map(is_plain, self.choices or ())),
                "choices",
                self.choices,
                "finite numbers, text, lists or mappings",
            )
            distinct = len(set(self.labels)) == len(self.labels)  # to Optuna, 1, 1.0 and true are the same value
            require(distinct, "choices", self.choices, "each value once")
        if self.when is not None:
            require(bool(self.when), "when", self.when, "at least one other searched field")
            require(is_plain(self.when), "when", self.when, "finite numbers, text, lists or mappings")

    def _check_step(self) -> None:
        low, high, step = self.low, self.high, self.step
        assert low is not None  # the caller saw that it is a range
        assert high is not None
        assert step is not None
        require(not self.log, "step", step, "none on a logarithmic scale, which has no steps of one size")
        require(0 < step < math.inf, "step", step, "a finite number above 0")
        require((high - low) / step <= MOST_STEPS, "step", step, f"at most {MOST_STEPS:,} steps from low to high")
        exact = [Decimal(str(number)) for number in (low, high, step)]  # 0.1 + 0.1 + 0.1 is 0.3 to a person
        count = int((exact[1] - exact[0]) / exact[2])
        last = exact[0] + count * exact[2]
        near = f"{float(last):g}" if count else ""
        near = f"{near}{' or ' if near else ''}{float(last + exact[2]):g}"
        require(last == exact[1], "high", high, f"low + a multiple of step = {step:g}, such as {near}")

    @property
    def labels(self) -> list[Any]:
        """The choices as Optuna and trials.csv know them: plain values, a list or mapping as JSON."""
        return [json.dumps(c) if isinstance(c, (list, Mapping)) else c for c in self.choices or ()]

    def value(self, proposed: Any) -> Any:
        """The field's value for what Optuna proposed."""
        return self.choices[self.labels.index(proposed)] if self.choices else proposed

    def steps(self) -> list[float]:
        """All values of a range with a step."""
        assert self.low is not None
        assert self.high is not None
        assert self.step is not None
        low, high, step = (Decimal(str(number)) for number in (self.low, self.high, self.step))
        return [float(low + n * step) for n in range(int((high - low) / step) + 1)]

    def distribution(self, hint: Any) -> BaseDistribution:
        """The Optuna distribution for a field of type `hint`. Raises `ConfigError` if it has no such range."""
        if self.choices:
            return CategoricalDistribution(self.labels)
        low, high = self.low, self.high
        assert low is not None  # without choices, both are given
        assert high is not None
        optional = get_origin(hint) in (Union, types.UnionType)
        kinds = [kind for kind in get_args(hint) if kind is not type(None)] if optional else [hint]
        if kinds == [float]:
            return FloatDistribution(low, high, log=self.log, step=self.step)
        require(kinds == [int], "low", self.low, "choices: this field is no number")
        for name in ("low", "high", "step"):
            value = 1 if getattr(self, name) is None else getattr(self, name)
            require(value == int(value), name, value, "a whole number, as the field is")
            require(abs(value) <= LARGEST_INT, name, value, f"a whole number of at most 2^53 = {LARGEST_INT}")
        return IntDistribution(int(low), int(high), log=self.log, step=int(self.step or 1))


def is_plain(value: Any) -> bool:
    """Can JSON hold it, and give it back?"""
    try:
        return json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError):
        return False


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested sections as dotted keys."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def flatten_space(space: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The searched fields, however nested, by their dotted keys; what is said twice is put together."""
    known = {field.name for field in fields(Parameter)}
    found: dict[str, Any] = {}
    for key, value in space.items():
        inner = isinstance(value, Mapping) and any(isinstance(v, Mapping) for v in value.values())
        nested = inner and not known & value.keys()  # one known key, and an unknown one beside it is a mistake
        for name, spec in (flatten_space(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}).items():
            both = isinstance(spec, Mapping) and isinstance(found.get(name), Mapping)
            found[name] = {**found[name], **spec} if both else spec
    return found


def check_nesting(space: Mapping[str, Any]) -> None:
    """Raises `ConfigError` if a searched field is part of another one: which of them would count?"""
    for key in space:
        parts = key.split(".")
        for n in range(1, len(parts)):
            if (outer := ".".join(parts[:n])) in space:
                raise ConfigError(f"space.{key}", f"is part of {outer}, which is searched, too; search one of them")

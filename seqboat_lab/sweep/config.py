"""A sweep file: which experiment, which fields, which objectives, what budget."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from seqboat_lab.config.checks import ConfigError, at_least, choose, fraction, require
from seqboat_lab.config.experiment import ExperimentConfig
from seqboat_lab.config.files import build, field_type, find_config, merge, read_yaml


@dataclass(frozen=True)
class Parameter:
    """The values one field may take: `choices`, or a range from `low` to `high`."""

    choices: list | None = None
    """Values to choose from."""
    low: float | None = None
    """Smallest value of a range."""
    high: float | None = None
    """Largest value of a range."""
    log: bool = False
    """Draw from the range on a logarithmic scale."""

    def __post_init__(self):
        is_range = self.low is not None and self.high is not None
        given = (bool(self.choices), self.low is not None or self.high is not None)
        require(
            given.count(True) == 1 and (self.choices or is_range),
            "choices",
            self.choices,
            "either choices, or low and high",
        )
        if is_range:
            require(self.low < self.high, "low", self.low, f"less than high = {self.high}")
            require(not self.log or self.low > 0, "low", self.low, "a number above 0 on a logarithmic scale")

    def distribution(self, hint: Any) -> BaseDistribution:
        """The Optuna distribution for a field of type `hint`."""
        if self.choices:
            return CategoricalDistribution(self.choices)
        if hint is int:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Stopping:
    """When a running trial is stopped: others with the same number of steps leave it no chance.

    Optuna's pruners know one objective only. Here a trial is stopped at a validation if enough trials were
    measured at that step and more than a share of them dominate it: no worse in every objective, better in one.
    """

    min_trials: int = 6
    """Trials that must have been measured at the same step."""
    dominated_by: float = 0.5
    """Share of those that must dominate the trial."""

    def __post_init__(self):
        at_least(self, "min_trials", 1)
        fraction(self, "dominated_by")


@dataclass(frozen=True)
class SweepConfig:
    """One search; the study's name and directory are `runs/sweeps/<name>`."""

    name: str
    """Name of the study."""
    experiment: str
    """The experiment whose fields are searched: a file under configs/, or a path."""
    objectives: dict[str, Literal["maximize", "minimize"]]
    """Metric names, each with the direction that is better."""
    space: dict[str, Parameter]
    """Fields of the experiment, each with its values."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Fields of the experiment set for all trials."""
    trials: int = 20
    """Budget: finished, stopped and failed trials together, over all workers and all calls."""
    sampler: Literal["tpe", "nsga2", "random"] = "tpe"
    """How Optuna proposes values."""
    seed: int = 0
    """Seed of the sampler."""
    stopping: Stopping | None = None
    """When bad trials are stopped early; null = never."""
    storage: str | None = None
    """Any Optuna storage URL; null = a journal file in the sweep's directory."""

    def __post_init__(self):
        plain = bool(re.fullmatch(r"\w[\w.-]*", self.name))
        require(plain, "name", self.name, "letters, digits, '_', '-' and '.': it names a directory")
        require(bool(self.space), "space", self.space, "at least one field to search")
        require(bool(self.objectives), "objectives", self.objectives, "at least one metric")
        at_least(self, "trials", 1)
        at_least(self, "seed", 0)
        require(
            not set(self.space) & set(self.overrides), "overrides", sorted(set(self.space) & set(self.overrides)),
            "no field that is also searched",
        )  # fmt: skip

    @property
    def directory(self) -> Path:
        return Path("runs") / "sweeps" / self.name

    @property
    def metrics(self) -> list[str]:
        return list(self.objectives)

    def base(self) -> dict[str, Any]:
        """The experiment with the sweep's overrides, as plain data."""
        return merge(read_yaml(find_config(self.experiment)), self.overrides, ExperimentConfig)

    def experiment_with(self, params: Mapping[str, Any]) -> ExperimentConfig:
        """The experiment of one trial."""
        return build(ExperimentConfig, merge(self.base(), params, ExperimentConfig))

    def distributions(self) -> dict[str, BaseDistribution]:
        """The search space as Optuna sees it."""
        base = self.base()
        found = {}
        for key, parameter in self.space.items():
            try:
                found[key] = parameter.distribution(field_type(ExperimentConfig, key, base))
            except ConfigError as error:
                raise error.under("space") from None
        return found

    def identity(self) -> dict[str, Any]:
        """What may not change while a study goes on: all but the budget, the seed and the stopping rule."""
        fields = {
            k: v for k, v in asdict(self).items() if k not in ("trials", "seed", "stopping", "storage", "sampler")
        }
        return fields | {"objectives": [list(pair) for pair in self.objectives.items()]}  # a study knows them by place


def load_sweep(path: str | Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """The sweep of a YAML file with `key=value` overrides, checked before any trial runs.

    Every searched field must exist, every value of it must give a possible experiment, and every objective
    must be a metric that such an experiment reports. Raises `ConfigError` otherwise.
    """
    sweep = parse_sweep(path, overrides)
    check(sweep)
    return sweep


def parse_sweep(path: str | Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """`load_sweep` without the checks that need the experiment: for workers, whose parent made them."""
    path = Path(path)
    if not path.is_file():
        known = [str(p) for p in Path("sweeps").glob("*.yaml")]
        choose("sweep", str(path), known, "sweep file")
    values = merge({"name": path.stem, **read_yaml(path)}, overrides, SweepConfig)
    values["overrides"] = dict(_flatten(values.get("overrides") or {}))
    if isinstance(values.get("space"), Mapping):
        values["space"] = _ranges(values["space"])
    for missing in sorted({"experiment", "objectives", "space"} - set(values)):
        raise ConfigError(missing, f"is missing in {path}")
    return build(SweepConfig, values)


def check(sweep: SweepConfig) -> None:
    """Raises `ConfigError` for what could not be run or measured."""
    from seqboat_lab.training.experiment import metric_names  # torch is slow to import

    sweep.distributions()
    examples = {
        key: parameter.choices or [_number(sweep, key, end) for end in (parameter.low, parameter.high)]
        for key, parameter in sweep.space.items()
    }
    for key, values in examples.items():  # each value alone; the others at their first
        for value in values:
            params = {other: choices[0] for other, choices in examples.items()} | {key: value}
            try:
                experiment = sweep.experiment_with(params)
            except ConfigError as error:
                _check_base(sweep, error)
                raise ConfigError(f"space.{key}", f"{value!r} gives no possible experiment: {error}") from None
            for metric in sweep.objectives:
                choose("objectives", metric, metric_names(experiment), f"metric for {key}={value!r},")


def _check_base(sweep: SweepConfig, found: ConfigError) -> None:
    """Raises where the mistake found is in the experiment or the overrides, whatever values are searched."""
    try:
        sweep.experiment_with({})
    except ConfigError as error:
        if str(error) == str(found):
            where = f"{sweep.experiment} with the sweep's overrides gives no possible experiment"
            raise ConfigError("overrides", f"{where}: {error}") from None


def _number(sweep: SweepConfig, key: str, value: float) -> float | int:
    return int(value) if isinstance(sweep.distributions()[key], IntDistribution) else value


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested sections as dotted keys."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _ranges(space: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The searched fields, however nested, by their dotted keys; what is said twice is put together."""
    found: dict[str, Any] = {}
    for key, value in space.items():
        nested = isinstance(value, Mapping) and any(isinstance(v, Mapping) for v in value.values())
        for name, spec in (_ranges(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}).items():
            both = isinstance(spec, Mapping) and isinstance(found.get(name), Mapping)
            found[name] = {**found[name], **spec} if both else spec
    return found

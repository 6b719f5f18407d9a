"""A sweep file: which experiment, which fields, which objectives, what budget."""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from optuna.distributions import BaseDistribution

from seqboat_lab.config.checks import ConfigError, at_least, choose, is_file, require
from seqboat_lab.config.experiment import ExperimentConfig
from seqboat_lab.config.files import CONFIG_DIR, build, field_type, find_config, merge, read_yaml
from seqboat_lab.sweep.definition.check import check
from seqboat_lab.sweep.definition.confirm import MOST_SEARCHED, ConfirmConfig
from seqboat_lab.sweep.definition.constraints import Constraint
from seqboat_lab.sweep.definition.samplers import SAMPLER_CONFIGS, AnySamplerConfig, TPEConfig
from seqboat_lab.sweep.definition.search_space import SearchSpace
from seqboat_lab.sweep.definition.space import Parameter, check_nesting, flatten, flatten_space, is_plain
from seqboat_lab.sweep.definition.start import front_points, start_points
from seqboat_lab.sweep.definition.variants import with_variants
from seqboat_lab.sweep.stopping.config import STOPPING_CONFIGS, AnyStoppingConfig

SWEEP_ROOT = Path("runs") / "sweeps"
SWEEP_DIR = CONFIG_DIR.parent / "sweeps"
LONGEST_NAME = 200  # bytes; file systems allow 255, and temporary files beside it need some


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
    constraints: dict[str, Constraint] = field(default_factory=dict)
    """Metric names, each with the bounds that it must keep: trials that break one are never on the front."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Fields of the experiment set for all trials."""
    trials: int = 20
    """Budget: finished, stopped and failed trials together, over all workers and all calls. Of a grid it is the size,
    and may be left out."""
    start: list = field(default_factory=list)
    """Configurations to try first: a list of mappings of searched fields to values (the sampler draws what one leaves
    out), or `{from: runs/sweeps/NAME/front}` for those of another sweep's front."""
    sampler: AnySamplerConfig = field(default_factory=TPEConfig, metadata={"tag": "kind", "among": SAMPLER_CONFIGS})
    """How Optuna proposes values."""
    seed: int = 0
    """Seed of the sampler."""
    seeds: int = 1
    """Runs of each candidate, with the experiment's seed and those that follow it: more tell luck from merit, and cost
    as much again. Objectives are their means; a candidate that is hopeless after the first one gets no second."""
    confirm: ConfirmConfig | None = None
    """How the front is measured anew once the budget is used up; null = not at all."""
    references: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Runs to compare the search with, by name: fields that differ from the experiment. They run first, and belong
    neither to the budget nor to the front."""
    max_runs: int | None = None
    """Budget in runs: a sweep whose trials and references could take more, with all their seeds, is refused; null =
    whatever they take."""
    stopping: AnyStoppingConfig | None = field(
        default=None, metadata={"tag": "rule", "among": STOPPING_CONFIGS, "optional": True}
    )
    """When bad trials are stopped early; null = never."""
    storage: str | None = None
    """Any Optuna storage URL; null = the environment's `SEQBOAT_STORAGE`, or else a journal file in the sweep's
    directory. A password is better taken from the environment (`${oc.env:PASSWORD}`); it is never written to a file."""
    artifacts: str | None = None
    """Where workers leave their runs for a report on a machine that does not share their directory: a directory, or
    `s3://bucket/prefix`; null = they stay where they ran. Who ends on the front leaves its checkpoint, too."""
    experiment_fields: dict[str, Any] | None = None
    """The fields of the experiment, as a study keeps them for machines without its file; null = what the file says."""
    reference: dict[str, float] = field(default_factory=dict)
    """Worst value of an objective that still counts for the hypervolume; those left out have their natural bound (0
    and 1 for shares), or the worst of the first completed trials."""
    trial_timeout: float | None = None
    """Seconds after which a run is ended and its trial fails, even if it hangs; null = never."""

    def __post_init__(self):
        plain = bool(re.fullmatch(r"\w[\w.-]*", self.name))
        require(plain, "name", self.name, "letters, digits, '_', '-' and '.': it names a directory")
        require(len(self.name.encode(errors="replace")) <= LONGEST_NAME, "name", f"{self.name[:40]}...",
                f"at most {LONGEST_NAME} bytes: it names a directory")  # fmt: skip
        require(bool(self.space), "space", self.space, "at least one field to search")
        require(bool(self.objectives), "objectives", self.objectives, "at least one metric")
        at_least(self, "trials", 1)
        at_least(self, "seeds", 1, MOST_SEARCHED)
        at_least(self, "max_runs", 1)
        self._check_stages()
        reached = self.artifacts is None or bool(re.match(r"s3://[^/]|/|~/", self.artifacts))
        require(reached, "artifacts", self.artifacts, "a whole path such as /shared/artifacts, or s3://bucket/prefix")
        require(0 <= self.seed < 2**64, "seed", self.seed, "at least 0 and below 2^64")
        for metric, value in self.reference.items():
            choose("reference", metric, self.objectives, "objective")
            require(math.isfinite(value), f"reference.{metric}", value, "a finite number")
        if self.trial_timeout is not None:
            possible = 0 < self.trial_timeout < math.inf
            require(possible, "trial_timeout", self.trial_timeout, "a finite number of seconds above 0, or null")
        require(is_plain(self.overrides), "overrides", self.overrides, "finite numbers, text, lists or mappings")
        check_nesting(self.space)
        require(
            not set(self.space) & set(self.overrides), "overrides", sorted(set(self.space) & set(self.overrides)),
            "no field that is also searched",
        )  # fmt: skip

    def _check_stages(self) -> None:
        for name, values in self.references.items():
            plain = bool(re.fullmatch(r"[^\W\d][\w.-]*", name)) and len(name.encode(errors="replace")) <= LONGEST_NAME
            named = "a letter, then letters, digits, '_', '-' and '.': it names a directory"
            require(plain, f"references.{name}"[:80], name, named)
            require(is_plain(values), f"references.{name}", values, "finite numbers, text, lists or mappings")
            require("seed" not in values, f"references.{name}.seed", values.get("seed"), "`seeds` of the sweep instead")
        own = "seed" in self.space and (self.seeds > 1 or self.confirm is not None)
        require(not own, "space.seed", "seed", "no searched seed beside `seeds` or `confirm`, which choose it")

    @property
    def directory(self) -> Path:
        return SWEEP_ROOT / self.name

    @property
    def metrics(self) -> list[str]:
        return list(self.objectives)

    @property
    def maximize(self) -> list[bool]:
        return [direction == "maximize" for direction in self.objectives.values()]

    def base_with(self, values: Mapping[str, Any]) -> ExperimentConfig:
        """The experiment with the sweep's overrides and `values` laid over them."""
        return build(ExperimentConfig, merge(self.base(), values, ExperimentConfig))

    def base(self) -> dict[str, Any]:
        """The experiment with the sweep's overrides, as plain data."""
        return merge(self.written(), self.overrides, ExperimentConfig)

    def written(self) -> dict[str, Any]:
        """The experiment as its file has it, or the study."""
        return self._written

    def experiment_with(self, params: Mapping[str, Any]) -> ExperimentConfig:
        """The experiment of one trial, for what Optuna proposed; other fields are taken as they are."""
        values = {key: self.space[key].value(v) if key in self.space else v for key, v in params.items()}
        return self.base_with(values)

    @cached_property
    def _written(self) -> dict[str, Any]:
        known = self.experiment_fields
        return read_yaml(find_config(self.experiment)) if known is None else known

    def search_space(self) -> SearchSpace:
        """The search space as Optuna sees it. Raises `ConfigError`."""
        return self._search_space

    @cached_property
    def _search_space(self) -> SearchSpace:  # every trial asks for it, and it takes milliseconds
        return SearchSpace(self.space, self.base())

    def distributions(self) -> dict[str, BaseDistribution]:
        """The distribution of every searched field."""
        return self.search_space().distributions

    def start_points(self, space: SearchSpace) -> list[dict[str, Any]]:
        """The configurations to try first, as Optuna names their values. Raises `ConfigError`."""
        return start_points(self.start, space)

    def identity(self) -> dict[str, Any]:
        """What may not change while a study goes on, as JSON gives it back: what is searched, not how long or how."""
        may_change = {"trials", "seed", "stopping", "storage", "sampler", "reference", "trial_timeout", "start"}
        may_change |= {"seeds", "confirm", "references", "max_runs", "experiment_fields", "artifacts"}
        fields = {k: v for k, v in asdict(self).items() if k not in may_change}
        if not self.constraints:  # what is not used is left out: studies of before it existed go on
            del fields["constraints"]
        for spec in fields["space"].values():
            for name in ("step", "when"):
                if spec[name] is None:
                    del spec[name]
        fields |= {"objectives": [list(pair) for pair in self.objectives.items()]}  # a study knows them by place
        return json.loads(json.dumps(fields))


def load_sweep(source: str | Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """The sweep of a YAML file (path, or name under sweeps/) with `key=value` overrides, checked before any trial runs.

    Every searched field must exist, every value of it must give a possible experiment, and every objective
    must be a metric that such an experiment reports. Raises `ConfigError` otherwise.
    """
    sweep = parse_sweep(source, overrides)
    check(sweep)
    return sweep


def parse_sweep(source: str | Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """`load_sweep` without the checks that need the experiment: for workers, whose parent made them."""
    path = find_sweep(source)
    try:
        return _parse(path, overrides)
    except RecursionError:
        raise ConfigError(str(path), "is nested too deeply; a sweep needs a handful of levels") from None
    except OverflowError:
        raise ConfigError(str(path), "holds a number that is too large") from None


def find_sweep(name: str | Path) -> Path:
    """The file a user means by `listops_pareto`, `sweeps/listops_pareto.yaml` or any path, from any directory.

    Raises `ConfigError` if there is none.
    """
    name = os.path.expanduser(name)
    below = [Path(f"{name}{suffix}") for suffix in ("", ".yaml")]
    roots = (Path("sweeps"), SWEEP_DIR, SWEEP_DIR.parent)
    for path in [below[0], *(root / p for root in roots for p in below[::-1])]:
        try:
            if path.is_file():
                return path
        except (OSError, ValueError):  # a name that no file can have
            continue
    known = [str(p.relative_to(SWEEP_DIR).with_suffix("")) for p in SWEEP_DIR.rglob("*.yaml")]
    if Path("sweeps").resolve() != SWEEP_DIR.resolve():
        known += [str(p) for p in Path("sweeps").rglob("*.yaml")]
    choose("sweep", name if len(name) <= LONGEST_NAME else f"{name[:40]}...", known, "sweep file")
    raise ConfigError("sweep", f"{name!r} is no file; expected a sweep such as {known[0]}")


def _parse(path: Path, overrides: Sequence[str]) -> SweepConfig:
    inner = [item.removeprefix("overrides.") for item in overrides if item.startswith("overrides.")]
    own = [item for item in overrides if not item.startswith("overrides.")]
    chosen, own = with_variants({"name": path.stem, **read_yaml(path)}, own, str(path))
    values = merge(chosen, own, SweepConfig)
    for missing in sorted({"experiment", "objectives", "space"} - {k for k, v in values.items() if v is not None}):
        raise ConfigError(missing, f"is missing in {path}")
    for section in ("overrides", "space"):
        given = values.get(section) or {}
        require(isinstance(given, Mapping), section, given, "a mapping of fields to values")
        values[section] = given
    beside = path.parent / str(values["experiment"])
    if beside.suffix in (".yaml", ".yml") and is_file(beside):  # a sweep may lie with its experiment, anywhere
        values["experiment"] = str(beside)
    values["overrides"] = dict(flatten(values["overrides"])) | _typed(values, inner)
    values["space"] = flatten_space(values["space"])
    for section in ("reference", "constraints"):
        values[section] = values.get(section) or {}
    named = values.get("references") or {}
    require(isinstance(named, Mapping), "references", named, "a mapping of names to fields")
    values["references"] = {n: dict(flatten(v)) if isinstance(v, Mapping) else v for n, v in named.items()}
    return _completed(values)


def _completed(values: Mapping[str, Any]) -> SweepConfig:
    """With the start points of another sweep's front, and the size of a grid as its budget."""
    source, sampler = values.get("start") or [], values.get("sampler")
    given = dict(values) | {"start": [] if isinstance(source, Mapping) else source}
    sized = "trials" not in values and "grid" in (sampler, sampler.get("kind") if isinstance(sampler, Mapping) else "")
    sweep = build(SweepConfig, given | ({"trials": 1} if sized else {}))
    if isinstance(source, Mapping):
        sweep = replace(sweep, start=front_points(source, sweep.search_space()))
    return replace(sweep, trials=len(sweep.search_space().cells())) if sized else sweep


def _typed(sweep: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`field=value` strings as the experiment reads them: a field of type text takes its value as typed."""
    found: dict[str, Any] = {}
    values = sweep.get("experiment_fields") or (read_yaml(find_config(str(sweep["experiment"]))) if overrides else {})
    for item in overrides:
        key, equals, text = item.partition("=")
        if equals and field_type(ExperimentConfig, key, values) is str:
            found[key] = text
            continue
        values = merge(values, [item], ExperimentConfig)
        field_type(ExperimentConfig, key, values)  # raises for a field that is none
        value: Any = values
        for part in key.split("."):
            value = value[part]
        found |= dict(flatten({key: value}))
    return found

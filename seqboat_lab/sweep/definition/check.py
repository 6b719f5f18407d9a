"""What can be said of a sweep before its first trial: that each could be run, measured, and is within the budget."""

from typing import TYPE_CHECKING

from seqboat_lab.config.checks import ConfigError, choose
from seqboat_lab.config.experiment import ExperimentConfig
from seqboat_lab.process import importing
from seqboat_lab.sweep.definition.samplers import GridConfig
from seqboat_lab.sweep.definition.search_space import SearchSpace, examples
from seqboat_lab.sweep.stopping.rules import make_rule

if TYPE_CHECKING:
    from seqboat_lab.sweep.definition.config import SweepConfig


def check(sweep: "SweepConfig") -> None:
    """Raises `ConfigError` for what could not be run or measured, or does not fit the budget."""
    space = sweep.search_space()
    _check_budget(sweep, space)
    _check_values(sweep, space)
    _check_references(sweep)


def _check_budget(sweep: "SweepConfig", space: SearchSpace) -> None:
    if isinstance(sweep.sampler, GridConfig):
        size = len(space.cells())
        if sweep.trials != size:
            reason = f"{sweep.trials} is not the size of the grid; expected {size}, or leave it out"
            raise ConfigError("trials", reason)
    points = sweep.start_points(space)
    if len(points) > sweep.trials:
        raise ConfigError("start", f"has {len(points)} configurations; expected at most trials = {sweep.trials}")
    runs = (sweep.trials + len(sweep.references)) * sweep.seeds
    if sweep.max_runs is not None and runs > sweep.max_runs:
        sums = f"{sweep.trials} trials and {len(sweep.references)} references with {sweep.seeds} seeds each"
        raise ConfigError("max_runs", f"{sums} are {runs} runs, more than the budget of {sweep.max_runs}; "
                          "take fewer, or raise it")  # fmt: skip


def _check_values(sweep: "SweepConfig", space: SearchSpace) -> None:
    """Each value alone; the others at their first, or what it needs of them."""
    with importing():
        from seqboat_lab.training.experiment import metric_names  # torch is slow to import

    for key, distribution in space.distributions.items():
        needed = {other: values[0] for other, values in space.conditions[key].items()}
        others = [(key, value) for value in examples(distribution)]
        others += [(other, value) for other, values in space.conditions[key].items() for value in values[1:]]
        for tried, value in others:
            params = space.complete(needed | {tried: value})
            try:
                experiment = sweep.experiment_with(params)
            except ConfigError as error:
                _check_base(sweep, error)
                named = [k for k in params if f"{error.key}.".startswith(f"{k}.")]  # another field may be to blame
                blamed = named[0] if named else tried
                problem = f"{params[blamed]!r} gives no possible experiment: {error}"
                raise ConfigError(f"space.{blamed}", problem) from None
            names = metric_names(experiment)
            for metric in sweep.objectives:
                choose("objectives", metric, names, f"metric for {tried}={value!r},")
            for metric in sweep.constraints:
                choose("constraints", metric, names, f"metric for {tried}={value!r},")
            _check_stopping(sweep, experiment)


def _check_references(sweep: "SweepConfig") -> None:
    from seqboat_lab.training.experiment import metric_names  # torch is slow to import

    for name, fields in sweep.references.items():
        try:
            reference = sweep.base_with(fields)
        except ConfigError as error:
            _check_base(sweep, error)
            raise ConfigError(f"references.{name}", f"gives no possible experiment: {error}") from None
        for metric in sweep.objectives:
            choose("objectives", metric, metric_names(reference), f"metric for the reference {name},")


def _check_stopping(sweep: "SweepConfig", experiment: ExperimentConfig) -> None:
    trainer = experiment.trainer
    if sweep.stopping and not make_rule(sweep.stopping, sweep.maximize).steps(trainer.max_steps, trainer.val_every):
        when = f"with trainer.val_every = {trainer.val_every} of {trainer.max_steps} updates"
        raise ConfigError("stopping", f"can stop no trial {when}: there is no validation early enough; validate more "
                          "often, or leave it out")  # fmt: skip


def _check_base(sweep: "SweepConfig", found: ConfigError) -> None:
    """Raises where the mistake found is in the experiment or the overrides, whatever values are searched."""
    try:
        sweep.experiment_with({})
    except ConfigError as error:
        if str(error) == str(found):
            where = f"{sweep.experiment} with the sweep's overrides gives no possible experiment"
            raise ConfigError("overrides", f"{where}: {error}") from None

"""`seqboat report`, `compare`, `describe` and `match`: their arguments, and what they call."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqboat_lab.config.checks import user_path
from seqboat_lab.process import importing
from seqboat_lab.terminal import check_number, path

if TYPE_CHECKING:
    from seqboat_lab.config import ExperimentConfig

Add = Callable[[str, Callable[[argparse.Namespace], None], str], argparse.ArgumentParser]


def add_commands(add: Add) -> None:
    """`add(name, run, summary)` makes the parser of one command."""
    sub = add("report", _report, "write the report of a sweep again")
    sub.add_argument("directory", type=path, nargs="?", help="runs/sweeps/<name> (default: the newest)")
    sub.add_argument("--format", default="", metavar="pdf,svg,tex,csv",
                     help="its figures and tables in these, too, under paper/")  # fmt: skip
    help = "column that colours the front, such as model.ssm.kernel (default: the field that decides)"
    sub.add_argument("--colour-by", metavar="FIELD", help=help)

    sub = add("compare", _compare, "runs and sweeps beside each other: metrics, configs, curves, fronts")
    sub.add_argument("directories", type=path, nargs="+", metavar="DIRECTORY", help="of runs, sweeps, or both")
    help = "the page that is written (default: runs/compare.html)"
    sub.add_argument("--out", type=path, default=Path("runs/compare.html"), help=help)

    sub = add("describe", _describe, "what a model costs, part by part; several experiments beside each other")
    sub.add_argument("config", help="an experiment, or the directory of a run")
    sub.add_argument("overrides", nargs="*", metavar="CONFIG|key=value", help="more of them; fields to change in all")
    help = "activation rate to count for (default: the one that the settings ask for, else 0.5)"
    sub.add_argument("--rate", type=float, help=help)
    help = "also seconds and memory of a forward pass and a training step on this machine"
    sub.add_argument("--measure", action="store_true", help=help)

    sub = add("match", _match, "the width at which a baseline costs as much as an experiment's model")
    sub.add_argument("config", help="an experiment, or the directory of a run")
    sub.add_argument("overrides", nargs="*", metavar="key=value", help="fields to change, on both sides")
    sub.add_argument("--to", required=True, choices=["parameters", "flops"], help="what is to be the same")
    help = "what makes the baseline of it, such as model.kind=transformer"
    sub.add_argument("--like", required=True, nargs="+", metavar="key=value", help=help)
    sub.add_argument("--rate", type=float, help="activation rate to count for, as in describe")


def _report(options: argparse.Namespace) -> None:
    with importing():
        from seqboat_lab.analysis.report import PAPER, report
        from seqboat_lab.analysis.sweeps import newest_sweep

    formats = [name.strip() for name in options.format.split(",") if name.strip()]
    directory = options.directory or newest_sweep()
    report(directory, formats, options.colour_by)
    print(f"wrote {directory}/report.html" + (f" and {directory}/{PAPER}/" if formats else ""))


def _compare(options: argparse.Namespace) -> None:
    with importing():
        from seqboat_lab.analysis.compare import compare

    compare(options.directories, options.out)
    print(f"wrote {options.out}")


def _describe(options: argparse.Namespace) -> None:
    if options.rate is not None:
        check_number("--rate", options.rate, 0, 1)
    names = [options.config, *(word for word in options.overrides if "=" not in word)]
    overrides = [word for word in options.overrides if "=" in word]
    configs = {name: experiment_or_run(name, overrides) for name in names}
    with importing():
        from seqboat_lab.analysis.describe import describe, describe_side_by_side

    if len(configs) == 1:
        describe(configs[options.config], options.rate)
    if len(configs) > 1 or options.measure:
        describe_side_by_side(configs, options.rate, options.measure)


def _match(options: argparse.Namespace) -> None:
    if options.rate is not None:
        check_number("--rate", options.rate, 0, 1)
    config = experiment_or_run(options.config, options.overrides)
    with importing():
        from seqboat_lab.analysis.match import match, print_match

    print_match(match(config, options.to, options.like, options.rate), config, options.to)


def experiment_or_run(name: str, overrides: Sequence[str]) -> "ExperimentConfig":
    """The config of an experiment's name or file, or that of a run's directory."""
    from seqboat_lab.config import load_experiment

    directory = Path(user_path(name, "config"))
    if not directory.is_dir():
        return load_experiment(name, overrides)
    from seqboat_lab.training.run_config import run_config

    return run_config(directory, overrides)

"""`seqboat`: parses, calls one function, prints."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from seqboat_lab import command
from seqboat_lab.analysis.commands import add_commands, experiment_or_run
from seqboat_lab.cluster.commands import add_submit
from seqboat_lab.config.checks import LARGEST_SEED, ConfigError, require, user_path
from seqboat_lab.process import end_with, importing
from seqboat_lab.sweep.commands import MOST_PROCESSES, add_sweep_commands
from seqboat_lab.terminal import Parser, check_number, open_streams, path
from seqboat_lab.training.run_config import run_config


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one subcommand. Returns the exit status: 0, 2 for a user's error, 130 when interrupted."""
    open_streams()
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    overrides = [word for word in rest if "=" in word and not word.startswith("-")]  # may follow options
    if len(overrides) < len(rest) or (rest and not hasattr(options, "overrides")):
        parser.error(f"unknown argument {next((w for w in rest if w not in overrides), rest[0])!r}")
    if rest:
        options.overrides += overrides
    return command.run(lambda: options.run(options))


def command_line() -> NoReturn:
    """What a shell calls: `main` in a process of its own."""
    end_with(main)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="seqboat", description="Experiments with sparse modular activation.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, run, summary: str | None) -> argparse.ArgumentParser:
        hidden: dict[str, Any] = {} if summary is None else {"help": summary}
        sub = commands.add_parser(name, description=summary, **hidden)
        sub.set_defaults(run=run)
        return sub

    sub = add("fit", _fit, "train one experiment")
    sub.add_argument("config", nargs="?", help="name under configs/ (lra/listops_short) or a YAML file")
    sub.add_argument("overrides", nargs="*", metavar="key=value", help="fields to change, e.g. model.memory_size=64")
    sub.add_argument("--resume", type=path, metavar="RUN_DIR", help="continue the run in this directory")
    sub.add_argument("--run-dir", type=path, help="where results go (default: runs/<experiment>/<time>)")
    help = "with --run-dir, for schedulers: start, go on or tell the results, whatever happened there before"
    sub.add_argument("--resume-or-start", action="store_true", help=help)

    sub = add("evaluate", _evaluate, "measure a finished run on a whole split")
    sub.add_argument("run_dir", type=path, help="the run's directory")
    sub.add_argument("overrides", nargs="*", metavar="key=value", help="fields to change, e.g. data.context=7000")
    sub.add_argument("--split", default="test", help="test (default), val or train")
    sub.add_argument("--mode", default="blocks", help="of text: blocks (default), or streaming: one pass")
    sub.add_argument("--checkpoint", default="best", help="best (default) or last")
    sub.add_argument("--weights", default="float32", help="as float32 (default), bf16 or int8")
    instead = sub.add_mutually_exclusive_group()
    instead.add_argument("--rates", help="instead at each of these activation rates: 0.05,0.1,0.5,1")
    help = "instead beside the same decisions at other places of each sequence, drawn by SEED"
    instead.add_argument("--shuffle-decisions", type=int, metavar="SEED", help=help)

    sub = add("generate", _generate, "let a language model write on, byte by byte")
    sub.add_argument("run_dir", type=path, help="the run's directory")
    prompt = sub.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", default="\n", help="what it goes on from (default: a newline)")
    prompt.add_argument("--prompt-file", type=path, help="a file to go on from, instead")
    sub.add_argument("--bytes", type=int, default=500, help="how many to write (default 500)")
    sub.add_argument("--temperature", type=float, default=0.8, help="0 takes the likeliest byte (default 0.8)")
    sub.add_argument("--top-p", type=float, default=0.95, help="draw from the likeliest bytes of this mass (0.95)")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--show-activation", action="store_true", help="colour by the share of layers that activate")
    sub.add_argument("--checkpoint", default="best", help="best (default) or last")
    sub.add_argument("--weights", default="float32", help="as float32 (default), bf16 or int8: fewer bytes a token")

    add_sweep_commands(add)
    add_submit(add)
    add_commands(add)

    sub = add("config", _config, "print an experiment with all its fields")
    sub.add_argument("--explain", action="store_true", help="each with what it does")
    sub.add_argument("config", help="an experiment, or the directory of a run")
    sub.add_argument("overrides", nargs="*", metavar="key=value")

    sub = add("bench", _bench, "measure the layer beside the textbook, a transformer and the machine's limit")
    sub.add_argument("--quick", action="store_true", help="a few minutes: short lengths, nothing written")

    sub = add("import-official", _import_official, "turn a checkpoint of the authors' code into a run")
    sub.add_argument("checkpoint", type=path)
    sub.add_argument("--task", required=True, help="the task it was trained on, e.g. listops")
    sub.add_argument("--dictionary", type=path, help="the authors' dict.txt (default: the one beside the checkpoint)")
    sub.add_argument("--symbol", action="append", default=[], metavar="OURS=THEIRS",
                     help="what the dictionary calls one of our tokens, e.g. ']=X' (may be repeated)")  # fmt: skip
    sub.add_argument("--run-dir", type=path, help="where the run goes (default: runs/official/<task>)")

    data = commands.add_parser("data", help="prepare data sets and see which are there")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    sub = actions.add_parser("prepare", help="download, unpack or generate a task's data")
    sub.set_defaults(run=_prepare)
    sub.add_argument("task", help="a task (listops), or an experiment (lra/listops_short) for the data it uses")
    sub.add_argument("overrides", nargs="*", metavar="key=value", help="fields of the data, e.g. size=128")
    sub.add_argument("--root", type=path, help="directory of all data (default: data)")
    sub.add_argument("--from", dest="archive", type=path, help="an official archive that you have already")
    sub.add_argument("--processes", type=int, help="processes for generating and reading (default: all CPUs)")
    sub = actions.add_parser("status", help="what is there and what is missing")
    sub.set_defaults(run=_data_status)
    sub.add_argument("--root", type=path, default=Path("data"), help="directory of all data (default: data)")
    sub = actions.add_parser("sheet", help="a picture of generated Pathfinder examples of both labels")
    sub.set_defaults(run=_sheet)
    sub.add_argument("path", type=path)
    sub.add_argument("--size", type=int, default=128, help="pixels (default 128)")
    return parser


def _fit(options: argparse.Namespace) -> None:
    if options.resume:
        overrides = [o for o in (options.config, *options.overrides) if o]
        if overrides and "=" not in overrides[0]:
            raise ConfigError("fit", f"--resume goes on with the run's own config; leave {overrides[0]} out")
        if options.resume_or_start or options.run_dir:
            raise ConfigError("fit", "--resume names the run; leave --run-dir and --resume-or-start out")
        command.resume(options.resume, overrides)
    elif options.config is None:
        raise ConfigError("fit", "expected an experiment, such as lra/listops_short, or --resume RUN_DIR")
    else:
        command.fit(options.config, options.overrides, options.run_dir, options.resume_or_start)


def _evaluate(options: argparse.Namespace) -> None:
    _check_checkpoint(options.checkpoint)
    for option in ("rates", "shuffle_decisions"):
        if getattr(options, option) is not None and options.mode != "blocks":
            problem = f"{options.mode} does not go with --{option.replace('_', '-')}; expected blocks"
            raise ConfigError("--mode", problem)
        if getattr(options, option) is not None and options.weights != "float32":
            problem = f"{options.weights} does not go with --{option.replace('_', '-')}; expected float32"
            raise ConfigError("--weights", problem)
    run_config(options.run_dir)  # a mistake is told before torch is loaded
    with importing():
        from seqboat_lab.analysis.metrics_table import print_metrics
        from seqboat_lab.inference.evaluation import evaluate

    if options.rates is not None:
        from seqboat_lab.analysis.metrics_table import print_curve
        from seqboat_lab.inference.rate_curve import parse_rates, rate_curve

        rates = parse_rates(options.rates)
        points = rate_curve(options.run_dir, rates, options.split, options.checkpoint, options.overrides)
        if points:
            print_curve(f"{options.run_dir}, {options.split} split, {options.checkpoint} checkpoint", points)
        return

    if options.shuffle_decisions is not None:
        _shuffle(options)
        return

    def tell(values: dict[str, float]) -> None:
        held = "" if options.weights == "float32" else f", {options.weights} weights"
        print_metrics(f"{options.run_dir}, {options.split} split, {options.checkpoint} checkpoint{held}", values)
        sys.stdout.flush()

    evaluate(
        options.run_dir,
        options.split,
        options.mode,
        options.checkpoint,
        options.overrides,
        tell,
        options.weights,
    )


def _shuffle(options: argparse.Namespace) -> None:
    from seqboat_lab.analysis.metrics_table import print_side_by_side
    from seqboat_lab.inference.shuffled import shuffled_decisions

    check_number("--shuffle-decisions", options.shuffle_decisions, 0, LARGEST_SEED)
    found = shuffled_decisions(
        options.run_dir, options.shuffle_decisions, options.split, options.checkpoint, options.overrides
    )
    if found.learned:
        title = f"{options.run_dir}, {options.split} split, {options.checkpoint} checkpoint"
        print_side_by_side(title, {"learned": found.learned, "shuffled": found.shuffled})


def _generate(options: argparse.Namespace) -> None:
    _check_checkpoint(options.checkpoint)
    check_number("--bytes", options.bytes, 0, 10**9)
    check_number("--temperature", options.temperature, 0, 1e4)
    require(0 < options.top_p <= 1, "--top-p", options.top_p, "a number above 0, up to 1")
    check_number("--seed", options.seed, 0, LARGEST_SEED)
    run_config(options.run_dir)  # a mistake is told before torch is loaded
    with importing():
        from seqboat_lab.analysis.transcript import Transcript
        from seqboat_lab.inference.evaluation import load_language_model
        from seqboat_lab.inference.generation import generate, read_prompt

    prompt = read_prompt(options.prompt_file) if options.prompt_file else os.fsencode(options.prompt)
    model = load_language_model(options.run_dir, options.checkpoint, options.weights)
    text = generate(model, prompt, options.bytes, options.temperature, options.top_p, options.seed)
    transcript = Transcript(sys.stdout.buffer, options.show_activation)
    try:
        transcript.write(text)
    finally:
        print(f"\n[{transcript.summary()}]", file=sys.stderr)


def _config(options: argparse.Namespace) -> None:
    from seqboat_lab.config.files import to_yaml

    experiment = experiment_or_run(options.config, options.overrides)
    if options.explain:
        from seqboat_lab.analysis.explain import print_explained

        print_explained(experiment)
    else:
        print(to_yaml(experiment), end="")


def _check_checkpoint(name: str) -> None:
    require(name == Path(name).name != "", "--checkpoint", name, "best, last, or another name under checkpoints/")
    user_path(name, "--checkpoint")


def _bench(options: argparse.Namespace) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks/ stands beside the package, in a checkout only
    try:
        from benchmarks.layer import main as bench
    except ModuleNotFoundError as error:
        if error.name != "benchmarks":
            raise
        raise ConfigError("bench", "needs a checkout of the repository, where benchmarks/ is; clone it") from None
    bench(options.quick)


def _import_official(options: argparse.Namespace) -> None:
    with importing():
        from seqboat_lab.official.import_run import DIFFERENCES, import_official

    symbols = {}
    for pair in options.symbol:
        ours, _, theirs = pair.partition("=")
        if not (ours and theirs):
            raise ConfigError("--symbol", f"{pair!r} is not possible here; expected OURS=THEIRS, such as ']=X'")
        symbols[ours] = theirs
    run_dir = options.run_dir or Path("runs") / "official" / options.task
    import_official(options.checkpoint, options.task, run_dir, options.dictionary, symbols)
    print(f"wrote {run_dir}; evaluate it with: seqboat evaluate {run_dir}")
    print("\n".join(f"unlike the authors' code: {difference}" for difference in DIFFERENCES))


def _prepare(options: argparse.Namespace) -> None:
    from seqboat_lab.config import load_experiment
    from seqboat_lab.config.data import DATA_CONFIGS
    from seqboat_lab.config.files import build, find_config, merge

    if options.processes is not None:
        check_number("--processes", options.processes, 1, MOST_PROCESSES)
    overrides = [o.removeprefix("data.") for o in options.overrides]
    if options.root:
        overrides.append(f"root={options.root}")
    if options.task in DATA_CONFIGS:
        task, section = options.task, DATA_CONFIGS[options.task]
        config = build(section, merge({}, overrides, section), "data")
    else:
        find_config(options.task, "task or experiment", DATA_CONFIGS)
        experiment = load_experiment(options.task, [f"data.{o}" for o in overrides])
        task, config = experiment.task, experiment.data
    with importing():
        from seqboat_lab.data.prepare import prepare

    counts = prepare(task, config, options.archive, options.processes)
    print(f"{task} is ready under {config.root}: " + ", ".join(f"{n:,} {split}" for split, n in counts.items()))


def _data_status(options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text  # of user's text nothing is markup

    with importing():
        from seqboat_lab.data.prepare import status

    table = Table("task", "variant", "state", "train / val / test, or what to do", "place")
    colours = {"ready": "green", "files only": "yellow", "missing": "dim"}
    for row in status(str(options.root)):
        state = Text(row.state, colours[row.state])
        table.add_row(row.task, Text(row.variant), state, Text(row.detail), Text(str(row.place)))
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def _sheet(options: argparse.Namespace) -> None:
    from seqboat_lab.config.data import PATHFINDER_SIZES
    from seqboat_lab.data.generators.pathfinder_sheet import save_sheet

    require(options.size in PATHFINDER_SIZES, "--size", options.size, f"one of {PATHFINDER_SIZES}")
    print(f"wrote {save_sheet(options.path, options.size)}")


if __name__ == "__main__":
    command_line()

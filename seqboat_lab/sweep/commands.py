"""`seqboat sweep`, `confirm` and `storage`, and what they start: their arguments, and what they call."""

import argparse
from collections.abc import Callable
from dataclasses import replace

from seqboat_lab.config.checks import ConfigError
from seqboat_lab.process import importing
from seqboat_lab.terminal import check_number, path

MOST_PROCESSES = 1024


def add_sweep_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """`add(name, run, summary)` makes the parser of one command; those without a summary are for processes only."""
    sub = add("sweep", _sweep, "search over experiments, to a Pareto front")
    sub.add_argument("sweep", nargs="?", type=path, help="a YAML file such as sweeps/listops_pareto.yaml")
    sub.add_argument("overrides", nargs="*", metavar="key=value", help="fields of the sweep to change, e.g. trials=50")
    sub.add_argument("--workers", type=int, default=1, help="processes that run trials at the same time (default 1)")
    sub.add_argument("--trials-per-gpu", type=int, default=1, help="how many may share a GPU (default 1)")
    help = "instead of a file: work on the sweep NAME that the database or server at STORAGE holds"
    sub.add_argument("--join", nargs=2, metavar=("STORAGE", "NAME"), help=help)

    sub = add("confirm", _confirm, "run a sweep's front again with new seeds, and evaluate it on the test split")
    sub.add_argument("directory", type=path, help="runs/sweeps/<name>")
    sub.add_argument("--seeds", type=int, help="runs of each candidate (default: the sweep's, or 5)")
    sub.add_argument("--workers", type=int, default=1, help="processes that run at the same time (default 1)")
    sub.add_argument("--trials-per-gpu", type=int, default=1, help="how many may share a GPU (default 1)")

    sub = add("storage", _serve, "databases that sweeps are kept in")
    actions = sub.add_subparsers(required=True, metavar="ACTION")
    sub = actions.add_parser("serve", help="stand before a database, for more workers than it takes connections")
    sub.add_argument("storage", nargs="?", help="its URL (default: the environment variable SEQBOAT_STORAGE)")
    sub.add_argument("--host", default="localhost", help="address to listen on (default: localhost, this machine only)")
    sub.add_argument("--port", type=int, default=13000, help="port to listen on (default 13000)")

    sub = add("sweep-worker", _sweep_worker, None)
    sub.add_argument("sweep", type=path)
    sub.add_argument("parent", type=int)
    sub.add_argument("--threads", type=int)
    sub.add_argument("--no-search", action="store_true")

    sub = add("sweep-job", _sweep_job, None)
    sub.add_argument("sweep", type=path)
    sub.add_argument("--seconds", type=float)
    sub.add_argument("--notice", type=float, default=120)


def _sweep(options: argparse.Namespace) -> None:
    with importing():
        from seqboat_lab.sweep.definition.config import load_sweep
        from seqboat_lab.sweep.running.run import run_sweep
        from seqboat_lab.sweep.study.definition import with_storage

    check_number("--workers", options.workers, 1, MOST_PROCESSES)
    check_number("--trials-per-gpu", options.trials_per_gpu, 1, MOST_PROCESSES)
    if options.join:
        from seqboat_lab.sweep.study.definition import join_sweep

        overrides = [str(options.sweep), *options.overrides] if options.sweep else options.overrides
        if overrides and "=" not in overrides[0]:
            raise ConfigError("sweep", f"--join takes the sweep from its storage; leave {overrides[0]} out")
        sweep = join_sweep(options.join[0], options.join[1], overrides)
    elif options.sweep is None:
        raise ConfigError("sweep", "expected a sweep, such as recall_pareto, or --join STORAGE NAME")
    else:
        sweep = with_storage(load_sweep(options.sweep, options.overrides), options.overrides)
    run_sweep(sweep, options.workers, trials_per_gpu=options.trials_per_gpu)


def _serve(options: argparse.Namespace) -> None:
    from seqboat_lab.sweep.study.storage import serve, storage_url

    check_number("--port", options.port, 1, 65535)
    url = storage_url(None) if options.storage is None else options.storage
    if url is None:
        raise ConfigError("storage", "expected the URL of a database, or SEQBOAT_STORAGE with one")
    serve(url, options.host, options.port)


def _sweep_worker(options: argparse.Namespace) -> None:
    with importing():
        from seqboat_lab.sweep.definition.config import parse_sweep
        from seqboat_lab.sweep.running.worker import work
        from seqboat_lab.sweep.study.storage import storage_url

    sweep = parse_sweep(options.sweep)
    work(replace(sweep, storage=storage_url(sweep.storage)), options.parent, options.threads, not options.no_search)


def _sweep_job(options: argparse.Namespace) -> int:
    from seqboat_lab.sweep.running.job import run_job

    return run_job(options.sweep, options.seconds, options.notice)


def _confirm(options: argparse.Namespace) -> None:
    with importing():
        from seqboat_lab.sweep.definition.confirm import MOST_CONFIRMED
        from seqboat_lab.sweep.running.run import confirm

    check_number("--workers", options.workers, 1, MOST_PROCESSES)
    if options.seeds is not None:
        check_number("--seeds", options.seeds, 1, MOST_CONFIRMED)
    check_number("--trials-per-gpu", options.trials_per_gpu, 1, MOST_PROCESSES)
    confirm(options.directory, options.seeds, options.workers, options.trials_per_gpu)

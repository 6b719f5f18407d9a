"""`seqboat submit`: what the command line says about schedulers."""

import argparse
from collections.abc import Callable
from pathlib import Path

from seqboat_lab.config.checks import ConfigError
from seqboat_lab.terminal import check_number, path

MOST_WORKERS = 10_000


def add_submit(add: Callable[..., argparse.ArgumentParser]) -> None:
    sub = add("submit", _submit, "hand a sweep or a run to Slurm; `submit status` and `submit cancel` what was")
    sub.add_argument("what", help="a sweep's YAML file, or one of the words fit, status, cancel")
    sub.add_argument("overrides", nargs="*", metavar="ARGUMENT", help="fit: an experiment; status, cancel: a directory "
                     "or a job's number; fit and sweeps: key=value")  # fmt: skip
    sub.add_argument("--workers", type=int, default=1, help="of a sweep: tasks of its array job (default 1)")
    sub.add_argument("--nodes", type=int, default=1, help="of fit (default 1)")
    sub.add_argument("--gpus", type=int, default=1, help="on each node, and for each worker; 0: the CPU (default 1)")
    sub.add_argument("--cpus", type=int, help="for each process (default: Slurm's)")
    sub.add_argument("--mem", help="of each node, such as 64G (default: Slurm's)")
    sub.add_argument("--time", help="limit, such as 4:00:00 (default: the partition's)")
    sub.add_argument("--partition", help="(default: Slurm's)")
    sub.add_argument("--notice", type=int, default=120, help="seconds before the limit to save and queue again (120)")
    sub.add_argument("--sbatch", action="append", default=[], metavar="OPTION",
                     help="any other option of sbatch, as in --sbatch=--account=me (may be repeated)")  # fmt: skip
    sub.add_argument("--run-dir", type=path, help="of fit (default: runs/<experiment>/slurm-<job>)")
    sub.add_argument("--dry-run", action="store_true", help="print the script and submit nothing")


def _submit(options: argparse.Namespace) -> None:
    from seqboat_lab.cluster import submit
    from seqboat_lab.cluster.script import Resources

    names = [word for word in options.overrides if "=" not in word]
    overrides = [word for word in options.overrides if "=" in word]
    if options.what in ("status", "cancel"):
        if len(names) != 1 or overrides:
            raise ConfigError("submit", f"{options.what} expects a directory (runs/sweeps/NAME) or a job's number")
        return (submit.status if options.what == "status" else submit.cancel)(names[0])
    resources = Resources(
        options.nodes, options.gpus, options.cpus, options.mem, options.time, options.partition, options.notice,
        options.sbatch,
    )  # fmt: skip
    if options.what == "fit":
        if len(names) != 1:
            raise ConfigError("submit", "fit expects one experiment, such as lra/listops")
        return submit.submit_fit(names[0], overrides, options.run_dir, resources, options.dry_run)
    if names:
        raise ConfigError("submit", f"unknown argument {names[0]!r}; expected key=value, or the word fit before it")
    check_number("--workers", options.workers, 1, MOST_WORKERS)
    return submit.submit_sweep(Path(options.what), overrides, options.workers, resources, options.dry_run)

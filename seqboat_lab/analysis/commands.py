"""`seqboat report` and `seqboat compare`: their arguments, and what they call."""

import argparse
from collections.abc import Callable
from pathlib import Path

from seqboat_lab.terminal import path

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


def _report(options: argparse.Namespace) -> None:
    from seqboat_lab.analysis.report import PAPER, report
    from seqboat_lab.analysis.sweeps import newest_sweep

    formats = [name.strip() for name in options.format.split(",") if name.strip()]
    directory = options.directory or newest_sweep()
    report(directory, formats, options.colour_by)
    print(f"wrote {directory}/report.html" + (f" and {directory}/{PAPER}/" if formats else ""))


def _compare(options: argparse.Namespace) -> None:
    from seqboat_lab.analysis.compare import compare

    compare(options.directories, options.out)
    print(f"wrote {options.out}")

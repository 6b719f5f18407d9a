"""Runs a question's sweeps, keeps what they found in docs/answers, and writes its page.

    python -m benchmarks.answers run memory kernels [--workers 2] [--scale paper]   # `all` = every question
    python -m benchmarks.answers keep memory     # only pack what sweeps under runs/ found
    python -m benchmarks.answers pages memory    # only write docs/answers/memory.md, and docs/results.md

Sweeps that were interrupted go on where they were.
"""

import argparse
from collections.abc import Sequence

from benchmarks.answers.index import QUESTIONS, write_index
from benchmarks.answers.keep import keep, sweeps_of
from benchmarks.answers.pages import write_page
from seqboat_lab import cli, command
from seqboat_lab.config.checks import choose


def run(question: str, workers: int, scale: str | None) -> int:
    """The question's sweeps, one after the other; the exit status of the first that fails."""
    for task in sweeps_of(question):
        words = [f"task={task}"] * (task != question) + [f"scale={scale}"] * bool(scale)
        if status := cli.main(["sweep", f"answers/{question}", "--workers", str(workers), *words]):
            return status
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "keep", "pages"])
    parser.add_argument("questions", nargs="+", help=f"all, or some of {', '.join(QUESTIONS)}")
    parser.add_argument("--workers", type=int, default=2, help="trials at the same time (default 2)")
    parser.add_argument("--scale", help="such as paper: the sizes meant for GPUs (default: CPU-sized)")
    options = parser.parse_args(arguments)
    questions = list(QUESTIONS) if options.questions == ["all"] else options.questions
    for question in questions:
        choose("question", question, QUESTIONS, "question")
    for question in questions:
        if options.action == "run" and (status := run(question, options.workers, options.scale)):
            return status
        if options.action != "pages":
            print(f"kept {keep(question, options.scale)}", flush=True)
        if options.action != "keep" and not options.scale:
            write_page(question)
            write_index()
    return 0


if __name__ == "__main__":
    raise SystemExit(command.run(main))

"""`python -m benchmarks.history [COMMIT ...]`: the layer of earlier commits beside today's, in one run.

Each version is a `git worktree` with a process of its own, which makes its layer of every shape; their training steps
then take turns, so that a noisy moment hits them alike. Memory is what a step's tensors take at most.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.measure import ROOT, in_own_process
from benchmarks.tables import TITLES, table

LANDED = ("6f3bfa4", "195fb1d")
"""The layer of the first landed version, and the last one before attention worked by chunks."""
SHAPES = ("listops", "image", "pathx", "enwik8")
REPEATS = 21
WORKER = """
import sys, time
from benchmarks.cases import CASES, layer_and_input, training_step
made = {}
print("ready", flush=True)
for line in sys.stdin:
    name = line.strip()
    if name not in made:
        made = {name: layer_and_input(CASES[name])}
        training_step(*made[name])
    start = time.perf_counter()
    training_step(*made[name])
    print(time.perf_counter() - start, flush=True)
"""


class Version:
    """A checkout whose layer is measured, with its parts in C where it has some, or without."""

    def __init__(self, directory: Path, native: bool = True):
        self.directory, self.environment = directory, {"SEQBOAT_NATIVE": str(int(native))}
        command = [sys.executable, "-c", WORKER]  # it imports from where it runs
        self.process = subprocess.Popen(
            command, cwd=directory, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=os.environ | self.environment,
        )  # fmt: skip
        self._answer()

    def _answer(self) -> str:
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise SystemExit(f"{self.directory}: its benchmark ended with status {self.process.wait()}, see above")
        return line

    def step(self, shape: str) -> float:
        """Seconds of one training step."""
        self.process.stdin.write(f"{shape}\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        return float(self._answer())

    def memory(self, shape: str) -> float:
        """MB of tensors that one training step takes at most."""
        step = in_own_process("memory", shape, "ours", root=self.directory, environment=self.environment)
        return step["tensor_bytes"] / 1e6

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def history(commits: Sequence[str], shapes: Sequence[str] = SHAPES, repeats: int = REPEATS) -> list[dict[str, Any]]:
    """One row a version, the oldest first and today's files last, without C and with it: seconds and MB by shape."""
    with tempfile.TemporaryDirectory() as place:
        directories = {commit: Path(place) / commit for commit in commits}
        versions: dict[str, Version] = {}
        try:
            for commit, directory in directories.items():
                _git("worktree", "add", "--detach", str(directory), commit)
                versions[commit] = Version(directory)
            versions["now, torch alone"] = Version(ROOT, native=False)
            versions["now"] = Version(ROOT)
            rows = {name: {"version": name} for name in versions}
            for shape in shapes:
                times = [[version.step(shape) for version in versions.values()] for _ in range(repeats)]
                for row, version, taken in zip(rows.values(), versions.values(), zip(*times, strict=True), strict=True):
                    row |= {f"{shape}, s": statistics.median(taken), f"{shape}, MB": version.memory(shape)}
        finally:
            for version in versions.values():
                version.end()
            for directory in filter(Path.exists, directories.values()):
                _git("worktree", "remove", "--force", str(directory))
    now = rows["now"]
    return [row | {f"{s}, / now": row[f"{s}, s"] / now[f"{s}, s"] for s in shapes} for row in rows.values()]


def _git(*arguments: str) -> None:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"git {' '.join(arguments)}: {done.stderr.strip()}; a whole clone has all commits")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("commits", nargs="*", default=LANDED)
    parser.add_argument("--shapes", nargs="+", default=SHAPES)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    options = parser.parse_args()
    rows = history(options.commits, options.shapes, options.repeats)
    Console(width=None if sys.stdout.isatty() else 200).print(table(TITLES["history"], rows))


if __name__ == "__main__":
    main()

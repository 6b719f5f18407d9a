"""Batch scripts for Slurm: what is asked for, and the text that asks for it."""

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seqboat_lab.config import ConfigError
from seqboat_lab.config.checks import require

TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<fields>\d+(?::\d+){0,2})")
LOST_OR_SAVED = (75, 138)
"""Statuses of `seqboat fit` after which the same command goes on: it lost another node, or SIGUSR1 ended it."""


@dataclass(frozen=True)
class Resources:
    """What each job, or each task of an array, is given."""

    nodes: int = 1
    gpus: int = 1
    """On each node; 0 = none: the CPU."""
    cpus: int | None = None
    """For each process; None = Slurm's default."""
    memory: str | None = None
    """Of each node, as Slurm writes it (64G); None = Slurm's default."""
    time: str | None = None
    """Limit, as Slurm writes it (4:00:00); None = the partition's."""
    partition: str | None = None
    notice: int = 120
    """Seconds before the limit at which work is saved and the job is queued again."""
    options: Sequence[str] = ()
    """Further options of sbatch (--account=me)."""

    def __post_init__(self):
        for name, least, most in (("nodes", 1, 4096), ("gpus", 0, 64), ("cpus", 1, 4096), ("notice", 10, 65535)):
            value = getattr(self, name)
            require(value is None or least <= value <= most, f"--{name}", value, f"a number from {least} to {most}")
        for option in self.options:
            require(option.startswith("-") and "\n" not in option, "--sbatch", option, "an option of sbatch, such as "
                    "--sbatch=--account=NAME")  # fmt: skip
        limit = self.seconds
        require(limit is None or limit > self.notice, "--time", self.time, f"more than --notice = {self.notice} s")

    @property
    def processes(self) -> int:
        """On each node: one for each GPU."""
        return max(1, self.gpus)

    @property
    def seconds(self) -> int | None:
        return None if self.time is None else seconds(self.time)


def seconds(time: str) -> int:
    """Of a time limit in any of Slurm's forms: minutes, M:S, H:M:S, D-H, D-H:M, D-H:M:S. Raises `ConfigError`."""
    found = TIME.fullmatch(time)
    if found is None:
        expected = "expected minutes, H:M:S or D-H:M:S as Slurm has them, such as 4:00:00"
        raise ConfigError("--time", f"{time!r} is not possible here; {expected}")
    fields = [int(field) for field in found["fields"].split(":")]
    if found["days"] is not None:
        hours, minutes, rest = [*fields, 0, 0][:3]
        return ((int(found["days"]) * 24 + hours) * 60 + minutes) * 60 + rest
    if len(fields) == 3:
        return (fields[0] * 60 + fields[1]) * 60 + fields[2]
    return fields[0] * 60 + (fields[1] if len(fields) == 2 else 0)


def sweep_script(settings: Path, name: str, workers: int, resources: Resources) -> str:
    """An array job of which each task is a worker of the sweep in `settings`, a sweep.yaml.

    The worker takes the place of the shell, so that it gets the signals, and queues its task again by itself.
    """
    limit = [] if resources.seconds is None else ["--seconds", str(resources.seconds)]
    work = [*_seqboat("sweep-job"), str(settings), "--notice", str(resources.notice), *limit]
    head = _head(name, settings.parent / "slurm", "%A_%a.log", 1, resources, f"B:USR1@{resources.notice}",
                 [f"--array=0-{workers - 1}"])  # fmt: skip
    return "\n".join([*head, f"exec {shlex.join(work)}", ""])


def fit_script(arguments: Sequence[str], name: str, place: Path, resources: Resources) -> str:
    """One run over all nodes: a process for each GPU, started by srun.

    arguments: of `seqboat fit`. Where the run is killed or saved before its end, the job is queued again.
    """
    work = ["srun", "--kill-on-bad-exit=1", *_seqboat("fit"), *arguments]
    head = _head(name, place, "%j.log", resources.processes, resources, f"USR1@{resources.notice}")
    again = " || ".join(f"[ $status -eq {status} ]" for status in LOST_OR_SAVED)
    return "\n".join([*head, shlex.join(work), "status=$?",
                      f"if {again}; then scontrol requeue $SLURM_JOB_ID; fi", "exit $status", ""])  # fmt: skip


def _seqboat(command: str) -> list[str]:
    return [sys.executable, "-m", "seqboat_lab.cli", command]


def _head(
    name: str, place: Path, log: str, tasks: int, resources: Resources, signal: str, more: Sequence[str] = ()
) -> list[str]:
    r = resources
    options = [
        f"--job-name={name}", *more, f"--nodes={r.nodes}", f"--ntasks-per-node={tasks}",
        *([f"--gres=gpu:{r.gpus}"] if r.gpus else []),
        *([f"--cpus-per-task={r.cpus}"] if r.cpus else []),
        *([f"--mem={r.memory}"] if r.memory else []),
        *([f"--time={r.time}"] if r.time else []),
        *([f"--partition={r.partition}"] if r.partition else []),
        f"--signal={signal}", "--requeue", "--open-mode=append",
        f"--output={str(place.absolute()).replace('%', '%%')}/{log}", f"--chdir={Path.cwd()}", *r.options,
    ]  # fmt: skip
    lines = [f"#SBATCH {_quoted(option)}" for option in options]
    lines.append("unset SLURM_STEP_ID  # of a job that this one was submitted from")
    if r.cpus:
        lines.append("export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK  # which srun does not take over by itself")
    return ["#!/bin/bash", *lines]


def _quoted(option: str) -> str:
    """Of sbatch's own reading: double quotes, inside which a backslash escapes."""
    if re.fullmatch(r"[\w@%+=:,./-]*", option):
        return option
    return '"' + option.replace("\\", "\\\\").replace('"', '\\"') + '"'

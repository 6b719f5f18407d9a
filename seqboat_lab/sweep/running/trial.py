"""One trial: a run in a process of its own, followed from outside through the files it writes."""

import contextlib
import json
import multiprocessing as mp
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from seqboat_lab import command
from seqboat_lab.atomic import write_text
from seqboat_lab.config import ExperimentConfig
from seqboat_lab.config.files import to_yaml
from seqboat_lab.sweep.running.evaluation import evaluate_objectives

PATIENCE = 5  # seconds that a run has to end by itself
ERROR_LINE = re.compile(r"[\w.]*(Error|Exception|Interrupt)\b.*")  # how Python ends a traceback


class TrialProcess:
    """A run started as `seqboat fit` would, but forked from a server that has imported everything already.

    Its own process keeps a crash, or the kernel's out-of-memory killer, from taking the worker along, and lets
    DDP start its ranks from there. A run that was begun in this directory goes on.
    """

    result = "summary.json"
    patience: float = PATIENCE
    """Seconds that it has to save and end once it is asked to."""

    def __init__(self, config: ExperimentConfig, run_dir: Path):
        self.run_dir = run_dir
        path = run_dir / "config.yaml"
        write_text(path, to_yaml(config))
        self._start(_run, str(path), str(run_dir))

    def _start(self, target: Callable[..., None], *arguments: str) -> None:
        context = mp.get_context("forkserver")
        context.set_forkserver_preload(["seqboat_lab.training.experiment"])
        self.process = context.Process(target=target, args=arguments)
        self.process.start()
        self._read = 0

    def new_validations(self) -> Iterator[dict[str, Any]]:
        """The whole lines of validations.jsonl that were not returned before."""
        path = self.run_dir / "validations.jsonl"
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._read)
            while (line := file.readline()).endswith(b"\n"):
                self._read = file.tell()
                with contextlib.suppress(ValueError):  # a full disk cut it off
                    validation = json.loads(line)
                    if isinstance(validation, dict) and isinstance(validation.get("step"), int):
                        yield validation

    def summary(self) -> dict[str, Any]:
        """The metrics of the file that it ends with, empty if that cannot be read."""
        try:
            metrics = json.loads((self.run_dir / self.result).read_bytes())["metrics"]
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return metrics if isinstance(metrics, dict) else {}

    def wait(self, seconds: float) -> bool:
        """Waits at most so long; True once the process has ended."""
        self.process.join(seconds)
        return self.process.exitcode is not None

    def stop(self) -> None:
        """Ends the run and whatever it started, even if it hangs outside of Python."""
        pid = self.process.pid
        assert pid is not None  # it was started
        for kill, patience in ((signal.SIGTERM, self.patience), (signal.SIGKILL, 30)):  # one that stays is left behind
            if self.process.exitcode is None:
                _signal_group(pid, kill)
                self.process.join(patience)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # its ranks may hang without it
            os.killpg(pid, signal.SIGKILL)

    def failure(self) -> str | None:
        """One line on why the run failed, or None if it succeeded."""
        if self.process.exitcode == 0 and (self.run_dir / self.result).exists():
            return None
        log = self.run_dir / "log.txt"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        for line in reversed(lines):  # a user's error is the last thing said, an exception ends its traceback
            if line.startswith("seqboat: "):
                return line.removeprefix("seqboat: ")
            if ERROR_LINE.match(line):
                return f"{line} (its traceback is in {log})"
        code = self.process.exitcode
        assert code is not None  # it has ended
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        return f"the run's process ended without a word ({how}); see {log}"


class EvaluationProcess(TrialProcess):
    """Evaluates a finished run's best checkpoint, in the same way."""

    result = "objectives.json"

    def __init__(self, run_dir: Path, split: str):
        self.run_dir = run_dir
        self._start(_evaluate, str(run_dir), split)

    def new_validations(self) -> Iterator[dict[str, Any]]:
        return iter(())


def _run(config: str, run_dir: str) -> None:
    """The trial's process. A group of its own, so that it can be stopped with all its DDP ranks."""
    _stand_alone(run_dir)
    # Lightning starts further DDP ranks by running sys.argv again
    program = str(Path(sys.executable).with_name("seqboat"))
    sys.argv = [program, "fit", config, "--run-dir", run_dir, "--resume-or-start"]
    sys.exit(command.run(lambda: command.fit(config, [], Path(run_dir), resume_or_start=True)))


def _evaluate(run_dir: str, split: Any) -> None:
    _stand_alone(run_dir)
    sys.exit(command.run(lambda: evaluate_objectives(Path(run_dir), split)))


def _stand_alone(run_dir: str) -> None:
    from seqboat_lab.training.launch import leave_launcher  # imported already, but not in workers

    os.setpgrp()
    leave_launcher()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    log = os.open(f"{run_dir}/log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)


def _die_with_parent() -> None:
    parent = mp.parent_process()
    assert parent is not None  # this runs in a child
    parent.join()
    _signal_group(os.getpid(), signal.SIGKILL)


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):  # not yet a group of its own
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

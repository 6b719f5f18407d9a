"""A whole sweep: workers, a live view of them, a report at the end."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console

from seqboat_lab.analysis.pareto import front_of
from seqboat_lab.analysis.report import write_report
from seqboat_lab.config.checks import UserError
from seqboat_lab.config.files import to_dict
from seqboat_lab.sweep.config import SweepConfig
from seqboat_lab.sweep.live import SweepView, trial_table
from seqboat_lab.sweep.study import counts, open_study, requeue_lost, summary_rows

REFRESH_SECONDS = 1.0


def run_sweep(sweep: SweepConfig, workers: int) -> None:
    """Works on the study with `workers` processes until its budget is used up.

    Running it again goes on where it ended. Ctrl-C, or SIGTERM, ends the trials under way, queues them again, and
    still writes the report. Raises `UserError` if no trial succeeded.
    """
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)  # both raise KeyboardInterrupt
    try:
        _run(sweep, workers)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run(sweep: SweepConfig, workers: int) -> None:
    study = open_study(sweep)
    requeue_lost(study, sweep)
    resolved = sweep.directory / "sweep.yaml"
    resolved.write_text(OmegaConf.to_yaml(OmegaConf.create(to_dict(sweep))))
    begun = sum(map(counts, study.get_trials(deepcopy=False)))
    if begun:
        print(f"continuing {sweep.name}: {begun} of {sweep.trials} trials are already there")
    processes = [_start_worker(resolved, i, workers) for i in range(workers if begun < sweep.trials else 0)]
    try:
        with SweepView(sweep) as view:
            while any(p.poll() is None for p in processes):
                view.update(summary_rows(study, sweep))
                time.sleep(REFRESH_SECONDS)
            view.update(summary_rows(study, sweep))
    except KeyboardInterrupt:
        print("interrupted: ending the trials under way (they are queued again); Ctrl-C once more to leave at once")
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait()
        conclude(sweep, summary_rows(study, sweep))
        print("run the same command again to go on")
        raise
    requeue_lost(study, sweep)
    rows = summary_rows(study, sweep)
    conclude(sweep, rows)
    crashed = [p.returncode for p in processes if p.returncode != 0]
    if crashed:
        print(f"{len(crashed)} of {workers} workers ended early; see {sweep.directory}/workers/*.log")
    states = Counter(row["state"] for row in rows)
    if not states["complete"] and (states["failed"] or crashed):
        first = next((f"; trial {r['number']}, {r['run']}: {r['error']}" for r in rows if r["state"] == "failed"), "")
        raise UserError(f"no trial of {sweep.name} succeeded{first}")


def conclude(sweep: SweepConfig, rows: list[dict[str, Any]]) -> None:
    """Writes the report and prints the front and where everything is."""
    write_report(sweep.directory, rows, sweep.objectives, list(sweep.space))
    console = Console(width=None if sys.stdout.isatty() else 150)
    front = front_of(rows, sweep.objectives)
    console.print(trial_table(front, sweep, f"Pareto front of {sweep.name}, {len(front)} trials"))
    done = Counter(row["state"] for row in rows)
    print("trials:      " + ", ".join(f"{n} {state}" for state, n in done.items()))
    print(f"report:      {sweep.directory}/report.html (front.csv, trials.csv, pareto.png beside it)")
    print(f"tensorboard: {Path(sys.executable).parent}/tensorboard --logdir {sweep.directory}")


def _start_worker(resolved: Path, index: int, workers: int) -> subprocess.Popen:
    """Worker `index` with its own GPU where there are some, else its share of the CPU."""
    environment = dict(os.environ)
    gpus = visible_gpus()
    threads: Sequence[str] = ()
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
    else:
        threads = ("--threads", str(max(1, (os.cpu_count() or 1) // workers)))
    log = resolved.parent / "workers" / f"worker-{index}.log"
    log.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "seqboat_lab.cli", "sweep-worker", str(resolved), str(os.getpid()), *threads]
    with log.open("a") as file:
        # a session of its own: Ctrl-C reaches the parent only, which then ends its workers in order
        return subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True)


def visible_gpus() -> list[str]:
    """The CUDA devices this process may use, without waking them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [gpu for gpu in chosen.split(",") if gpu.strip() not in ("", "-1")]
    return [str(i) for i in range(len(glob("/dev/nvidia[0-9]*")))]

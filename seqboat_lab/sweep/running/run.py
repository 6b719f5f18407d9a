"""A whole sweep: workers, a live view of them, a report at the end."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from rich.console import Console

from seqboat_lab.analysis.pareto import front_of, kept_reference
from seqboat_lab.analysis.report import never_tried, write_report
from seqboat_lab.atomic import write_text
from seqboat_lab.config.checks import ConfigError, UserError, is_file
from seqboat_lab.config.files import to_yaml
from seqboat_lab.sweep.definition.config import SweepConfig, parse_sweep
from seqboat_lab.sweep.definition.confirm import ConfirmConfig
from seqboat_lab.sweep.running.gpus import Held, devices_of, visible_gpus
from seqboat_lab.sweep.running.live import SweepView, trial_table
from seqboat_lab.sweep.running.promotion import promotable
from seqboat_lab.sweep.stages.plan import Stages
from seqboat_lab.sweep.stages.side import job_of
from seqboat_lab.sweep.study.artifacts import fetch_run, open_artifacts
from seqboat_lab.sweep.study.storage import STORAGE_VARIABLE, errors_in_one_line, hide, storage_url, without_secrets
from seqboat_lab.sweep.study.study import (
    REFERENCE,
    at_work,
    candidates,
    counts,
    nameless,
    open_study,
    requeue_lost,
    set_strangers_aside,
    summary_rows,
)

REFRESH_SECONDS = 1.0
LOG_HEAD = "--- started by a sweep"  # each call adds to the workers' logs


def run_sweep(sweep: SweepConfig, workers: int, search: bool = True, trials_per_gpu: int = 1) -> None:
    """Works on the study with `workers` processes until its budget is used up, and what surrounds it is done.

    Running it again goes on where it ended. Ctrl-C, or SIGTERM, ends the trials under way, queues them again, and
    still writes the report. Raises `UserError` if no trial succeeded.

    Args:
        search: whether to run any trials, or only the references and the confirmation.
        trials_per_gpu: how many may share a GPU; a worker that finds no room raises `ConfigError`.
    """
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)  # both raise KeyboardInterrupt
    try:
        with errors_in_one_line(sweep.directory, sweep.storage):
            _run(sweep, workers, search, trials_per_gpu)
    finally:
        signal.signal(signal.SIGTERM, previous)


def confirm(directory: Path, seeds: int | None, workers: int, trials_per_gpu: int = 1) -> None:
    """Runs the front of the sweep in `directory` again, as its `confirm` says, or with so many `seeds`.

    Raises `ConfigError` if no sweep is there, and `UserError` if none of its trials is complete.
    """
    settings = directory / "sweep.yaml"
    if not is_file(settings):
        raise ConfigError(str(settings), "does not exist; expected the directory of a sweep, runs/sweeps/<name>")
    sweep = parse_sweep(settings)
    if sweep.directory.resolve() != directory.resolve():
        raise ConfigError(str(directory), f"holds the sweep {sweep.name}, whose runs are under {sweep.directory}; call "
                          "this from the directory that has it, by its own name")  # fmt: skip
    url = storage_url(sweep.storage)
    if url and url == without_secrets(url) and "***" in url:
        raise ConfigError("storage", f"the password of {url} is in no file; give the whole URL as {STORAGE_VARIABLE}")
    settled = sweep.confirm or ConfirmConfig()
    settled = settled if seeds is None else replace(settled, seeds=seeds)
    sweep = replace(sweep, storage=url, confirm=settled)
    with errors_in_one_line(sweep.directory, sweep.storage):
        states = Counter(trial.state for trial in candidates(open_study(sweep)).values())
    if not states[TrialState.COMPLETE]:
        raise UserError(f"{sweep.name} has no completed trial to confirm; seqboat sweep goes on with it")
    run_sweep(sweep, workers, search=False, trials_per_gpu=trials_per_gpu)


def _run(sweep: SweepConfig, workers: int, search: bool, trials_per_gpu: int) -> None:
    devices = devices_of(sweep)
    places = Held(visible_gpus() if devices else [], workers, max(1, devices), trials_per_gpu)
    open_artifacts(sweep.artifacts)  # a mistake is told before any trial runs
    study = open_study(sweep)
    stages = Stages(study, sweep)
    studies = [study, *(side.study for side in stages.sides)]
    for each in studies:
        requeue_lost(each, sweep)
    for aside, runs in set_strangers_aside(study, sweep):
        print(f"{sweep.directory}/trials held {runs} runs that are not of this study; they are set aside in {aside}")
    resolved = sweep.directory / "sweep.yaml"
    shown = replace(sweep, storage=sweep.storage and without_secrets(sweep.storage), experiment_fields=sweep.written())
    write_text(resolved, to_yaml(shown))
    begun = sum(map(counts, study.get_trials(deepcopy=False)))
    if begun and search:
        print(f"continuing {sweep.name}: {begun} of {sweep.trials} trials are already there")
    processes: list[subprocess.Popen] = []
    left = stages.unfinished() or (search and (begun < sweep.trials or nameless(study) or promotable(study, sweep)))
    to_do = left or any(at_work(each, sweep) for each in studies)  # they may be lost
    try:
        for i in range(workers if to_do else 0):
            processes.append(_start_worker(resolved, i, workers, sweep.storage, search, places))
        with SweepView(sweep) as view:
            while any(p.poll() is None for p in processes):
                view.update(summary_rows(study, sweep))
                stages.tell()
                time.sleep(REFRESH_SECONDS)
            view.update(summary_rows(study, sweep))
            stages.tell()
    except KeyboardInterrupt:
        print("interrupted: ending the trials under way (they are queued again); Ctrl-C once more to leave at once")
        _end(processes)
        conclude(study, sweep, stages)
        print("run the same command again to go on")
        raise
    except BaseException:
        _end(processes)
        raise
    places.release()
    for each in studies:
        requeue_lost(each, sweep)
    rows = conclude(study, sweep, stages)
    crashed = [i for i, p in enumerate(processes) if p.returncode != 0]
    why = ""
    if crashed:
        why = f"{len(crashed)} of {workers} workers ended early ({_last_words(sweep, crashed[0])})"
        print(f"{why}; see {sweep.directory}/workers/*.log")
    _check_done(study, sweep, stages, rows, why or "the workers were ended", search)


def _check_done(
    study: optuna.Study, sweep: SweepConfig, stages: Stages, rows: Sequence[dict[str, Any]], why: str, search: bool
) -> None:
    """Raises `UserError` if anything is left to do, or nothing came of it."""
    states = Counter(row["state"] for row in rows)
    used = sum(map(counts, study.get_trials(deepcopy=False)))  # other machines may still be at some
    if search and used < sweep.trials:
        raise UserError(f"{why}; {used} of {sweep.trials} trials of {sweep.name} are done: the same command goes on")
    if not states["complete"] and states["failed"]:
        first = next(f"trial {r['number']}, {r['run']}: {r['error']}" for r in rows if r["state"] == "failed")
        raise UserError(f"no trial of {sweep.name} succeeded; {first}")
    if left := stages.unfinished():
        raise UserError(f"{why}; {left} runs beside the search of {sweep.name} are left: the same command goes on")
    if search and (stopped := promotable(study, sweep)):
        raise UserError(f"{why}; {len(stopped)} stopped trials of {sweep.name} are to go on: the same command does so")


def _end(processes: Sequence[subprocess.Popen]) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in processes:
        process.wait()


def _last_words(sweep: SweepConfig, worker: int) -> str:
    """The last line that a worker said in this call, without what is not for all eyes."""
    log = sweep.directory / "workers" / f"worker-{worker}.log"
    said = next(reversed(log.read_text(errors="replace").splitlines()), LOG_HEAD) if log.is_file() else LOG_HEAD
    return "killed" if said.startswith(LOG_HEAD) else hide(said, sweep.storage).removeprefix("seqboat: ")


def conclude(study: optuna.Study, sweep: SweepConfig, stages: Stages) -> list[dict[str, Any]]:
    """Writes the report, prints the front and where everything is, and returns the rows."""
    rows = summary_rows(study, sweep)
    known = study.user_attrs.get(REFERENCE) or {}
    reference = kept_reference(rows, sweep.objectives, known | sweep.reference)
    if reference.keys() - known.keys():
        study.set_user_attr(REFERENCE, known | reference)
    choices = {key: parameter.labels for key, parameter in sweep.space.items() if parameter.choices}
    stages.write()
    _fetch_runs(study, sweep, stages, {row["number"] for row in front_of(rows, sweep.objectives)})
    write_report(sweep.directory, rows, sweep.objectives, list(sweep.space), choices, reference)
    console = Console(width=None if sys.stdout.isatty() else 150)
    front = front_of(rows, sweep.objectives)
    console.print(trial_table(front, sweep, f"Pareto front of {sweep.name}, {len(front)} trials"))
    done = Counter(row["state"] for row in rows)
    print("trials:      " + ", ".join(f"{n} {state}" for state, n in done.items()))
    for line in stages.summary():
        print(line)
    for key, values in never_tried(rows, choices).items():
        print(f"never tried: {key} = {', '.join(map(str, values))}")
    print(f"report:      {sweep.directory}/report.html (front.csv, trials.csv, pareto.png beside it)")
    print(f"tensorboard: {Path(sys.executable).parent}/tensorboard --logdir {sweep.directory}")
    return rows


def _fetch_runs(study: optuna.Study, sweep: SweepConfig, stages: Stages, front: Container[int]) -> None:
    """Brings the runs of other machines here, where they left them anywhere."""
    if (store := open_artifacts(sweep.artifacts)) is None:
        return
    for number, trial in candidates(study).items():
        fetch_run(trial, sweep.directory / "trials" / f"{number:04d}", store, number in front)
    for side in stages.sides:
        for trial in side.trials().values():
            fetch_run(trial, side.run_directory(job_of(trial)), store)


def _start_worker(
    resolved: Path, index: int, workers: int, storage: str | None, search: bool, places: Held
) -> subprocess.Popen:
    """Worker `index` with GPUs of its own where there are some, else its share of the CPU."""
    environment = {k: v for k, v in os.environ.items() if k != STORAGE_VARIABLE}
    environment |= {STORAGE_VARIABLE: storage} if storage else {}
    environment |= places.environment(index)
    threads: Sequence[str] = ()
    if not places.slots[index]:
        threads = ("--threads", str(max(1, (os.cpu_count() or 1) // workers)))
    log = resolved.parent / "workers" / f"worker-{index}.log"
    log.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "seqboat_lab.cli", "sweep-worker", str(resolved), str(os.getpid()), *threads]
    command += () if search else ("--no-search",)
    with log.open("a") as file:
        file.write(f"{LOG_HEAD} of process {os.getpid()}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        file.flush()
        locks = [lock.fileno() for lock in places.locks[index]]
        # a session of its own: Ctrl-C reaches the parent only, which then ends its workers in order
        return subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True,
                                pass_fds=locks)  # fmt: skip

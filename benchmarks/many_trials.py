"""Searches of thousands of trials by hundreds of workers, whose trials take 50 ms and do nothing.

    python -m benchmarks.many_trials --parts look journal sqlite postgresql grpc --workers 24 --trials 5000

For each storage: a study is filled with all trials but the last ones, which workers (processes, each with a connection
of its own) then run by the sweep's own code: trials a second, and CPU time of a trial. Workers fork from a process
that has imported everything, and share what they do not write: many fit. Before that, what a sweep of that
size, of 200 workers, costs who looks at it: the table, the live view, the report, memory. PostgreSQL is started for it.
"""

import argparse
import gc
import json
import multiprocessing as mp
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import TrialState, create_trial

from seqboat_lab.sweep.definition.config import SweepConfig, load_sweep
from seqboat_lab.sweep.running import attempt, live, run, worker
from seqboat_lab.sweep.stages.plan import Stages
from seqboat_lab.sweep.study import study as studies
from seqboat_lab.sweep.study.storage import open_storage

SECONDS = 0.05
PARTS = ["look", "journal", "sqlite", "postgresql", "grpc"]
SWEEP = """\
experiment: lra/listops_short
name: many
objectives: {val/accuracy: maximize, val/activation_rate: minimize}
space:
  model.memory_size: {choices: [8, 16, 32, 64]}
  model.configurator.temperature_scale: {low: 0.1, high: 3, log: true}
  optim.lr: {low: 0.0001, high: 0.01, log: true}
  model.dropout: {low: 0.0, high: 0.5}
sampler: random
trials: 5000
"""
LAST = 200
"""Trials that are measured."""


class FakeRun:
    """A run of 50 ms that measures something between a good and a bad trial."""

    def __init__(self, config: Any, run_dir: Path):
        self.metrics = _metrics(np.random.default_rng(int(config.optim.lr * 1e12)))

    def wait(self, seconds: float) -> bool:
        time.sleep(SECONDS)
        return True

    def new_validations(self) -> Iterator[dict[str, Any]]:
        return iter([self.metrics])

    def summary(self) -> dict[str, Any]:
        return self.metrics

    def stop(self) -> None:
        pass

    def failure(self) -> None:
        return None


def _metrics(draw: np.random.Generator) -> dict[str, Any]:
    rate = float(draw.uniform(0.02, 1))
    metrics = {
        "step": 1000,
        "val/activation_rate": rate,
        "val/accuracy": float(0.9 * rate**0.1 - draw.exponential(0.1)),
    }
    return metrics | {f"val/activation_rate/layer_{i}": rate for i in range(4)} | {"cost/seconds": SECONDS}


def fill(study: Any, sweep: SweepConfig, trials: int) -> None:
    """Complete trials, as workers leave them."""
    draw = np.random.default_rng(0)
    space = sweep.search_space().distributions
    for n in range(trials):
        metrics = _metrics(draw)
        params = {"model.memory_size": int(draw.choice([8, 16, 32, 64]))}
        params |= {key: float(draw.uniform(d.low, d.high)) for key, d in space.items() if key not in params}
        values = [metrics[m] for m in sweep.metrics]
        told = {"worker": f"w{n % 200}", "run": f"{sweep.directory}/trials/{n:04d}", "key": f"{n}", "row": metrics,
                "measured": {"1000": values}}  # fmt: skip
        study._storage.create_new_trial(
            study._study_id,
            create_trial(state=TrialState.COMPLETE, params=params, distributions=space, values=values, user_attrs=told),
        )


def _work(path: str, overrides: list[str], directory: str, all_there: Any, report: Any) -> None:
    gc.freeze()  # a collection would write to, and so copy, what is shared
    os.chdir(directory)
    attempt.TrialProcess = FakeRun  # type: ignore[assignment,misc]
    worker.NAMELESS_SECONDS = 600
    sweep = load_sweep(path, overrides)
    all_there.wait()
    begun = time.process_time()
    worker._work(sweep, os.getppid(), None, search=True)
    report.put((time.process_time() - begun, own_megabytes()))
    all_there.wait()  # whoever ends gives back what it shared


def own_megabytes() -> float:
    """Of this process, pages that it shares counted by its share of them (the kernel's PSS)."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def measure(url: str | None, trials: int, workers: int, there: int) -> dict[str, float]:
    """Trials a second of `trials` with `there` before them."""
    path, directory = "many.yaml", os.getcwd()
    Path(path).write_text(SWEEP)
    where = [f"storage={url}"] if url else []
    overrides = [*where, f"name=many-{there}-{time.time_ns()}", f"trials={there + trials}"]
    sweep = load_sweep(path, overrides)
    study = studies.open_study(sweep)
    fill(study, sweep, there)
    context = mp.get_context(
        "forkserver"
    )  # forked from here they would share a connection, which gRPC does not survive
    context.set_forkserver_preload(["seqboat_lab.sweep.running.job", "seqboat_lab.training.experiment"])
    report, all_there = context.Queue(), context.Barrier(workers)
    lives = [
        context.Process(target=_work, args=(path, overrides, directory, all_there, report)) for _ in range(workers)
    ]
    for life in lives:
        life.start()
    told = [report.get(timeout=1800) for _ in lives]
    for life in lives:
        life.join()
    ended = [t for t in study.get_trials(deepcopy=False)[there:] if t.state == TrialState.COMPLETE]
    assert len(ended) == trials
    begun = sorted(t.datetime_start for t in ended if t.datetime_start)
    last = max(t.datetime_complete for t in ended if t.datetime_complete)
    return {
        "trials_per_second": trials / (last - begun[0]).total_seconds(),
        "cpu_ms_per_trial": 1000 * sum(cpu for cpu, _ in told) / trials,
        "mb_per_worker": sum(mb for _, mb in told) / workers,
    }


def look(trials: int) -> dict[str, float]:
    """CPU seconds of who looks at a sweep of so many trials, and megabytes."""
    Path("many.yaml").write_text(SWEEP)
    sweep = load_sweep("many.yaml", ["name=look", f"trials={trials}"])
    study = studies.open_study(sweep)
    fill(study, sweep, trials)
    found: dict[str, float] = {}

    def timed(name: str, do: Any) -> Any:
        begun = time.process_time()
        result = do()
        found[name] = time.process_time() - begun
        return result

    again = timed("open_seconds", lambda: studies.open_study(sweep))
    rows = timed("table_seconds", lambda: studies.summary_rows(again, sweep))
    stages = Stages(again, sweep)
    view = live.SweepView(sweep)
    view.live = live.Live(console=live.Console(file=open(os.devnull, "w"), force_terminal=True))  # noqa: SIM115
    timed("live_seconds", lambda: view.update(rows))
    lock = studies.WorkerLock(sweep.directory)
    larger = load_sweep("many.yaml", ["name=look", f"trials={trials + 20}"])
    timed("claim_seconds", lambda: [studies.claim(again, larger, lock) for _ in range(20)])
    found["claim_seconds"] /= 20
    timed("report_seconds", lambda: run.conclude(again, sweep, stages))
    found["report_mb"] = (sweep.directory / "report.html").stat().st_size / 2**20
    found["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


@contextmanager
def storages(names: list[str]) -> Iterator[dict[str, str | None]]:
    """Name -> URL, each started if it has to be."""
    from tests.sweep.postgresql import Server

    urls: dict[str, str | None] = {"journal": None, "sqlite": f"sqlite:///{os.getcwd()}/many.db"}
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        needed = {"postgresql", "grpc"} & set(names)
        server = Server(Path(directory) / "postgresql", connections=400) if needed else None
        serving = None
        if server is not None:
            urls["postgresql"] = server.url
            if "grpc" in names:
                ready: Any = mp.get_context("spawn").Queue()
                serving = mp.get_context("spawn").Process(target=_serve, args=(server.url, ready), daemon=True)
                serving.start()
                urls["grpc"] = f"grpc://127.0.0.1:{ready.get()}"
        yield {name: urls[name] for name in names}
        if serving is not None:
            serving.kill()
        if server is not None:
            server.stop()


def _serve(url: str, ready: Any) -> None:
    from seqboat_lab.sweep.study.served import make_server

    server, port = make_server(open_storage(url, Path("study.journal"), connections=10), "127.0.0.1", 0)  # type: ignore[arg-type]
    server.start()
    ready.put(port)
    server.wait_for_termination()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="*", default=PARTS, choices=PARTS, help="what is measured (default: all)")
    parser.add_argument("--workers", type=int, default=24)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--measured", type=int, default=LAST, help="how many of them are run by workers")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    found: dict[str, Any] = {"workers": options.workers, "trials": options.trials, "measured": options.measured}
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        if "look" in options.parts:
            found["look"] = look(options.trials)
            print("look", json.dumps(found["look"]), flush=True)
        with storages([name for name in options.parts if name != "look"]) as urls:
            for name, url in urls.items():
                for there in (0, options.trials - options.measured):
                    key = f"{name}, {there} before"
                    found[key] = measure(url, options.measured, options.workers, there)
                    print(key, json.dumps(found[key]), flush=True)
        os.chdir("/")
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())

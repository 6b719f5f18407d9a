"""Searches with all their stages, over runs that take no time; killed at any record of the journal, too."""

import json
import multiprocessing as mp
import os
import random
from collections import Counter
from pathlib import Path

import pytest
from optuna.trial import TrialState

from seqboat_lab.sweep.definition.config import SweepConfig, load_sweep
from seqboat_lab.sweep.running import worker
from seqboat_lab.sweep.running.promotion import promotable
from seqboat_lab.sweep.stages.noise import mean, near_front
from seqboat_lab.sweep.stages.plan import Stages
from seqboat_lab.sweep.stopping.rules import best
from seqboat_lab.sweep.study import study as studies
from tests.sweep.fake import accuracy, die_after, rate, replace_runs

EXTRA = """\
stopping: {rule: successive_halving, eta: 2, first: 0.2}
seeds: 2
confirm: {seeds: 2}
references: {never: {model.configurator: {kind: never}, model.memory_size: 1}}
"""
STEPS, VAL_EVERY = 40, 5
RUNGS = (10, 20)  # at shares 0.2 and 0.4


@pytest.fixture
def sweep(tiny_sweep, monkeypatch) -> SweepConfig:
    replace_runs(monkeypatch)
    return load_sweep(tiny_sweep(STEPS, EXTRA), ["trials=10"])


def work(sweep: SweepConfig, records: int | None = None) -> None:
    if records is not None:
        die_after(records)
    worker._work(sweep, os.getppid(), None, search=True)


def steps_of(run: Path, file: str) -> list[int]:
    text = (run / file).read_text().splitlines()
    return [json.loads(line)["step"] if line.startswith("{") else int(line) for line in text]


def check_outcome(sweep: SweepConfig) -> None:
    """All that must hold at the end, however it was reached."""
    study = studies.open_study(sweep)
    rows = studies.summary_rows(study, sweep)
    counted = [r for r in rows if r["state"] != "requeued"]
    assert Counter(r["state"] for r in counted).keys() <= {"complete", "stopped"}
    assert len(counted) == sweep.trials
    assert len({r["number"] for r in rows}) == len(rows)
    assert len({r["model.configurator.temperature_scale"] for r in counted}) == sweep.trials  # none counts twice
    assert promotable(study, sweep) == []

    complete = {r["number"]: r for r in counted if r["state"] == "complete"}
    for row in counted:
        config = sweep.experiment_with({key: row[key] for key in sweep.space})
        run = Path(row["run"])
        assert steps_of(run, "validations.jsonl") == list(range(VAL_EVERY, row["step"] + 1, VAL_EVERY))
        if row["state"] == "stopped":
            assert row["step"] in RUNGS
            assert row["val/accuracy"] == accuracy(config, row["step"])
            continue
        seeds = [config.seed + i for i in range(row["seeds"])]
        curve = [accuracy(_seeded(config, seed), STEPS) for seed in seeds]
        assert row["val/accuracy"] == pytest.approx(mean([(v,) for v in curve])[0])
        if row["seeds"] == 2:
            assert row["val/accuracy_se"] == pytest.approx(abs(curve[0] - curve[1]) / 2)  # sd of two, over sqrt(2)
            assert row["val/activation_rate_se"] == 0
            assert steps_of(run / f"seed-{config.seed + 1}", "validations.jsonl")[-1] == STEPS
    for rung in RUNGS:  # the best half of what was measured at each rung is past it
        at = studies.measured_at(study, rung)
        numbers = sorted(at)
        chosen = best([at[n] for n in numbers], sweep.maximize, (len(numbers) + 1) // 2)
        past = {r["number"] for r in counted if r["step"] > rung}
        assert {numbers[i] for i in chosen} <= past

    stages = Stages(study, sweep)
    assert stages.unfinished() == 0
    stages.write()
    references = json.loads((sweep.directory / "references.json").read_text())
    first = sweep.base_with({}).seed
    assert [(r["name"], r["seed"]) for r in references] == [("never", first), ("never", first + 1)]
    for found in references:
        assert found["values"]["val/accuracy"] == accuracy(_reference(sweep, found["seed"]), STEPS)
        assert steps_of(Path(found["run"]), "validations.jsonl") == list(range(VAL_EVERY, STEPS + 1, VAL_EVERY))

    confirmed = json.loads((sweep.directory / "confirm.json").read_text())
    assert (confirmed["split"], confirmed["objectives"]) == ("test", sweep.objectives)
    by_seed = {n: studies.candidates(study)[n].user_attrs[studies.BY_SEED] for n in complete}
    front = near_front(by_seed, sweep.maximize)
    new = [first + 1001, first + 1002]
    assert sorted((r["trial"], r["seed"]) for r in confirmed["runs"]) == sorted((n, s) for n in front for s in new)
    for found in confirmed["runs"]:
        params = {key: complete[found["trial"]][key] for key in sweep.space}
        config = sweep.experiment_with({**params, "seed": found["seed"]})
        assert found["values"] == {"val/accuracy": accuracy(config, STEPS, "test"), "val/activation_rate": rate(config)}
        assert found["run"] == f"runs/sweeps/tiny/confirm/{found['trial']:04d}-{found['seed']}"
    assert [(r["name"], r["seed"]) for r in confirmed["references"]] == [("never", seed) for seed in new]
    for side in stages.sides:
        ended = [t for t in side.study.trials if t.state == TrialState.COMPLETE]
        assert len({t.user_attrs["job"]["name"] + str(t.user_attrs["job"]["seed"]) for t in ended}) == len(ended)
    assert not list(sweep.directory.glob("trials-of-another-study*"))


def _seeded(config, seed: int):
    from dataclasses import replace

    return replace(config, seed=seed)


def _reference(sweep: SweepConfig, seed: int):
    return sweep.base_with({**sweep.references["never"], "seed": seed})


def test_a_search_with_all_stages_trains_every_step_once(sweep):
    work(sweep)
    check_outcome(sweep)
    study = studies.open_study(sweep)
    assert any("continues" in t.user_attrs for t in study.trials)  # some went on
    for row in studies.summary_rows(study, sweep):
        assert steps_of(Path(row["run"]), "trained.txt") == list(range(1, row["step"] + 1))
    order = [t.datetime_start for t in Stages(study, sweep).references.study.trials]
    assert max(order) < study.trials[0].datetime_start  # references first
    before = (sweep.directory / "study.journal").read_bytes()
    work(sweep)
    assert (sweep.directory / "study.journal").read_bytes() == before  # nothing is left to do


@pytest.mark.slow
def test_a_larger_budget_goes_on_and_confirms_only_what_is_new(sweep, tiny_sweep):
    work(sweep)
    confirm = Stages(studies.open_study(sweep), sweep).confirm
    runs = {path: path.stat().st_mtime_ns for path in confirm.directory.glob("*/trained.txt")}
    larger = load_sweep(tiny_sweep(STEPS, EXTRA), ["trials=14", "confirm.seeds=3"])
    work(larger)
    study = studies.open_study(larger)
    assert sum(r["state"] != "requeued" for r in studies.summary_rows(study, larger)) == 14
    assert all(path.stat().st_mtime_ns == time for path, time in runs.items())
    jobs = Stages(study, larger).confirm_jobs()
    assert len({job.seed for job in jobs}) == 3


def killed_until_done(sweep: SweepConfig, most: int, workers: int, seed: int = 0) -> int:
    """Starts workers again and again, which die after up to so many records; how often one did."""
    draw, context, deaths = random.Random(seed), mp.get_context("fork"), 0
    for _ in range(300):
        lives = [context.Process(target=work, args=(sweep, draw.randint(0, most))) for _ in range(workers)]
        for life in lives:
            life.start()
        for life in lives:
            life.join()
        deaths += sum(life.exitcode != 0 for life in lives)
        if all(life.exitcode == 0 for life in lives):
            return deaths
    raise AssertionError("never done")


def test_workers_killed_between_any_two_records_end_as_without(sweep):
    assert killed_until_done(sweep, most=60, workers=2) >= 3
    check_outcome(sweep)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_workers_killed_again_and_again_end_as_without(sweep, seed):
    assert killed_until_done(sweep, most=25, workers=1 + seed % 2, seed=seed) >= 20
    check_outcome(sweep)

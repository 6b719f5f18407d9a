"""Runs beside the search: queued once, claimed once, and never taken from another search."""

import json
from pathlib import Path

import pytest
from optuna.trial import TrialState

from seqboat_lab.config import ConfigError
from seqboat_lab.sweep.definition.config import load_sweep
from seqboat_lab.sweep.running import attempt
from seqboat_lab.sweep.running.attempt import run_job
from seqboat_lab.sweep.stages.plan import Stages
from seqboat_lab.sweep.stages.side import Job, SideStudy
from seqboat_lab.sweep.study import study as studies
from tests.sweep.fake import replace_runs

REFERENCES = "references: {never: {model.configurator: {kind: never}}, dear: {model.memory_size: 16}}\n"


@pytest.fixture
def sweep(tiny_sweep, monkeypatch):
    replace_runs(monkeypatch)
    return load_sweep(tiny_sweep(extra=REFERENCES))


@pytest.fixture
def stages(sweep):
    return Stages(studies.open_study(sweep), sweep)


def test_each_reference_is_claimed_once_and_uses_no_budget(sweep, stages):
    jobs = stages.reference_jobs()
    assert [(job.name, job.seed) for job in jobs] == [("never", 1), ("dear", 1)]
    again = Stages(studies.open_study(sweep), sweep)
    claimed = [s.references.claim("me", jobs) for s in (stages, again, stages, again)]
    assert [t and t.user_attrs["job"]["name"] for t in claimed] == ["never", "dear", None, None]
    assert stages.references.study.trials[0].user_attrs["worker"] == "me"
    assert stages.search.trials == []
    assert studies.summary_rows(stages.search, sweep) == []
    assert (
        sum(studies.claim(stages.search, sweep, studies.WorkerLock(sweep.directory)) is not None for _ in range(6)) == 4
    )


def test_a_job_that_was_queued_twice_runs_once(stages):
    """Machines that share a database, but no directory, take no turns."""
    jobs, side = stages.reference_jobs(), stages.references
    for job in (*jobs, *jobs):
        side.study.enqueue_trial({}, user_attrs={"job": job._asdict()})
    claimed = [side.claim("me", jobs) for _ in range(4)]
    assert [t and t.number for t in claimed] == [0, 1, None, None]
    assert [t.state for t in side.study.trials[2:]] == [TrialState.FAIL] * 2
    assert stages.unfinished() == 2


def test_a_dead_workers_job_goes_on_from_its_checkpoint(sweep, stages, monkeypatch):
    side, jobs = stages.references, stages.reference_jobs()
    lock = studies.WorkerLock(sweep.directory)
    first = side.claim(lock.name, jobs)
    train = attempt.TrialProcess

    def dying(config, run_dir):
        run = train(config, run_dir)
        run.wait(0)
        raise KeyboardInterrupt

    monkeypatch.setattr(attempt, "TrialProcess", dying)
    with pytest.raises(KeyboardInterrupt):
        run_job(side, first, None)
    monkeypatch.setattr(attempt, "TrialProcess", train)
    del lock
    assert studies.requeue_lost(side.study, sweep) == 1
    claimed = [side.claim("me", jobs) for _ in range(3)]
    assert [t and t.user_attrs["job"]["name"] for t in claimed] == ["dear", "never", None]
    run_job(side, claimed[1], None)
    assert Path("runs/sweeps/tiny/references/never-1/trained.txt").read_text().split() == [str(n) for n in range(1, 11)]
    (found,) = side.results(jobs)
    assert found[0].name == "never"


def test_other_fields_under_the_same_name_are_another_run(sweep, stages, tiny_sweep, capsys):
    for _ in range(2):
        run_job(stages.references, stages.references.claim("me", stages.reference_jobs()), None)
    other = load_sweep(tiny_sweep(extra=REFERENCES), ["references.dear.model.memory_size=32"])
    changed = Stages(studies.open_study(other), other)
    assert changed.unfinished() == 1
    run_job(changed.references, changed.references.claim("me", changed.reference_jobs()), None)
    assert "references/dear-1 held a run of another study; it is set aside in" in capsys.readouterr().out
    assert [job.values for job, *_ in changed.references.results(changed.reference_jobs())] == [
        {"model.configurator.kind": "never"}, {"model.memory_size": 32}]  # fmt: skip
    assert stages.unfinished() == 0  # the old one is still known, should it come back


def test_runs_of_a_deleted_study_never_pass_for_those_of_the_new_one(tiny_sweep, tmp_path, monkeypatch):
    replace_runs(monkeypatch)
    sweep = load_sweep(tiny_sweep(extra=REFERENCES), [f"storage=sqlite:///{tmp_path}/study.db"])
    study = studies.open_study(sweep)
    stages = Stages(study, sweep)
    run_job(stages.references, stages.references.claim("me", stages.reference_jobs()), None)
    import optuna

    optuna.delete_study(study_name="tiny", storage=sweep.storage)  # its own one only, as a dashboard does
    new = Stages(studies.open_study(sweep), sweep)
    assert new.references.study.trials == []
    assert new.unfinished() == 2


def test_another_split_evaluates_the_same_training_again(sweep, stages):
    side = SideStudy(stages.search, sweep, "confirm")
    params = {"model.memory_size": 4, "model.configurator.temperature_scale": 0.5}
    job = Job("0007", 1001, params, 7, "test")
    for split in ("test", "val"):
        asked = [job._replace(split=split)]
        run_job(side, side.claim("me", asked), None)
        assert side.claim("me", asked) is None
    (a, b) = side.results([job, job._replace(split="val")])
    assert a[1] == b[1] == "runs/sweeps/tiny/confirm/0007-1001"
    assert a[2]["val/accuracy"] != b[2]["val/accuracy"]
    assert (Path(a[1]) / "trained.txt").read_text().split() == [str(n) for n in range(1, 11)]


def test_a_failed_reference_is_told_and_is_not_tried_again(sweep, stages, monkeypatch, capsys):
    monkeypatch.setattr("tests.sweep.fake.accuracy", lambda *_: float("nan"))
    jobs = stages.reference_jobs()
    run_job(stages.references, stages.references.claim("me", jobs), None)
    stages.tell()
    assert "references: never, seed 1 -> failed: diverged: at step 5" in capsys.readouterr().out
    assert stages.unfinished() == 1
    stages.write()
    assert json.loads(Path("runs/sweeps/tiny/references.json").read_text()) == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("references={never: {model.configurator: {kind: nevr}}}", r"references.never: gives no possible experiment: model.configurator.kind: unknown configurator 'nevr' \(did you mean 'never'\?\)"),
        ("references={bag: {model.kind: bag}}", r"objectives: unknown metric for the reference bag, 'val/activation_rate'"),
        ("references={a: {model.nothing: 3}}", r"references.a: gives no possible experiment: model.nothing: unknown field"),
        ("references={../a: {}}", r"references.\.\./a: '../a' .*a letter, then letters, digits"),
        ("references={'0012': {}}", r"references.0012: '0012' .*a letter, then letters"),
        ("references={a: {seed: 3}}", r"references.a.seed: 3 .*`seeds` of the sweep"),
        ("references={a: 3}", r"references.a: 3 .*a mapping of names to values"),
        ("references=3", r"references: 3 .*a mapping of names to fields"),
        ("seeds=0", r"seeds: 0 .*at least 1"),
        ("seeds=101", r"seeds: 101 .*at most 100"),
        ("confirm={seeds: 0}", r"confirm.seeds: 0 .*at least 1"),
        ("confirm={split: train}", r"confirm.split: unknown value 'train'; allowed: test, val"),
        ("confirm={of: best}", r"confirm.of: unknown value 'best'; allowed: all, front"),
        ("confirm=5", r"confirm: 5 is not a section; its fields are seeds, split, of"),
        ("max_runs=3", r"max_runs: 4 trials and 2 references with 1 seeds each are 6 runs, more than the budget of 3"),
        ("stopping={rule: successive_halving, first: 0.5}", r"stopping: can stop no trial with trainer.val_every = 20 of 10 updates"),
    ],
)  # fmt: skip
def test_impossible_stages_are_one_line_before_anything_runs(tiny_sweep, override, message):
    extra = ["overrides.trainer.val_every=20"] if override.startswith("stopping") else []
    with pytest.raises(ConfigError, match=message) as caught:
        load_sweep(tiny_sweep(extra=REFERENCES), [override, *extra])
    assert "\n" not in str(caught.value)
    assert not Path("runs").exists()


def test_seeds_and_trials_beyond_the_budget_of_runs_are_refused(tiny_sweep):
    with pytest.raises(
        ConfigError,
        match=r"max_runs: 4 trials and 0 references with 3 seeds each are 12 runs, more than the budget of 11",
    ):
        load_sweep(tiny_sweep(), ["seeds=3", "max_runs=11"])
    load_sweep(tiny_sweep(), ["seeds=3", "max_runs=12"])


def test_a_grid_whose_size_is_counted_fits_a_budget_of_runs(tiny_sweep):
    path = tiny_sweep()
    grid = path.read_text().replace("trials: 4\n", "").replace("sampler: random", "sampler: grid")
    path.write_text(grid.replace("{low: 0.1, high: 3, log: true}", "{choices: [0.1, 1]}"))
    assert load_sweep(path, ["seeds=3", "max_runs=18"]).trials == 6
    with pytest.raises(ConfigError, match="max_runs: 6 trials and 0 references with 3 seeds each are 18 runs"):
        load_sweep(path, ["seeds=3", "max_runs=17"])


@pytest.mark.parametrize("override", ["seeds=2", "confirm={}"])
def test_a_searched_seed_cannot_be_chosen_by_two(tiny_sweep, override):
    with pytest.raises(ConfigError, match=r"space.seed: .*no searched seed beside `seeds` or `confirm`"):
        load_sweep(tiny_sweep(), ["space.seed.choices=[1, 2]", override])
    load_sweep(tiny_sweep(), ["space.seed.choices=[1, 2]"])

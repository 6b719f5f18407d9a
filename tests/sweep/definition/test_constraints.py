"""A trial that breaks a constraint is never on the front, here or in Optuna's own list, and stops no other."""

import csv
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from seqboat_lab.analysis.pareto import front_of, hypervolume_history
from seqboat_lab.analysis.sweeps import read_sweep
from seqboat_lab.cli import main
from seqboat_lab.sweep.definition.config import load_sweep, parse_sweep
from seqboat_lab.sweep.definition.constraints import Constraint, is_broken, violations
from seqboat_lab.sweep.running.attempt import run_trial
from seqboat_lab.sweep.running.promotion import claim_promoted
from seqboat_lab.sweep.stages.plan import Stages
from seqboat_lab.sweep.study.study import BROKEN, MEASURED, WorkerLock, claim, measured_at, open_study, summary_rows
from tests.sweep.definition.test_config import sweep_file
from tests.sweep.fake import replace_runs

SWEEP = """\
experiment: lra/listops_short
name: tiny
objectives: {{val/activation_rate: maximize}}
constraints: {{val/activation_rate: {{max: 0.7, min: 0.3}}, cost/flops_per_token: {{max: 1.0e+9}}}}
space:
  model.configurator: {{choices: [never, always, {{kind: every_kth, k: 2}}]}}
sampler: grid
overrides:
  data: {{root: {root}, max_length: 40, train_size: 400, val_size: 100, test_size: 20, batch_size: 16}}
  model: {{d_model: 16, d_hidden: 16, d_attention: 8, classifier_hidden: 16}}
  optim: {{warmup_steps: 2}}
  trainer: {{max_steps: 3, val_every: 3, log_every: 1, progress: false}}
"""


@pytest.mark.slow
def test_the_front_of_a_real_sweep_has_only_trials_that_keep_the_constraints(tmp_path, monkeypatch, sweep_data, capfd):
    """Rates of 0, 1 and about 1/2 by construction; the largest would win, and breaks the bound."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(SWEEP.format(root=sweep_data))
    assert main(["sweep", "tiny.yaml", "--workers", "1"]) == 0, capfd.readouterr()
    with open("runs/sweeps/tiny/trials.csv") as file:
        rows = {row["model.configurator"]: row for row in csv.DictReader(file)}
    assert {kind: row["feasible"] for kind, row in rows.items()} == {
        "never": "False", "always": "False", '{"kind": "every_kth", "k": 2}': "True",
    }  # fmt: skip
    assert {row["state"] for row in rows.values()} == {"complete"}
    found = read_sweep("runs/sweeps/tiny")
    (best,) = front_of(found.rows, found.objectives)
    assert 0.3 <= best["val/activation_rate"] <= 0.7
    volumes = hypervolume_history(found.rows, found.objectives, {"val/activation_rate": 0.0})
    assert volumes == pytest.approx([0, 0, best["val/activation_rate"]])
    study = open_study(parse_sweep("runs/sweeps/tiny/sweep.yaml"))
    assert [t.number for t in study.best_trials] == [best["number"]]
    over = {t.number: t.constraints["val/activation_rate <= 0.7"] for t in study.trials}
    assert over[0] == pytest.approx(-0.7)
    assert over[1] == pytest.approx(0.3)
    assert "feasible" in Path("runs/sweeps/tiny/trials.csv").read_text()


FAKED = "space={model.memory_size: {choices: [2, 4, 8]}}"  # rates of 0.2, 0.4 and 0.8; more memory is more accurate


def ran(tiny_sweep, extra: str, *overrides: str):
    """The sweep, its study and its rows, after all its trials ran."""
    path = tiny_sweep(10, extra)
    path.write_text(path.read_text().replace(", val/activation_rate: minimize", ""))
    sweep = load_sweep(path, [FAKED, "trials=3", *overrides])
    study, lock = open_study(sweep), WorkerLock(sweep.directory)
    while trial := claim_promoted(study, sweep, lock) or claim(study, sweep, lock):
        run_trial(study, sweep, trial, None)
    return sweep, study, summary_rows(study, sweep)


def test_what_breaks_a_constraint_is_not_on_the_front_nor_confirmed(tiny_sweep, monkeypatch):
    replace_runs(monkeypatch)
    constraints = "constraints: {val/activation_rate: {max: 0.4}}\nconfirm: {seeds: 1}\nseeds: 2\n"
    sweep, study, rows = ran(tiny_sweep, constraints)
    assert {row["model.memory_size"]: row["feasible"] for row in rows} == {2: True, 4: True, 8: False}
    (best,) = front_of(rows, sweep.objectives)
    assert best["model.memory_size"] == 4
    assert study.best_trial.params["model.memory_size"] == 4
    confirmed = {job.trial for job in Stages(study, sweep).confirm_jobs()}
    assert best["number"] in confirmed
    assert not confirmed & {row["number"] for row in rows if not row["feasible"]}


def test_a_stopped_trial_that_goes_on_is_judged_by_its_end(tiny_sweep, monkeypatch):
    """Accuracy grows linearly, so that it is at half its end when a trial stops at half of training."""
    replace_runs(monkeypatch)
    extra = "constraints: {val/accuracy: {min: 0.1}}\nstopping: {rule: successive_halving, eta: 2, first: 0.5}\n"
    path = tiny_sweep(10, extra)
    path.write_text(path.read_text().replace(", val/activation_rate: minimize", ""))
    sweep = load_sweep(path, ["space={model.memory_size: {choices: [2, 6, 8]}}", "trials=3"])
    study, lock = open_study(sweep), WorkerLock(sweep.directory)
    for size in (8, 6, 2):
        study.enqueue_trial({"model.memory_size": size, "model.configurator.temperature_scale": 0.5})
    while trial := claim(study, sweep, lock):
        run_trial(study, sweep, trial, None)
    assert [t.state.name for t in study.trials] == ["COMPLETE", "PRUNED", "PRUNED"]
    bound = "val/accuracy >= 0.1"
    assert [t.constraints[bound] for t in study.trials[1:]] == pytest.approx([0.1 - 0.2, 0.1 - 0.2 / 3], abs=0.01)
    assert study.trials[2].user_attrs[BROKEN] == [5]  # so it does not count among the measured, of which half go on
    assert claim_promoted(study, sweep, lock) is None
    study.enqueue_trial({"model.memory_size": 6, "model.configurator.temperature_scale": 0.6})
    sweep = replace(sweep, trials=4)
    run_trial(study, sweep, claim(study, sweep, lock), None)  # the worst of three that count
    run_trial(study, sweep, claim_promoted(study, sweep, lock), None)
    last = study.trials[-1]
    assert (last.user_attrs["continues"], last.state.name) == (1, "COMPLETE")
    assert last.constraints == {bound: pytest.approx(0.1 - last.value)}
    assert last.value == pytest.approx(0.4, abs=0.01)


def test_violations_are_measured_from_the_bound():
    constraints = {"a": Constraint(max=0.3), "b": Constraint(min=2, max=4)}
    assert violations(constraints, {"a": 0.3, "b": 1.0}) == {"a <= 0.3": 0.0, "b <= 4": -3.0, "b >= 2": 1.0}
    assert is_broken(violations(constraints, {"a": 0.3, "b": 1.0}))
    assert not is_broken(violations(constraints, {"a": -5.0, "b": 2.0}))  # the bound itself is kept
    assert not is_broken({})


def test_what_breaks_a_constraint_stops_nobody():
    study = optuna.create_study(directions=["maximize"])
    for broken in ([], [5], [5, 10]):
        trial = study.ask()
        trial.set_user_attr(MEASURED, {"5": [0.5], "10": [0.9]})
        trial.set_user_attr(BROKEN, broken)
        study.tell(trial, state=TrialState.PRUNED)
    assert [list(measured_at(study, step)) for step in (5, 10)] == [[0], [0, 1]]


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ("{val/activation: {max: 0.3}}", "constraints: unknown metric for model.memory_size=2, 'val/activation'"),
        ("{val/activation_rate: {max: .nan}}", "constraints.val/activation_rate.max: nan is not possible here; expected a finite number"),
        ("{val/activation_rate: {}}", "constraints.val/activation_rate.max: None is not possible here; expected a number, or min beside it"),
        ("{val/activation_rate: {max: 0.1, min: 0.2}}", "constraints.val/activation_rate.min: 0.2 is not possible here; expected at most max = 0.1"),
        ("{val/activation_rate: 0.3}", "constraints.val/activation_rate: 0.3 is not a section"),
        ("{val/activation_rate: {maxi: 0.3}}", "constraints.val/activation_rate.maxi: unknown field of Constraint 'maxi' (did you mean 'max'?)"),
        ("0.3", "constraints: 0.3 is not possible here; expected a mapping"),
    ],
)  # fmt: skip
def test_constraints_on_what_is_not_reported_are_one_line(tmp_path, monkeypatch, capsys, constraints, message):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", str(sweep_file(tmp_path, constraints=constraints))]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"seqboat: {message}")
    assert error.count("\n") == 1
    assert not Path("runs").exists()


def test_a_study_with_other_constraints_is_another_search(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open_study(load_sweep(sweep_file(tmp_path)))
    with pytest.raises(ValueError, match="already holds a search with other constraints"):
        open_study(load_sweep(sweep_file(tmp_path, constraints="{val/activation_rate: {max: 0.3}}")))

"""Start points are tried first, once, and only where they fit the space."""

from pathlib import Path

import pytest
from optuna.trial import TrialState

from seqboat_lab.analysis.report import write_report
from seqboat_lab.cli import main
from seqboat_lab.config import ConfigError
from seqboat_lab.config.files import to_yaml
from seqboat_lab.sweep.definition.config import load_sweep, parse_sweep
from seqboat_lab.sweep.study.study import WorkerLock, claim, open_study, requeue_lost, summary_rows
from tests.sweep.definition.test_config import sweep_file

SPACE = (
    "{model.memory_size: {choices: [2, 4, 8]}, model.ssm.kernel: {choices: [ema, s4d]}, "
    "model.ssm.dt_min: {low: 0.001, high: 0.1, log: true, when: {model.ssm.kernel: s4d}}, "
    "model.configurator: {choices: [{kind: sigmoid}, {kind: every_kth, k: 8}]}, optim.lr: {low: 0.001, high: 0.01}}"
)
START = (
    "[{model: {memory_size: 8, ssm: {kernel: s4d, dt_min: 0.02}, configurator: {kind: every_kth, k: 8}}, optim.lr: 0.004}, "
    "{model.ssm.kernel: ema, model.memory_size: 2}]"
)
FULL = {
    "model.memory_size": 8, "model.ssm.kernel": "s4d", "model.ssm.dt_min": 0.02,
    "model.configurator": '{"kind": "every_kth", "k": 8}', "optim.lr": 0.004,
}  # fmt: skip
PARTIAL = {"model.ssm.kernel": "ema", "model.memory_size": 2}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3", "gp", "qmc", "random"])
def test_start_points_come_first_and_once_whoever_asks_and_dies(tmp_path, sampler):
    sweep = load_sweep(sweep_file(tmp_path, space=SPACE, start=START, sampler=sampler, trials="8"))
    locks = [WorkerLock(sweep.directory) for _ in range(2)]
    first = claim(open_study(sweep), sweep, locks[0])
    second = claim(open_study(sweep), sweep, locks[1])
    assert first.params == FULL
    assert PARTIAL.items() <= second.params.items()
    assert "model.ssm.dt_min" not in second.params
    locks[0] = WorkerLock(sweep.directory)  # the first one's worker is dead
    study = open_study(sweep)
    assert requeue_lost(study, sweep) == 1
    while trial := claim(study, sweep, locks[0]):
        study.tell(trial, 0.1 * trial.number)
    study.tell(second.number, 0.5)
    complete = [t.params for t in open_study(sweep).trials if t.state == TrialState.COMPLETE]
    assert len(complete) == 8
    assert complete.count(FULL) == 1
    assert parse_sweep(resolved(tmp_path, sweep)) == sweep  # as the workers read it


def resolved(tmp_path, sweep) -> Path:
    path = tmp_path / "resolved.yaml"
    path.write_text(to_yaml(sweep))
    return path


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("[{model.memory_size: 3}]", "start.0.model.memory_size: 3 is outside the space; expected one of 2, 4, 8"),
        ("[{optim.lr: 0.002}, {optim: {lr: 0.1}}]", "start.1.optim.lr: 0.1 is outside the space; expected a number from 0.001 to 0.01"),
        ("[{model.configurator: {kind: sigmoid, k: 8}}]", "start.0.model.configurator: {'kind': 'sigmoid', 'k': 8} is outside the space"),
        ("[{model.layers: 3}]", "start.0: unknown searched field 'model.layers'"),
        ("[{model.memory_siz: 2}]", "start.0: unknown searched field 'model.memory_siz' (did you mean 'model.memory_size'?)"),
        ("[{model.ssm.dt_min: 0.01}]", "start.0.model.ssm.dt_min: is searched only where model.ssm.kernel is s4d"),
        ("[{model.ssm: {dt_min: 0.01, kernel: ema}}]", "start.0.model.ssm.dt_min: is searched only where model.ssm.kernel is s4d"),
        ("[{}]", "start.0: {} is not possible here; expected a mapping of searched fields to values"),
        ("[3]", "start.0: 3 is not possible here; expected a mapping of searched fields to values"),
        ("3", "start: 3 is not possible here; expected a list"),
        ("{from: runs/sweeps/none}", "start.from: 'runs/sweeps/none' is not possible here; expected a sweep's directory and /front"),
        ("{from: runs/sweeps/none/front}", "runs/sweeps/none/trials.csv: does not exist; run `seqboat sweep` first"),
        ("{model.memory_size: 2}", "start: {'model.memory_size': 2} is not possible here; expected a list of configurations"),
        ("[{model.memory_size: 2}, {model.memory_size: 4}, {model.memory_size: 8}, {optim.lr: 0.002}]",
         "start: has 4 configurations; expected at most trials = 3"),
    ],
)  # fmt: skip
def test_a_start_point_outside_the_space_is_one_line_before_the_first_trial(tmp_path, capsys, start, message):
    assert main(["sweep", str(sweep_file(tmp_path, space=SPACE, start=start, trials="3"))]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"seqboat: {message}")
    assert error.count("\n") == 1
    assert not Path("runs").exists()


def test_a_sweep_starts_from_what_fits_of_anothers_front(tmp_path):
    other = load_sweep(sweep_file(tmp_path, space=SPACE, name="other", trials="4", sampler="random"))
    study, lock = open_study(other), WorkerLock(other.directory)
    for accuracy in (0.1, 0.9, 0.2, 0.3):
        trial = claim(study, other, lock)
        study.tell(trial, accuracy)
    (best,) = study.best_trials
    (other.directory / "sweep.yaml").write_text(to_yaml(other))
    write_report(other.directory, summary_rows(study, other), other.objectives, list(other.space))

    here = "{from: runs/sweeps/other/front}"
    same = load_sweep(sweep_file(tmp_path, space=SPACE, name="same", start=here))
    assert claim(open_study(same), same, WorkerLock(same.directory)).params == best.params
    wider = "{optim.lr: {low: 0.0001, high: 0.1, log: true}, model.layers: {choices: [1, 2]}}"
    sweep = load_sweep(sweep_file(tmp_path, space=wider, name="wider", start=here))
    assert sweep.start == [{"optim.lr": best.params["optim.lr"]}]
    with pytest.raises(
        ConfigError, match=r"start.from: runs/sweeps/other has no front with a value that this space has"
    ):
        load_sweep(sweep_file(tmp_path, space="{model.layers: {choices: [1, 2]}}", start=here))

"""Ranges fit their fields, choices stay as they are, and every choice is tried."""

import subprocess
import sys

import pytest

from seqboat_lab.cli import main
from seqboat_lab.config import ConfigError
from seqboat_lab.sweep.definition.config import find_sweep, load_sweep, parse_sweep
from seqboat_lab.sweep.definition.space import Parameter
from seqboat_lab.sweep.study import study as studies
from tests.sweep.definition.test_config import sweep_file


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("{model.layers: {low: 1, high: 4.9}}", r"space.model.layers.high: 4.9 .*a whole number"),
        ("{model.layers: {low: 0.5, high: 4, log: true}}", r"space.model.layers.low: 0.5 .*a whole number"),
        ("{optim.lr: {low: 1.0e-4, high: .inf}}", r"space.optim.lr.high: inf .*a finite number"),
        ("{optim.lr: {low: .nan, high: 1}}", r"space.optim.lr.low: nan .*a finite number"),
        ("{optim.lr: {low: -1.0e+308, high: 1.0e+308}}", r"space.optim.lr.high: 1e\+308 .*width is a finite number"),
        ("{seed: {low: 0, high: 1.0e+18}}", r"space.seed.high: 1e\+18 .*at most 2\^53"),
        ("{model.prenorm: {low: 0, high: 1}}", r"space.model.prenorm.low: 0.0 .*choices: this field is no number"),
        ("{model.norm: {low: 0, high: 1}}", r"space.model.norm.low: 0.0 .*choices: this field is no number"),
        ("{model.layers: {choices: [1, 2], log: true}}", r"space.model.layers.log: True .*choices have no scale"),
        ("{model.layers: {choices: [1, 2], step: 1}}", r"space.model.layers.step: 1.0 .*choices have no step"),
        ("{model.layers: {low: 1, high: 4, step: 0.5}}", r"space.model.layers.step: 0.5 .*a whole number"),
        ("{model.layers: {low: 1, high: 4, step: 0}}", r"space.model.layers.step: 0.0 .*above 0"),
        ("{model.layers: {low: 1, high: 4, step: .inf}}", r"space.model.layers.step: inf .*a finite number"),
        ("{optim.lr: {low: 1, high: 4, step: 1.0e-300}}", r"space.optim.lr.step: 1e-300 .*at most 1,000,000,000 steps"),
        ("{optim.lr: {low: 1, high: 4, step: 1, log: true}}", r"space.optim.lr.step: 1.0 .*none on a logarithmic scale"),
        ("{model.memory_size: {low: 2, high: 64, step: 8}}", r"space.model.memory_size.high: 64.0 .*such as 58 or 66"),
        ("{optim.lr: {low: 0.1, high: 0.35, step: 0.1}}", r"space.optim.lr.high: 0.35 .*such as 0.3 or 0.4"),
        ("{optim.lr: {low: 0.1, high: 0.15, step: 0.1}}", r"space.optim.lr.high: 0.15 .*such as 0.2$"),
        ("{model.layers: {choices: [1, 1]}}", r"space.model.layers.choices: .*each value once"),
        ("{optim.ssm_lr: {choices: [.nan]}}", r"space.optim.ssm_lr.choices: .*finite numbers, text"),
        ("{optim.lr: {low: 1.0e-4, high: 1.0e-2, when: {model.layers: 2}}}", r"space.optim.lr.when: unknown searched field 'model.layers'; allowed: optim.lr"),
        ("{optim: {lr: {low: 1.0e-4, hihg: 1.0e-2}}}", r"space.optim.lr.hihg: unknown field .*did you mean 'high'"),
        ("{model.ssm: {choices: [{kernel: s4d}]}, model.ssm.state_size: {choices: [4, 8]}}", r"space.model.ssm.state_size: is part of model.ssm"),
    ],
)  # fmt: skip
def test_ranges_and_choices_that_do_not_fit_are_one_line(tmp_path, space, message, capsys):
    path = sweep_file(tmp_path, space=space)
    with pytest.raises(ConfigError, match=message):
        load_sweep(path)
    assert main(["sweep", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_ranges_of_whole_numbers_are_exact_also_where_null_is_allowed(tmp_path):
    space = (
        "{model.ffn_hidden: {low: 4.0, high: 9}, model.layers: {low: 1, high: 2}, optim.ssm_lr: {low: 0.5, high: 1}}"
    )
    found = load_sweep(sweep_file(tmp_path, space=space)).distributions()
    ints, floats = found["model.ffn_hidden"], found["optim.ssm_lr"]
    assert [type(v) for v in (ints.low, ints.high)] == [int, int]
    assert (ints.low, ints.high) == (4, 9)
    assert (floats.low, floats.high) == (0.5, 1.0)


def test_steps_are_those_a_person_counts(tmp_path):
    space = "{optim.lr: {low: 0.1, high: 0.7, step: 0.1}, model.memory_size: {low: 8, high: 32, step: 8}}"
    sweep = load_sweep(sweep_file(tmp_path, space=space))
    lr, size = sweep.distributions().values()
    assert (lr.low, lr.high, lr.step, size.step) == (0.1, 0.7, 0.1, 8)
    assert sweep.space["optim.lr"].steps() == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert {cell["model.memory_size"] for cell in sweep.search_space().cells()} == {8, 16, 24, 32}


TEXTS = ["007", "1e3", "2024_01", "null", "true", "notes #1.txt", "[x]", "a: b"]


def test_quoted_text_stays_text_from_the_file_to_the_trial_and_back(tmp_path, monkeypatch):
    """Quoted in YAML, as a choice and as an override, through sweep.yaml, a study and trials.csv."""
    from omegaconf import OmegaConf

    from seqboat_lab.analysis.report import write_report
    from seqboat_lab.analysis.sweeps import read_sweep
    from seqboat_lab.config.files import to_dict

    monkeypatch.chdir(tmp_path)
    listed = ", ".join(f'"{text}"' for text in TEXTS)
    path = sweep_file(
        tmp_path, space=f"{{data.root: {{choices: [{listed}]}}}}", trials="8", overrides="{task: listops}"
    )
    first = load_sweep(path)
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(OmegaConf.to_yaml(OmegaConf.create(to_dict(first))))
    sweep = parse_sweep(resolved)
    assert sweep == first
    study = studies.open_study(sweep)
    lock = studies.WorkerLock(sweep.directory)
    for _ in TEXTS:
        trial = studies.claim(study, sweep, lock)
        assert sweep.experiment_with(trial.params).data.root in TEXTS
        study.tell(trial, 0.5)
    again = studies.open_study(sweep)
    assert sorted(t.params["data.root"] for t in again.trials) == sorted(TEXTS)  # and each of them once
    resolved.rename(sweep.directory / "sweep.yaml")
    write_report(sweep.directory, studies.summary_rows(again, sweep), sweep.objectives, list(sweep.space))
    assert [r["data.root"] for r in read_sweep(sweep.directory).rows] == [t.params["data.root"] for t in again.trials]


def test_overrides_of_text_are_taken_as_typed(tmp_path):
    path = sweep_file(tmp_path, overrides='{data.root: "1e3"}')
    assert load_sweep(path).experiment_with({}).data.root == "1e3"
    for text in TEXTS:
        sweep = load_sweep(path, [f"overrides.data.root={text}", "overrides.optim.lr=1e-3"])
        assert sweep.experiment_with({}).data.root == text
        assert sweep.experiment_with({}).optim.lr == 1e-3


def test_choices_may_be_whole_sections(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = load_sweep(
        sweep_file(
            tmp_path, space="{model.configurator: {choices: [{kind: sigmoid}, {kind: every_kth, k: 8}]}}", trials="2"
        )
    )
    study, lock = studies.open_study(sweep), studies.WorkerLock(sweep.directory)
    params = [studies.claim(study, sweep, lock).params for _ in range(2)]
    assert {type(sweep.experiment_with(p).model.configurator).__name__ for p in params} == {
        "SigmoidConfig",
        "EveryKthConfig",
    }
    assert sorted(p["model.configurator"] for p in params) == ['{"kind": "every_kth", "k": 8}', '{"kind": "sigmoid"}']


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_every_choice_is_tried_when_the_budget_allows(tiny_sweep, sampler, seed):
    """With as many trials as the longest list, three workers, one of which dies while it asks, and a resume."""
    space = "space={model.ssm.kernel: {choices: [ema, cema, s4d, s4, s5, lru]}, model.layers: {choices: [1, 2]}, optim.lr: {low: 1.0e-4, high: 1.0e-2}}"
    sweep = load_sweep(tiny_sweep(), [space, "trials=6", f"sampler={sampler}", f"seed={seed}", "name=all"])
    lock = studies.WorkerLock(sweep.directory)
    for n in range(6):
        study = studies.open_study(sweep)  # another worker, or a resume
        study.tell(studies.claim(study, sweep, lock), [0.1 * n, 0.5])
    assert {t.params["model.ssm.kernel"] for t in study.trials} == {"ema", "cema", "s4d", "s4", "s5", "lru"}
    assert {t.params["model.layers"] for t in study.trials} == {1, 2}


@pytest.mark.parametrize("first", [1, 2, 3, 5])
def test_every_choice_is_tried_when_the_budget_grows_to_allow_it(tiny_sweep, first):
    space = "space={model.ssm.kernel: {choices: [ema, cema, s4d, s4, s5, lru]}}"
    for trials in (first, 6):
        sweep = load_sweep(tiny_sweep(), [space, f"trials={trials}", "sampler=random", "name=grown"])
        lock, study = studies.WorkerLock(sweep.directory), studies.open_study(sweep)
        while trial := studies.claim(study, sweep, lock):
            study.tell(trial, [0.1, 0.5])
    assert sorted(t.params["model.ssm.kernel"] for t in study.trials) == sorted(
        ["ema", "cema", "s4d", "s4", "s5", "lru"]
    )


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_a_choice_that_was_missed_is_tried_later(tiny_sweep, sampler, monkeypatch):
    space = "space={model.ssm.kernel: {choices: [ema, cema, s4d, s4, s5, lru]}}"
    sweep = load_sweep(tiny_sweep(), [space, "trials=12", f"sampler={sampler}", "name=late"])
    lock = studies.WorkerLock(sweep.directory)
    with monkeypatch.context() as patch:  # as an older version did: always the same
        patch.setattr("seqboat_lab.sweep.sampling.sampler.TrialSampler._untried", lambda *_: {"model.ssm.kernel": "s4"})
        study = studies.open_study(sweep)
        for n in range(7):
            study.tell(studies.claim(study, sweep, lock), [0.1 * n, 0.5])
    study = studies.open_study(sweep)
    for n in range(5):
        study.tell(studies.claim(study, sweep, lock), [0.1 * n, 0.5])
    assert {t.params["model.ssm.kernel"] for t in study.trials} == {"ema", "cema", "s4d", "s4", "s5", "lru"}


def test_sweeps_are_found_by_name_from_any_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_sweep("listops_pareto").name == "listops_pareto"
    assert load_sweep("sweeps/listops_pareto.yaml").name == "listops_pareto"
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.v2.yaml").write_text("")
    assert str(find_sweep("mine.v2")) == "sweeps/mine.v2.yaml"
    assert str(find_sweep("sweeps/mine.v2.yaml")) == "sweeps/mine.v2.yaml"


@pytest.mark.parametrize("name", ["", ".", "nothing", "x" * 5000, "a\0b", "/dev/null/x", "listops_pareto.v2"])
def test_a_sweep_that_is_not_there_is_one_line(name, capsys):
    try:
        status = main(["sweep", name])
    except SystemExit as end:  # the parser's own end, of what can be no path
        status = end.code
    error = capsys.readouterr().err
    assert (status, error.count("\n")) == (2, 1)
    assert error.startswith("seqboat: ")
    assert len(error) < 1500


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "[1, 2]\n", "a: {" * 3000, "x: " + "[" * 5000, "\0", "seed: 18446744073709551616\n", "seed: -1\n",
     "experiment: lra/listops_short\n", f"name: {'x' * 300}\n", "name: '..'\n", "name: \"a\\0b\"\n", f"trials: 1{'0' * 5000}\n",
     "reference: {val/acc: 0}\n", "reference: {val/accuracy: .nan}\n", "trial_timeout: 0\n", "trial_timeout: .inf\n",
     "space: 3\n", "space: [1]\n", "overrides: 3\n", "objectives: [a]\n", "space: {1: {choices: [1]}}\n", "storage: [1]\n",
     '"a\\nb": 1\n', 'constraints: {"a\\nb": {max: 1}}\n', 'start: [{"a\\nb": 1}]\n'],
)  # fmt: skip
def test_odd_sweep_files_are_one_line(tmp_path, text, capsys):
    rest = "experiment: lra/listops_short\nobjectives: {val/accuracy: maximize}\nspace: {model.memory_size: {choices: [2, 4]}}\n"
    known = [line for line in rest.splitlines(keepends=True) if line.partition(":")[0] not in text]
    path = tmp_path / "odd.yaml"
    path.write_text(
        text + ("".join(known) if ":" in text and text.endswith("\n") and not text.startswith("experiment") else "")
    )
    assert main(["sweep", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("seqboat: ")
    assert error.count("\n") == 1
    assert len(error) < 1500


def test_parameters_know_their_labels():
    parameter = Parameter(choices=[{"a": 1}, [1, 2], "x", None, 2])
    assert parameter.labels == ['{"a": 1}', "[1, 2]", "x", None, 2]
    assert [parameter.value(label) for label in parameter.labels] == parameter.choices


def test_the_packaged_sweep_is_found_in_a_process_of_its_own(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "seqboat_lab.cli", "sweep", "listops_pareto", "trials=0"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "seqboat: trials: 0 is not possible here; expected at least 1\n")

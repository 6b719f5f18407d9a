"""One sweep file for several tasks and sizes."""

import pytest

from seqboat_lab.config import ConfigError
from seqboat_lab.sweep.definition.config import load_sweep
from seqboat_lab.sweep.definition.variants import with_variants

SWEEP = """\
objectives: {val/accuracy: maximize}
overrides: {trainer: {max_steps: 300, val_every: 100}}
space:
  model.memory_size: {choices: [2, 4]}
  seed: {choices: [1, 2, 3]}
sampler: grid
tasks:
  listops: {experiment: lra/listops_short}
  text:
    experiment: lra/text_tiny
    overrides: {trainer.max_steps: 200, optim.lr: 0.001}
    space: {seed: {choices: [1]}}
    scales: {paper: {experiment: lra/text}}
scales:
  paper:
    experiment: lra/listops
    overrides: {trainer.max_steps: null}
    space: {model.memory_size: {choices: [64]}, seed: null}
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "answer.yaml"
    path.write_text(SWEEP)
    return path


def test_a_task_is_laid_over_the_file_field_by_field(path):
    listops, text = load_sweep(path, ["task=listops"]), load_sweep(path, ["overrides.optim.lr=0.002", "task=text"])
    assert (listops.name, listops.experiment, listops.trials) == ("answer_listops", "lra/listops_short", 6)
    assert listops.overrides == {"trainer.max_steps": 300, "trainer.val_every": 100}
    assert (text.name, text.experiment, text.trials) == ("answer_text", "lra/text_tiny", 2)
    assert text.overrides == {"trainer.max_steps": 200, "trainer.val_every": 100, "optim.lr": 0.002}
    assert text.space["model.memory_size"].choices == [2, 4]


def test_a_scale_is_laid_over_the_task_and_a_task_has_scales_of_its_own(path):
    values, rest = with_variants(
        {"name": "a", "overrides": {"b": {"c": 1}}, "scales": {"big": {"overrides": {"b.d": 2}, "trials": 9}},
         "tasks": {"t": {"scales": {"big": {"overrides": {"b.d": 3}}}}}},
        ["seed=4", "scale=big", "task=t"], "a.yaml",
    )  # fmt: skip
    assert values == {"name": "a_t_big", "overrides": {"b.c": 1, "b.d": 3}, "trials": 9}
    assert rest == ["seed=4"]
    paper = load_sweep(path, ["task=text", "scale=paper", "overrides.seed=7"])
    assert (paper.name, paper.experiment, paper.trials) == ("answer_text_paper", "lra/text", 1)
    assert list(paper.space) == ["model.memory_size"]
    assert paper.overrides == {"trainer.val_every": 100, "optim.lr": 0.001, "seed": 7}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], r"task: .*answer.yaml is for one of several tasks; expected task=listops or task=text"),
        (["task=tex"], r"task: unknown task 'tex' \(did you mean 'text'\?\)"),
        (["task=text", "scale=papre"], r"scale: unknown scale 'papre' \(did you mean 'paper'\?\)"),
    ],
)
def test_mistakes_are_one_line(path, words, message):
    with pytest.raises(ConfigError, match=message):
        load_sweep(path, words)


def test_a_sweep_without_tasks_has_none_to_choose(tmp_path):
    path = tmp_path / "plain.yaml"
    path.write_text("experiment: lra/listops_short\nobjectives: {val/loss: minimize}\nspace: {seed: {choices: [1]}}\n")
    with pytest.raises(ConfigError, match=r"task: .*plain.yaml has no tasks to choose from; leave task=text out"):
        load_sweep(path, ["task=text"])
    with pytest.raises(ConfigError, match=r"scale: expected an override of the form key=value"):
        load_sweep(path, ["scale"])
    before = path.read_text()
    path.write_text(before + "tasks: {a: {scales: {paper: }}}\n")
    with pytest.raises(ConfigError, match=r"tasks.a.scales: .*names, each with fields of the sweep"):
        load_sweep(path, ["task=a"])
    path.write_text(before + "tasks: 3\n")
    with pytest.raises(ConfigError, match=r"tasks: 3 .*names, each with fields of the sweep"):
        load_sweep(path, [])

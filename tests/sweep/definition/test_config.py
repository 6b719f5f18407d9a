"""Mistakes in a sweep file are found before its first trial."""

from pathlib import Path

import pytest

from seqboat_lab.config import ConfigError
from seqboat_lab.config.files import CONFIG_DIR, read_yaml
from seqboat_lab.sweep.definition.config import load_sweep

SWEEPS = sorted((CONFIG_DIR.parent / "sweeps").rglob("*.yaml"))
VARIANTS = [
    (path, [f"task={task}"] * bool(task) + [f"scale={scale}"] * bool(scale))
    for path in SWEEPS
    for task in (read_yaml(path).get("tasks") or [None])
    for scale in (None, *(read_yaml(path).get("scales") or ()))
]


@pytest.mark.parametrize(("path", "words"), VARIANTS, ids=lambda v: v.stem if isinstance(v, Path) else "-".join(v))
def test_every_sweep_in_the_repo_loads(path, words):
    sweep = load_sweep(path, words)
    assert sweep.name == "_".join([path.stem, *(word.partition("=")[2] for word in words)])
    assert sweep.distributions().keys() == sweep.space.keys()


def sweep_file(tmp_path: Path, **changes: str) -> Path:
    parts = {
        "experiment": "lra/listops_short",
        "objectives": "{val/accuracy: maximize}",
        "space": "{model.memory_size: {choices: [2, 4]}}",
    } | changes
    path = tmp_path / "mine.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in parts.items() if value))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": "{model.memorysize: {choices: [2]}}"}, r"space.model.memorysize: unknown field.*did you mean 'memory_size'"),
        ({"space": "{model.memory_size: {choices: [2, 0]}}"}, r"space.model.memory_size: 0 gives no possible experiment"),
        ({"space": "{optim.lr: {low: 0, high: 1}}"}, r"space.optim.lr: 0.0 gives no possible experiment"),
        ({"space": "{optim.lr: {low: 0, high: 1, log: true}}"}, r"space.optim.lr.low: 0.0 .*above 0 on a logarithmic"),
        ({"space": "{optim.lr: {low: 2, high: 1}}"}, r"space.optim.lr.low: 2.0 .*less than high"),
        ({"space": "{optim.lr: {low: 2}}"}, r"space.optim.lr.choices: None .*either choices, or low and high"),
        ({"space": "{optim.lr: 3}"}, r"space.optim.lr: 3 is not a section"),
        ({"space": ""}, r"space: is missing in .*mine.yaml"),
        ({"objectives": "{val/acuracy: maximize}"}, r"objectives: unknown metric for model.memory_size=2, 'val/acuracy' \(did you mean 'val/accuracy'\?\)"),
        ({"objectives": "{val/activation_rate/layer_3: minimize}", "space": "{model.layers: {low: 1, high: 4}}"},
         r"objectives: unknown metric for model.layers=1, 'val/activation_rate/layer_3'"),
        ({"objectives": "{val/activation_rate: minimize}", "space": "{model.kind: {choices: [bag, seqboat]}}"},
         r"objectives: unknown metric for model.kind='bag', 'val/activation_rate'"),
        ({"objectives": "{val/accuracy: up}"}, r"objectives.val/accuracy: unknown value 'up'"),
        ({"experiment": "lra/nothing"}, r"config: unknown experiment 'lra/nothing'"),
        ({"seed": "-1"}, r"seed: -1 .*at least 0"),
        ({"trials": "0"}, r"trials: 0 .*at least 1"),
        ({"sampler": "tpee"}, r"^sampler.kind: unknown sampler 'tpee' \(did you mean 'tpe'\?\)"),
        ({"budget": "3"}, r"budget: unknown field of SweepConfig"),
        ({"overrides": "{model.memory_size: 3}"}, r"overrides: \['model.memory_size'\] .*no field that is also searched"),
        ({"overrides": "{model.depth: 3}"}, r"model.depth: unknown field"),
        ({"overrides": "{optim.lr: -1}"}, r"overrides: lra/listops_short with .*: optim.lr: -1.0 .*above 0"),
        ({"name": "../elsewhere"}, r"name: '../elsewhere' .*letters, digits"),
    ],
)  # fmt: skip
def test_mistakes_are_found_before_the_first_trial(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_sweep(sweep_file(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_a_sweep_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="unknown sweep file"):
        load_sweep(tmp_path / "none.yaml")


def test_a_trials_experiment_has_the_overrides_and_the_proposed_values(tmp_path):
    sweep = load_sweep(sweep_file(tmp_path, overrides="{trainer: {max_steps: 300}, model.layers: 1}"))
    config = sweep.experiment_with({"model.memory_size": 4})
    assert (config.trainer.max_steps, config.model.layers, config.model.memory_size) == (300, 1, 4)

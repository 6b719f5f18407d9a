"""Conditions: a field is searched exactly where its `when` holds, and one that never can is found before any trial."""

import itertools
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqboat_lab.cli import main
from seqboat_lab.config import ConfigError
from seqboat_lab.config.files import find_config, read_yaml
from seqboat_lab.sweep.definition.config import load_sweep
from seqboat_lab.sweep.definition.search_space import SearchSpace
from seqboat_lab.sweep.definition.space import Parameter
from tests.sweep.definition.test_config import sweep_file

BASE = read_yaml(find_config("lra/listops_short"))
FIELDS = ("model.memory_size", "seed", "model.layers", "data.batch_size")
VALUES = (2, 4, 6)


def brute_force(whens: dict[str, dict[str, list[int]]]) -> list[dict[str, int]]:
    """Every configuration, from all combinations of all values: what does not hold is left out, and nothing twice."""
    found = []
    for values in itertools.product(VALUES, repeat=len(whens)):
        params, before = dict(zip(whens, values, strict=True)), {}
        while before != params:  # what lost its ground takes along what stood on it
            before = params
            params = {k: v for k, v in params.items() if all(before.get(o) in vs for o, vs in whens[k].items())}
        if params not in found:
            found.append(params)
    return found


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_fields_are_searched_where_their_conditions_hold_and_what_never_can_be_is_refused(data):
    whens: dict[str, dict[str, list[int]]] = {}
    for key in FIELDS:
        others = data.draw(st.lists(st.sampled_from(sorted(whens)), unique=True, max_size=2)) if whens else []
        some = st.lists(st.sampled_from(VALUES), min_size=1, max_size=2, unique=True)
        whens[key] = {other: data.draw(some) for other in others}
    order = data.draw(st.permutations(FIELDS))  # a file may name them in any order
    parameters = {key: Parameter(choices=list(VALUES), when=whens[key] or None) for key in order}
    configurations = brute_force(whens)
    possible = all(any(key in params for params in configurations) for key in FIELDS)
    if not possible:
        with pytest.raises(ConfigError, match="can never hold") as caught:
            SearchSpace(parameters, BASE)
        assert "\n" not in str(caught.value)
        return
    cells = SearchSpace(parameters, BASE).cells()
    assert len(cells) == len(configurations)
    assert all(params in cells for params in configurations)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("{model.layers: {choices: [1, 2]}, optim.lr: {low: 0.1, high: 1, when: {model.layer: 1}}}",
         "space.optim.lr.when: unknown searched field 'model.layer' (did you mean 'model.layers'?)"),
        ("{model.layers: {choices: [1, 2]}, optim.lr: {low: 0.1, high: 1, when: {model.layers: 3}}}",
         "space.optim.lr.when.model.layers: 3 can never hold: expected one of 1, 2"),
        ("{model.layers: {choices: [1, 2]}, optim.lr: {low: 0.1, high: 1, when: {model.layers: [1, 3]}}}",
         "space.optim.lr.when.model.layers: 3 can never hold: expected one of 1, 2"),
        ("{model.layers: {choices: [1, 2]}, optim.lr: {low: 0.1, high: 1, when: {model.layers: []}}}",
         "space.optim.lr.when.model.layers: [] is not possible here; expected at least one value"),
        ("{model.memory_size: {low: 8, high: 32, step: 8}, optim.lr: {low: 0.1, high: 1, when: {model.memory_size: 12}}}",
         "space.optim.lr.when.model.memory_size: 12 can never hold: expected a whole number from 8 to 32 in steps of 8"),
        ("{optim.lr: {low: 0.1, high: 1}, model.layers: {choices: [1, 2], when: {optim.lr: 0.5}}}",
         "space.model.layers.when.optim.lr: can never hold: any number from 0.1 to 1 may be drawn; give optim.lr choices or a step"),
        ("{model.layers: {choices: [1, 2], when: {seed: 0}}, seed: {choices: [0, 1], when: {model.layers: 1}}}",
         "space.model.layers.when: can never hold: it goes round in a circle, model.layers → seed → model.layers"),
        ("{model.layers: {choices: [1, 2], when: {model.layers: 1}}}",
         "space.model.layers.when: can never hold: it goes round in a circle, model.layers → model.layers"),
        ("{model.layers: {choices: [1, 2]}, seed: {choices: [0, 1], when: {model.layers: 1}}, "
         "optim.lr: {low: 0.1, high: 1, when: {seed: 0, model.layers: 2}}}",
         "space.optim.lr.when: can never hold: it needs model.layers to have two values at once, through"),
        ("{model.layers: {choices: [1, 2], when: {}}}", "space.model.layers.when: {} is not possible here"),
        ("{model.layers: {choices: [1, 2], when: 3}}", "space.model.layers.when: 3 is not possible here"),
        ("{model.configurator.kind: {choices: [never, every_kth]}, model.configurator.k: {low: 2, high: 8, when: {model.configurator.kind: never}}}",
         "space.model.configurator.k: unknown field"),
        ("{model.ssm.kernel: {choices: [ema, s4d]}, model.ssm.dt_min: {low: 0.001, high: 0.1, when: {model.ssm.kernel: [s4d, ema]}}}",
         "space.model.ssm.dt_min: 0.001 gives no possible experiment: model.ssm.dt_min: unknown field of EMAConfig"),
    ],
)  # fmt: skip
def test_a_when_that_can_never_hold_is_one_line_before_the_first_trial(tmp_path, monkeypatch, capsys, space, message):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", str(sweep_file(tmp_path, space=space))]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"seqboat: {message}")
    assert error.count("\n") == 1
    assert not Path("runs").exists()


def test_a_field_that_only_one_choice_has_is_searched_where_it_exists(tmp_path):
    space = (
        "{model.ssm.dt_min: {low: 0.001, high: 0.1, log: true, when: {model.ssm.kernel: s4d}}, "
        "model.ssm.kernel: {choices: [ema, s4d]}, "
        "model.configurator: {choices: [{kind: every_kth, k: 4}, {kind: sigmoid}]}, "
        "seed: {choices: [0, 1], when: {model.configurator: {kind: every_kth, k: 4}}}}"
    )
    sweep = load_sweep(sweep_file(tmp_path, space=space))
    found = sweep.search_space()
    assert list(found.distributions)[:2] == ["model.ssm.kernel", "model.ssm.dt_min"]  # drawn in this order
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    kinds = set()
    for _ in range(40):
        trial = study.ask()
        found.suggest(trial)
        config = sweep.experiment_with(trial.params)
        kernel, every = config.model.ssm.kernel, config.model.configurator.kind == "every_kth"
        assert ("model.ssm.dt_min" in trial.params) == (kernel == "s4d")
        assert ("seed" in trial.params) == every
        if kernel == "s4d":
            assert config.model.ssm.dt_min == trial.params["model.ssm.dt_min"]
        kinds.add((kernel, every))
    assert len(kinds) == 4


def test_studies_of_before_there_were_conditions_and_constraints_go_on(tmp_path):
    """What a study knows its search by has not changed for those who use none of the new fields."""
    identity = load_sweep(sweep_file(tmp_path)).identity()
    assert identity == {
        "name": "mine", "experiment": "lra/listops_short", "objectives": [["val/accuracy", "maximize"]], "overrides": {},
        "space": {"model.memory_size": {"choices": [2, 4], "low": None, "high": None, "log": False}},
    }  # fmt: skip

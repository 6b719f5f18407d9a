"""Every sampler by name: what a trial proposes is fixed by the sweep's seed, its number and the trials before it."""

import math
from collections import Counter

import pytest

from seqboat_lab.sweep.definition.config import load_sweep
from seqboat_lab.sweep.definition.constraints import violations
from seqboat_lab.sweep.definition.samplers import SAMPLER_CONFIGS
from seqboat_lab.sweep.study import study as studies
from tests.sweep.definition.test_config import sweep_file

SPACE = (
    "{model.memory_size: {low: 8, high: 64, step: 8}, model.ssm.kernel: {choices: [ema, s4d, s5]}, "
    "model.ssm.dt_min: {low: 0.001, high: 0.1, log: true, when: {model.ssm.kernel: [s4d, s5]}}, "
    "model.prenorm: {choices: [true, false], when: {model.ssm.kernel: s5}}, optim.lr: {low: 0.02, high: 0.08, step: 0.02}}"
)
SAMPLERS = {
    "tpe": "{kind: tpe, startup_trials: 6}", "nsga2": "{kind: nsga2, population_size: 4}",
    "nsga3": "{kind: nsga3, population_size: 4}", "gp": "{kind: gp, startup_trials: 11}", "qmc": "qmc",
    "random": "random", "grid": "grid",
}  # fmt: skip
TRIALS = 12


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_these_are_all_samplers():
    assert set(SAMPLERS) == set(SAMPLER_CONFIGS)


def proposals(tmp_path, name: str, workers: int, sampler: str, **changes: str) -> list[dict]:
    objectives = "{val/accuracy: maximize, val/activation_rate: minimize}"
    space = SPACE
    if sampler == "grid":
        space = space.replace("low: 0.001, high: 0.1, log: true", "choices: [0.001, 0.01]").replace(
            "step: 8", "step: 56"
        )
    budget = {} if sampler == "grid" else {"trials": str(TRIALS)}
    given = {"space": space, "sampler": SAMPLERS[sampler], "objectives": objectives, "name": name} | budget | changes
    sweep = load_sweep(sweep_file(tmp_path, **given))
    lock, found = studies.WorkerLock(sweep.directory), []
    askers = [studies.open_study(sweep) for _ in range(workers)]
    for n in range(sweep.trials):
        trial = studies.claim(askers[n % workers], sweep, lock)
        assert trial.number == n
        found.append(trial.params)
        rate = trial.params["model.memory_size"] / 64
        askers[n % workers].tell(trial, [trial.params["optim.lr"] * rate, rate])
    return found


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_proposed_does_not_depend_on_who_asks_and_keeps_to_the_space(tmp_path, sampler):
    alone = proposals(tmp_path, "alone", 1, sampler)
    assert proposals(tmp_path, "together", 3, sampler) == alone
    for params in alone:
        kernel = params["model.ssm.kernel"]
        assert params["model.memory_size"] in range(8, 65, 8)
        assert min(abs(params["optim.lr"] - lr) for lr in (0.02, 0.04, 0.06, 0.08)) < 1e-12
        assert ("model.ssm.dt_min" in params) == (kernel != "ema")
        assert ("model.prenorm" in params) == (kernel == "s5")
    assert {p["model.ssm.kernel"] for p in alone} == {"ema", "s4d", "s5"}
    if sampler == "grid":
        assert len(alone) == len({tuple(p.items()) for p in alone}) == 2 * 4 * (1 + 2 + 2 * 2)
    else:
        assert {p.get("model.prenorm") for p in alone} == {True, False, None} or sampler == "qmc"  # rare, but tried
        assert proposals(tmp_path, "other", 1, sampler, seed="1") != alone


@pytest.mark.parametrize(("sampler", "trials"), [("tpe", 24), ("nsga2", 50), ("nsga3", 50), ("gp", 14)])
def test_samplers_that_learn_keep_to_constraints(tmp_path, sampler, trials):
    """What is sought is largest where it breaks the bound: told of it, they search below, and without it above."""

    def kept(name: str, limit: int | None) -> float:
        sampling, others = (
            SAMPLERS[sampler].replace("11", "8"),
            "seed: {low: 0, high: 9}, optim.lr: {low: 0.1, high: 1}",
        )
        space = f"{{model.memory_size: {{low: 1, high: 100}}, {others}}}"
        given = {"space": space, "sampler": sampling, "name": name, "trials": str(trials)}
        given |= {"constraints": "{val/activation_rate: {max: 0.4}}"} if limit else {}
        sweep = load_sweep(sweep_file(tmp_path, **given))
        study, lock, found = studies.open_study(sweep), studies.WorkerLock(sweep.directory), []
        while trial := studies.claim(study, sweep, lock):
            size = trial.params["model.memory_size"]
            found.append(size)
            for bound, value in violations(sweep.constraints, {"val/activation_rate": size / 100}).items():
                trial.set_constraint(bound, value)
            study.tell(trial, size / 100)
        if limit:
            assert study.best_value <= 0.4
        last = found[len(found) // 2 :] if "nsga" in sampler else found[-6:]
        return sum(size <= 40 for size in last) / len(last)

    assert kept("bound", 40) > kept("free", None) + 0.3


@pytest.mark.parametrize("seed", range(3))
def test_qmc_fills_every_stratum_once_also_when_trials_are_lost(tmp_path, seed):
    """The first 16 points of a scrambled Sobol sequence: one in each sixteenth of every axis, one in each cell of 4 x 4."""
    space = "{optim.lr: {low: 0.1, high: 1.7}, optim.ssm_lr: {low: 0.0001220703125, high: 8, log: true}}"
    sweep = load_sweep(sweep_file(tmp_path, space=space, sampler="qmc", trials="16", seed=str(seed)))
    lock = studies.WorkerLock(sweep.directory)
    while trial := studies.claim(study := studies.open_study(sweep), sweep, lock):
        if trial.number in (3, 8):
            studies.requeue(study, sweep, study.trials[trial.number], "lost")
        else:
            study.tell(trial, 0.5)
    done = [t.params for t in study.trials if t.state.name == "COMPLETE"]
    assert len(done) == 16
    lr, ssm = ([int((p["optim.lr"] - 0.1) * 10) for p in done], [int(math.log2(p["optim.ssm_lr"]) + 13) for p in done])
    assert sorted(lr) == sorted(ssm) == list(range(16))
    assert set(Counter((a // 4, b // 4) for a, b in zip(lr, ssm, strict=True)).values()) == {1}

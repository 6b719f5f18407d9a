"""Every number of every section has finite bounds, and what cannot train is refused with its full key."""

import dataclasses
import math
import types
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from seqboat_lab.config import ConfigError, load_experiment
from seqboat_lab.config.configurator import CONFIGURATOR_CONFIGS
from seqboat_lab.config.data import DATA_CONFIGS
from seqboat_lab.config.experiment import OptimConfig, TrainerConfig
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.config.schema import build
from seqboat_lab.config.ssm import SSM_CONFIGS

SECTIONS = {
    **{f"data of {task}": cls for task, cls in DATA_CONFIGS.items()},
    **{f"ssm {kernel}": cls for kernel, cls in SSM_CONFIGS.items()},
    **{f"configurator {kind}": cls for kind, cls in CONFIGURATOR_CONFIGS.items()},
    "model": ModelConfig, "optim": OptimConfig, "trainer": TrainerConfig,
}  # fmt: skip


def number_of(hint: Any) -> type | None:
    among = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return next((kind for kind in (int, float) if kind in among), None)


NUMBERS = [
    pytest.param(cls, field.name, number, id=f"{section} {field.name}")
    for section, cls in SECTIONS.items()
    for field in dataclasses.fields(cls)
    if (number := number_of(get_type_hints(cls)[field.name]))
]


@pytest.mark.parametrize(("cls", "name", "number"), NUMBERS)
def test_no_number_is_without_bounds(cls, name, number):
    for value in (math.nan, math.inf, -math.inf, -1, 1e308, 2**70, 10**5000):
        with pytest.raises(ConfigError) as caught:
            build(cls, {name: value})
        assert caught.value.key == name
        assert len(str(caught.value)) < 1000
        if value not in (10**5000,):  # in Python, too
            with pytest.raises(ConfigError):
                cls(**{name: number(value) if math.isfinite(value) else value})


def test_every_number_of_the_repo_was_looked_at():
    assert len(NUMBERS) > 100


@pytest.mark.parametrize("seed", ["seed", "data.generator_seed"])
def test_seeds_are_those_that_every_generator_takes(seed):
    def read(value: int) -> int:
        config = load_experiment("lra/listops_short", [f"{seed}={value}"])
        return config.seed if seed == "seed" else config.data.generator_seed

    assert (read(0), read(2**32 - 1)) == (0, 2**32 - 1)
    for value in (-1, 2**32):
        with pytest.raises(ConfigError, match=f"^{seed}: {value} is not possible here"):
            read(value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optim.eps=.inf"], r"^optim.eps: inf .*above 0"),
        (["optim.eps=1e30"], r"^optim.eps: 1e\+30 "),
        (["optim.eps=1e-60"], r"^optim.eps: 1e-60 .*above 0"),  # 0 in float32
        (["optim.clip_norm=.nan"], r"^optim.clip_norm: nan "),
        (["optim.clip_norm=1e-20"], r"^optim.clip_norm: 1e-20 .*0 \(no clipping\)"),
        (["optim.warmup_init_lr=0.01"], r"^optim.warmup_init_lr: 0.01 .*at most lr = 0.004"),
        (["optim.decay_power=1e9"], r"^optim.decay_power: 1000000000.0 "),
        (["optim.ssm_lr=1e5"], r"^optim.ssm_lr: 100000.0 .*at most 10"),
        (["optim.weight_decay=500"], r"^optim.weight_decay: 500.0 .*less than 1 / lr"),
        (["optim.ssm_lr=0.1", "optim.ssm_weight_decay=11"], r"^optim.ssm_weight_decay: 11.0 .*less than 1 / ssm_lr"),
        (["model.configurator.temperature_scale=1e30"], r"^model.configurator.temperature_scale: 1e\+30 "),
        (["trainer.log_every=5000"], r"^trainer.log_every: 5000 .*at most max_steps = 1000"),
        (["trainer.threads=1000000"], r"^trainer.threads: 1000000 .*at most 1,024"),
        (["trainer.devices=1000000"], r"^trainer.devices: 1000000 "),
        (["data.num_workers=1000000"], r"^data.num_workers: 1000000 "),
        (["model.d_model=65536", "model.layers=1024"], r"^model.d_model: 65536 .*at most 20,000,000,000 weights"),
        (["model.ssm={kernel: s4d, dt_min: 1e9, dt_max: 1e10}"], r"^model.ssm.dt_min: 1000000000.0 "),
        (["model.ssm={kernel: lru, max_phase: 7}"], r"^model.ssm.max_phase: 7.0 "),
        (
            ["data.max_depth=2", "data.max_args=5"],
            r"^data.min_length: 10 .*fewer than the 7 tokens of the largest tree",
        ),
    ],
)
def test_what_cannot_train_is_refused_with_its_full_key(overrides, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_experiment("lra/listops_short", overrides)
    assert "\n" not in str(caught.value)


def test_a_short_run_may_keep_the_default_of_what_is_logged():
    assert load_experiment("lra/listops_short", ["trainer.max_steps=2", "optim.warmup_steps=1"]).trainer.log_every == 20

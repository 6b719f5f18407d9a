"""Whatever the config allows together trains."""

import itertools

import pytest

from seqboat_lab.config.checks import LARGEST_SEED
from seqboat_lab.training import experiment
from seqboat_lab.training.model import make_datamodule
from tests.training.test_experiment import assert_same_weights, weights

PAIRS = list(itertools.product(("32-true", "bf16-mixed", "64-true"), ("adamw", "radam")))


def train(tiny, path, *overrides: str) -> dict:
    settings = ("trainer.max_steps=2", "trainer.val_every=2", "optim.warmup_steps=1", "trainer.progress=false")
    return experiment.fit(tiny(*settings, *overrides), path)


@pytest.mark.parametrize(("precision", "optimizer"), PAIRS)
def test_two_updates_of_every_pair(tiny, tmp_path, precision, optimizer):
    shared = (f"trainer.precision={precision}", f"optim.optimizer={optimizer}")
    for clip, accumulate in ((1.0, 1), (0, 1), (1.0, 2), (0, 2)):
        run = tmp_path / f"{clip}_{accumulate}"
        assert train(tiny, run, *shared, f"optim.clip_norm={clip}", f"trainer.accumulate={accumulate}")["steps"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "optimizer"), PAIRS)
def test_two_updates_of_every_pair_compiled(tiny, tmp_path, precision, optimizer):
    shared = (f"trainer.precision={precision}", f"optim.optimizer={optimizer}", "trainer.compile=true")
    for clip, accumulate in ((1.0, 2), (0, 1)):
        run = tmp_path / f"{clip}_{accumulate}"
        assert train(tiny, run, *shared, f"optim.clip_norm={clip}", f"trainer.accumulate={accumulate}")["steps"] == 2


def test_clipping_in_mixed_precision_bounds_the_step(tiny, tmp_path):
    """Adam divides the scale of gradients out, save for its eps: with a large one, steps follow the clipped norm."""
    moved = {}
    for clip in (1e-3, 2e-3):
        large_eps = (
            "optim.eps=1",
            "optim.lr=10",
            "optim.warmup_init_lr=10",
            "optim.weight_decay=0",
            "model.dropout=0",
        )
        config = tiny("trainer.precision=bf16-mixed", f"optim.clip_norm={clip}", *large_eps, "trainer.max_steps=1",
                      "trainer.val_every=1", "optim.warmup_steps=0", "optim.ssm_lr=0", "trainer.progress=false")  # fmt: skip
        data = make_datamodule(config)
        start = experiment.make_module(config, data).state_dict()
        experiment.fit(config, tmp_path / str(clip))
        end = weights(tmp_path / str(clip))
        moved[clip] = {name: end[name] - start[name] for name in end}
    doubled = {name: 2 * value for name, value in moved[1e-3].items()}
    assert_same_weights(doubled, moved[2e-3], rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("seed", [0, 2**31, LARGEST_SEED])
def test_any_seed_trains(tiny, tiny_text, tmp_path, seed):
    assert train(tiny, tmp_path / "classes", f"seed={seed}")["steps"] == 2
    assert train(tiny_text, tmp_path / "text", f"seed={seed}")["steps"] == 2

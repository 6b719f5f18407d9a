"""The experiments under configs/: the authors' numbers, and CPU-sized ones that run as they are."""

from itertools import islice

import pytest

from seqboat_lab.config import load_experiment
from seqboat_lab.config.data import CorpusConfig, RecallConfig
from seqboat_lab.config.files import CONFIG_DIR
from seqboat_lab.data import TASKS
from seqboat_lab.data.loading.batch import IGNORED
from seqboat_lab.training.experiment import fit

NAMES = sorted(str(path.relative_to(CONFIG_DIR).with_suffix("")) for path in CONFIG_DIR.rglob("*.yaml"))
SMALL = [name for name in NAMES if name.endswith(("_short", "_tiny"))]

# layers, d, h, z, w, function, norm, pre-norm, position, absolute, temperature scale, truncation, classifier, dropout,
# lr, weight decay, batch, updates, warm-up: the table of the authors' released scripts
RECIPES = {
    "lra/listops": (
        6, 80, 160, 64, 128, "softmax", "layernorm", False, "bias", False, 0.3, 1024, 160, 0.1,
        4e-3, 1e-3, 64, 90_000, 27_000,
    ),
    "lra/text": (
        4, 128, 256, 64, 128, "softmax", "scalenorm", False, "local", False, 0.3, 1024, 256, 0.1,
        4e-3, 1e-2, 50, 25_000, 10_000,
    ),
    "lra/retrieval": (
        6, 128, 256, 64, 128, "softmax", "scalenorm", False, "bias", False, 0.3, 1024, 256, 0.1,
        3e-3, 4e-2, 64, 91_960, 10_000,
    ),
    "lra/image": (
        8, 160, 320, 96, 128, "relu2", "batchnorm", True, "bias", True, 0.4, 1024, 320, 0.0,
        1e-2, 2e-2, 50, 180_000, 9_000,
    ),
    "lra/pathfinder": (
        6, 128, 256, 64, 128, "relu2", "batchnorm", True, "bias", True, 1.0, 1024, 256, 0.0,
        1e-2, 1e-2, 128, 250_000, 50_000,
    ),
    "lra/pathx": (
        4, 128, 256, 64, 256, "relu2", "syncbatchnorm", True, "bias", True, 1.0, 16_384, 256, 0.0,
        1e-2, 1e-2, 128, 125_000, 25_000,
    ),
    "speech_commands": (
        8, 60, 120, 30, 128, "relu2", "batchnorm", True, "local", False, 1.0, 4000, 120, 0.0,
        1e-2, 1e-2, 20, 250_000, 10_000,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_the_authors_numbers(name):
    c = load_experiment(name)
    m, o = c.model, c.optim
    assert (
        m.layers, m.d_model, m.d_hidden, m.d_attention, m.memory_size, m.attention, m.norm, m.prenorm, m.position,
        m.absolute_position, m.configurator.temperature_scale, m.ssm.truncation, m.classifier_hidden, m.dropout,
        o.lr, o.weight_decay, c.data.batch_size, c.trainer.max_steps, o.warmup_steps,
    ) == RECIPES[name]  # fmt: skip
    assert (m.ssm.kernel, m.ssm.state_size, o.beta1, o.beta2, o.clip_norm) == ("ema", 16, 0.9, 0.98, 1.0)
    assert (o.warmup_power, o.decay_power) == (2.0 if name == "lra/pathx" else 1.0, 1.0)
    assert (o.decay_everything, o.warmup_init_lr, o.eps) == (True, 1e-7, 1e-8)


def test_the_authors_recipes_and_no_others_decay_everything():
    assert {name for name in NAMES if load_experiment(name).optim.decay_everything} == {*NAMES} - {*SMALL}
    for name in SMALL:
        assert "Unlike the authors" in (CONFIG_DIR / f"{name}.yaml").read_text()


def test_enwik8_has_the_authors_numbers():
    c = load_experiment("enwik8")
    m, o, d = c.model, c.optim, c.data
    assert (m.layers, m.d_model, m.d_hidden, m.d_attention, m.memory_size) == (14, 616, 1232, 128, 1024)
    assert (m.attention, m.norm, m.prenorm, m.position, m.bidirectional) == (
        "softmax",
        "layernorm",
        True,
        "rotary",
        False,
    )
    assert (m.configurator.temperature_scale, m.ssm.truncation, m.dropout) == (1.0, 2048, 0.15)
    assert (o.optimizer, o.lr, o.weight_decay, o.clip_norm) == ("radam", 5e-3, 0.1, 0.25)
    assert (o.warmup_steps, o.warmup_init_lr, c.trainer.max_steps) == (24_000, 2e-3, 400_000)
    assert (d.batch_size, d.tokens_per_sample, c.trainer.devices, d.carry_state) == (8, 8192, 8, False)
    text8 = load_experiment("text8")
    assert (text8.model, text8.optim, text8.trainer) == (c.model, c.optim, c.trainer)


def test_pathx_and_path256_are_sizes_of_pathfinder():
    assert [load_experiment(f"lra/{name}").data.size for name in ("pathfinder", "pathx", "path256")] == [32, 128, 256]
    pathx, path256 = (load_experiment(f"lra/{name}").trainer for name in ("pathx", "path256"))
    assert (pathx.devices, pathx.accumulate) == (8, 8)
    assert (path256.devices, path256.accumulate) == (8, 16)


def test_every_task_has_a_small_experiment():
    of_the_network = {"enwik8", "text8", "web_text"}  # text_tiny is their small one
    without_data = {"array"}  # examples/own_data.py makes some
    assert {load_experiment(name).task for name in SMALL} == set(TASKS) - of_the_network - without_data
    assert {load_experiment(name).data.size for name in SMALL if "path" in name} == {16, 128, 256}


@pytest.mark.parametrize("name", SMALL)
def test_a_small_experiment_says_so_first_and_needs_no_download(name):
    first = (CONFIG_DIR / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith("# CPU-sized, ours")
    data = load_experiment(name).data
    if isinstance(data, CorpusConfig):
        assert data.path is None  # Python's own sources
        return
    if isinstance(data, RecallConfig):
        return
    source = data.source
    assert source in ("auto", "generated", "synthetic")  # auto: what lies there, else generated
    if source == "synthetic":
        assert "NOT the benchmark" in first


# What a test can wait for: fewer samples, and twenty steps.
FEWER = {
    "listops": ["data.train_size=256", "data.val_size=16", "data.test_size=8"],
    "pathfinder": ["data.images=100"],
    "corpus": ["data.tokens_per_sample=64"],
    "recall": ["data.train_size=256", "data.val_size=32", "data.test_size=32"],
    "multimodal": ["data.source=generated", "data.train_tokens=20000", "data.val_tokens=4096", "data.test_tokens=4096"],
} | {task: ["data.synthetic_samples=64"] for task in ("text", "retrieval", "image", "speech_commands")}


SLOW = ("speech_commands_tiny", "lra/path256_tiny", "lra/pathfinder_short")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in SMALL])
def test_a_small_experiment_trains_twenty_steps_through_its_real_datamodule(name, tmp_path):
    task = load_experiment(name).task
    overrides = [
        *FEWER[task], f"data.root={tmp_path / 'data'}", "trainer.max_steps=20", "trainer.val_every=20",
        "optim.warmup_steps=1", "trainer.progress=false", "trainer.val_batches=1", "trainer.threads=1",
    ]  # fmt: skip
    assert fit(load_experiment(name, overrides), tmp_path / "run")["steps"] == 20


@pytest.mark.parametrize("name", SMALL)
def test_batches_of_a_small_experiment_fit_its_spec(name, tmp_path):
    config = load_experiment(name, [*FEWER[load_experiment(name).task], f"data.root={tmp_path}"])
    module = TASKS[config.task](config.data, seed=1, batch_size=2)
    module.prepare_data()
    module.setup()
    for batch in islice(module.train_dataloader(), 3):
        rows = 4 if module.spec.head == "pair" else 2
        assert batch.inputs.shape[0] == rows
        assert batch.inputs.shape[1] <= module.spec.max_length
        assert batch.labels.shape == (batch.inputs.shape if module.spec.vocabulary_per_token else (2,))
        assert 0 <= batch.labels[batch.labels != IGNORED].min() <= batch.labels.max() < module.spec.num_classes
        if module.spec.vocab_size is None:
            assert batch.inputs.is_floating_point()
        else:
            assert batch.inputs.max() < module.spec.vocab_size
        assert len(module.decode(batch.inputs[0].int().tolist())) == batch.inputs.shape[1]

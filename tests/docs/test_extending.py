"""The examples of docs/extending.md work as they stand, and mistakes in naming such parts are one line."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch

from seqboat_lab.analysis.sweeps import read_sweep
from seqboat_lab.cli import main
from seqboat_lab.config import ModelConfig, load_experiment
from seqboat_lab.nn import SeqBoat

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
FILES = dict(re.findall(r'^```\w+ title="(.+?)"\n(.*?)^```', PAGE.read_text(), flags=re.M | re.S))
SHORT = ["trainer.max_steps=4", "trainer.val_every=4", "optim.warmup_steps=1", "trainer.accelerator=cpu"]
LISTOPS = [*SHORT, "data.train_size=64", "data.val_size=16", "data.test_size=16", "data.batch_size=8"]


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    """A folder that holds the page's files and nothing else, as a user's would."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    before, loaded = list(sys.path), set(sys.modules)
    monkeypatch.delenv("SEQBOAT_RUN_DIR", raising=False)
    yield tmp_path
    sys.path[:] = before
    for name in set(sys.modules) - loaded:
        if name.startswith("my_"):
            del sys.modules[name]


def test_each_file_is_short():
    assert len(FILES) == 8
    assert max(len(text.splitlines()) for text in FILES.values()) < 60


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.ssm.kernel=my_kernel:Decay", "model.ssm.start=0.95"],
        ["model.configurator=my_configurator:Margin"],
        ["model.blocks=[seqboat, 'my_mixer:Average']", "model.mixers.my_mixer:Average.window=3"],
        ["model.kind=my_encoder:GRU", "model.encoder.depth=2"],
    ],
)
def test_parts_from_outside_train_resume_and_are_described(overrides, tmp_path, capsys):
    assert main(["fit", "lra/listops_short", "--run-dir", "run", *LISTOPS, *overrides]) == 0
    assert json.loads(Path("run/summary.json").read_text())["steps"] == 4
    assert main(["fit", "--resume", "run", "trainer.max_steps=6"]) == 0
    assert main(["evaluate", "run", "trainer.accelerator=cpu"]) == 0
    assert main(["describe", "run"]) == 0
    assert main(["config", "run"]) == 0
    key, value = overrides[-1].split("=")
    shown = capsys.readouterr().out
    assert re.search(rf"^\s*{key.rsplit('.')[-1]}: '?{re.escape(value)}|kind: {re.escape(value)}", shown, flags=re.M)


def test_the_task_is_learnt():
    assert main(["fit", "majority.yaml", "--run-dir", "run", "trainer.accelerator=cpu"]) == 0
    assert json.loads(Path("run/summary.json").read_text())["metrics"]["val/accuracy"] > 0.9


@torch.no_grad()
def test_the_kernel_steps_as_it_reads_in_parallel():
    torch.manual_seed(0)
    fields = load_experiment("lra/listops_short", ["model.ssm.kernel=my_kernel:Decay"]).model
    model = SeqBoat(
        ModelConfig(layers=2, d_model=8, d_hidden=8, d_attention=4, bidirectional=False, ssm=fields.ssm)
    ).eval()
    x = torch.randn(2, 150, 8)
    state, stepped = model.init_state(2), []
    for token in x.unbind(1):
        y, _, state = model.step(token, state)
        stepped.append(y)
    torch.testing.assert_close(torch.stack(stepped, 1), model(x)[0], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_mixer_steps_as_it_reads_in_parallel():
    torch.manual_seed(0)
    kind = "my_mixer:Average"
    mixers = {kind: load_experiment("lra/listops_short", [f"model.mixers.{kind}.window=3"]).model.settings(kind)}
    model = SeqBoat(ModelConfig(blocks=[kind], mixers=mixers, d_model=8, bidirectional=False)).eval()
    x = torch.randn(2, 30, 8)
    whole, state = model(x)[0], model.init_state(2)
    for t, token in enumerate(x.unbind(1)):
        y, _, state = model.step(token, state)
        torch.testing.assert_close(y, whole[:, t], rtol=1e-4, atol=1e-4)


def test_a_block_that_is_no_mixer_is_one_line(capsys):
    Path("my_block.py").write_text("from my_mixer import AverageConfig\nclass Block:\n    Config = AverageConfig\n")
    assert main(["fit", "lra/listops_short", *LISTOPS, "model.blocks=['my_block:Block']"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(
        "seqboat: model.blocks: 'my_block:Block' is not possible here; expected a class derived from"
    )
    assert not Path("runs").exists()


def test_all_of_it_is_searched(tmp_path):
    overrides = [f"overrides.{o}" for o in SHORT]
    assert main(["sweep", "mine.yaml", *overrides]) == 0
    rows = read_sweep(tmp_path / "runs" / "sweeps" / "mine").rows
    assert [row["state"] for row in rows] == ["complete"] * 4
    assert {row["model.ssm.kernel"] for row in rows} == {"ema", "my_kernel:Decay"}
    assert {row["model.configurator"] for row in rows} == {"always", "my_configurator:Margin"}


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("model.ssm.kernel=my_kernl:Decay", "model.ssm.kernel: 'my_kernl:Decay': no module 'my_kernl'; expected package.module"),
        ("model.ssm.kernel=my_kernel:Decai", "model.ssm.kernel: unknown class of my_kernel 'Decai' (did you mean 'Decay'?)"),
        ("model.ssm.kernel=my_kernel:torch", "model.ssm.kernel: 'my_kernel:torch' is no class; expected package.module:Class"),
        ("model.ssm.kernel=json:JSONDecoder", "model.ssm.kernel: 'json:JSONDecoder' has no settings; expected an attribute"),
        ("model.ssm.kernel=broken:Kernel", "model.ssm.kernel: 'broken:Kernel' cannot be imported: ZeroDivisionError: division"),
        ("model.ssm={kernel: my_kernel:Decay, strat: 1}", "model.ssm.strat: unknown field of DecayConfig 'strat' (did you mean 'start'"),
        ("model.ssm={kernel: my_kernel:Decay, start: 1.0}", "model.ssm.start: 1.0 is not possible here; expected a number below 1"),
        ("model.blocks=['my_mixer:Averag']", "model.blocks.0: unknown class of my_mixer 'Averag' (did you mean 'Average'?)"),
        ("model.blocks=['my_kernel:Decay']", "model.blocks.0: 'my_kernel:Decay' is not possible here; expected a mixer, whose Config"),
        ("model.mixers.my_mixer:Average.windw=3", "model.mixers.my_mixer:Average.windw: unknown field of AverageConfig 'windw'"),
        ("task=my_task:Majority", "task: unknown class of my_task 'Majority' (did you mean 'MajorityDataModule'?)"),
    ],
)  # fmt: skip
def test_a_part_that_is_not_there_is_one_line(override, line, capsys):
    Path("broken.py").write_text("1 / 0\n")
    assert main(["config", "lra/listops_short", override]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"seqboat: {line}")

"""What loaders do for a GPU, seen without one: pinned memory, workers that stay, copies that nobody waits for."""

import ast
from pathlib import Path

import lightning as L
import pytest
import torch

from seqboat_lab.data.loading.batch import Batch
from seqboat_lab.data.loading.workers import leave_sigterm_to_the_run
from seqboat_lab.training import experiment
from seqboat_lab.training.model import make_datamodule
from seqboat_lab.training.reproducible import real_tokens
from tests.nn.pretend import PretendCuda, left_behind, on_cuda

pytestmark = pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'", "ignore:.*pin_memory")
PACKAGE = Path(experiment.__file__).parents[1]


@pytest.fixture
def loaders(tiny, tiny_text):
    """Every loader of a classifier's and of a text's DataModule."""

    def make(*overrides: str) -> list:
        found = []
        for config in (tiny(*overrides), tiny_text(*overrides)):
            data = make_datamodule(config)
            data.prepare_data()
            data.setup()
            found += [data.train_dataloader(), data.val_dataloader(), data.test_dataloader()]
        return found

    return make


@pytest.mark.parametrize("there", [True, False])
def test_memory_is_pinned_where_a_gpu_reads_it(loaders, monkeypatch, there):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert {loader.pin_memory for loader in loaders()} == {there}


def test_workers_stay_from_one_validation_to_the_next_and_are_ahead(loaders):
    for loader in loaders("data.num_workers=2"):
        assert (loader.num_workers, loader.persistent_workers, loader.prefetch_factor) == (2, True, 2)
        assert loader.worker_init_fn is leave_sigterm_to_the_run
    assert all(loader.num_workers == 0 for loader in loaders())


def test_every_loader_of_the_package_says_so():
    """Also those that cannot be made here, such as that of a text from the web."""
    calls = {
        f"{path.name}:{node.lineno}": {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "DataLoader"
    }
    assert len(calls) >= 2
    for keywords in calls.values():
        assert keywords["pin_memory"] == "torch.cuda.is_available()"
        assert keywords["worker_init_fn"] == "leave_sigterm_to_the_run"


def test_batches_reach_the_device_while_it_computes(tiny, tiny_text):
    """Lightning's own transfer, and the step that follows: nothing but a layer's count of active tokens is waited for."""
    for config in (tiny("model.layers=2"), tiny_text()):
        data = make_datamodule(config)
        data.prepare_data()
        data.setup()
        module = experiment.make_module(config, data)
        padded = config.task == "listops"
        batch = next(b for b in data.train_dataloader() if (b.padding_mask is not None) == padded)
        with PretendCuda() as device:
            on_cuda(module)
            device.waits.clear()
            moved = L.LightningDataModule.transfer_batch_to_device(data, batch, torch.device("cuda:0"), 0)
            assert isinstance(moved, Batch)
            assert not left_behind(moved)
            assert device.waits == []
            module.training_step(moved, 0).backward()
            module.configure_gradient_clipping(None, config.optim.clip_norm or 1.0)
            assert device.waits == 2 * ["aten.nonzero in packing.py:pack"]
            assert module.tokens_per_second() > 0


def test_real_tokens_are_counted_on_the_device():
    batch = Batch(torch.ones(2, 3), torch.tensor([[False, False, True], [False, True, True]]), torch.zeros(2))
    assert real_tokens(batch) == 3
    assert isinstance(real_tokens(batch), torch.Tensor)
    assert real_tokens(batch._replace(padding_mask=None)) == 6

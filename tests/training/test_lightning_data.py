"""A task's data in Lightning's hands, and what a batch of it draws."""

import lightning as L
import numpy as np
import pytest
import torch

from seqboat_lab.training.experiment import make_module
from seqboat_lab.training.lightning_data import LightningData
from seqboat_lab.training.model import make_datamodule


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_trainers_test_reads_the_split_that_was_asked_for(tiny, split):
    task = make_datamodule(tiny())
    data = LightningData(task, split)
    data.prepare_data()
    data.setup("test")
    expected = [batch.inputs.tolist() for batch in task.evaluation_dataloader(split)]
    assert [batch.inputs.tolist() for batch in data.test_dataloader()] == expected
    assert sum(len(rows) for rows in expected) == task.sizes()[split]


def test_anyones_trainer_takes_a_module_and_its_tasks_data(tiny, tmp_path):
    config = tiny()
    task = make_datamodule(config)
    data = LightningData(task)
    task.prepare_data()
    task.setup()
    module = make_module(config, task)
    before = [p.detach().clone() for p in module.parameters()]
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    trainer = L.Trainer(max_steps=2, accelerator="cpu", default_root_dir=tmp_path, **quiet)
    trainer.fit(module, data)
    assert trainer.global_step == 2
    assert any(not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_a_batch_draws_what_torch_manual_seed_would_let_it(tiny):
    config = tiny("seed=3")
    module = make_module(config, make_datamodule(config))
    module.batches_seen = 5
    module.on_train_batch_start(None, 0)
    drawn = torch.rand(4)
    torch.manual_seed(int(np.random.SeedSequence([3, 5, 0]).generate_state(1, np.uint64)[0]))
    assert torch.equal(drawn, torch.rand(4))

"""What a run tells of its decisions: the share that changed, and by kind of token."""

import copy
import json

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from seqboat_lab.data.tasks.listops import VOCABULARY
from seqboat_lab.training import experiment
from tests.training.test_experiment import StopAt

SETTINGS = ("optim.lr=3e-2", "optim.warmup_steps=1", "trainer.max_steps=12", "trainer.val_every=4")


class Remember(Callback):
    """Keeps the model of each validation, and the validation batches."""

    def __init__(self):
        self.models, self.batches = [], []

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, *args):
        if not self.models:
            self.batches.append(batch)

    def on_validation_epoch_end(self, trainer, module):
        self.models.append(copy.deepcopy(module.model).eval())


def lines(run_dir):
    return [json.loads(line) for line in (run_dir / "validations.jsonl").read_text().splitlines()]


@pytest.fixture
def told(tiny, tmp_path):
    """A run, what it wrote, and what it saw."""
    seen = Remember()
    experiment.fit(tiny(*SETTINGS), tmp_path / "run", extra=[seen])
    return lines(tmp_path / "run"), seen


def test_changed_decisions_are_those_of_two_models_on_the_longest_batch(told):
    written, seen = told
    batch = max(seen.batches, key=lambda batch: batch.inputs.shape[1])
    real = ~batch.padding_mask
    with torch.no_grad():
        decided = [[a.active[real] for a in m(batch.inputs, batch.padding_mask).activations] for m in seen.models]
    assert "val/decisions_changed/layer_0" not in written[0]
    shares = []
    for before, after, line in zip(decided, decided[1:], written[1:], strict=False):
        for i, (old, new) in enumerate(zip(before, after, strict=True)):
            shares.append((old != new).double().mean().item())
            assert line[f"val/decisions_changed/layer_{i}"] == pytest.approx(shares[-1], abs=1e-6)
    assert any(shares)


def test_rates_by_kind_of_token_count_every_real_token_of_the_split(told):
    written, seen = told
    kinds = {"digit": "0123456789", "operator": ("[MIN", "[MAX", "[MED", "[SM"), "bracket": "]"}
    active, total = torch.zeros(2, len(kinds)), torch.zeros(len(kinds))
    for batch in seen.batches:
        with torch.no_grad():
            activations = seen.models[-1](batch.inputs, batch.padding_mask).activations
        for k, tokens in enumerate(kinds.values()):
            of_kind = torch.isin(batch.inputs, torch.tensor([VOCABULARY.index(token) for token in tokens]))
            total[k] += of_kind.sum()
            active[:, k] += torch.stack([(a.active & of_kind).sum() for a in activations])
    for i in range(2):
        for k, kind in enumerate(kinds):
            share = (active[i, k] / total[k]).item()
            assert written[-1][f"val/activation_rate_of_{kind}/layer_{i}"] == pytest.approx(share, abs=1e-6)
    assert not any("_of_padding" in name for name in written[-1])


def test_a_resumed_run_compares_with_the_validation_before_the_crash(told, tiny, tmp_path):
    with pytest.raises(RuntimeError, match="crash"):
        experiment.fit(tiny(*SETTINGS), tmp_path / "resumed", extra=[StopAt(6)])
    experiment.resume(tmp_path / "resumed")

    def changes(written):
        return [{k: v for k, v in line.items() if "decisions_changed" in k} for line in written]

    assert changes(lines(tmp_path / "resumed")) == changes(told[0])

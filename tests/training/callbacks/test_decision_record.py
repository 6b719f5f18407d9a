"""The decisions kept of each validation, against the models of those validations."""

import json
import shutil

import numpy as np
import pytest
import torch

from seqboat_lab.analysis import tables
from seqboat_lab.cli import main
from seqboat_lab.config import ConfigError
from seqboat_lab.training import experiment
from seqboat_lab.training.callbacks import decision_record
from seqboat_lab.training.callbacks.decision_record import read_decisions
from seqboat_lab.training.model import make_datamodule
from tests.training.callbacks.test_activations import SETTINGS, Remember, lines
from tests.training.test_experiment import StopAt


@pytest.fixture(scope="module")
def once():
    """What the first test made."""
    return []


@pytest.fixture
def told(tiny, once, tmp_path_factory):
    """A run, and what it saw."""
    if not once:
        run, seen = tmp_path_factory.mktemp("decisions") / "run", Remember()
        experiment.fit(tiny(*SETTINGS), run, extra=[seen])
        once += [run, seen]
    return once


def test_each_validation_has_what_its_model_decides_for_the_same_tokens(told):
    run, seen = told
    table = tables.decisions_over_time(run)
    batch = max(seen.batches, key=lambda batch: batch.inputs.shape[1])
    rows, positions = (~batch.padding_mask).nonzero(as_tuple=True)
    assert sorted(table["step"].unique()) == [4, 8, 12]
    changes = 0
    for step, model in zip((4, 8, 12), seen.models, strict=True):
        with torch.no_grad():
            activations = model(batch.inputs, batch.padding_mask).activations
        for layer, activation in enumerate(activations):
            found = table[(table["step"] == step) & (table["layer"] == layer)]
            assert found["sequence"].tolist() == rows.tolist()
            assert found["position"].tolist() == positions.tolist()
            assert found["active"].tolist() == activation.active[rows, positions].tolist()
            changes += found["active"].nunique() > 1
    assert changes  # or it would not tell whether tokens are in order


def test_tokens_and_classes_are_those_of_the_data(told, tiny):
    run, _ = told
    table = tables.decisions_over_time(run)
    operators, digits = {"[MAX", "[MIN", "[MED", "[SM"}, set("0123456789")
    assert set(table["token"][table["class"] == "operator"]) == operators
    assert set(table["token"][table["class"] == "digit"]) <= digits
    assert set(table["class"].unique()) == {"operator", "digit", "bracket"}
    config = tiny(*SETTINGS)
    data = make_datamodule(config)
    data.setup()
    batch = max(data.evaluation_loader("val", 0, 1), key=lambda batch: batch.inputs.shape[1])
    first = table[(table["step"] == 4) & (table["layer"] == 0) & (table["sequence"] == 1)]
    assert first["token"].tolist() == data.decode(batch.inputs[1][batch.real()[1]].tolist())


def test_churn_is_what_was_logged_and_what_chance_would_give(told):
    run, _ = told
    table, logged = tables.churn(run), {line["step"]: line for line in lines(run)}
    assert table[["step", "layer"]].to_records(index=False).tolist() == [(8, 0), (8, 1), (12, 0), (12, 1)]
    kept = read_decisions(run)
    rng = np.random.default_rng(0)
    for row in table.to_dict("records"):
        assert row["churn"] == pytest.approx(logged[row["step"]][f"val/decisions_changed/layer_{row['layer']}"])
        before, after = kept.active[:, row["layer"]][row["step"] // 4 - 2 : row["step"] // 4]
        assert (row["rate_before"], row["rate"]) == pytest.approx((before.mean(), after.mean()))
        shuffled = [(rng.permutation(before) != after).mean() for _ in range(400)]
        assert row["independent"] == pytest.approx(np.mean(shuffled), abs=0.01)


def test_a_resumed_run_keeps_what_a_whole_one_does(told, tiny, tmp_path):
    run = tmp_path / "resumed"
    with pytest.raises(RuntimeError, match="crash"):
        experiment.fit(tiny(*SETTINGS), run, extra=[StopAt(6)])
    with (run / "decisions.jsonl").open("a") as file:  # of a validation that the checkpoint does not know, cut off
        whole = (told[0] / "decisions.jsonl").read_text().splitlines()
        file.write(f"{whole[2]}\n{whole[3][:40]}")
    assert read_decisions(run).steps == [4, 8]  # the line cut off is no obstacle while the run is under way
    experiment.resume(run)
    assert (run / "decisions.jsonl").read_text() == (told[0] / "decisions.jsonl").read_text()


def test_a_run_that_goes_on_with_other_batches_compares_no_tokens_with_others(told, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(told[0], run)
    common = ["trainer.max_steps=20", "trainer.progress=false"]
    assert main(["fit", "--resume", str(run), *common, "trainer.val_batches=1"]) == 0
    kept = read_decisions(run)
    assert kept.steps == [16, 20]
    assert len(kept.sequence) == kept.active.shape[2] != read_decisions(told[0]).active.shape[2]
    written = {line["step"]: line for line in lines(run)}
    assert "val/decisions_changed/layer_0" not in written[16]
    assert written[20]["val/decisions_changed/layer_0"] == pytest.approx(tables.churn(run)["churn"][0])


def test_only_the_first_tokens_are_kept_and_the_file_stays_small(tiny_text, tmp_path, monkeypatch):
    monkeypatch.setattr(decision_record, "TOKENS", 50)  # of sequences of 24
    experiment.fit(tiny_text(), tmp_path / "run")
    table = tables.decisions_over_time(tmp_path / "run")
    assert len(table) == 2 * 2 * 50  # validations, layers
    assert table["position"].tolist()[:50] == [*range(24), *range(24), 0, 1]
    assert table["sequence"].tolist()[:50] == [0] * 24 + [1] * 24 + [2] * 2
    sizes = [len(line) for line in (tmp_path / "run" / "decisions.jsonl").read_text().splitlines()]
    assert max(sizes[1:]) < 50 + 2 * (50 / 8 + 16) * 4 / 3  # the bits, what zlib adds, in base64


def test_runs_without_decisions_are_one_line(tmp_path):
    (tmp_path / "decisions.jsonl").write_text('[1]\n{"step": 4, "layers": 1, "active": "AA=="}\n')
    for run in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match=r"decisions\.jsonl: holds no decisions") as error:
            tables.churn(run)
        assert "\n" not in str(error.value)


def test_a_record_is_plain_json(told):
    begin, *rest = (json.loads(line) for line in (told[0] / "decisions.jsonl").read_text().splitlines())
    assert sum(begin["lengths"]) == read_decisions(told[0]).active.shape[2]
    assert [line["step"] for line in rest] == [4, 8, 12]

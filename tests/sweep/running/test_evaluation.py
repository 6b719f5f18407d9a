"""What a confirmed run's best checkpoint reaches on a split, by the names of a validation."""

import json
from pathlib import Path

import pytest

from seqboat_lab.nn.cost import cost_per_token
from seqboat_lab.sweep.definition.config import load_sweep
from seqboat_lab.sweep.running.evaluation import evaluate_objectives
from seqboat_lab.training.experiment import fit
from seqboat_lab.training.model import make_datamodule


def test_objectives_are_measured_on_the_split_and_costs_follow_its_activation(tiny_sweep):
    config = load_sweep(tiny_sweep(5)).base_with({"trainer.threads": 1})
    summary = fit(config, Path("run"))["metrics"]
    found = {}
    for split in ("test", "val"):
        evaluate_objectives(Path("run"), split)
        text = json.loads(Path("run/objectives.json").read_text())
        assert (text["split"], text["checkpoint"]) == (split, "best")
        found[split] = text["metrics"]
    trained = {key for key in summary if key.startswith(("val/", "cost/"))}
    assert trained <= found["test"].keys()
    for key in ("val/accuracy", "val/activation_rate", "cost/flops_per_token"):  # the only checkpoint is the best one
        assert found["val"][key] == pytest.approx(summary[key])
    test = found["test"]
    assert test["val/activation_rate"] != summary["val/activation_rate"]
    rates = [test[f"val/activation_rate/layer_{i}"] for i in range(config.model.layers)]
    spec = make_datamodule(config).spec
    assert test["cost/flops_per_token"] == cost_per_token(config.model, spec.max_length, rates)["total"]
    assert test["cost/parameters"] == summary["cost/parameters"]

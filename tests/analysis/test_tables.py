"""Tables of a run against the numbers that its training logged."""

import json

import pytest

from seqboat_lab.analysis import tables
from seqboat_lab.config import ConfigError
from seqboat_lab.training import experiment
from tests.analysis.sweeps import make_sweep, trial


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run on expressions, on every sequence of its validation."""
    return tmp_path_factory.mktemp("tables") / "run"


@pytest.fixture
def trained(tiny, run):
    if not run.exists():
        experiment.fit(tiny("model.dropout=0.1"), run)
    return run


def test_decisions_are_those_that_validation_counted(trained):
    table = tables.activations(trained, sequences=101, checkpoint="last")
    logged = json.loads((trained / "summary.json").read_text())["metrics"]
    assert table["sequence"].nunique() == 101
    for layer, rows in table.groupby("layer"):
        assert rows["active"].mean() == pytest.approx(logged[f"val/activation_rate/layer_{layer}"], abs=1e-6)
        spans = rows["span"][rows["span"] > 0]
        assert spans.mean() == pytest.approx(logged[f"val/span/layer_{layer}"], rel=1e-5)
        assert rows["span"].isna().equals(~rows["active"])
        for name, of_class in rows.groupby("class"):
            expected = logged[f"val/activation_rate_of_{name}/layer_{layer}"]
            assert of_class["active"].mean() == pytest.approx(expected, abs=1e-6)
    assert (table["confidence"] > 0).equals(table["active"])
    first = table[(table["sequence"] == 0) & (table["layer"] == 0)]
    assert first["position"].tolist() == list(range(len(first)))
    assert first["token"].iloc[0] in ("[MAX", "[MIN", "[MED", "[SM")


def test_only_so_many_sequences_as_are_asked_for(trained):
    found = tables.activations(trained, sequences=17)  # of batches of 16
    assert sorted(found["sequence"].unique()) == list(range(17))
    whole = tables.activations(trained, sequences=101)
    rows = whole[whole["sequence"] < 17].sort_values(["sequence", "layer", "position"]).reset_index(drop=True)
    assert found.sort_values(["sequence", "layer", "position"]).reset_index(drop=True).equals(rows)


def test_runs_and_curves(trained):
    (row,) = tables.runs(f"{trained.parent}/*").to_dict("records")
    assert row["run"] == str(trained)
    assert (row["model.memory_size"], row["optim.warmup_steps"], row["steps"]) == (8, 2, 8)
    curve = tables.curves([trained, trained])
    assert curve["step"].tolist() == [4, 8, 4, 8]
    assert curve["val/accuracy"].iloc[-1] == row["val/accuracy"]


def test_trials_of_a_sweep(tmp_path):
    rows = [trial(0, 0.5, 0.2), trial(1, 0.75, 0.5, kernel="s4d")]
    table = tables.trials(make_sweep(tmp_path / "s", rows))
    assert table.groupby("model.kernel")["val/accuracy"].mean().to_dict() == {"ema": 0.5, "s4d": 0.75}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tables.runs("nowhere/*"), "nowhere/*: matches no run"),
        (lambda: tables.activations("nowhere", split="all"), "'all', 16 sequences; expected train, val, test"),
        (lambda: tables.trials("nowhere"), "does not exist"),
    ],
)
def test_mistakes_are_one_line(call, message):
    with pytest.raises(ConfigError) as told:
        call()
    assert message in str(told.value)
    assert "\n" not in str(told.value)

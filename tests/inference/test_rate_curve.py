"""`seqboat evaluate RUN --rates`: one trained model at several thresholds."""

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seqboat_lab.cli import main
from seqboat_lab.inference.evaluation import evaluate
from seqboat_lab.training import experiment
from tests.training.modules.test_tokens import TINY


@pytest.fixture
def trained(tmp_path, data_root):
    def make(*overrides: str):
        from seqboat_lab.config import load_experiment

        config = load_experiment("recall/noisy_mqar_tiny", [*TINY, f"data.root={data_root}", *overrides])
        experiment.fit(config, tmp_path / "run")
        return tmp_path / "run"

    return make


@pytest.mark.parametrize("kind", ["capacity", "tempered_softmax", "sigmoid"])
def test_every_layer_has_the_rates_asked_for(trained, kind, capsys):
    run = trained("model.configurator=" + f"{{kind: {kind}}}", "data.val_size=400", "data.test_size=400")
    main(["evaluate", str(run), "--rates", "0.5,0.1,1,0", "--split", "test"])
    points = json.loads((run / "rates_test.json").read_text())["points"]
    assert [point["rate"] for point in points] == [0, 0.1, 0.5, 1]
    for point in points:
        for layer in (0, 1):  # thresholds come from another split, and equal tokens are active or not together
            assert point[f"activation_rate/layer_{layer}"] == pytest.approx(point["rate"], abs=0.03)
    assert "activation_rate" in capsys.readouterr().out
    events = EventAccumulator(str(run))
    events.Reload()
    curve = events.Scalars("rate_curve/accuracy")
    assert [event.step for event in curve] == [0, 100, 500, 1000]
    assert [event.value for event in curve] == pytest.approx([point["accuracy"] for point in points])


def test_at_rate_one_and_zero_it_is_the_same_model_with_all_and_without_attention(trained):
    run = trained("model.configurator={kind: tempered_softmax}")
    main(["evaluate", str(run), "--rates", "0,1", "--checkpoint", "last"])
    nothing, everything = json.loads((run / "rates_test.json").read_text())["points"]
    assert nothing["memory_fill/layer_0"] == nothing["activation_rate"] == 0
    assert everything["activation_rate"] == 1
    own = evaluate(run, "test", checkpoint="last")
    if own["activation_rate"] == 1:  # an untrained router mostly says yes to everything
        assert own["loss"] == pytest.approx(everything["loss"])


@pytest.mark.parametrize("rates", ["0.1,2", "a", "", "-0.1"])
def test_impossible_rates_are_one_line(trained, rates, capsys):
    run = trained()
    assert main(["evaluate", str(run), f"--rates={rates}"]) != 0
    assert "--rates: " in capsys.readouterr().err
    assert not (run / "rates_test.json").exists()


def test_a_model_that_decides_without_its_input_has_no_curve(trained, capsys):
    run = trained("model.configurator={kind: every_kth}")
    assert main(["evaluate", str(run), "--rates", "0.5"]) != 0
    assert "decisions ignore the input" in capsys.readouterr().err

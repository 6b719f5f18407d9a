"""Every mixer has its place in the benchmarks: at the four shapes, by length, and in what is kept in docs/."""

import json

import pytest

from benchmarks import baselines, baselines_report, lengths
from benchmarks.cases import CASES, Case, mixer_config
from benchmarks.layer import SHAPES, _mixer
from seqboat_lab.analysis.report import write_csv
from seqboat_lab.config.checks import ConfigError
from seqboat_lab.config.mixers import MIXER_CONFIGS


def test_every_mixer_fits_every_shape_with_heads_of_about_64_channels():
    for name in SHAPES:
        for kind in MIXER_CONFIGS:
            config = mixer_config(kind, CASES[name])
            assert (config.kind, config.d_model) == (kind, CASES[name].config.d_model)
            if hasattr(config.mixer, "heads"):
                assert config.d_model / config.mixer.heads <= 100


def test_a_mixer_is_measured_beside_its_count(monkeypatch):
    case = CASES["listops"]
    monkeypatch.setitem(CASES, "listops", Case(case.config, 1, 64, 0.5))
    row = _mixer("gla", ["listops"], rate=1e9)
    assert list(row) == ["mixer", "listops", "listops / limit"]
    flops = row["listops"] * 1e9 / row["listops / limit"]
    assert flops > 3 * 64 * 2 * 12 * 80**2  # at least the matrices of both ways of it


@pytest.mark.parametrize("kind", ["seqboat", "hyena", "mod", "transformer"])
def test_length_benchmark_tells_time_and_state(kind):
    row = lengths.measured(kind, 64)
    assert row["forward"] > 0
    assert row["step"] > 0
    assert row["peak_bytes"] > 64 * 128 * 4
    assert row["training_flops"] == pytest.approx(3 * row["forward_flops"], rel=0.1)
    if kind == "hyena":
        assert "state_bytes" not in row
    if kind == "transformer":
        assert row["state_bytes"] == 2 * 64 * 128 * 4  # keys and values of 64 tokens
    if kind == "mod":
        assert row["state_bytes"] == pytest.approx((2 * 128 * 4 + 1) * 64 * row["rate"], rel=0.15)


def test_what_would_take_too_long_is_not_measured():
    assert not lengths.too_long([], 1024)
    assert not lengths.too_long([{"length": 1024, "step": 1.0}, {"length": 4096, "step": 4.0}], 16384)
    assert lengths.too_long([{"length": 1024, "step": 1.0}, {"length": 4096, "step": 16.0}], 16384)  # quadratic


ACCURACY = {0.001: (0.5, 0.6, 0.7), 0.003: (0.7, 0.8, 0.9), 0.01: (0.95, None, 0.9)}


@pytest.fixture
def sweep(tmp_path):
    """Two mixers; the transformer's best learning rate is 0.003, since a run failed at 0.01."""
    directory = tmp_path / "baselines_recall"
    directory.mkdir()
    models = [{"kind": "seqboat"}, {"kind": "transformer", "d_model": 28}]
    rows = []
    for place, model in enumerate(models):
        for lr, values in ACCURACY.items():
            for seed, accuracy in enumerate(values, 1):
                state = "failed" if accuracy is None else "complete"
                found = None if accuracy is None else accuracy - 0.1 * place
                costs = {"cost/flops_per_token": 1000 + place, "cost/parameters": 77, "cost/seconds": 10.0 * seed}
                row = {"number": len(rows), "state": state, "val/accuracy": found, "step": 1000, "run": ""}
                rows.append(row | costs | {"model": json.dumps(model), "optim.lr": lr, "seed": seed})
    write_csv(directory / "trials.csv", rows)
    space = {"model": {"choices": models}, "optim.lr": {"choices": [*ACCURACY]}, "seed": {"choices": [1, 2, 3]}}
    objectives = {"val/accuracy": "maximize", "cost/flops_per_token": "minimize"}
    settings = {"experiment": "recall/noisy_mqar_tiny", "objectives": objectives, "space": space}
    (directory / "sweep.yaml").write_text(json.dumps(settings))
    return directory


def test_the_page_has_each_mixer_at_its_best_learning_rate(sweep, tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    assert baselines.pack(sweep, None, docs) == docs / "results_baselines_recall.jsonl"
    baselines_report.main(docs, read=False)
    page = (docs / "results_baselines.md").read_text()
    half = 100 * 4.302652729911275 * 0.1 / 3**0.5  # t quantile of 2 degrees of freedom
    line = next(line for line in page.splitlines() if line.startswith("| transformer"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:3] == [f"50.0 ± {half:.1f}", f"**70.0 ± {half:.1f}**"]
    assert cells[5:9] == ["28", "77", "1,001", ""]
    assert page.index("| seqboat") < page.index("| transformer")
    assert "Failed runs: seqboat 1, transformer 1." in page
    assert (docs / "baselines_recall.png").stat().st_size > 0


def test_the_page_in_the_repository_is_that_of_its_results(tmp_path):
    """Numbers in its prose included."""
    for path in baselines.DOCS.glob("results_*.jsonl"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    baselines_report.main(tmp_path)
    pages = [(folder / "results_baselines.md").read_text() for folder in (baselines.DOCS, tmp_path)]
    ours, anew = (page.partition("Page written by")[0] for page in pages)
    assert ours == anew
    assert "RWKV does so at two of them, and comes to 96.5 % at the third" in " ".join(anew.split())


def test_a_sweep_that_is_none_over_mixers_is_refused(sweep, tmp_path):
    (sweep / "sweep.yaml").write_text((sweep / "sweep.yaml").read_text().replace('"seed"', '"optim.warmup_steps"'))
    (sweep / "trials.csv").write_text((sweep / "trials.csv").read_text().replace("seed", "optim.warmup_steps", 1))
    with pytest.raises(ConfigError, match="is no sweep over mixers: it did not search seed"):
        baselines.pack(sweep, None, tmp_path)
    assert not list(tmp_path.glob("*.jsonl"))

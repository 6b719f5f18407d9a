"""A report of any space, from sound or damaged files, with whatever text in it."""

import csv
import json
import re
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from seqboat_lab.analysis import report as reports
from seqboat_lab.analysis.figures import pareto_figure
from seqboat_lab.analysis.figures.text import LABELS
from seqboat_lab.analysis.report import never_tried, write_report
from seqboat_lab.analysis.report.page import SCRIPT
from seqboat_lab.analysis.sweeps import read_sweep
from seqboat_lab.cli import main
from tests.analysis.sweeps import draw_only

TWO = {"val/accuracy": "maximize", "val/activation_rate": "minimize"}
KEYS = ["model.x"]


def rows_of(values, objectives=TWO, states=None):
    """One trial per value of `model.x`, with objectives that all differ."""
    states = states or ["complete"] * len(values)
    return [
        {"number": n, "state": state, **{m: (n + 1) / (100 + 7 * k) for k, m in enumerate(objectives)}, "model.x": value,
         "step": 1, "seconds": 1.0, "run": f"trials/{n:04d}", "error": ""}
        for n, (value, state) in enumerate(zip(values, states, strict=True))
    ]  # fmt: skip


def sweep_directory(path: Path, rows, objectives=TWO, space=None) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    reports.write_csv(path / "trials.csv", rows, first=("number", "state", *objectives, *KEYS))
    spec = {"objectives": objectives, "space": space or {"model.x": {"choices": ["a", "b"]}}}
    (path / "sweep.yaml").write_text(json.dumps(spec))
    return path


def line_of(capsys) -> str:
    error = capsys.readouterr().err
    assert error.startswith("seqboat: ")
    assert error.count("\n") == 1
    assert len(error) < 1000
    return error


SPACES = {
    "no trial": [],
    "one": ["a"],
    "constant": ["a"] * 4,
    "40 names": [f"name{n}" for n in range(40)],
    "40 numbers": [n / 3 for n in range(40)],
    "mixed": [1, "1", 2.5, None, True, False, '{"kind": "sigmoid"}'] * 3,
    "mixed and many": [*range(20), "a", None],
    "odd text": ["$x$", "$", "[/x]", "<script>", "_hidden", "a\nb", "\0", "\ud800", "x" * 3000, "日本", "\\"],
}


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("n_objectives", [1, 2, 3])
@pytest.mark.parametrize("state", ["complete", "mixed"])
def test_a_report_of_any_space(tmp_path, monkeypatch, name, n_objectives, state):
    draw_only(monkeypatch)
    objectives = dict(list({**TWO, "val/$loss": "minimize"}.items())[:n_objectives])
    values = SPACES[name]
    states = [{"mixed": ["complete", "stopped", "failed"][n % 3]}.get(state, state) for n in range(len(values))]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")
        write_report(tmp_path, rows_of(values, objectives, states), objectives, KEYS, {"model.x": ["never"]})
    json.loads((tmp_path / "hypervolume.json").read_text(), parse_constant=pytest.fail)
    page = (tmp_path / "report.html").read_text()
    assert "Never tried: model.x = never." in page
    assert "<script>" not in page.replace(f"<script>{SCRIPT}</script>", "")
    with (tmp_path / "trials.csv").open(newline="") as file:
        assert len(list(csv.DictReader(line.replace("\0", "") for line in file))) == len(values)


TEXT = st.text(max_size=12) | st.sampled_from(["$a$", r"\frac{", "[/x]", "</td><script>", "_", "\ud800", "\0"])
CELL = st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | TEXT
NUMBER = st.none() | st.floats() | st.floats(0, 1) | st.integers(-(10**30), 10**30)


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_rows_give_a_report(tmp_path, monkeypatch, data):
    draw_only(monkeypatch)
    metrics = data.draw(
        st.lists(TEXT.filter(lambda t: t not in ("number", "state")), min_size=1, max_size=3, unique=True)
    )
    objectives = {m: data.draw(st.sampled_from(["maximize", "minimize"])) for m in metrics}
    state = st.sampled_from(["complete"] * 4 + ["stopped", "failed", "running", "waiting", "requeued"])
    row = st.fixed_dictionaries({"state": state, **dict.fromkeys(objectives, NUMBER), "x": CELL, "error": TEXT})
    rows = [{"number": n, **r} for n, r in enumerate(data.draw(st.lists(row, max_size=14)))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_report(tmp_path, rows, objectives, ["x"], {"x": [1, "a"]})
    json.loads((tmp_path / "hypervolume.json").read_text(), parse_constant=pytest.fail)
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("trials", "settings", "message"),
    [
        (b"", None, "has no column number, state"),
        (b"a,b\n1,2\n", None, "has no column number, state"),
        (b"\x89PNG\r\n\x1a\n\0\0\xff", None, "cannot be read as a table"),
        (b"number,state,val/accuracy,val/activation_rate,model.x\n0,complete,0.5\n", None, "another number of cells"),
        (b"number,state,val/accuracy,val/activation_rate,model.x\n0,complete,0.5,,a,b,c\n", None, "another number of cells"),
        (b"number,state,val/accuracy,val/activation_rate,model.x\nx,complete,0.5,0.5,a\n", None, "as the state of trial 'x'"),
        (b"number,state,val/accuracy,val/activation_rate,model.x\n0,<b>,0.5,0.5,a\n", None, "'<b>' as the state"),
        (b"number,state,val/accuracy,val/activation_rate,model.x\n0,complete,high,0.5,a\n", None, "'high' as val/accuracy"),
        (b"number,state,val/accuracy,val/activation_rate,model.x\n0,complete,,0.5,a\n", None, "'' as val/accuracy"),
        (b"number,state,val/accuracy,val/activation_rate,model.x\n0,complete,0,0," + b"x" * 200_000 + b"\n", None, "field larger"),
        (b'number,state,val/accuracy,val/activation_rate,model.x\n0,complete,0,0,"a\n', None, "cannot be read as a table"),
        (None, b"", "sweep.yaml"),
        (None, b"\0\0", "sweep.yaml"),
        (None, b"[1]", "sweep.yaml"),
        (None, b"a: " + b"[" * 5000, "sweep.yaml"),
        (None, b"objectives: 3\nspace: {x: {low: 1, high: 2}}", "has no objectives"),
        (None, b"objectives: {val/accuracy: up}\nspace: {model.x: {choices: [a]}}", "is 'up'; expected maximize"),
        (None, b"objectives: {val/accuracy: maximize}\nspace: {model.x: 3}", "has no space"),
        (None, b"objectives: {val/accuracy: maximize}\nspace: {1: {choices: [a]}}", "sweep.yaml"),
        (None, b"objectives: {val/accuracy: maximize}\nspace: {model.y: {choices: [a]}}", "has no column model.y"),
    ],
)  # fmt: skip
def test_a_damaged_sweep_directory_is_one_line(tmp_path, capsys, trials, settings, message):
    directory = sweep_directory(tmp_path / "sweep", rows_of(["a", "b"]))
    if trials is not None:
        (directory / "trials.csv").write_bytes(trials)
    if settings is not None:
        (directory / "sweep.yaml").write_bytes(settings)
    assert main(["report", str(directory)]) == 2
    assert message in line_of(capsys)
    assert not (directory / "report.html").exists()


@pytest.mark.parametrize("name", ["nothing", "/dev/null/x", "x" * 5000, "a\0b", "[/x]"])
def test_no_sweep_directory_is_one_line(capsys, name):
    try:
        status = main(["report", name])
    except SystemExit as end:  # the parser's own end, of what can be no path
        status = end.code
    assert status == 2
    line_of(capsys)


def test_a_sweep_without_its_settings_is_one_line(tmp_path, capsys):
    directory = sweep_directory(tmp_path / "sweep", rows_of(["a"]))
    (directory / "sweep.yaml").unlink()
    assert main(["report", str(directory)]) == 2
    assert "sweep.yaml" in line_of(capsys)


def test_a_report_that_cannot_be_written_is_one_line_and_leaves_what_was_there(tmp_path, capsys, monkeypatch):
    directory = sweep_directory(tmp_path / "sweep", rows_of(["a"]))
    (directory / "report.html").mkdir()
    before = (directory / "trials.csv").read_bytes()
    assert main(["report", str(directory)]) == 2
    assert "the report cannot be written" in line_of(capsys)
    assert (directory / "trials.csv").read_bytes() == before

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    assert main(["report", str(directory)]) == 2
    assert "No space left on device" in line_of(capsys)
    assert (directory / "trials.csv").read_bytes() == before
    assert not list(directory.glob(".*"))


@pytest.mark.filterwarnings("ignore:.*[Gg]lyph")
def test_text_in_brackets_and_dollars_is_shown_as_it_is(tmp_path, capsys):
    names = ["[/x]", "$a_b$", "<script>alert(1)</script>"]
    directory = sweep_directory(tmp_path / "[" / "x]", rows_of(names), space={"model.x": {"choices": names}})
    assert main(["report", str(directory)]) == 0
    page = (directory / "report.html").read_text()
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    from rich.console import Console

    from seqboat_lab.analysis.metrics_table import print_metrics
    from seqboat_lab.sweep.definition.config import SweepConfig
    from seqboat_lab.sweep.definition.space import Parameter
    from seqboat_lab.sweep.running.live import trial_table

    sweep = SweepConfig(name="a", experiment="b", objectives=TWO, space={"model.x": Parameter(choices=names)})
    console = Console(width=200)
    console.print(trial_table(rows_of(names), sweep, "[/x]"))
    print_metrics("[/x] [bold]", {"[/y]": 1.0})
    shown = capsys.readouterr().out
    assert all(name in shown for name in [*names, "[/x] [bold]", "[/y]"])


def test_a_sweep_is_read_back_as_it_was(tmp_path):
    values = ["007", "1e3", "nan", "true", '{"kind": "sigmoid"}', "2024_01"]
    choices = ["007", "1e3", "nan", "true", {"kind": "sigmoid"}, "2024_01"]
    rows = [{**row, "val/loss": 0.1 + row["number"], "run": "0010", "error": "17"} for row in rows_of(values)]
    sweep = read_sweep(sweep_directory(tmp_path, rows, space={"model.x": {"choices": choices}}))
    assert [{k: v for k, v in row.items() if v is not None} for row in sweep.rows] == rows
    numbers = read_sweep(sweep_directory(tmp_path, rows_of([7, 8]), space={"model.x": {"low": 1, "high": 9}}))
    assert [row["model.x"] for row in numbers.rows] == [7, 8]
    mixed = read_sweep(
        sweep_directory(tmp_path, rows_of([True, 2, None]), space={"model.x": {"choices": [True, 2, None]}})
    )
    assert [row["model.x"] for row in mixed.rows] == [True, 2, None]


def test_never_tried_names_what_no_trial_had():
    rows = rows_of(["a", "b", "a"], states=["failed", "requeued", "complete"])
    assert never_tried(rows, {"model.x": ["a", "b", "c", "d"]}) == {"model.x": ["c", "d"]}
    assert never_tried(rows, {"model.x": ["a", "b"]}) == {}


def test_the_reference_of_the_first_report_is_kept_by_later_ones(tmp_path, capsys):
    objectives = {"val/loss": "minimize"}
    directory = sweep_directory(tmp_path / "s", rows_of(["a"] * 5, objectives), objectives)
    assert main(["report", str(directory)]) == 0
    before = json.loads((directory / "hypervolume.json").read_text())
    assert before["reference"] == {"val/loss": 0.05}
    rows = rows_of(["a"] * 9, objectives)
    rows[0]["val/loss"] = 7.0  # the worst of the first five, had it been then
    reports.write_csv(directory / "trials.csv", rows)
    assert main(["report", str(directory)]) == 0
    assert json.loads((directory / "hypervolume.json").read_text())["reference"] == {"val/loss": 0.05}


def test_two_objectives_have_a_staircase_three_a_matrix_of_pairs_and_one_its_best_so_far():
    three = {"val/accuracy": "maximize", "val/activation_rate": "minimize", "cost/flops_per_token": "minimize"}
    values = [(0.9, 0.5, 9.0), (0.8, 0.6, 1.0), (0.5, 0.4, 5.0), (0.5, 0.5, 9.0)]  # the last is dominated, by all three
    rows = [
        {"number": n, "state": "complete", **dict(zip(three, v, strict=True)), "model.x": 1}
        for n, v in enumerate(values)
    ]

    figure = pareto_figure(rows, three)
    pairs = [axis for axis in figure.axes if axis.axison]
    assert [(a.get_xlabel(), a.get_ylabel()) for a in pairs] == [
        ("", "activation rate"),
        (LABELS["val/accuracy"], LABELS["cost/flops_per_token"]),
        ("activation rate", ""),
    ]
    for axis in pairs:
        assert not axis.lines  # no staircase: the front is not one in this plane
        assert {text.get_text() for text in axis.texts} == {"0", "1", "2"}

    two = dict(list(three.items())[:2])
    (axis,) = pareto_figure(rows, two).axes
    assert [tuple(p) for p in axis.lines[0].get_xydata()] == [(0.4, 0.5), (0.5, 0.9)]  # trials 2 and 0

    (axis,) = pareto_figure([rows[2], rows[1], rows[0], rows[3]], {"val/accuracy": "maximize"}).axes
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("trial", "validation accuracy")
    assert [tuple(p) for p in axis.lines[0].get_xydata()] == [(0, 0.9), (1, 0.9), (2, 0.9), (3, 0.9)]
    (axis,) = pareto_figure(rows, {"val/activation_rate": "minimize"}).axes
    assert list(axis.lines[0].get_ydata()) == [0.5, 0.5, 0.4, 0.4]
    assert "FLOPs" in LABELS["cost/flops_per_token"]
    assert not any("matmul" in text for text in LABELS.values())
    plt.close("all")


def test_each_tag_of_a_sweep_in_tensorboard_is_of_one_kind(tmp_path):
    write_report(tmp_path, rows_of(["a", "b"]), TWO, KEYS)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = {kind: set(found) for kind, found in events.Tags().items() if isinstance(found, list) and found}
    assert tags == {"images": {"Sweep/1 pareto", "Sweep/2 hypervolume"}, "scalars": {"hypervolume"}}
    assert [e.step for e in events.Scalars("hypervolume")] == [1, 2]


def test_hparams_hold_costs_and_stopped_trials_and_of_each_run_once(tmp_path):
    rows = [
        {**row, "cost/parameters": 100} for row in rows_of(["a", "b", "c"], states=["complete", "stopped", "failed"])
    ]
    del rows[1]["cost/parameters"]
    for row in rows:
        (tmp_path / row["run"]).mkdir(parents=True)
    (tmp_path / "trials" / "0001" / "validations.jsonl").write_text(
        '{"step": 1, "cost/parameters": 7}\n{"step": 2, "cost/parameters": 9}\n'
    )
    for _ in range(2):
        write_report(tmp_path, rows, TWO, KEYS)
    found = {}
    for run in sorted(tmp_path.glob("trials/*")):
        for file in run.glob("*.hparams"):
            events = EventAccumulator(str(file))
            events.Reload()
            kept = {tag: metadata.plugin_data.content for tag, metadata in events.summary_metadata.items()}
            content = {tag: HParamsPluginData.FromString(value) for tag, value in kept.items()}
            start = content["_hparams_/session_start_info"].session_start_info.hparams
            metrics = {i.name.tag for i in content["_hparams_/experiment"].experiment.metric_infos}
            found.setdefault(run.name, []).append((start["model.x"].string_value, start["state"].string_value, metrics))
    assert found == {
        "0000": [("a", "complete", {*TWO, "cost/parameters"})],
        "0001": [("b", "stopped", {*TWO, "cost/parameters"})],
    }


def test_csv_columns_are_there_without_any_trial(tmp_path):
    write_report(tmp_path, [], TWO, KEYS)
    assert re.split(",", (tmp_path / "trials.csv").read_text().strip()) == ["number", "state", *TWO, *KEYS]


def test_the_hypervolume_of_two_maximised_shares_is_counted_from_zero(tmp_path, capsys):
    up = dict.fromkeys(TWO, "maximize")
    rows = rows_of(["a", "b"], up)
    for row, (accuracy, rate) in zip(rows, [(0.5, 0.25), (0.75, 0.5)], strict=True):
        row |= {"val/accuracy": accuracy, "val/activation_rate": rate}
    directory = sweep_directory(tmp_path / "s", rows, up)
    assert main(["report", str(directory)]) == 0
    kept = json.loads((directory / "hypervolume.json").read_text())
    assert kept == {"reference": dict.fromkeys(TWO, 0.0), "history": [0.125, 0.375]}
    settings = json.loads((directory / "sweep.yaml").read_text()) | {"reference": {"val/accuracy": 0.25}}
    (directory / "sweep.yaml").write_text(json.dumps(settings))
    assert main(["report", str(directory)]) == 0
    assert json.loads((directory / "hypervolume.json").read_text())["history"] == [0.0625, 0.25]

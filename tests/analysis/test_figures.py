"""What figures show: colours that mean something, intervals, references, and every trial as a link."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from seqboat_lab.analysis.confirmation import read_confirmation, read_references
from seqboat_lab.analysis.figures import (
    confirmed_figure,
    hypervolume_figure,
    parallel_figure,
    pareto_figure,
    timeline_figure,
)
from seqboat_lab.analysis.figures.colours import DISTINCT, shades
from seqboat_lab.analysis.figures.progress import spending
from seqboat_lab.analysis.figures.text import number, with_error
from tests.analysis.sweeps import CONFIRMED, ROWS, THREE, TWO, confirm, make_sweep, trial


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def urls(figure) -> set[str]:
    found = {url for axis in figure.axes for c in axis.collections for url in c.get_urls() if url}
    return found | {a.get_url() for axis in figure.axes for a in (*axis.lines, *axis.patches) if a.get_url()}


def test_names_have_distinct_colours_numbers_a_map_in_their_order_and_many_a_scale():
    names = shades([{"x": name} for name in ("s4d", "ema", "s5")], "x")[0]
    assert [(s.name, s.style["color"]) for s in names] == [
        ("x ema", DISTINCT[0]),
        ("x s4d", DISTINCT[1]),
        ("x s5", DISTINCT[2]),
    ]
    viridis = plt.colormaps["viridis"]
    numbers, scale = shades([{"x": v} for v in (64, 2, 8)], "x")
    assert scale is None
    assert [s.name for s in numbers] == ["x 2", "x 8", "x 64"]
    assert [to_hex(s.style["color"]) for s in numbers] == [to_hex(viridis(v)) for v in (0.0, 0.5, 1.0)]
    (group,), scale = shades([{"x": 0.01 * 10 ** (n / 10)} for n in range(21)], "x")
    assert len(group.rows) == 21
    assert scale.norm(0.1) == pytest.approx(0.5)  # two decades: logarithmic
    truths = shades([{"x": True}, {"x": False}], "x")[0]
    assert {s.style["color"] for s in truths} == set(DISTINCT[:2])


def test_every_trial_that_is_drawn_is_a_link():
    everyone = {f"trial:{row['number']}" for row in ROWS}
    complete = everyone - {"trial:9"}
    assert urls(pareto_figure(ROWS, TWO)) == everyone  # with the stopped one
    assert urls(parallel_figure(ROWS, TWO, ["model.kernel"])) == complete
    assert urls(timeline_figure(ROWS)) == everyone


def test_references_are_labelled_and_standard_errors_drawn(tmp_path):
    point = {"val/accuracy": 0.47, "val/activation_rate": 1.0}
    (tmp_path / "references.json").write_text(json.dumps([{"name": "always", "run": "r", "seed": 0, "values": point}]))
    rows = [trial(0, 0.5, 0.4, **{"val/accuracy_se": 0.02}), trial(1, 0.4, 0.3)]
    (axis,) = pareto_figure(rows, TWO, references=read_references(tmp_path, TWO)).axes
    assert "always" in {text.get_text() for text in axis.texts}
    ends = [segment for c in axis.collections if hasattr(c, "get_segments") for segment in c.get_segments()]
    assert any(np.allclose(segment, [[0.4, 0.48], [0.4, 0.52]]) for segment in ends)


def test_a_trial_that_breaks_a_constraint_is_marked_and_not_on_the_front():
    rows = [trial(0, 0.9, 0.1, feasible=False), trial(1, 0.5, 0.5, feasible=True)]
    (axis,) = pareto_figure(rows, TWO).axes
    assert {text.get_text() for text in axis.texts} == {"1"}
    assert "breaks a constraint" in axis.get_legend_handles_labels()[1]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_confirmed_candidates_have_their_means_and_intervals(tmp_path, n):
    objectives = dict(list(THREE.items())[:n])
    rows = [
        trial(row["number"], row["val/accuracy"], row["val/activation_rate"], 1e5, objectives=THREE) for row in ROWS
    ]
    directory = make_sweep(tmp_path / "s", rows, objectives)
    confirm(directory, {k: [(*p, 1e5) for p in seeds] for k, seeds in CONFIRMED.items()}, THREE)
    figure = confirmed_figure(read_confirmation(directory, objectives), objectives, rows)
    axis = figure.axes[0]
    ends = [segment for c in axis.collections if hasattr(c, "get_segments") for segment in c.get_segments()]
    half = 4.302653 * 0.01 / np.sqrt(3)  # t of 2 degrees of freedom; accuracies of 0.47, 0.48, 0.49
    lows = {round(float(value), 4) for segment in ends for value in np.ravel(segment)}
    assert round(0.48 - half, 4) in lows
    assert round(0.48 + half, 4) in lows
    assert {f"trial:{k}" for k in (0, 1, 2)} <= urls(figure)
    figure.draw_without_rendering()


def test_updates_and_hours_add_up_in_the_order_in_which_trials_ended():
    rows = [
        trial(0, 0.5, 0.5, started="2026-01-01T12:00:00", seconds=7200.0),
        trial(1, 0.4, 0.2, started="2026-01-01T12:00:00", seconds=1800.0, state="stopped", step=25),
        trial(2, 0.6, 0.5, started="2026-01-01T12:30:00", seconds=1800.0, seeds=3),
    ]
    assert [(r["number"], u, h) for r, u, h in spending(rows)] == [(1, 25, 0.5), (2, 325, 1.0), (0, 425, 2.0)]
    updates, hours = hypervolume_figure(rows, TWO).axes
    assert list(updates.lines[0].get_xdata()) == [0, 325, 425]
    assert list(hours.lines[0].get_xdata()) == [0, 1.0, 2.0]
    assert list(hours.lines[0].get_ydata()) == pytest.approx([0, 0.3, 0.3])  # trial 2 dominates trial 0
    assert spending([{**rows[0], "started": ""}, rows[2]]) == []


def test_trials_at_the_same_time_have_lines_of_their_own():
    (axis,) = timeline_figure(ROWS).axes
    assert [text.get_text() for text in axis.get_yticklabels()] == ["worker 1", "worker 2"]
    named = [{**row, "worker": f"host-{row['number'] % 5}"} for row in ROWS]
    assert len(timeline_figure(named).axes[0].get_yticklabels()) == 5


def test_a_mean_is_shown_to_its_intervals_second_digit():
    assert with_error(0.47123, 0.0123) == "0.471 ± 0.012"
    assert with_error(70123.4, 1234.5) == "70,123 ± 1,234"
    assert with_error(0.5, float("nan")) == "0.5"
    assert with_error(1.0, 0.0) == "1 ± 0"
    assert [number(v) for v in (None, 3, 0.123456, 91570.2, "x")] == ["-", "3", "0.1235", "91,570", "x"]

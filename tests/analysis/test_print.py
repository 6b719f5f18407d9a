"""Figures for print: what a line shows, its size, and where it goes."""

from itertools import pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest

from seqboat_lab.analysis.figures.print import COLUMN, keep, line, lines, panels, style

mpl.use("Agg")
T1 = 12.706204736174698  # 97.5 % quantile of Student's t with 1 degree of freedom


@pytest.fixture(autouse=True)
def closed():
    with mpl.rc_context():
        yield
    plt.close("all")


def test_a_line_has_means_and_intervals_and_a_single_run_none():
    _, (axis,) = panels()
    line(axis, [4, 16], [[1.0, 3.0], [5.0]], 0, "a")
    (container,) = axis.containers
    assert container.lines[0].get_xydata().tolist() == [[4, 2], [16, 5]]
    (bars,) = container.lines[2]
    low, high = bars.get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((2 - T1, 2 + T1))  # s / sqrt(n) is 1
    assert bars.get_segments()[1][:, 1].tolist() == [5, 5]


def test_lines_group_a_table_and_leave_out_what_is_missing():
    table = pd.DataFrame({"w": [16, 4, 4, 4], "task": ["b", "a", "a", "b"], "y": [None, 0.1, 0.3, 0.2]})
    _, (axis,) = panels()
    lines(axis, table, "w", "y", "task", 100)
    assert [c.lines[0].get_xydata().tolist() for c in axis.containers] == [[[4, 20]], [[4, pytest.approx(20)]]]
    assert axis.get_legend_handles_labels()[1] == ["b", "a"]


def test_every_line_differs_by_colour_or_dash_and_neighbours_by_marker():
    styles = [style(place) for place in range(13)]
    assert len({(each["color"], each["linestyle"]) for each in styles}) == 13
    assert all(one["marker"] != other["marker"] for one, other in pairwise(styles))


def test_a_figure_is_one_column_wide_and_goes_to_pdf(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQBOAT_FIGURES", str(tmp_path / "figures"))
    figure, axes = panels(3, 2, height=1.0)
    assert len(axes) == 6
    assert figure.get_size_inches().tolist() == [COLUMN, 3.0]
    assert mpl.rcParams["font.size"] >= 7
    keep(figure, "all")
    assert (tmp_path / "figures" / "all.pdf").read_bytes().startswith(b"%PDF")

"""The picture of a text has each activated byte marked at its place."""

import numpy as np

from seqboat_lab.training.callbacks.text_pictures import CELL, COLUMNS, MARGIN, bpc_figure, text_raster


def test_activated_bytes_are_blue_where_they_stand():
    text = b"ab\nc" + b"d" * COLUMNS + b"\x00"
    weights = np.zeros(len(text))
    weights[[1, 3, 4 + COLUMNS - 2, len(text) - 1]] = 1.0, 0.5, 1.0, 0.2  # b, c, wrapped d, the last byte
    image = text_raster(text, [np.zeros(len(text)), weights])
    (wide, high), lines = CELL, 3
    cells = image[MARGIN:, MARGIN:][: 2 * (lines + 2) * high, : COLUMNS * wide]
    corners = cells[::high, ::wide]  # the upper left pixel of each character, which letters leave free
    blue = {(int(r), int(c)) for r, c in np.argwhere(corners[..., 0] < corners[..., 2])}
    top = lines + 2 + 1  # the second layer's text, under its title
    assert blue == {(top, 1), (top + 1, 0), (top + 1, COLUMNS - 1), (top + 2, 1)}
    strength = {place: 255 - int(corners[place][0]) for place in blue}
    assert strength[top, 1] == strength[top + 1, COLUMNS - 1] > strength[top + 1, 0] > strength[top + 2, 1] > 0


def test_bits_per_byte_by_position_leave_out_what_was_not_scored():
    bpc = np.full(500, np.nan)
    bpc[250:] = 2.0
    (line,) = bpc_figure(bpc, "").axes[0].lines
    assert line.get_xdata().min() > 250
    assert set(line.get_ydata()) == {2.0}

"""Pictures of tokens have each active one marked at its place."""

import numpy as np

from seqboat_lab.data.loading.encode import decode_bytes
from seqboat_lab.training.callbacks.rasters import CELL, COLUMNS, MARGIN, layout, token_raster


def test_activated_bytes_are_blue_where_they_stand():
    text = b"ab\nc" + b"d" * COLUMNS + b"\x00"
    weights = np.zeros(len(text))
    weights[[1, 3, 4 + COLUMNS - 2, len(text) - 1]] = 1.0, 0.5, 1.0, 0.2  # b, c, wrapped d, the last byte
    image = token_raster(decode_bytes([byte + 1 for byte in text]), [np.zeros(len(text)), weights])
    (wide, high), lines = CELL, 3
    cells = image[MARGIN:, MARGIN:][: 2 * (lines + 2) * high, : COLUMNS * wide]
    corners = cells[::high, ::wide]  # the upper left pixel of each character, which letters leave free
    blue = {(int(r), int(c)) for r, c in np.argwhere(corners[..., 0] < corners[..., 2])}
    top = lines + 2 + 1  # the second layer's text, under its title
    assert blue == {(top, 1), (top + 1, 0), (top + 1, COLUMNS - 1), (top + 2, 1)}
    strength = {place: 255 - int(corners[place][0]) for place in blue}
    assert strength[top, 1] == strength[top + 1, COLUMNS - 1] > strength[top + 1, 0] > strength[top + 2, 1] > 0


def test_words_stand_apart_and_are_never_cut():
    assert layout(["[MAX", "7", "]", "é"]) == [(0, 0), (0, 5), (0, 7), (0, 9)]
    places = layout(["k0", "n11"] * 40)
    assert max(column + 3 for _, column in places[1::2]) <= COLUMNS
    assert len(set(places)) == 80
    image = token_raster(["k0", "n11"], [np.array([0.0, 1.0])])
    row = image[MARGIN + CELL[1], MARGIN :: CELL[0]]  # one pixel of each character of the first line
    assert [bool(pixel[0] < pixel[2]) for pixel in row[:7]] == [False, False, False, True, True, True, False]


def test_a_sample_without_tokens_has_a_picture_without_them():
    assert token_raster([], [np.zeros(0)]).ndim == 3

"""The curve of bits per byte by position."""

import numpy as np

from seqboat_lab.training.callbacks.bits_by_position import bpc_figure


def test_bits_per_byte_by_position_leave_out_what_was_not_scored():
    bpc = np.full(500, np.nan)
    bpc[250:] = 2.0
    (line,) = bpc_figure(bpc, "").axes[0].lines
    assert line.get_xdata().min() > 250
    assert set(line.get_ydata()) == {2.0}

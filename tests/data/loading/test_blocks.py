"""Evaluation blocks: every prediction once, with at least the context asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqboat_lab.data.loading.segments import evaluation_blocks


@given(length=st.integers(0, 500), tokens=st.integers(1, 60), data=st.data())
def test_every_prediction_is_scored_once_with_the_context_asked_for(length, tokens, data):
    context = data.draw(st.integers(0, tokens - 1))
    blocks = evaluation_blocks(length, tokens, context)
    assert [t for _, stop, first in blocks for t in range(first, stop)] == list(range(length))
    for start, stop, first in blocks:
        assert 0 < stop - start <= tokens
        assert first - start == min(context, first)


def test_blocks_by_hand():
    assert evaluation_blocks(10, 4, 0) == [(0, 4, 0), (4, 8, 4), (8, 10, 8)]
    assert evaluation_blocks(7, 4, 3) == [(0, 4, 0), (1, 5, 4), (2, 6, 5), (3, 7, 6)]
    assert evaluation_blocks(3, 8192, 7000) == [(0, 3, 0)]


@pytest.mark.parametrize("context", [-1, 4, 5])
def test_a_context_as_long_as_the_block_would_score_nothing(context):
    with pytest.raises(ValueError, match="context must be from 0 to tokens_per_sample - 1 = 3"):
        evaluation_blocks(10, 4, context)

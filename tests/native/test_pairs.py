"""Weights of pairs of query and key by pairs.c against the definition, pair by pair, in float64."""

import math

import pytest
import torch

from seqboat_lab.native.pairs import NativePairs, Window

T, BACK, AHEAD, TILES, DEPTH = 5, 7, 6, 3, 4
WIDTH = BACK + T + AHEAD
REACH = CENTER = 9
SLOTS = BACK + T * TILES + AHEAD


def setup(dtype: torch.dtype, softmax: bool):
    torch.manual_seed(0)
    row = torch.full((SLOTS,), -1, dtype=torch.int32)
    row[BACK : BACK + 6], row[BACK + 6 : BACK + 7], row[BACK + 7 : BACK + 13] = 0, 1, 2  # the last two slots fill up
    place = torch.randint(0, 30, (SLOTS,), dtype=torch.int32)
    table = torch.randn(2 * REACH + 2, dtype=dtype)
    pairs = NativePairs(Window(T, BACK, AHEAD), row, place, table, center=CENTER, reach=REACH, softmax=softmax)
    q, k = torch.randn(TILES, T, DEPTH, dtype=dtype), torch.randn(TILES, WIDTH, DEPTH, dtype=dtype)
    return pairs, row, place, table, 3 * q, k


def defined(row, place, table, q, k, softmax: bool):
    """Scores, -inf where they may not be, and weights."""
    scores = torch.full((TILES, T, WIDTH), -math.inf, dtype=q.dtype)
    for tile in range(TILES):
        for t in range(T):
            own = tile * T + BACK + t
            for j in range(WIDTH):
                key = tile * T + j
                if own - BACK <= key <= own + AHEAD and row[key] == row[own] >= 0:
                    distance = min(max(int(place[key] - place[own]), -REACH), REACH)
                    scores[tile, t, j] = q[tile, t] @ k[tile, j] + table[CENTER + distance]
    return scores, torch.softmax(scores, -1) if softmax else torch.relu(scores).square()


TOKENS = TILES * T - 2  # the other queries fill the last tile: what they give is cut off


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-6)])
def test_weights_and_gradients(dtype, tolerance, softmax):
    pairs, row, place, table, q, k = setup(dtype, softmax)
    wide = [t.double().clone().requires_grad_() for t in (table, q, k)]
    _, expected = defined(row, place, *wide, softmax)
    grad = torch.randn(TILES, T, WIDTH, dtype=dtype)
    grad.flatten(0, 1)[TOKENS:] = 0
    grads = torch.autograd.grad((expected.nan_to_num() * grad.double()).sum(), wide)

    scores = torch.empty(TILES, T, WIDTH, dtype=dtype)
    p = pairs.weights(slice(0, TILES), q, k, scores)
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(p.flatten(0, 1)[:TOKENS].double(), expected.flatten(0, 1)[:TOKENS], **close)
    rows = torch.zeros(TILES, len(table), dtype=dtype)
    again, grad_scores = pairs.gradient(slice(0, TILES), scores, grad.clone(), rows)
    assert torch.equal(again, p)
    grad_table = rows.sum(0)
    for ours, theirs in zip((grad_table, grad_scores @ k, grad_scores.mT @ q), grads, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=20 * tolerance, atol=20 * tolerance)


def test_some_tiles_are_those_of_all():
    pairs, *_, q, k = setup(torch.float64, softmax=True)
    scores = torch.empty(TILES, T, WIDTH, dtype=torch.float64)
    all_tiles = pairs.weights(slice(0, TILES), q, k, scores).clone()
    part = slice(1, TILES)
    assert torch.equal(pairs.weights(part, q[part], k[part], scores[part]), all_tiles[part])


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, 3e-7), (torch.float64, 5e-16)])
@pytest.mark.parametrize("spread", [1e-3, 1.0, 30.0, 1e4])
def test_the_exponential_is_right_to_its_last_digits(dtype, digits, spread):
    """One row of 4,096 scores, near each other and far apart; weights below 1e-37 (1e-307) may be nothing."""
    torch.manual_seed(0)
    width = 4096
    row = torch.zeros(width + 1, dtype=torch.int32)
    pairs = NativePairs(Window(1, width - 1, 1), row, row, torch.zeros(2, dtype=dtype), center=0, reach=0, softmax=True)
    k = (spread * torch.randn(1, width + 1, 1)).to(dtype)
    scores = torch.empty(1, 1, width + 1, dtype=dtype)
    p = pairs.weights(slice(0, 1), torch.ones(1, 1, 1, dtype=dtype), k, scores)
    expected = torch.softmax(scores.double(), -1)
    torch.testing.assert_close(p.double(), expected, rtol=0, atol=digits)
    large = expected > 1e-30
    torch.testing.assert_close(p.double()[large], expected[large], rtol=60 * digits, atol=0)


@pytest.mark.parametrize("softmax", [True, False])
def test_nan_is_not_lost(softmax):
    """Diverged weights must show."""
    pairs, *_, q, k = setup(torch.float32, softmax)
    q[0, 2] = torch.nan
    scores = torch.empty(TILES, T, WIDTH)
    p = pairs.weights(slice(0, TILES), q, k, scores)
    assert p.isnan().any(-1).nonzero().tolist() == [[0, 2]]
    _, grad = pairs.gradient(slice(0, TILES), scores, torch.ones_like(scores), None)
    assert grad.isnan().any(-1).nonzero().tolist() == [[0, 2]]


def test_a_window_may_be_longer_than_the_stack():
    width = 2**21
    row = torch.zeros(width + 1, dtype=torch.int32)
    pairs = NativePairs(Window(1, width - 1, 1), row, row, torch.zeros(2), center=0, reach=0, softmax=False)
    scores = torch.empty(1, 1, width + 1)
    assert pairs.weights(slice(0, 1), torch.ones(1, 1, 1), torch.ones(1, width + 1, 1), scores).sum() == width + 1
    pairs.gradient(slice(0, 1), scores, torch.ones_like(scores), None)

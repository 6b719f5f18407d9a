"""The n-gram baselines against values computed by hand."""

import math
import shutil
import subprocess

import numpy as np
import pytest

from benchmarks.text_baselines import NGrams, fit_weights, ngram_bits, xz_bits


def array(text: bytes) -> np.ndarray:
    return np.frombuffer(text, np.uint8)


def test_frequencies_by_hand():
    # aab aab b: pairs aa ab ba aa ab bb; after aa: b b; after ab: a b; after ba: a; after bb: nothing
    model = NGrams(array(b"aabaabb"), 2)
    experts, classes = model.experts(array(b"aababbc"))  # scores b (after aa), a (ab), b (ba), b (ab), c (bb)
    np.testing.assert_allclose(
        experts,
        [
            [1 / 256, 3 / 7, 2 / 4, 2 / 2],
            [1 / 256, 4 / 7, 1 / 2, 1 / 2],
            [1 / 256, 3 / 7, 2 / 4, 0 / 1],
            [1 / 256, 3 / 7, 1 / 2, 1 / 2],
            [1 / 256, 0, 0, 0],
        ],
    )
    assert classes.tolist() == [1, 1, 1, 1, 0]  # floor(log2(count + 1)), counts 2 2 1 2 0


def test_weights_are_those_of_the_highest_likelihood():
    # two experts: p = 0.8 or 0.2 on three bytes of four, the other way round on one; likelihood over w by hand:
    # 3 log(0.2 + 0.6 w) + log(0.8 - 0.6 w) is highest at 3 (0.8 - 0.6 w) = 0.2 + 0.6 w, w = 11/12
    experts = np.array([[0.8, 0.2]] * 3 + [[0.2, 0.8]])
    weights = fit_weights(experts, np.zeros(4, int), rounds=2000)[0]
    np.testing.assert_allclose(weights, [0.999 * 11 / 12 + 0.0005, 0.999 / 12 + 0.0005], rtol=1e-4)


def test_bits_per_byte_by_hand():
    # alternating bytes: order 1 is certain, so its weight goes to 1 (but for the part held back: 0.001 over three
    # experts), and order 0 gives 1/2
    text = array(b"ab" * 500)
    expected = -math.log2(0.999 + 0.001 / 3 * (1 + 1 / 2 + 1 / 256))
    assert ngram_bits(text, text, text, 1) == pytest.approx(expected, rel=1e-3)
    uniform = array(bytes(range(256)) * 40)
    assert ngram_bits(uniform, uniform, uniform, 0) == pytest.approx(8.0, abs=1e-6)


def test_counts_do_not_depend_on_the_pieces_they_are_taken_in(monkeypatch):
    text = np.random.default_rng(0).integers(0, 5, 1000, dtype=np.uint8)
    whole = NGrams(text, 2).counts
    monkeypatch.setattr("benchmarks.text_baselines.PIECE", 7)
    for a, b in zip(NGrams(text, 2).counts, whole, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(shutil.which("xz") is None, reason="no xz on this machine")
def test_xz_is_the_command_xz():
    text = array(b"the same bytes again and " * 400)
    size = len(subprocess.run(["xz", "-9", "-c"], input=text.tobytes(), capture_output=True, check=True).stdout)
    assert xz_bits(text) == pytest.approx(8 * size / len(text), abs=8 * 8 / len(text))

"""The FFT convolution against a double loop; lengths of FFTs."""

import pytest
import torch

from seqboat_lab.nn.ssm.convolution import fft_convolve, good_length


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize(("length", "lags"), [(1, 1), (7, 7), (8, 3), (31, 31), (32, 1)])
def test_convolution_sums_past_and_future_without_wrapping_round(length, lags, directions):
    x, kernel = torch.randn(2, length, 3).double(), torch.randn(directions, 3, lags).double()
    expected = torch.zeros_like(x)
    for t in range(length):
        for lag in range(lags):
            if t - lag >= 0:
                expected[:, t] += kernel[0, :, lag] * x[:, t - lag]
            if directions == 2 and t + lag < length:
                expected[:, t] += kernel[1, :, lag] * x[:, t + lag]
    torch.testing.assert_close(fft_convolve(x, kernel), expected)


def test_good_lengths_are_even_smooth_and_the_next():
    def smooth(n: int) -> bool:
        return any(n == 2**a * 3**b * 5**c for a in range(1, 13) for b in range(8) for c in range(6))

    for n in (1, 2, 7, 100, 101, 997, 1025, 2047):
        found = good_length(n)
        assert smooth(found)
        assert not any(smooth(between) for between in range(n, found))

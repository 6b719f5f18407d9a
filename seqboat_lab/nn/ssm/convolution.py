"""Long convolution through one FFT: both directions of a kernel folded into a single circular one."""

import math
from functools import cache

import torch
from torch import Tensor


def fft_convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """y_t = sum_l k[0, l] x_{t-l} (+ sum_l k[1, l] x_{t+l}); lag 0 counts in both directions.

    Args:
        x: (B, L, d).
        kernel: (R, d, K), K <= L; R = 2 adds the backward kernel.
    """
    L, K = x.shape[1], kernel.shape[-1]
    n = good_length(L + K - 1)  # lags -(K-1) .. K-1 meet positions 0 .. L-1 without wrapping into each other
    circular = torch.zeros(*kernel.shape[1:-1], n, dtype=x.dtype, device=x.device)  # (d, n)
    circular[:, :K] = kernel[0]
    if len(kernel) == 2:
        circular[:, 0] = circular[:, 0] + kernel[1, :, 0]
        circular[:, n - K + 1 :] = kernel[1, :, 1:].flip(-1)
    spectrum = torch.fft.rfft(x.transpose(1, 2), n=n) * torch.fft.rfft(circular)  # (B, d, n/2 + 1)
    return torch.fft.irfft(spectrum, n=n)[..., :L].transpose(1, 2)


@cache
def good_length(n: int) -> int:
    """Smallest even number from n on with no prime factor above 5: FFTs of such lengths are fast."""
    n += n % 2
    while not _is_smooth(n):
        n += 2
    return n


def _is_smooth(n: int) -> bool:
    for prime in (2, 3, 5):
        while n % prime == 0:
            n //= prime
    return n == 1


def fft_flops(n: int) -> float:
    """The usual count for one real FFT of length n: half of 5 n log2 n."""
    return 2.5 * n * math.log2(n)

"""Chunked evaluation of a diagonal state space model, real or complex.

A channel with modes a_n and weights w_n has the kernel k[l] = Re sum_n w_n a_n^l. The sequence is cut into
chunks of T: inside a chunk the kernel is a small T x T Toeplitz matrix, between chunks only the modes'
states are carried. That costs O(L (T + n)) per channel, needs no FFT and no kernel as long as the sequence,
and starts from any state. (The block decomposition of Dao & Gu 2024, arXiv 2405.21060, for fixed decays.)
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from seqboat_lab.nn.ssm.recurrence import recurrence

BLOCK = (
    64,
    2048,
)  # channels and tokens that a CPU transposes at a time: torch's own copy of a whole transpose uses one thread
CHUNK = 64  # measured on CPU: 32 to 128 are alike, beyond that the Toeplitz part dominates


def diagonal_scan(
    x: Tensor, log_decay: Tensor, weight: Tensor, state: Tensor | None = None, need_state: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Filter `x` with the kernels of diagonal modes, forward in time or both ways.

    Args:
        x: (B, L, d) input, float32 or float64.
        log_decay: (R, d, n) logarithm of the modes a, real or complex; R = 1 runs forward only, with R = 2
            the second set runs backward (lag 0 counts in both).
        weight: (R, d, n) weight of each mode in the output.
        state: (B, d, n) sums sum_j a^(t - j) x_j up to the last input seen (forward only).
        need_state: also return the state after the last input (forward only).

    Returns:
        y (B, L, d) and the new state, or None where it was not asked for.
    """
    B, L, d = x.shape
    T = L if L <= 2 * CHUNK else CHUNK
    chunks = -(-L // T)
    steps = torch.arange(T + 1, device=x.device)
    powers = torch.exp(log_decay.unsqueeze(-1) * steps)  # (R, d, n, T+1)
    weighted = weight.unsqueeze(-1) * powers
    inside = _toeplitz(_real(weighted[..., :T].sum(2)))  # (d, T, T)

    xc = F.pad(x, (0, 0, 0, chunks * T - L)) if chunks * T != L else x
    xc = _transpose(xc.reshape(B * chunks * T, d)).view(d, B * chunks, T)
    carried = chunks > 1 or state is not None
    if carried:
        # what a chunk adds to the modes: at its end, T-1-j steps after input j; backward at its start, j steps
        adds = [_rows(powers[0, ..., :T].flip(-1)), *(_rows(p[..., :T]) for p in powers[1:])]
        both = torch.bmm(xc, torch.cat([inside, torch.cat(adds, dim=1).mT], dim=2))  # (d, B*chunks, T + R*m)
        m = adds[0].shape[1]  # n real modes, 2n if they are complex
        near, added = both.split([T, both.shape[2] - T], dim=2)  # two slices would have a gradient of this size each
        added = added.view(d, B, chunks, len(log_decay), m)
        edges = _carry(added, log_decay * T, state)
        # what an edge's state gives: at offset i after i+1 steps forward, after T-i steps backward
        gives = [_rows(weighted[0, ..., 1:].conj()), *(_rows(w[..., 1:].flip(-1).conj()) for w in weighted[1:])]
        y = torch.baddbmm(near, edges.flatten(3).flatten(1, 2), torch.cat(gives, dim=1))
    else:
        y = torch.bmm(xc, inside)
    y = _transpose(y.view(d, B * chunks * T)).view(B, chunks * T, d)[:, :L]
    if not need_state:
        return y, None

    last = L - (chunks - 1) * T  # inputs in the last chunk
    tail = x[:, L - last :].to(powers.dtype)  # (B, last, d)
    new_state = torch.einsum("dnt,btd->bdn", powers[0, ..., :last].flip(-1), tail)
    if carried:
        edge = _modes(edges[:, :, -1, 0], powers.is_complex())  # (d, B, n)
        new_state = new_state + powers[0, ..., last] * edge.transpose(0, 1)
    return y, new_state


def truncated_scan(x: Tensor, log_decay: Tensor, weight: Tensor, truncation: int) -> Tensor:
    """`diagonal_scan` with kernels cut after `truncation` lags: what an endless kernel would still add is
    the same filter, decayed by a^truncation, on an input that comes `truncation` steps later."""
    L = x.shape[1]
    y, _ = diagonal_scan(x, log_decay, weight)
    if truncation >= L:
        return y
    late = weight * torch.exp(log_decay * truncation)
    forward, _ = diagonal_scan(x[:, : L - truncation], log_decay[:1], late[:1])
    y = y - F.pad(forward, (0, 0, truncation, 0))
    if len(weight) == 2:
        backward, _ = diagonal_scan(x[:, truncation:].flip(1), log_decay[1:], late[1:])
        y = y - F.pad(backward.flip(1), (0, 0, 0, truncation))
    return y


def _toeplitz(kernel: Tensor) -> Tensor:
    """(R, d, T) kernels -> (d, T, T): entry [j, i], from input j to output i, is k[i-j]; the backward kernel's
    k[j-i] below the diagonal."""
    R, T = len(kernel), kernel.shape[-1]
    ahead = kernel[1].flip(-1) if R == 2 else torch.zeros_like(kernel[0])
    lags = torch.cat([ahead[:, : T - 1], kernel[0]], dim=-1)  # index T-1+l holds lag l; (d, 2T-1)
    if R == 2:
        lags = lags + F.pad(kernel[1][:, :1], (T - 1, T - 1))
    return lags.unfold(-1, T, 1).flip(1)


def _carry(added: Tensor, log_step: Tensor, state: Tensor | None) -> Tensor:
    """What each chunk adds -> what has arrived at its edge from all chunks before it; (d, B, chunks, R, m)."""
    h = _modes(added.permute(1, 2, 3, 0, 4), log_step.is_complex())  # (B, chunks, R, d, n)
    B, _, R, d, n = h.shape
    first = h.new_zeros(B, 1, d, n) if state is None else state.unsqueeze(1)
    arriving = [torch.cat([first, h[:, :-1, 0]], dim=1)]
    if R == 2:  # the backward direction comes from the last chunk
        arriving.append(torch.cat([torch.zeros_like(first), h[:, 1:, 1].flip(1)], dim=1))
    edges = recurrence(torch.stack(arriving, dim=2).flatten(2), log_step.flatten()).view(h.shape)
    if R == 2:
        edges = torch.stack([edges[:, :, 0], edges[:, :, 1].flip(1)], dim=2)
    if edges.is_complex():
        edges = torch.cat([edges.real, edges.imag], dim=-1)
    return edges.permute(3, 0, 1, 2, 4)


class _Transpose(torch.autograd.Function):
    """A contiguous transpose whose gradient is contiguous, too: batched matmuls copy a strided operand matrix by
    matrix, which took a third of the scan's time."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return x.t().contiguous()
        out = x.new_empty(x.shape[1], x.shape[0])
        rows, columns = BLOCK if x.shape[0] > x.shape[1] else BLOCK[::-1]
        for to, block in zip(out.split(rows), x.t().split(rows), strict=True):
            for to_part, part in zip(to.split(columns, dim=1), block.split(columns, dim=1), strict=True):
                to_part.copy_(part)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return _transpose(grad)


_transpose = _Transpose.apply


def _real(z: Tensor) -> Tensor:
    return z.real if z.is_complex() else z


def _rows(z: Tensor) -> Tensor:
    """Complex modes as real ones below each other, (d, n, T) -> (d, 2n, T); real ones stay."""
    return torch.cat([z.real, z.imag], dim=1) if z.is_complex() else z


def _modes(h: Tensor, complex_: bool) -> Tensor:
    """The inverse of `_rows` for a last dimension."""
    return torch.complex(*h.chunk(2, dim=-1)) if complex_ else h

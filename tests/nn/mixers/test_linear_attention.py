"""The chunked forms against the recurrence itself, at lengths around the chunks' and at every strength of decay."""

import pytest
import torch

from seqboat_lab.nn.mixers.linear_attention import STRONGEST, channel_decay, head_decay


def loop(q, k, v, decay, state, before):
    """decay (B, H, L, K)"""
    out = []
    for t in range(v.shape[2]):
        new = torch.einsum("bhk,bhv->bhkv", k[:, :, t], v[:, :, t])
        following = decay[:, :, t, :, None] * state + new
        out.append(torch.einsum("bhk,bhkv->bhv", q[:, :, t], state if before else following))
        state = following
    return torch.stack(out, 2), state


def tensors(length, dtype=torch.double, strongest=-3.0):
    torch.manual_seed(length)
    q, k = torch.randn(2, 2, 3, length, 4, dtype=dtype)
    v, state = torch.randn(2, 3, length, 5, dtype=dtype), torch.randn(2, 3, 4, 5, dtype=dtype)
    return q, k, v, strongest * torch.rand(2, 3, length, 4, dtype=dtype), state


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 31, 32, 33, 63, 64, 65, 128, 150])
@pytest.mark.parametrize("before", [False, True])
def test_both_forms_equal_the_recurrence(length, before):
    q, k, v, log_decay, state = tensors(length)
    out, last = channel_decay(q, k, v, log_decay, state, before)
    expected, expected_last = loop(q, k, v, log_decay.exp(), state, before)
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(last, expected_last, rtol=1e-10, atol=1e-10)
    one = log_decay[..., 0]
    out, last = head_decay(q[:, :1], k[:, :1], v, one, state)
    expected, expected_last = loop(
        q[:, :1].expand_as(q), k[:, :1].expand_as(k), v, one.exp().unsqueeze(-1).expand_as(q), state, False
    )
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(last, expected_last, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("before", [False, True])
def test_the_strongest_decays_keep_float32_close_and_gradients_finite(before):
    """32 of them add up to -512, of which float32 knows 3e-5."""
    q, k, v, log_decay, state = (t.requires_grad_() for t in tensors(100, torch.float, STRONGEST))
    with torch.no_grad():
        log_decay[:, :, 20:60] = STRONGEST
        log_decay[:, :, 80:90] = 0.0
    out, _ = channel_decay(q, k, v, log_decay, state, before)
    exact = [t.detach().double() for t in (q, k, v, log_decay.exp(), state)]
    expected, _ = loop(*exact, before)
    torch.testing.assert_close(out.detach().double(), expected, rtol=1e-3, atol=1e-3)
    out.sum().backward()
    assert all(t.grad.isfinite().all() for t in (q, k, v, log_decay, state))

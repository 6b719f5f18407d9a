"""A SeqBoat layer written straight from docs/model.md with loops and full matrices: slow, plain, independent of `nn/`'s code paths."""

import math

import torch
from torch import Tensor


def ema_kernel(ssm, length: int) -> list[Tensor]:
    """Kernels (d, length), forward first."""
    p = torch.sigmoid(ssm.delta)
    q = 1 - p * torch.sigmoid(ssm.alpha)
    n = ssm.gamma.shape[1]
    powers = torch.stack([q**lag for lag in range(length)], dim=-1)  # (channels, N, length)
    kernel = ((p * ssm.beta * ssm.gamma * n**-0.5).unsqueeze(-1) * powers).sum(1)
    return list(kernel.chunk(2 if ssm.bidirectional else 1))


def dense_layer(layer, x: Tensor, padding: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(B, L, d) -> y (B, L, d), active (B, L); evaluation mode, EMA without truncation, no batch norm."""
    c, attention = layer.config, layer.attention
    B, L, _ = x.shape
    padding = torch.zeros(B, L, dtype=torch.bool) if padding is None else padding
    xn = layer.norm(x) if c.prenorm else x
    kernels = ema_kernel(layer.ssm, L)
    y = torch.zeros_like(x)
    for t in range(L):
        for source in range(L):
            seen = xn[:, source] * ~padding[:, source, None]
            if source <= t:
                y[:, t] += kernels[0][:, t - source] * seen
            if source >= t and c.bidirectional:
                y[:, t] += kernels[1][:, source - t] * seen
    m = torch.nn.functional.silu(y + layer.ssm.omega * xn)
    us = layer.hx_proj(m)
    p = torch.softmax(us[..., :2] / torch.exp(layer.configurator.log_temperature), dim=-1)
    active = (p[..., 1] > p[..., 0]) & ~padding
    s = us[..., 2:].clone()
    for b in range(B):
        places = active[b].nonzero().flatten().tolist()
        if not places:
            continue
        zz, gate, v = torch.nn.functional.silu(attention.mx_proj(m[b, places])).split(
            [attention.z, c.d_hidden, c.d_hidden], -1
        )
        q = zz * attention.gamma[0] + attention.beta[0]
        k = zz * attention.gamma[1] + attention.beta[1]
        for i, here in enumerate(places):
            scores, values = [], []
            for j, there in enumerate(places):
                near = 0 <= i - j <= c.memory_size or (c.bidirectional and abs(i - j) <= c.memory_size)
                if not near:
                    continue
                scores.append(_score(layer, q[i], k[j], here, there, i, j))
                values.append(v[j] * p[b, there, 1] if c.confidence_on == "output_and_value" else v[j])
            o = _weights(c, torch.stack(scores)) @ torch.stack(values)
            s[b, here] += attention.h_proj(o * gate[i]) * p[b, here, 1]
    out = torch.nn.functional.silu(s + x)
    return (out if c.prenorm else layer.norm(out)), active


def _score(layer, q: Tensor, k: Tensor, here: int, there: int, i: int, j: int) -> Tensor:
    c = layer.config
    scale = c.d_attention**-0.5 if c.attention == "softmax" else 1 / (c.memory_size * (2 if c.bidirectional else 1))
    if c.position == "rotary":
        return scale * torch.dot(_turn(q, here), _turn(k, there))
    table = layer.attention.position.table
    if c.position == "bias":
        M = c.max_positions
        return scale * torch.dot(q, k) + table[max(-(M - 1), min(M - 1, there - here)) + M - 1]
    return scale * torch.dot(q, k) + table[(j - i) + c.memory_size + 3 * c.memory_size - 1]


def _turn(x: Tensor, position: int) -> Tensor:
    out = x.clone()
    for n in range(len(x) // 2):
        angle = position * 10000 ** (-2 * n / len(x))
        a, b = x[2 * n], x[2 * n + 1]
        out[2 * n] = a * math.cos(angle) - b * math.sin(angle)
        out[2 * n + 1] = a * math.sin(angle) + b * math.cos(angle)
    return out


def _weights(c, scores: Tensor) -> Tensor:
    if c.attention == "softmax":
        return torch.softmax(scores, dim=0)
    if c.attention == "relu2":
        return torch.relu(scores) ** 2
    return 0.5 * (1 + torch.erf((scores - 0.707107) / (0.282095 * math.sqrt(2))))

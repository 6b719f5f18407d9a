"""The causal mixers as plain loops over tokens, written from their papers' equations: slow, and independent of `nn/`'s
code paths. Each takes the module, for its weights, and x (L, d) of one row."""

import math

import torch
from torch import Tensor


def turned(x: Tensor, position: int, theta: list[float] | None = None) -> Tensor:
    """Rotary: pairs as complex numbers times e^(i position theta)."""
    z = len(x)
    theta = torch.tensor(theta or [10000.0 ** (-2 * n / z) for n in range(z // 2)], dtype=x.dtype)
    pairs = torch.view_as_complex(x.view(-1, 2)) * torch.polar(torch.ones_like(theta), position * theta)
    return torch.view_as_real(pairs).flatten()


def attention(m, x: Tensor, window: int | None = None, both: bool = False) -> Tensor:
    L, d = x.shape
    size = d // m.heads
    qkv = x @ m.qkv_proj.weight.T + m.qkv_proj.bias
    out = torch.zeros(L, d, dtype=x.dtype)
    for h in range(m.heads):
        here = slice(h * size, (h + 1) * size)
        q, k, v = (qkv[:, i * d : (i + 1) * d][:, here] for i in range(3))
        q, k = (torch.stack([turned(t, i) for i, t in enumerate(each)]) for each in (q, k))
        for i in range(L):
            keys = [j for j in range(L) if (both or j <= i) and (window is None or abs(i - j) <= window)]
            out[i, here] = torch.softmax(k[keys] @ q[i] / math.sqrt(size), 0) @ v[keys]
    return out @ m.out_proj.weight.T + m.out_proj.bias


def group_norm(o: Tensor, norm) -> Tensor:
    """o (d,)"""
    groups = o.view(norm.num_groups, -1)
    mean, variance = groups.mean(1, keepdim=True), groups.var(1, keepdim=True, unbiased=False)
    return ((groups - mean) / torch.sqrt(variance + norm.eps)).flatten() * norm.weight + norm.bias


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def retnet(m, x: Tensor) -> Tensor:
    """The recurrent form, eq. 6 and 8; angles and norm as in the authors' code."""
    d, heads = x.shape[1], m.heads
    pairs = d // heads // 2
    theta = [10000.0 ** (-n / (pairs - 1)) for n in range(pairs)]
    S = [torch.zeros(d // heads, 2 * d // heads, dtype=x.dtype) for _ in range(heads)]
    out = []
    for t, x_t in enumerate(x):
        o = []
        for h in range(heads):
            q, k, v = (
                (f.weight @ x_t).view(heads, -1)[h] for f in (m.q_proj, m.k_proj, m.v_proj)
            )  # fmt: skip
            gamma = 1 - 2.0 ** (-5 - h)
            S[h] = gamma * S[h] + torch.outer(turned(k, t, theta) / math.sqrt(d // heads), v)
            o_h = turned(q, t, theta) @ S[h]
            o.append(o_h / torch.sqrt((o_h**2).mean() + 1e-6))
        out.append(m.out_proj.weight @ (silu(m.g_proj.weight @ x_t) * torch.cat(o)))
    return torch.stack(out)


def gla(m, x: Tensor) -> Tensor:
    d, heads = x.shape[1], m.heads
    S = [torch.zeros(d // 2 // heads, d // heads, dtype=x.dtype) for _ in range(heads)]
    out = []
    for x_t in x:
        qk, v = m.qk_proj.weight @ x_t, (m.v_proj.weight @ x_t).view(heads, -1)
        q, k = qk[: d // 2].view(heads, -1), qk[d // 2 :].view(heads, -1)
        logits = m.alpha_up.weight @ (m.alpha_down.weight @ x_t) + m.alpha_up.bias
        alpha = (torch.sigmoid(logits) ** (1 / 16)).view(heads, -1)
        o = []
        for h in range(heads):
            S[h] = torch.diag(alpha[h]) @ S[h] + torch.outer(k[h], v[h]) / math.sqrt(d // heads)
            o_h = q[h] @ S[h] / math.sqrt(d // 2 // heads)
            o.append((o_h - o_h.mean()) / torch.sqrt(o_h.var(unbiased=False) + 1e-5))
        gate = silu(m.gate_proj.weight @ x_t + m.gate_proj.bias)
        out.append(m.out_proj.weight @ (gate * torch.cat(o)))
    return torch.stack(out)


def rwkv(m, x: Tensor) -> Tensor:
    """Eq. 14-20 of Finch; the state is summed up anew for every token."""
    d, heads = x.shape[1], m.heads
    rank = m.mix_down.shape[1] // 5
    before = torch.zeros(d, dtype=x.dtype)
    history: list[tuple[Tensor, Tensor, Tensor]] = []  # k, v, w
    out = []
    for x_t in x:
        low = x_t + (before - x_t) * m.mu
        mixed = []
        for i in range(5):  # d, r, k, v, g
            A = m.mix_down[:, i * rank : (i + 1) * rank]
            share = m.lam.view(5, d)[i] + torch.tanh(low @ A) @ m.mix_up[i]
            mixed.append(x_t + (before - x_t) * share)
        w = torch.exp(-torch.exp(m.decay + torch.tanh(mixed[0] @ m.decay_down) @ m.decay_up))
        r, k, v, g = (f.weight @ y for f, y in zip((m.r_proj, m.k_proj, m.v_proj, m.g_proj), mixed[1:], strict=True))
        o = []
        for h in range(heads):
            here = slice(h * d // heads, (h + 1) * d // heads)
            wkv = torch.diag(m.u[here]) @ torch.outer(k[here], v[here])
            decay = torch.ones(d // heads, dtype=x.dtype)
            for k_i, v_i, w_i in reversed(history):
                wkv = wkv + torch.diag(decay) @ torch.outer(k_i[here], v_i[here])
                decay = decay * w_i[here]
            o.append(r[here] @ wkv)
        history.append((k, v, w))
        out.append(m.out_proj.weight @ (silu(g) * group_norm(torch.cat(o), m.norm)))
        before = x_t
    return torch.stack(out)


def channel_mix(m, x: Tensor) -> Tensor:
    out, before = [], torch.zeros(x.shape[1], dtype=x.dtype)
    mu_k, mu_r = m.mu.chunk(2)
    for x_t in x:
        k = m.k_proj.weight @ (x_t + (before - x_t) * mu_k)
        r = m.r_proj.weight @ (x_t + (before - x_t) * mu_r)
        out.append(torch.sigmoid(r) * (m.v_proj.weight @ k.clamp(min=0) ** 2))
        before = x_t
    return torch.stack(out)


def mamba(m, x: Tensor) -> Tensor:
    d = x.shape[1]
    inner, N, heads = 2 * d, m.N, m.heads
    P, width = inner // heads, m.conv.kernel_size[0]
    inputs = torch.zeros(width - 1, inner + 2 * N, dtype=x.dtype)
    state = torch.zeros(heads, P, N, dtype=x.dtype)
    A = -torch.exp(m.A_log)
    out = []
    for u in x:
        projected = m.in_proj.weight @ u
        z, xBC, dt = projected[:inner], projected[inner : 2 * inner + 2 * N], projected[2 * inner + 2 * N :]
        inputs = torch.cat([inputs, xBC[None]])[-width:]
        xBC = silu((inputs.T * m.conv.weight[:, 0]).sum(1) + m.conv.bias)
        values, B, C = xBC[:inner].view(heads, P), xBC[inner : inner + N], xBC[inner + N :]
        dt = torch.log1p(torch.exp(dt + m.dt_bias))
        y = []
        for h in range(heads):
            state[h] = torch.exp(dt[h] * A[h]) * state[h] + dt[h] * torch.outer(values[h], B)
            y.append(state[h] @ C + m.D[h] * values[h])
        gated = torch.cat(y) * silu(z)
        normed = gated / torch.sqrt((gated**2).mean() + m.norm.eps) * m.norm.weight
        out.append(m.out_proj.weight @ normed)
    return torch.stack(out)


def hyena(m, x: Tensor) -> Tensor:
    L, d = x.shape
    u = x @ m.in_proj.weight.T + m.in_proj.bias
    short = torch.zeros_like(u)
    for t in range(L):
        short[t] = m.short.bias + sum(m.short.weight[:, 0, 2 - lag] * u[t - lag] for lag in range(3) if t >= lag)
    gate, x2, v = short[:, :d], short[:, d : 2 * d], short[:, 2 * d :]
    f = m.filters
    h = []
    for lag in range(L):
        t = lag / (f.length - 1)
        bands = [1e-4 + (15 - 1e-4) * i / 15 for i in range(16)]
        features = [
            t,
            *(math.cos(2 * math.pi * b * lag / f.length) for b in bands),
            *(-math.sin(2 * math.pi * b * lag / f.length) for b in bands),
        ]
        y = torch.tensor(features, dtype=x.dtype)
        for layer in f.layers:
            y = torch.sin(f.frequency * (layer.weight @ y + layer.bias))
        slow, fast = math.log(1e-2) / 1.5, math.log(1e-2) / 0.3
        alpha = [slow + (fast - slow) * c / (d - 1) for c in range(d)]
        window = torch.tensor([math.exp(a * t) for a in alpha], dtype=x.dtype)
        h.append((f.last.weight @ y) * window)
    z = x2 * v
    out = torch.stack([sum(h[i - j] * z[j] for j in range(i + 1)) + m.skip * z[i] for i in range(L)])
    return (gate * out) @ m.out_proj.weight.T + m.out_proj.bias


LOOPS = {
    "transformer": attention,
    "local_attention": lambda m, x: attention(m, x, window=m.window),
    "retnet": retnet,
    "rwkv": rwkv,
    "hyena": hyena,
    "mamba": mamba,
    "gla": gla,
}

"""SeqBoat in one file: sparse modular activation as plainly as PyTorch can say it (Ren et al. 2023, arXiv 2306.11197).

    python examples/minimal_seqboat.py

trains a small model to recall, in half a minute: it reads key-value pairs among noise and is then asked for the values.
It tells the share of tokens that each layer sends to attention (all of them, at this size: nothing in the loss makes
attention dear). Needs torch alone. Causal layers, softmax attention, rotary positions; for clearness row by row and
with a dense mask, which `seqboat_lab.nn` does without. Numbers in brackets are the steps of docs/model.md.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class EMA(nn.Module):
    """N exponential moving averages in each of d channels, mixed to one output a channel: k[l] = sum_n c_n q_n^l."""

    def __init__(self, d: int, N: int):
        super().__init__()
        self.delta, self.alpha = (nn.Parameter(0.2 * torch.randn(d, N)) for _ in range(2))
        self.beta = nn.Parameter(0.02 * torch.randn(d, N) + (-1.0) ** torch.arange(N))
        self.gamma, self.omega = nn.Parameter(torch.randn(d, N)), nn.Parameter(torch.randn(d))

    def forward(self, x: Tensor) -> Tensor:  # (B, L, d)
        L = x.shape[1]
        p = torch.sigmoid(self.delta)  # (d, N)
        q = 1 - p * torch.sigmoid(self.alpha)  # decay of each average, (d, N)
        weight = p * self.beta * self.gamma / math.sqrt(p.shape[1])
        kernel = torch.einsum("dn,dnl->ld", weight, q.unsqueeze(-1) ** torch.arange(L))  # (L, d)
        X, K = torch.fft.rfft(x, n=2 * L, dim=1), torch.fft.rfft(kernel, n=2 * L, dim=0)
        return torch.fft.irfft(X * K, n=2 * L, dim=1)[:, :L] + self.omega * x  # y_t = sum_l k[l] x_(t-l) + omega x_t


def rotate(x: Tensor, position: Tensor) -> Tensor:
    """Neighbouring pairs of x (n, z) turned by position * 10000^(-2i/z)."""
    angle = position[:, None] * 10_000.0 ** (-torch.arange(0, x.shape[1], 2) / x.shape[1])  # (n, z/2)
    a, b = x[:, 0::2], x[:, 1::2]
    return torch.stack([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1).flatten(1)


class SeqBoatLayer(nn.Module):
    def __init__(self, d: int, h: int, z: int, w: int, N: int = 16, temperature_scale: float = 1.0):
        super().__init__()
        self.d, self.h, self.z, self.w = d, h, z, w
        self.norm, self.ssm = nn.LayerNorm(d), EMA(d, N)
        self.hx_proj, self.mx_proj, self.h_proj = nn.Linear(d, 2 + d), nn.Linear(d, z + 2 * h), nn.Linear(h, d)
        for linear in (self.hx_proj, self.mx_proj, self.h_proj):
            nn.init.trunc_normal_(linear.weight, std=0.02, a=-0.04, b=0.04)
            nn.init.zeros_(linear.bias)
        self.gamma, self.beta = nn.Parameter(0.02 * torch.randn(2, z)), nn.Parameter(torch.zeros(2, z))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature_scale * math.sqrt(d))))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # (B, L, d) -> (B, L, d), active (B, L)
        m = F.silu(self.ssm(self.norm(x)))  # [1, 2] every token is read, cheaply
        u, s = self.hx_proj(m).split([2, self.d], dim=-1)  # [3] router logits (B, L, 2), skip path (B, L, d)
        p = F.softmax(u / self.log_temperature.exp(), dim=-1)[..., 1]  # [4] confidence that attention is needed
        active = p > 0.5  # no gradient passes here; the router learns through p, which weighs the output
        out = []
        for b in range(len(x)):
            position = active[b].nonzero().squeeze(1)  # (n,)
            y = self.attend(m[b, position], position)  # [5, 6] only the n active tokens, packed
            y = torch.zeros_like(x[b]).index_copy(0, position, y * p[b, position, None])  # [7] back to their places
            out.append(F.silu(s[b] + y + x[b]))  # [8]
        return torch.stack(out), active

    def attend(self, m: Tensor, position: Tensor) -> Tensor:  # (n, d), (n,) -> (n, d)
        zz, gate, v = F.silu(self.mx_proj(m)).split([self.z, self.h, self.h], dim=-1)
        q, k = (rotate(zz * self.gamma[i] + self.beta[i], position) for i in (0, 1))
        rank = torch.arange(len(m))
        back = rank[:, None] - rank  # distance counted in active tokens: the reach in the text has no bound
        scores = (q @ k.T / math.sqrt(self.z)).masked_fill((back < 0) | (back > self.w), -math.inf)
        return self.h_proj(scores.softmax(dim=-1) @ v * gate)


class LanguageModel(nn.Module):
    def __init__(self, vocabulary: int, layers: int, d: int, h: int, z: int, w: int, **fields):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, d)
        nn.init.normal_(self.embedding.weight, std=d**-0.5)
        self.layers = nn.ModuleList(SeqBoatLayer(d, h, z, w, **fields) for _ in range(layers))

    def forward(self, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:  # (B, L) -> logits (B, L, vocabulary)
        x, decisions = self.embedding(tokens) * math.sqrt(self.embedding.embedding_dim), []
        for layer in self.layers:
            x, active = layer(x)
            decisions.append(active)
        return F.layer_norm(x, x.shape[-1:]) @ self.embedding.weight.T, decisions


def recall_batch(B: int, pairs: int = 4, noise: int = 16) -> tuple[Tensor, Tensor]:
    """Tokens (B, L) and what follows each: pairs `key value` among noise, then each key again, whose value is asked.
    Keys are 0..7, values 8..15, noise 16..23; -100 where nothing is asked."""
    rows, answers = [], []
    for _ in range(B):
        keys, values = torch.randperm(8)[:pairs], 8 + torch.randint(8, (pairs,))
        blocks = [torch.stack([k, v]) for k, v in zip(keys, values, strict=True)]
        blocks += [16 + torch.randint(8, (1,)) for _ in range(noise)]
        order = torch.randperm(pairs)
        row = torch.cat([*(blocks[i] for i in torch.randperm(len(blocks))), keys[order]])
        answers.append(torch.cat([torch.full((len(row) - pairs,), -100), values[order]]))
        rows.append(row)
    return torch.stack(rows), torch.stack(answers)


if __name__ == "__main__":
    torch.manual_seed(0)
    model = LanguageModel(24, layers=2, d=32, h=64, z=16, w=16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    for step in range(1, 601):
        tokens, answers = recall_batch(32)
        logits, decisions = model(tokens)
        loss = F.cross_entropy(logits.flatten(0, 1), answers.flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            right = (logits.argmax(-1) == answers)[answers >= 0].float().mean()
            rates = ", ".join(f"{a.float().mean():.0%}" for a in decisions)
            print(f"step {step}: loss {loss:.3f}, right {right:.0%}, active by layer {rates}")

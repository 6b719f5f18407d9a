"""Hyena of order 2 (Poli et al. 2023, arXiv 2302.10866, section 3)."""

import math
from itertools import pairwise
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from seqboat_lab.config.checks import UserError
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn.mixers.base import Mixer, gpt2_init, normal
from seqboat_lab.nn.mixers.linear_attention import exact
from seqboat_lab.nn.ssm.base import AtLeastFloat32, FLOPs
from seqboat_lab.nn.ssm.convolution import fft_convolve, fft_flops, good_length

BANDS = 16
"""Frequencies of the lag that the filters' network sees."""
FREQUENCY = 14.0
"""Of the network's sines, at the start."""
FASTEST, SLOWEST, TARGET = 0.3, 1.5, 1e-2
"""Windows have fallen to TARGET at these shares of `filter_length`."""


class Filters(AtLeastFloat32):
    """h[l] = FFN(features of l) * exp(-alpha l) for `channels` filters; alpha is spread over them.

    Float32 also where the model is not: sines of sines of a large frequency know nothing in bfloat16."""

    def __init__(self, channels: int, width: int, length: int):
        super().__init__()
        self.length = length
        sizes = [1 + 2 * BANDS, width, width, width]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.last = nn.Linear(width, channels, bias=False)
        self.frequency = nn.Parameter(torch.full((width,), FREQUENCY))
        normal(*self.layers, self.last)

    def forward(self, lags: int, dtype: torch.dtype) -> Tensor:
        """-> (channels, lags)"""
        device = self.frequency.device
        lag = torch.arange(lags, device=device, dtype=torch.float64).unsqueeze(1)
        t = lag / (self.length - 1)
        bands = torch.linspace(1e-4, BANDS - 1, BANDS, device=device, dtype=torch.float64)
        angle = 2 * math.pi * bands * lag / self.length
        x = torch.cat([t, angle.cos(), -angle.sin()], 1).to(self.last.weight.dtype)
        for layer in self.layers:
            x = torch.sin(self.frequency * layer(x))
        rates = torch.linspace(1 / SLOWEST, 1 / FASTEST, len(self.last.weight), device=device, dtype=torch.float64)
        window = torch.exp(math.log(TARGET) * rates * t)
        return (self.last(x).to(dtype) * window.to(dtype)).mT


class Hyena(Mixer):
    """W_o (x1 * conv(h, x2 * v)), [x1, x2, v] = shortconv(W x): of order 2, one long convolution with a skip.

    The long filters are functions of the lag alone (see `Filters`), so neither padding nor a batch's length changes
    them. It has no state. Initialised, with its constants, like the authors' language models (HazyResearch/safari,
    long_conv_lm.py and configs/experiment/pile/hyena.yaml): linear maps, the filters' too, as GPT-2's, the skip normal
    with std 1, the short convolution as torch has it.
    """

    def __init__(self, config: ModelConfig, number: int = 0):
        super().__init__(config, number)
        d, settings = config.d_model, config.mixer
        self.in_proj = nn.Linear(d, 3 * d)
        self.short = nn.Conv1d(3 * d, 3 * d, 3, padding=2, groups=3 * d)
        self.filters = Filters(d, settings.filter_width, settings.filter_length)
        self.skip = nn.Parameter(torch.randn(d))
        self.out_proj = nn.Linear(d, d)
        gpt2_init(config, self.in_proj, self.out_proj)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        if state is not None:
            self.init_state(len(x))
        L = x.shape[1]
        u = self.in_proj(x)
        if padding_mask is not None:  # the map has a bias
            u = u.masked_fill(padding_mask.unsqueeze(-1), 0.0)
        gate, x2, v = self.short(u.mT)[..., :L].mT.chunk(3, dim=-1)
        v = x2 * v
        if padding_mask is not None:  # the short convolution still sees real tokens there, and has a bias
            v = v.masked_fill(padding_mask.unsqueeze(-1), 0.0)
        with torch.autocast(x.device.type, enabled=False):
            (v,) = exact(v)
            y = fft_convolve(v, self.filters(L, v.dtype).unsqueeze(0)) + self.skip * v
        return self.out_proj(gate * y.to(gate.dtype)), None

    def init_state(self, batch: int) -> NoReturn:
        raise UserError(
            "model.kind hyena has no recurrent state, so it cannot stream, generate or carry state; "
            "evaluate it in blocks, or choose another mixer"
        )

    def step(self, x: Tensor, state: Any) -> NoReturn:
        self.init_state(len(x))

    @staticmethod
    def flops(config: ModelConfig, length: int) -> FLOPs:
        """Two FFTs a channel; those of the filters are made once per batch."""
        d = config.d_model
        n = good_length(2 * length - 1)
        short = 2.0 * 3 * d * 3 * (length + 2) / length
        ffts = 2 * d * fft_flops(n) / length
        return FLOPs(8.0 * d * d + short, ffts, -ffts)

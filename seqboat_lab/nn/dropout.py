"""Dropout with cheaper random numbers on a CPU."""

import torch
from torch import Tensor, nn

BITS = 16  # of randomness for each element, four from one number of the generator


class Dropout(nn.Dropout):
    """`nn.Dropout`, whose random numbers take a tenth of a small model's training step on a CPU: there each element
    is dropped with probability round(2^16 p) / 2^16, and those kept are scaled by its inverse, so that means stay."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not self.training or self.inplace or torch.compiler.is_compiling():
            return super().forward(x)
        dropped = round(self.p * 2**BITS)
        if dropped in (0, 2**BITS):
            return super().forward(x)
        numbers = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = numbers.view(torch.int16)[: x.numel()].view(x.shape)
        kept = torch.ge(bits, dropped - 2 ** (BITS - 1), out=x.detach().new_empty(x.shape))
        return x * kept.mul_(2**BITS / (2**BITS - dropped))

"""The weights of a finished model in fewer bytes: a streamed token reads each of them once, and waits for that."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqboat_lab.config.checks import choose

FEW_ROWS = 8
"""Up to so many, torch's product of bf16 with int8 is faster than one of bf16 with weights made bf16 on the way."""
BLOCK = 32
"""That product reads rows of weights in blocks, and beyond the end of a row that is no multiple of them."""


class CompactLinear(nn.Module):
    """y = W x + bias of a linear map, with W in fewer bytes: x (..., in) -> y (..., out), of x's type.

    x is rounded to bf16, and so is W x; the bias is added in x's type. Not for training.
    """

    bias: Tensor | None

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2).to(torch.bfloat16)
        y = self.product(rows).to(x.dtype).view(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias

    def product(self, x: Tensor) -> Tensor:
        """x (n, in) -> W x (n, out), both bf16."""
        raise NotImplementedError

    @property
    def weight(self) -> Tensor:
        """W (out, in) in float32, made anew."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> "CompactLinear":
        if mode:
            raise ValueError("weights in bf16 or int8 are not for training; load the run again without them")
        return super().train(mode)


class BF16Linear(CompactLinear):
    """W rounded to bf16: each entry off by at most 2^-8 of itself."""

    held: Tensor

    def __init__(self, linear: nn.Linear):
        super().__init__(linear)
        self.register_buffer("held", linear.weight.detach().to(torch.bfloat16))

    def product(self, x: Tensor) -> Tensor:
        return F.linear(x, self.held)

    @property
    def weight(self) -> Tensor:
        return self.held.float()


class Int8Linear(CompactLinear):
    """W = scale * held: whole numbers from -127 to 127, and a scale for every row, which is one output. Each entry is
    off by at most half its row's scale.

    A scale is the row's largest entry / 127, rounded up to a number that bf16 has: the product takes them in bf16.
    """

    held: Tensor
    """(out, in, padded with zeros to a multiple of BLOCK) int8"""
    scale: Tensor
    """(out,) bf16"""

    def __init__(self, linear: nn.Linear):
        super().__init__(linear)
        weight = linear.weight.detach().float()
        scale = _bf16_from(weight.abs().amax(dim=1) / 127)
        whole = torch.round(weight / scale.float().unsqueeze(1)).to(torch.int8)
        self.padding = -self.in_features % BLOCK
        self.register_buffer("held", F.pad(whole, (0, self.padding)))
        self.register_buffer("scale", scale)

    def product(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, self.padding)) if self.padding else x.contiguous()
        if len(x) <= FEW_ROWS and x.device.type == "cpu":
            return torch._weight_int8pack_mm(x, self.held, self.scale)
        return F.linear(x, self.held.to(x.dtype)) * self.scale

    @property
    def weight(self) -> Tensor:
        return (self.held * self.scale.float().unsqueeze(1))[:, : self.in_features]


def _bf16_from(x: Tensor) -> Tensor:
    """Positive float32 numbers -> the next bf16 ones from there on, never 0."""
    x = x.clamp(min=torch.finfo(torch.bfloat16).tiny)
    upper_half = (x.contiguous().view(torch.int32) + 0xFFFF) & ~0xFFFF  # bf16 is the upper half of a float32
    return upper_half.view(torch.float32).to(torch.bfloat16)


WEIGHTS: dict[str, type[CompactLinear] | None] = {"float32": None, "bf16": BF16Linear, "int8": Int8Linear}
"""How the matrices of a finished model can be held: as they were trained, in half, or in a quarter of the bytes."""


def with_weights(model: nn.Module, weights: str) -> nn.Module:
    """The model, in place, with every `nn.Linear` held in that way, frozen and in evaluation mode. Norms, embeddings,
    SSMs and all else stay as they are.

    Args:
        weights: a key of `WEIGHTS`.

    Raises `ConfigError` for another one. A model with such weights raises `ValueError` if it is to be trained.
    """
    kind = WEIGHTS[choose("--weights", weights, WEIGHTS, "kind of weights")]
    if kind is not None:
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear:
                    setattr(parent, name, kind(child))
    return model.requires_grad_(False).eval()

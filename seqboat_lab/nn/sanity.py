"""Encoders without attention or state that tell a data bug from a model bug: whatever they learn, the data holds."""

import math

from torch import Tensor, nn

from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn.layer import LayerOutput


class ImageConvolutions(nn.Module):
    """A small convolutional network over square images, given pixel by pixel: (B, L, d) -> (B, positions, d).

    Five 3 x 3 convolutions with batch norm, of which every other halves the sides.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        d = config.d_model
        blocks = []
        for stride in (2, 1, 2, 1, 2):
            blocks += [nn.Conv2d(d, d, 3, stride, padding=1, bias=False), nn.BatchNorm2d(d), nn.ReLU()]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, list[LayerOutput]]:
        side = math.isqrt(x.shape[1])
        if side**2 != x.shape[1] or padding_mask is not None:
            raise ValueError(f"expected square images of equal size, not {x.shape[1]} pixels with padding_mask")
        image = x.mT.unflatten(2, (side, side))  # (B, d, H, W)
        return self.blocks(image).flatten(2).mT, []


class TokenBag(nn.Module):
    """Nothing: the classifier on it sees the mean of the tokens' embeddings, whatever their order."""

    def __init__(self, config: ModelConfig):
        super().__init__()

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, list[LayerOutput]]:
        return x, []

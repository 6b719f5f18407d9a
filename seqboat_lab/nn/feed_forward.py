"""An optional feed-forward block after a layer, as in Mega (Ma et al. 2023, arXiv 2209.10655, section 3.5)."""

import torch.nn.functional as F
from torch import Tensor, nn

from seqboat_lab.config.model import ModelConfig
from seqboat_lab.nn.dropout import Dropout
from seqboat_lab.nn.norms import NORMS


class FeedForward(nn.Module):
    """x + W2 silu(W1 x), normalised before or after like the layers; every token by itself."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.prenorm = config.prenorm
        self.norm = NORMS[config.norm](config.d_model)
        assert config.ffn_hidden is not None  # there is no such block where it is
        self.fc1 = nn.Linear(config.d_model, config.ffn_hidden)
        self.fc2 = nn.Linear(config.ffn_hidden, config.d_model)
        self.hidden_dropout, self.dropout = Dropout(config.hidden_dropout), Dropout(config.dropout)
        for linear in (self.fc1, self.fc2):
            nn.init.trunc_normal_(linear.weight, std=0.02, a=-0.04, b=0.04)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """x (B, L, d) -> (B, L, d); the padding mask (B, L) only matters to batch norms."""
        hidden = self.hidden_dropout(F.silu(self.fc1(self.norm(x, padding_mask) if self.prenorm else x)))
        x = x + self.dropout(self.fc2(hidden))
        return x if self.prenorm else self.norm(x, padding_mask)

"""A dial for the activation rate: thresholds that follow the quantile of the evidence while training."""

import math
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn

from seqboat_lab.config.configurator import CapacityConfig
from seqboat_lab.nn.configurator import Decision, TemperedSoftmax, difference


@dataclass
class Pool:
    """Layers that share a budget, and what those of them that were run have seen of the batch under way."""

    members: list["Capacity"] = field(default_factory=list)
    seen: dict[int, tuple[Tensor, Tensor | None]] = field(default_factory=dict)


class Capacity(TemperedSoftmax):
    """Confidence as in `TemperedSoftmax`; active where the evidence exceeds a threshold.

    While training, the threshold follows the (1 - rate)-quantile of the evidence of real tokens, batch after batch,
    and a batch is decided by those before it; in evaluation it stands still. So no token depends on a later one, on
    its batch or on its padding, `step` equals `forward`, and the rate is met on average, not in every row.

    The rate goes from `start_rate` to `rate` between two shares of the training that `plan_training` announced;
    without a plan it is `rate` throughout. Both counters are in checkpoints. Between DDP ranks quantiles are averaged.
    With `budget: model`, the layers of equal settings that one call of `plan_training` saw have one threshold, that of
    their evidence together.
    """

    config: CapacityConfig
    batches: Tensor
    threshold: Tensor

    def __init__(self, config: CapacityConfig, d_model: int, layer: int = 0):
        super().__init__(config, d_model, layer)
        self.config, self.layer = config, layer
        self.pool = Pool([self])
        self.offset = math.log(config.start_confidence / (1 - config.start_confidence))
        self.planned_batches: int | None = None
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))
        self.register_buffer("threshold", torch.tensor(-math.inf))  # the first batch is active as a whole

    def forward(self, u: Tensor, position: Tensor | int) -> Decision:
        """u (..., 2) router logits, 0 = skip, 1 = activate."""
        evidence = difference(u) * torch.exp(-self.log_temperature) + self.offset
        return Decision(evidence.detach() > self.threshold, torch.sigmoid(evidence), evidence)

    def rate(self) -> Tensor:
        """The share of active tokens that the next training batch asks for, a scalar."""
        c = self.config
        if self.planned_batches is None:
            return torch.full_like(self.threshold, c.rate)
        progress = self.batches / self.planned_batches
        done = ((progress - c.anneal_from) / max(c.anneal_to - c.anneal_from, 1e-9)).clamp(0, 1)
        return c.start_rate + done * (c.rate - c.start_rate)

    def has_arrived(self) -> bool:
        """Is the rate the one asked for in the end?"""
        return self.planned_batches is None or int(self.batches) >= self.config.anneal_to * self.planned_batches

    def momentum(self) -> Tensor:
        """What the threshold keeps of itself: more and more in the last tenth of a planned training, when weights
        hardly move any more and a mean over many batches is nearer to the rate asked for than the last few of them."""
        window = torch.full_like(self.threshold, 1 / (1 - self.config.momentum))
        if self.planned_batches is not None:
            window = window + (self.batches - 0.9 * self.planned_batches).clamp(min=0) / 2
        return 1 - 1 / window

    @torch.no_grad()
    def track(self, evidence: Tensor | None, padding_mask: Tensor | None) -> None:
        """Move the threshold by one training batch: evidence (B, L), padding_mask (B, L) True = padding.

        Layers that share a budget move together, once the last of them has seen the batch.
        """
        assert evidence is not None  # its own
        seen, members = self.pool.seen, self.pool.members
        seen[self.layer] = evidence.detach(), padding_mask
        if len(seen) < len(members):
            return
        together = torch.cat([e.flatten() for e, _ in seen.values()])
        padded = [mask.flatten() for _, mask in seen.values() if mask is not None]
        above = quantile_above(together, self.rate(), torch.cat(padded) if padded else None)
        seen.clear()
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(above)
            above = above / dist.get_world_size()
        for member in members:
            member.follow(above)

    def follow(self, above: Tensor) -> None:
        """Move the threshold towards the quantile of one batch, a scalar."""
        followed = torch.lerp(above, self.threshold, self.momentum())
        self.threshold.copy_(torch.where((self.threshold + above).isfinite(), followed, above))
        self.batches += 1


def quantile_above(x: Tensor, share: Tensor, left_out: Tensor | None = None) -> Tensor:
    """The value that the given share of x's numbers exceeds (-inf: all of them), without a wait for the device.

    left_out: like x, True = not counted.
    """
    values = x.flatten() if left_out is None else x.masked_fill(left_out, math.inf).flatten()
    count = values.new_full((), values.numel()) if left_out is None else (~left_out).sum().to(values.dtype)
    below = torch.round((1 - share) * count).long()  # so many stay inactive
    ordered = torch.cat([values.new_full((1,), -math.inf), values.sort().values])
    return ordered.take(below.clamp(max=len(values)))  # an index in brackets would be waited for


def plan_training(model: nn.Module, batches: int) -> None:
    """Tells the configurators of a model whose decisions follow a schedule how many training batches it has, and those
    that share a budget who else does."""
    pools: dict[CapacityConfig, Pool] = {}
    for module in model.modules():
        if hasattr(module, "planned_batches"):
            module.planned_batches = batches  # type: ignore[assignment]  # to torch, a tensor or a module
        if isinstance(module, Capacity) and module.config.budget == "model":
            module.pool = pools.setdefault(module.config, Pool())
            module.pool.members.append(module)

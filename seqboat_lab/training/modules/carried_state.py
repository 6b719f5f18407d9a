"""The state that streams carry from one training segment to the next."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from seqboat_lab.config import ConfigError, ExperimentConfig
from seqboat_lab.data.loading.base import rank_and_world
from seqboat_lab.data.loading.batch import Batch
from seqboat_lab.nn import LanguageModel
from seqboat_lab.nn.layer import LayerState
from seqboat_lab.nn.models import ModelOutput
from seqboat_lab.training.modules.base import TrainingModule

Leaves = list[Any]
"""A state's tensors, (rows, ...) each, and numbers, in the order of its fields."""


class CarriedState:
    """Of the `streams` rows of a whole update, over all accumulated batches ("parts") and processes: what this
    process needs. It cannot be computed again, since earlier segments ran with earlier weights, so checkpoints
    hold it, in the order of the streams: a run may resume with another number of processes.
    """

    def __init__(self, streams: int):
        self.streams = streams
        self.parts: dict[int, list[LayerState]] = {}
        self.loaded: Leaves = []

    def put(self, part: int, state: list[LayerState]) -> None:
        """Keep the state, without its gradient, for the same rows' next segment."""
        self.parts[part] = tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, state)

    def get(self, part: int, rows: int, model: LanguageModel) -> list[LayerState] | None:
        """The state of this process's rows of a part; None before the first segment."""
        if part not in self.parts and self.loaded:
            rank, world = rank_and_world()
            first = (part * world + rank) * rows
            device = next(model.parameters()).device
            mine = [leaf[first : first + rows].to(device) if isinstance(leaf, Tensor) else leaf for leaf in self.loaded]
            self.parts[part] = tree_unflatten(mine, tree_flatten(model.init_state(1))[1])
        return self.parts.get(part)

    def state_dict(self) -> Leaves:
        """All streams' state. Every process must call it."""
        if not self.parts:
            return self.loaded
        own = [_to_cpu(tree_flatten(self.parts[part])[0]) for part in sorted(self.parts)]
        _, world = rank_and_world()
        everyone: list[Any] = [own]
        if world > 1:
            everyone = [None] * world
            dist.all_gather_object(everyone, own)
        pieces = [process[part] for part in range(len(own)) for process in everyone]  # in the order of the streams
        return [torch.cat(leaf) if isinstance(leaf[0], Tensor) else leaf[0] for leaf in zip(*pieces, strict=True)]

    def load_state_dict(self, leaves: Leaves) -> None:
        """Raises `ConfigError` if the checkpoint's streams are not those of this run."""
        found = next((len(leaf) for leaf in leaves if isinstance(leaf, Tensor)), self.streams)
        if found != self.streams:
            raise ConfigError(
                "data.batch_size", f"{self.streams} is not possible here; the checkpoint carries {found} streams"
            )
        self.parts, self.loaded = {}, leaves


def _to_cpu(leaves: Leaves) -> Leaves:
    return [leaf.cpu() if isinstance(leaf, Tensor) else leaf for leaf in leaves]


class CarryingModule(TrainingModule):
    """A head on a `LanguageModel` whose data may say `carry_state`: its rows then go on where their last segment
    ended."""

    model: LanguageModel

    def __init__(self, config: ExperimentConfig, model: LanguageModel):
        super().__init__(config, model)
        self.carried = CarriedState(config.data.batch_size) if getattr(config.data, "carry_state", False) else None

    def forward(self, batch: Batch, state: list[LayerState] | None = None) -> ModelOutput:
        return self.model(batch.inputs, state)

    def forward_carrying(self, batch: Batch) -> ModelOutput:
        """With `carry_state`, from where the batch's rows stood; another part of the rows in each accumulated batch."""
        if self.carried is None:
            return self(batch)
        part, rows = self.batches_seen % self.config.trainer.accumulate, len(batch.inputs)
        state = None if batch.fresh else self.carried.get(part, rows, self.model)
        out = self(batch, self.model.init_state(rows) if state is None else state)
        self.carried.put(part, out.state)
        return out

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self.carried is not None:
            checkpoint["carried_state"] = self.carried.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self.carried is not None:
            self.carried.load_state_dict(checkpoint.get("carried_state", []))

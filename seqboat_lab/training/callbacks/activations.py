"""What a run shows of its decisions after each validation, always of the same batch: which tokens are active, how sure
the router is, how far attention reaches, and how many decisions are others than before."""

from hashlib import sha256
from typing import Any, cast

import lightning as L
import matplotlib.pyplot as plt
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from seqboat_lab.data.loading.batch import Batch
from seqboat_lab.nn.models import Activation, ModelOutput
from seqboat_lab.nn.packing import attention_span
from seqboat_lab.training.callbacks.decision_record import DecisionRecord
from seqboat_lab.training.callbacks.rasters import activation_raster, token_raster

LONGEST = 1024  # tokens across a raster; more could not be told apart
READABLE = 1500  # tokens in a picture that is read
KEPT = 2**17  # tokens whose decisions are compared


class ActivationPictures(Callback):
    """The batch is the first validation's longest that still fits a raster, or its first one.

    Logs `val/decisions_changed/layer_i`, the share of the batch's real tokens that were decided otherwise at the
    validation before; TensorBoard gets rasters, the activated tokens of one sample, histograms of confidence (of all
    tokens, inactive ones too) and of attention spans; `record` gets the decisions of its first tokens. The first
    process does all of it.
    """

    def __init__(self, record: DecisionRecord, samples: int = 3):
        self.record, self.samples = record, samples
        self.batch: Batch | None = None
        self.chosen = False
        self.decisions: Tensor | None = None  # (layers, tokens) bool, of the validation before
        self.decided_of = ""  # which batch that was: a resumed run may have others

    def state_dict(self) -> dict[str, Any]:
        packed = None if self.decisions is None else np.packbits(self.decisions.numpy(), axis=1)
        return {"decisions": None if packed is None else torch.from_numpy(packed), "decided_of": self.decided_of}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        packed = state_dict["decisions"]
        self.decisions = None if packed is None else torch.from_numpy(np.unpackbits(packed.numpy(), axis=1)).bool()
        self.decided_of = state_dict.get("decided_of", "")

    def on_validation_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int, *args
    ) -> None:
        if self.chosen or not trainer.is_global_zero:
            return
        length = batch.inputs.shape[1]
        if self.batch is None or self.batch.inputs.shape[1] < length <= LONGEST:
            self.batch = batch  # whole: half of a pair could not be run

    def on_validation_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.batch is None or trainer.sanity_checking or not trainer.is_global_zero:
            return
        if not self.chosen:
            self.chosen = True
            identity = sha256(self.batch.inputs.cpu().numpy().tobytes()).hexdigest()
            if identity != self.decided_of:
                self.decided_of, self.decisions = identity, None
        with torch.no_grad():
            out: ModelOutput = module(self.batch)
        if not out.activations:
            return
        real = self.batch.real()
        active = torch.stack([a.active[real][:KEPT] for a in out.activations]).cpu()
        if self.decisions is not None:
            changed = (active != self.decisions[:, : active.shape[1]]).float().mean(1)  # packed bits are in eights
            for i, share in enumerate(changed):
                module.log(f"val/decisions_changed/layer_{i}", share, rank_zero_only=True)
        self.decisions = active
        self.record.add(trainer.global_step, self.batch, out.activations, cast(Any, module).data)
        self.draw(trainer, module, self.batch, out.activations)

    def draw(self, trainer: L.Trainer, module: Any, batch: Batch, activations: list[Activation]) -> None:
        """`module`: a `TrainingModule`, which knows its config and its data."""
        boards = [cast(Any, logger).experiment for logger in trainer.loggers]  # all of Lightning's have one
        boards = [board for board in boards if hasattr(board, "add_figure")]
        if not boards:
            return
        step, real = trainer.global_step, batch.real()
        confidence = [a.confidence.float() for a in activations]
        figure = None
        if batch.inputs.shape[1] <= LONGEST:
            shown = [c[: self.samples].cpu().numpy() for c in confidence]
            lengths = real[: self.samples].sum(1).cpu().numpy()
            figure = activation_raster(shown, lengths, f"active tokens after {step} updates")
        ids = batch.inputs[0][real[0]][:READABLE].tolist()
        tokens = module.data.decode(ids) if module.data else []
        of_tokens = [c[0][real[0]][:READABLE].cpu().numpy() for c in confidence]
        read = token_raster(tokens, of_tokens) if any(tokens) else None
        for board in boards:
            if figure is not None:
                board.add_figure("activation raster", figure, step)
            if read is not None:
                board.add_image("activated tokens", read, step, dataformats="HWC")
            for i, activation in enumerate(activations):
                if activation.evidence is not None:
                    probability = torch.sigmoid(activation.evidence[real].float())
                    board.add_histogram(f"confidence/layer_{i}", probability.cpu().numpy(), step)
                model = module.config.model
                layer = model.layer(model.deciding[i])
                span, _ = attention_span(activation.active, layer.memory_size, model.bidirectional)
                if len(span := span[span > 0]):
                    board.add_histogram(f"attention span/layer_{i}", span.cpu().numpy(), step)
        if figure is not None:
            plt.close(figure)

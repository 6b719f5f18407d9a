"""What a model decides for the same tokens at each validation, kept beside the run: `decisions.jsonl`.

A line that begins a record tells of the tokens (how many of each sequence, how a person reads them, their classes);
each line behind it has a validation's step and its decisions, a bit a token and layer, compressed. A run that goes on
with other batches, of other `trainer.devices` or `val_batches`, begins another record in the same file.
"""

import json
import zlib
from base64 import b64decode, b64encode
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqboat_lab.atomic import to_json, write_text
from seqboat_lab.config import ConfigError
from seqboat_lab.data.loading.base import TaskDataModule
from seqboat_lab.data.loading.batch import Batch
from seqboat_lab.nn.models import Activation
from seqboat_lab.training.checkpoints import Checkpoint

FILE = "decisions.jsonl"
TOKENS = 2**13  # 1 KiB a layer and validation before compression, 1.4 KB in the file at most


class Decisions(NamedTuple):
    """V validations of n tokens of the first sequences (rows) of a validation batch, padding left out."""

    steps: list[int]
    """(V,) updates."""
    active: np.ndarray
    """(V, layers, n) bool"""
    sequence: np.ndarray
    """(n,) from 0; of pairs, a document."""
    position: np.ndarray
    """(n,) in the sequence."""
    tokens: list[str] | None
    """(n,) as a person reads them; None of pixels and waves."""
    classes: list[str] | None
    """(n,) names of the tokens' classes; None where the task tells none apart."""


class DecisionRecord:
    """Writes the decisions for the first `TOKENS` real tokens of one batch, validation after validation."""

    def __init__(self, run_dir: Path):
        self.path = run_dir / FILE
        self.begun_with = ""  # the line that begins the record in the file
        self.kept: Tensor | None = None  # (B, L) bool: tokens of the batch

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """Drops the validations that are to come again, and a last line that was cut off."""
        if not self.path.exists():
            return
        lines = []
        for line in self.path.read_text(errors="replace").splitlines():
            with suppress(ValueError, KeyError, TypeError):
                values = json.loads(line)
                begins = "lengths" in values
                if begins or checkpoint.covers(values["step"]):
                    lines.append(line)
                    self.begun_with = line if begins else self.begun_with
        write_text(self.path, "".join(f"{line}\n" for line in lines))

    def add(self, step: int, batch: Batch, activations: list[Activation], data: TaskDataModule | None) -> None:
        """One validation's decisions, of the same batch in every call."""
        lines = []
        if self.kept is None:
            real = batch.real()
            self.kept = real & (real.flatten().cumsum(0) <= TOKENS).view(real.shape)
            begin = to_json(_described(batch, self.kept, data))
            if begin != self.begun_with:
                lines.append(begin)
        active = torch.stack([a.active[self.kept] for a in activations]).cpu().numpy()
        lines.append(to_json({"step": step, "layers": len(active), "active": _packed(np.packbits(active).tobytes())}))
        with self.path.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))


def read_decisions(run_dir: Path) -> Decisions:
    """The last record of a run. Raises `ConfigError` where there is none."""
    path, begin = run_dir / FILE, None
    found: list[tuple[int, np.ndarray]] = []
    text = path.read_text(errors="replace") if path.is_file() else ""
    for line in text.splitlines():
        with suppress(ValueError, KeyError, TypeError, zlib.error):  # a line that was cut off, of a run under way
            values = json.loads(line)
            if "lengths" in values:
                begin, found = values, []
            elif begin is not None:
                shape = values["layers"], sum(begin["lengths"])
                bits = np.unpackbits(np.frombuffer(_unpacked(values["active"]), np.uint8), count=shape[0] * shape[1])
                found.append((values["step"], bits.astype(bool).reshape(shape)))
    if begin is None or not found:
        problem = "holds no decisions: the run decides nothing, was not validated yet, or is older than such records"
        raise ConfigError(str(path), problem)
    lengths, names = begin["lengths"], begin["classes"]
    return Decisions(
        [step for step, _ in found],
        np.stack([active for _, active in found]),
        np.repeat(np.arange(len(lengths)), lengths),
        np.concatenate([np.arange(length) for length in lengths]),
        json.loads(_unpacked(begin["tokens"])) or None,
        [names[c] for c in _unpacked(begin["class"])] if names else None,
    )


def _described(batch: Batch, kept: Tensor, data: TaskDataModule | None) -> dict[str, Any]:
    """The line that begins a record."""
    lengths = [length for length in kept.sum(1).tolist() if length]
    tokens = [] if data is None else [data.decode(ids[of].tolist()) for ids, of in zip(batch.inputs, kept, strict=True)]
    names = [] if data is None else list(data.token_classes)
    of_class = data.token_class(batch.inputs)[kept].tolist() if data is not None and names else []
    flat = [token for of_sequence in tokens for token in of_sequence]
    return {"lengths": lengths, "tokens": _packed(json.dumps(flat).encode()), "classes": names,
            "class": _packed(bytes(of_class))}  # fmt: skip


def _packed(data: bytes) -> str:
    return b64encode(zlib.compress(data, 9)).decode()


def _unpacked(text: str) -> bytes:
    return zlib.decompress(b64decode(text))

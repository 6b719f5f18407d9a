"""One trained model with its learned decisions, and with the same decisions elsewhere: are these the right places?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqboat_lab.atomic import to_json, write_text
from seqboat_lab.config import ConfigError
from seqboat_lab.config.checks import choose
from seqboat_lab.data.loading.batch import IGNORED, SPLITS, Batch, Split
from seqboat_lab.inference.evaluation import evaluate_blocks, load_run
from seqboat_lab.nn.configurator import Configurator, Decision, mix
from seqboat_lab.training.experiment import quiet
from seqboat_lab.training.files import run_files
from seqboat_lab.training.modules.base import TrainingModule

COUNTED, CONTEXT, PADDING = range(3)
PRIME = 0x9E3779B1  # odd: distinct places stay distinct modulo 2^32


@dataclass(frozen=True)
class Comparison:
    """The metrics of a validation (without `val/`) on the same data; of several processes only the first has any."""

    learned: dict[str, float]
    shuffled: dict[str, float]


class Given(Configurator):
    """A trained configurator, or decisions in its place where there are some."""

    def __init__(self, trained: Configurator):
        super().__init__()
        self.trained, self.logits = trained, trained.logits
        self.decision: Decision | None = None

    def forward(self, u: Tensor, position: Tensor | int) -> Decision:
        return self.trained(u, position) if self.decision is None else self.decision


class Shuffling:
    """Before each forward of a `TrainingModule`: runs it as it was trained, and gives every layer these decisions
    shuffled."""

    def __init__(self, given: Sequence[Given], seed: int, text: bool):
        self.given, self.seed, self.text = given, seed, text
        self.state: Any = None  # of rows that go on, as they would be with the learned decisions

    def __call__(self, module: TrainingModule, inputs: tuple[Any, ...]) -> None:
        batch, *state = inputs
        for given in self.given:
            given.decision = None
        if state and (batch.fresh or self.state is None):
            self.state = module.get_submodule("model").init_state(len(batch.inputs))  # type: ignore[operator]
        out = module.forward(batch, *([self.state] if state else []))  # not through the hook that this is
        activations, self.state = out.activations, out.state
        kinds = kinds_of_place(batch, self.text)
        rows = row_hash(batch.inputs, kinds == PADDING)
        for layer, (given, activation) in enumerate(zip(self.given, activations, strict=True)):
            source = sources(kinds, rows, self.seed, layer)
            evidence = None if activation.evidence is None else activation.evidence.gather(1, source)
            given.decision = Decision(
                activation.active.gather(1, source), activation.confidence.gather(1, source), evidence
            )


def shuffled_decisions(
    run_dir: str | Path,
    seed: int = 0,
    split: Split = "test",
    checkpoint: str = "best",
    overrides: Sequence[str] = (),
) -> Comparison:
    """The run's metrics on `split` with its learned decisions, and with these shuffled; also written into the run
    directory, as shuffled_<split>.json.

    Every layer of a sequence has exactly as many active tokens as with the learned decisions, which the trained model
    takes for the sequence in a pass of its own, but at places drawn uniformly from the sequence's real tokens; of text,
    from the bytes that are scored, and apart from them from those of the context, so that the rate of both stays, too.
    Of pairs each document is a sequence; of rows that go on from batch to batch (`data.carry_state` of tasks that are
    evaluated so, such as multimodal), each batch's segment is one, whose decisions were taken with the state that the
    learned decisions before it left. The confidence goes with its decision: if place p is given the decision of
    place q, it is active as q was, and its attention's output is weighted by q's confidence, whatever p's own router
    says. So both passes use the same confidences, and only their places differ.

    The draw follows from the seed, the layer and the sequence's tokens alone, not from batches, workers or processes.
    How many tokens of a block are active depends on all of it: on text with shuffled decisions a byte may learn that
    much of later ones. Streaming, where the rest of the text is not known yet, has no such control.

    Raises `ConfigError` and `DataError`; also where a layer decides without a configurator, such as `mod`.
    """
    choose("--split", split, SPLITS, "split")
    quiet()
    run_dir = Path(run_dir)
    # of a compiled model every batch's decisions would be compiled anew
    module, datamodule = load_run(run_dir, checkpoint, ["trainer.compile=false", *overrides])
    numbers = module.config.model.deciding
    layers = [module.get_submodule("model.encoder.layers")[n] for n in numbers]  # type: ignore[index]
    if not layers:
        raise ConfigError(
            str(run_dir), "has no layer that decides which tokens are active; there is nothing to shuffle"
        )
    for number, layer in zip(numbers, layers, strict=True):
        if not hasattr(layer, "configurator"):
            kind = module.config.model.kinds[number]
            problem = f"decides in layer {number} ({kind}) without a configurator, whose decisions could be replaced"
            raise ConfigError(str(run_dir), f"{problem}; expected layers such as seqboat")
    datamodule.prepare_data()
    learned = evaluate_blocks(module, datamodule, split)
    given = [Given(layer.configurator) for layer in layers]
    for layer, each in zip(layers, given, strict=True):
        layer.configurator = each
    hook = module.register_forward_pre_hook(Shuffling(given, seed, datamodule.spec.head == "language_model"))
    found = Comparison(learned, evaluate_blocks(module, datamodule, split))
    hook.remove()
    if learned:
        values = {"checkpoint": checkpoint, "seed": seed, "learned": found.learned, "shuffled": found.shuffled}
        with run_files(run_dir):
            write_text(run_dir / f"shuffled_{split}.json", to_json(values, indent=2) + "\n")
    return found


def kinds_of_place(batch: Batch, text: bool) -> Tensor:
    """(B, L) `COUNTED`, `CONTEXT` or `PADDING`. Decisions change places with others of their kind only."""
    kinds = torch.where(batch.real(), COUNTED, PADDING)
    if not text:
        return kinds
    scored = batch.labels != IGNORED
    behind = scored.flip(1).cumsum(1).flip(1) == 0  # the last scored byte: shorter blocks are filled up there
    return torch.where(scored, COUNTED, torch.where(behind, PADDING, CONTEXT))


def row_hash(inputs: Tensor, padding: Tensor) -> Tensor:
    """(B, L) ids or real values, (B, L) True = padding -> (B,) a number in [0, 2^32) that tells sequences apart,
    however much padding is behind them."""
    bits = inputs.float().view(torch.int32).long() if inputs.is_floating_point() else inputs.long()
    place = torch.arange(inputs.shape[1], device=inputs.device)
    return mix(mix(bits ^ mix(place)).masked_fill(padding, 0).sum(1))


def sources(kinds: Tensor, rows: Tensor, seed: int, layer: int) -> Tensor:
    """From which place of its row each place takes its decision: kinds (B, L), rows (B,) as `row_hash` tells them ->
    (B, L), of each kind in each row a permutation."""
    own = mix(rows ^ int(mix(torch.tensor(int(mix(torch.tensor(seed))) ^ layer))))  # (B,)
    place = torch.arange(kinds.shape[1], device=kinds.device)
    drawn = mix((own.unsqueeze(1) + place * PRIME) & 0xFFFFFFFF)  # (B, L)
    to = kinds.argsort(dim=1, stable=True)  # places in their order, kind by kind
    take = (kinds * 2**32 + drawn).argsort(dim=1, stable=True)  # the same places in the drawn order
    return torch.empty_like(to).scatter_(1, to, take)

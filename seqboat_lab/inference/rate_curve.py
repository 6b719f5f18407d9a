"""One trained model at several activation rates: how its quality falls as its threshold rises."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from seqboat_lab.atomic import to_json, write_text
from seqboat_lab.config import ConfigError
from seqboat_lab.config.checks import choose
from seqboat_lab.data.loading.base import TaskDataModule
from seqboat_lab.data.loading.batch import SPLITS, Batch, Split
from seqboat_lab.inference.evaluation import evaluate_blocks, load_run, root_device
from seqboat_lab.nn.capacity import quantile_above
from seqboat_lab.nn.configurator import Configurator, Decision
from seqboat_lab.training.experiment import quiet
from seqboat_lab.training.modules.base import TrainingModule


class AtThreshold(Configurator):
    """A trained configurator that is active where its evidence exceeds a threshold of our choice."""

    threshold: Tensor

    def __init__(self, trained: Configurator):
        super().__init__()
        self.trained, self.logits = trained, trained.logits
        self.register_buffer("threshold", torch.tensor(-torch.inf))

    def forward(self, u: Tensor, position: Tensor | int) -> Decision:
        decision: Decision = self.trained(u, position)
        if decision.evidence is None:
            raise ConfigError("--rates", "is for configurators that tell their evidence, which this run's does not")
        return decision._replace(active=decision.evidence > self.threshold)


def rate_curve(
    run_dir: Path,
    rates: Sequence[float],
    split: Split = "test",
    checkpoint: str = "best",
    overrides: Sequence[str] = (),
) -> list[dict[str, float]]:
    """The run's metrics on `split` at each of the rates: the same share of tokens in every layer that decides.

    The thresholds are quantiles of the evidence on the validation split, layer by layer, so that what a layer sees is
    what those below it make of the rate. Writes rates_<split>.json and TensorBoard curves `rate_curve/...`, whose steps
    are rates in per mille, into the run directory; of several processes, the first one returns and writes them. Raises
    `ConfigError` and `DataError`.
    """
    choose("--split", split, SPLITS, "split")
    quiet()
    module, datamodule = load_run(run_dir, checkpoint, overrides)
    datamodule.prepare_data()
    datamodule.setup()
    layers = getattr(getattr(module.model, "encoder", None), "layers", [])
    deciding = [layer for layer in layers if getattr(getattr(layer, "configurator", None), "logits", 0)]
    if not deciding:
        raise ConfigError(
            str(run_dir), "holds a model whose decisions ignore the input; expected one that learned them"
        )
    for layer in deciding:
        layer.configurator = AtThreshold(layer.configurator)
    points = []
    for rate in rates:
        set_rate(module, datamodule, [layer.configurator for layer in deciding], rate)
        if values := evaluate_blocks(module, datamodule, split):
            points.append({"rate": rate, **values})
    if points:
        write(run_dir, split, checkpoint, points)
    return points


def parse_rates(text: str) -> list[float]:
    """`0.1,0.5,1` -> the numbers, in ascending order and each once. Raises `ConfigError`."""
    try:
        rates = sorted({float(part) for part in text.split(",")})
    except ValueError:
        rates = []
    if not rates or not all(0 <= rate <= 1 for rate in rates):
        raise ConfigError("--rates", f"{text!r} is not possible here; expected shares from 0 to 1, such as 0.1,0.5,1")
    return rates


@torch.no_grad()
def set_rate(
    module: TrainingModule, datamodule: TaskDataModule, configurators: Sequence[AtThreshold], rate: float
) -> None:
    """Give every layer the threshold that this share of the validation split's real tokens exceeds."""
    module.to(root_device(module)).eval()
    for configurator in configurators:
        seen: list[Tensor] = []

        def remember(_: nn.Module, inputs: Any, decision: Decision, seen: list[Tensor] = seen) -> None:
            assert decision.evidence is not None  # or it would have been refused
            seen.append(decision.evidence)

        hook = configurator.register_forward_hook(remember)
        evidence = []
        limit = module.config.trainer.val_batches
        for number, batch in enumerate(datamodule.evaluation_dataloader("val")):
            if number == limit:
                break
            mask = None if batch.padding_mask is None else batch.padding_mask.to(module.device)
            batch = Batch(batch.inputs.to(module.device), mask, batch.labels, batch.fresh)
            module(batch)
            evidence.append(seen.pop()[batch.real()].cpu())
        hook.remove()
        above = quantile_above(torch.cat(evidence), torch.tensor(rate))
        configurator.threshold.copy_(above if rate > 0 else torch.full_like(above, torch.inf))


def write(run_dir: Path, split: str, checkpoint: str, points: list[dict[str, float]]) -> None:
    """The points as JSON, and as curves over the rate."""
    path = run_dir / f"rates_{split}.json"
    write_text(path, to_json({"checkpoint": checkpoint, "points": points}, indent=2) + "\n")
    with SummaryWriter(str(run_dir)) as writer:
        for point in points:
            for name, value in point.items():
                if name != "rate" and "/" not in name:
                    writer.add_scalar(f"rate_curve/{name}", value, round(1000 * point["rate"]))

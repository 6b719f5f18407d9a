"""Evaluation of a finished run on a whole split."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import lightning as L
import torch

from seqboat_lab.atomic import to_json, write_text
from seqboat_lab.config import ConfigError
from seqboat_lab.config.checks import choose
from seqboat_lab.data.loading.base import TaskDataModule
from seqboat_lab.data.loading.batch import Split
from seqboat_lab.data.tasks.language import LanguageDataModule
from seqboat_lab.inference.streaming import stream
from seqboat_lab.inference.weights import WEIGHTS, with_weights
from seqboat_lab.nn import LanguageModel
from seqboat_lab.training.checkpoints import read_checkpoint
from seqboat_lab.training.experiment import make_module, quiet
from seqboat_lab.training.files import run_files
from seqboat_lab.training.launch import placement
from seqboat_lab.training.lightning_data import LightningData
from seqboat_lab.training.model import make_datamodule
from seqboat_lab.training.modules.base import TrainingModule
from seqboat_lab.training.run_config import run_config

ONE_PROCESS = ("trainer.devices=1", "trainer.accumulate=1")
"""How a run is evaluated unless overrides say otherwise, whatever it was trained on."""


def load_run(
    run_dir: str | Path, checkpoint: str = "best", overrides: Sequence[str] = ()
) -> tuple[TrainingModule, TaskDataModule]:
    """The trained module of a run, in evaluation mode, and its data, not yet set up.

    Args:
        checkpoint: `best`, `last`, or another file under the run's checkpoints/.

    Raises `ConfigError`: no run directory, no such checkpoint, or one that does not fit.
    """
    run_dir = Path(run_dir)
    config = run_config(run_dir, [*ONE_PROCESS, *overrides])
    datamodule = make_datamodule(config)
    module = make_module(config, datamodule)
    path = run_dir / "checkpoints" / f"{checkpoint}.ckpt"
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.ckpt"))
        raise ConfigError(str(path), f"does not exist; this run has the checkpoints {', '.join(known) or 'none'}")
    try:
        module.load_state_dict(read_checkpoint(path)["state_dict"])
    except (KeyError, RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ConfigError(str(path), f"does not hold this run's model: {reason[:200]}") from None
    return module.eval(), datamodule


def load_language_model(run_dir: str | Path, checkpoint: str = "best", weights: str = "float32") -> LanguageModel:
    """The model of a run on text, frozen, in evaluation mode.

    Args:
        weights: how it holds its matrices, see `seqboat_lab.inference.weights.with_weights`.

    Raises `ConfigError` as `load_run` does, for a classifier's run, and for other weights.
    """
    choose("--weights", weights, WEIGHTS, "kind of weights")
    quiet()
    module, datamodule = load_run(run_dir, checkpoint)
    if datamodule.spec.head != "language_model":
        raise ConfigError(str(run_dir), f"holds a classifier ({module.config.task}), which cannot write text; "
                          "expected a run of a language model, such as text_tiny")  # fmt: skip
    return cast(LanguageModel, with_weights(module.model, weights).to(root_device(module)))


def evaluate(
    run_dir: str | Path,
    split: Split = "test",
    mode: Literal["blocks", "streaming"] = "blocks",
    checkpoint: str = "best",
    overrides: Sequence[str] = (),
    tell: Callable[[dict[str, float]], None] = lambda values: None,
    weights: str = "float32",
) -> dict[str, float]:
    """The metrics of a validation (without `val/`) on a whole split, also written into the run directory; of several
    processes, the first one returns and writes them.

    Args:
        mode: how text is read. `blocks`: pieces of `data.tokens_per_sample` bytes with `data.context` bytes before
            those that are scored, over `trainer.devices` processes; `streaming`: in one go through the recurrent state.
            Other tasks know only `blocks`.
        tell: is given the metrics before they are written, which may fail.
        weights: how the model holds its matrices, see `seqboat_lab.inference.weights.with_weights`.

    The result does not depend on batch size, workers or processes. Raises `ConfigError` and `DataError`.
    """
    run_dir = Path(run_dir)
    choose("--split", split, ("train", "val", "test"), "split")
    choose("--mode", mode, ("blocks", "streaming"), "mode")
    choose("--weights", weights, WEIGHTS, "kind of weights")
    quiet()
    module, datamodule = load_run(run_dir, checkpoint, overrides)
    with_weights(module.model, weights)
    datamodule.prepare_data()
    language = datamodule.spec.head == "language_model"
    name = split if not language else f"{split}_{mode}"
    if mode == "streaming":
        if not language:
            raise ConfigError("--mode", "streaming is for language models; this run is a classifier, use blocks")
        values = _stream(module, datamodule, split)
    else:
        values = evaluate_blocks(module, datamodule, split)
    if not values:
        return {}
    tell(values)
    held = {} if weights == "float32" else {"weights": weights}
    name = "_".join([name, *held.values()])
    text = to_json({"checkpoint": checkpoint, **held, "metrics": values}, indent=2) + "\n"
    with run_files(run_dir):
        write_text(run_dir / f"evaluation_{name}.json", text)
    return values


def evaluate_blocks(module: TrainingModule, datamodule: TaskDataModule, split: Split) -> dict[str, float]:
    """The metrics of a validation (without `val/`) on a whole split."""
    settings = module.config.trainer
    trainer = _trainer(module, settings.devices)
    datamodule.setup()
    (logged,) = trainer.test(module, LightningData(datamodule, split), verbose=False)
    return {key.removeprefix("val/"): value for key, value in logged.items()} if trainer.is_global_zero else {}


def _stream(module: TrainingModule, datamodule: TaskDataModule, split: Split) -> dict[str, Any]:
    datamodule.setup()
    device = root_device(module)
    model, data = cast(LanguageModel, module.model), cast(LanguageDataModule, datamodule)
    result = stream(model.to(device), data.scored_bytes(split))
    after = {f"bpc_after/{n}": value for n, value in result.bpc_after.items()}
    return {"bpc": result.bpc, **result.activation, **after}


def root_device(module: TrainingModule) -> torch.device:
    """Where one process of this run's trainer works."""
    return _trainer(module, 1).strategy.root_device


def _trainer(module: TrainingModule, devices: int) -> L.Trainer:
    settings = module.config.trainer
    if settings.threads:
        torch.set_num_threads(settings.threads)
    return L.Trainer(
        accelerator=settings.accelerator,
        **placement(settings, devices),
        precision=settings.precision,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
    )

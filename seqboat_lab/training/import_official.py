"""A run directory of ours from a checkpoint of the authors' training code."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import lightning as L
import torch
from torch import Tensor

from seqboat_lab.config import ConfigError, ExperimentConfig, load_experiment
from seqboat_lab.config.files import CONFIG_DIR
from seqboat_lab.data.base import TaskDataModule
from seqboat_lab.data.listops import VOCABULARY
from seqboat_lab.nn.official_checkpoint import OfficialModel, read_official_checkpoint
from seqboat_lab.training.experiment import make_datamodule, make_module
from seqboat_lab.training.results import write_config

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
"""Rows of an embedding that every fairseq dictionary starts with."""


def import_official(path: Path, task: str, run_dir: Path, dictionary: Path | None = None) -> ExperimentConfig:
    """Writes `run_dir`: config.yaml (the task's recipe with the checkpoint's model) and checkpoints/best.ckpt.

    Sequences of the authors' text tasks end in an extra </s> token, which ours do not have: a sequence that ends
    differently gives a slightly different output.

    Args:
        task: a recipe under configs/ whose task and data the model belongs to: listops, text, pathx, ...
        dictionary: the authors' `dict.txt`, which says what token each embedding row stands for; by default the
            one beside the checkpoint. Without any, the rows must already be in our order.

    Raises `ConfigError`: the file is not such a checkpoint, or its model does not belong to the task.
    """
    try:
        official = read_official_checkpoint(path)
    except ValueError as error:
        raise ConfigError(str(path), str(error).removeprefix(f"{path}: ")) from None
    recipe = task if not (CONFIG_DIR / "lra" / f"{task}.yaml").is_file() else f"lra/{task}"
    config = replace(load_experiment(recipe), model=official.config)
    datamodule = make_datamodule(config)
    if official.head != datamodule.spec.head:
        raise ConfigError(str(path), f"holds a {official.head}, but {task} needs a {datamodule.spec.head}")
    beside = path.parent / "dict.txt"
    state = _fit_task(official, datamodule, dictionary or (beside if beside.is_file() else None), path)

    module = make_module(config, datamodule)
    module.model.load_state_dict(state)
    (run_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
    write_config(config, run_dir)
    checkpoint = {
        "state_dict": module.state_dict(),
        "hyper_parameters": dict(module.hparams),
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": L.__version__,
    }
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, run_dir / "checkpoints" / "best.ckpt")
    return config


def _fit_task(
    official: OfficialModel, datamodule: TaskDataModule, dictionary: Path | None, path: Path
) -> dict[str, Tensor]:
    """The weights with their embedding in the order of the task's ids."""
    spec, state = datamodule.spec, dict(official.state_dict)
    classes = len(state["output.weight"]) if "output.weight" in state else spec.num_classes
    if classes != spec.num_classes:
        raise ConfigError(str(path), f"tells {classes} classes apart, but the task has {spec.num_classes}")
    rows = state["embedding.weight"]
    if (spec.vocab_size is None) != (rows.dim() == 1):
        ours, theirs = ("real numbers", "tokens") if spec.vocab_size is None else ("tokens", "real numbers")
        raise ConfigError(str(path), f"reads {theirs}, but the task gives {ours}")
    if spec.vocab_size is None or (dictionary is None and len(rows) == spec.vocab_size):
        return state
    if dictionary is None:
        problem = f"has {len(rows)} embedding rows, but the task has {spec.vocab_size} ids; "
        raise ConfigError(str(path), problem + "give the authors' dict.txt, which says what each row stands for")
    symbols = _read_dictionary(dictionary)
    if len(symbols) > len(rows):
        raise ConfigError(str(dictionary), f"has {len(symbols)} symbols, but the checkpoint has {len(rows)} rows")
    row_of = {symbol: row for row, symbol in enumerate(symbols)}
    unknown = SPECIAL.index("<unk>")  # for bytes that never occurred in the authors' data
    picked = [row_of.get(symbol, unknown) for symbol in _our_symbols(spec.vocab_size, symbols)]
    if max(picked) <= unknown:
        raise ConfigError(str(dictionary), f"names none of the task's tokens; it starts {symbols[4:8]}")
    return {**state, "embedding.weight": rows[torch.tensor(picked)]}


def _read_dictionary(path: Path) -> list[str]:
    """Symbols of a fairseq dictionary by row: the special ones, then one `symbol count` a line."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # splitlines() would also split at rarer symbols
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"cannot be read: {error}") from None
    return [*SPECIAL, *(line.rsplit(" ", 1)[0] for line in lines if line)]


def _our_symbols(vocab_size: int, theirs: Sequence[str]) -> list[str]:
    """What our ids are called in a dictionary: ListOps' tokens; bytes as numbers or as characters, with padding
    before them (257 ids) or without (256, language models)."""
    if vocab_size == len(VOCABULARY):
        return ["<pad>", *VOCABULARY[1:]]
    numeric = sum(symbol.isdigit() and len(symbol) > 1 for symbol in theirs) > 10
    bytes_ = [str(byte) if numeric else chr(byte) for byte in range(256)]
    return ["<pad>", *bytes_] if vocab_size == 257 else bytes_

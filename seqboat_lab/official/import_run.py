"""A run directory of ours from a checkpoint of the authors' training code."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import lightning as L
import torch
from torch import Tensor

from seqboat_lab.config import ConfigError, ExperimentConfig, load_experiment
from seqboat_lab.config.files import CONFIG_DIR
from seqboat_lab.data.loading.base import TaskDataModule
from seqboat_lab.data.tasks.listops import VOCABULARY
from seqboat_lab.official.checkpoint import OfficialModel, read_official_checkpoint
from seqboat_lab.training.checkpoints import SafeCheckpointIO
from seqboat_lab.training.experiment import make_module
from seqboat_lab.training.files import run_files
from seqboat_lab.training.model import make_datamodule
from seqboat_lab.training.results import write_config

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
"""Rows of an embedding that every fairseq dictionary starts with."""
DIFFERENCES = (
    "the working memory counts activated tokens in every row; the authors' code counts all tokens of a whole batch "
    "as soon as one of its rows is fully active",
    "our sequences have no end marker </s>, which theirs of text and ListOps end in",
)
"""Where a model that was imported may differ from the authors' own output (docs/official.md says more)."""


def import_official(
    path: Path, task: str, run_dir: Path, dictionary: Path | None = None, symbols: Mapping[str, str] | None = None
) -> ExperimentConfig:
    """Writes `run_dir`: config.yaml (the task's recipe with the checkpoint's model) and checkpoints/best.ckpt.

    Outputs equal the authors' but for `DIFFERENCES`.

    Args:
        task: a recipe under configs/ whose task and data the model belongs to: listops, text, pathx, ...
        dictionary: the authors' `dict.txt`, which says what token each embedding row stands for; by default the
            one beside the checkpoint. Without any, the rows must already be in our order.
        symbols: our token -> what the dictionary calls it, where the names differ.

    Raises `ConfigError`: the file is not such a checkpoint, its model does not belong to the task, or a token of the
    task is not in the dictionary. A byte that it lacks never occurred in the authors' data: it gets `<unk>`.
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
    state = _fit_task(official, datamodule, dictionary or (beside if beside.is_file() else None), path, symbols or {})

    module = make_module(config, datamodule)
    module.model.load_state_dict(state)
    checkpoint = {
        "state_dict": module.state_dict(),
        "hyper_parameters": dict(module.hparams),
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": L.__version__,
    }
    module.on_save_checkpoint(checkpoint)
    with run_files(run_dir):
        write_config(config, run_dir)
        SafeCheckpointIO().save_checkpoint(checkpoint, run_dir / "checkpoints" / "best.ckpt")
    return config


def _fit_task(
    official: OfficialModel,
    datamodule: TaskDataModule,
    dictionary: Path | None,
    path: Path,
    renamed: Mapping[str, str],
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
    if renamed and (dictionary is None or spec.vocab_size is None):
        raise ConfigError("--symbol", f"{next(iter(renamed))!r} has no use here: no dictionary is read; give one")
    if spec.vocab_size is None or (dictionary is None and len(rows) == spec.vocab_size):
        return state
    if dictionary is None:
        problem = f"has {len(rows)} embedding rows, but the task has {spec.vocab_size} ids; "
        raise ConfigError(str(path), problem + "give the authors' dict.txt, which says what each row stands for")
    symbols = _read_dictionary(dictionary)
    if len(symbols) > len(rows):
        raise ConfigError(str(dictionary), f"has {len(symbols)} symbols, but the checkpoint has {len(rows)} rows")
    row_of = {symbol: row for row, symbol in enumerate(symbols)}
    called = _our_tokens(spec.vocab_size, symbols)
    for ours, theirs in renamed.items():
        for whose, name, known in (("the task", ours, called), ("the dictionary", theirs, row_of)):
            if name not in known:
                raise ConfigError("--symbol", f"{whose} has no token {name!r}; it has {_listed(known)}")
        called[ours] = theirs
    lacking = [ours for ours, theirs in called.items() if theirs not in row_of]
    if len(lacking) >= len(called) - 1:  # all but padding
        raise ConfigError(str(dictionary), f"names none of the task's tokens; it starts {symbols[4:8]}")
    if lacking and spec.vocab_size == len(VOCABULARY):
        spare = [symbol for symbol in symbols[len(SPECIAL) :] if symbol not in called.values()]
        problem = f"has no {lacking[0]!r}, which the task reads; its names that the task has not are {_listed(spare)}"
        raise ConfigError(str(dictionary), f"{problem}: say which one it is, as in --symbol '{lacking[0]}=X'")
    unknown = SPECIAL.index("<unk>")  # for bytes that never occurred in the authors' data
    picked = [row_of.get(theirs, unknown) for theirs in called.values()]
    return {**state, "embedding.weight": rows[torch.tensor(picked)]}


def _listed(names: Iterable[str], most: int = 40) -> str:
    names = list(names)
    return " ".join(map(repr, names[:most])) + (" ..." if len(names) > most else "") if names else "none"


def _read_dictionary(path: Path) -> list[str]:
    """Symbols of a fairseq dictionary by row: the special ones, then one `symbol count` a line."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # splitlines() would also split at rarer symbols
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"cannot be read: {error}") from None
    return [*SPECIAL, *(line.rsplit(" ", 1)[0] for line in lines if line)]


def _our_tokens(vocab_size: int, theirs: Sequence[str]) -> dict[str, str]:
    """Our tokens in the order of their ids, each with its name in a dictionary: ListOps' tokens; bytes as numbers or
    as characters, with padding before them (257 ids) or without (256, language models)."""
    if vocab_size == len(VOCABULARY):
        return {token: token for token in VOCABULARY}
    numeric = sum(symbol.isdigit() and len(symbol) > 1 for symbol in theirs) > 10
    bytes_ = {chr(byte): str(byte) if numeric else chr(byte) for byte in range(256)}
    if vocab_size == 257:
        return {"<pad>": "<pad>", **bytes_}
    # the usual preparation of language models writes a newline as the end of a line, which fairseq reads as </s>, and
    # where it keeps characters, a space as _
    newline = {} if bytes_["\n"] in theirs else {"\n": "</s>"}
    return bytes_ | newline | ({} if numeric or " " in theirs else {" ": "_"})

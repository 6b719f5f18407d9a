"""Tidy tables of sweeps and runs for notebooks: pandas DataFrames, one row for one observation.

pandas is the extra `tables` (the development environment has it); whatever needs no tables works without.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from seqboat_lab.analysis.compare import read_run
from seqboat_lab.analysis.sweeps import read_sweep
from seqboat_lab.config.checks import ConfigError
from seqboat_lab.data.loading.batch import SPLITS, Split
from seqboat_lab.inference.evaluation import load_run
from seqboat_lab.nn import LanguageModel
from seqboat_lab.nn.packing import attention_span
from seqboat_lab.training.callbacks.decision_record import read_decisions
from seqboat_lab.training.metrics import Reach
from seqboat_lab.training.results import read_summary

if TYPE_CHECKING:
    import pandas as pd

Place = str | Path
"""A directory, or a pattern of some (`runs/listops_short/*`)."""


def trials(sweep: Place) -> pd.DataFrame:
    """One row a candidate of the sweep in this directory, as in its trials.csv: number, state, objectives, searched
    fields, costs and last metrics; numbers are numbers. Raises `ConfigError` where there is no sweep."""
    return _frame(read_sweep(sweep).rows)


def runs(places: Place | Iterable[Place]) -> pd.DataFrame:
    """One row a finished run: `run` (its directory), every setting by its full key, `steps`, `seconds`, `parameters`,
    `peak_memory_bytes`, `device`, `code_version`, and the metrics of its last validation.

    Raises `ConfigError` where there is no finished run.
    """
    rows = []
    for directory in _directories(places):
        summary = read_summary(directory)
        kept = ("steps", "seconds", "parameters", "peak_memory_bytes", "device", "code_version")
        metrics = {name: value for name, value in summary["metrics"].items() if name != "step"}
        settings = read_run(directory).settings
        rows.append({"run": str(directory), **_cells(settings), **{k: summary.get(k) for k in kept}, **metrics})
    return _frame(rows)


def curves(places: Place | Iterable[Place]) -> pd.DataFrame:
    """One row a validation of each run: `run`, `step` (updates), metrics and costs by the names they are logged under.

    Raises `ConfigError` where there is no run.
    """
    return _frame(
        [{"run": str(directory), **row} for directory in _directories(places) for row in read_run(directory).curve]
    )


def activations(run: Place, sequences: int = 16, split: Split = "val", checkpoint: str = "best") -> pd.DataFrame:
    """What a trained model decided, one row a token and layer: `sequence` (from 0; of pairs, a document), `position`,
    `token` (as a person reads it; None of pixels and waves), `class` (of token; None where the task tells none apart),
    `layer` (of those that decide), `active`, `confidence` (0 where inactive), `span` (mean distance to the keys that an
    active token reads, in tokens; NaN of inactive ones, 0 of those that read none). Padding is left out.

    Args:
        sequences: how many of the split's first ones (rows of its first batches). Of rows that go on from batch to
            batch, as multimodal's do, each batch's segments are further sequences, read with what was before them.
        checkpoint: `best`, `last`, or another file under the run's checkpoints/.

    Raises `ConfigError` as `load_run` does, and where no layer decides.
    """
    if split not in SPLITS or sequences < 1:
        raise ConfigError(
            "activations", f"{split!r}, {sequences} sequences; expected {', '.join(SPLITS)} and 1 or more"
        )
    module, data = load_run(run, checkpoint)
    model = module.config.model
    if not model.activating_layers:
        raise ConfigError(str(run), "has no layer that decides which tokens are active")
    data.prepare_data()
    data.setup()
    loader = {"train": data.train_dataloader, "val": data.val_dataloader, "test": data.test_dataloader}[split]()
    parts: list[dict[str, Any]] = []
    done = 0
    carries, state = getattr(module, "carried", None) is not None and data.head == "tokens", None
    for batch in loader:
        if carries and (batch.fresh or state is None):  # as validation reads such rows
            state = cast(LanguageModel, module.model).init_state(len(batch.inputs))
            reach = Reach(module.val_activation.memory_sizes)
        with torch.no_grad():
            out = module(batch, state) if carries else module(batch)
        found, state = out.activations, out.state
        spans = reach(found) if carries else None
        real = batch.real()
        rows = min(sequences - done, len(real))
        classes = data.token_class(batch.inputs) if data.token_classes else None
        for i, activation in enumerate(found):
            span = torch.full(activation.active.shape, torch.nan)
            memory = model.layer(model.deciding[i]).memory_size
            reached = spans[i] if spans else attention_span(activation.active, memory, model.bidirectional)
            span[activation.active] = reached[0].float()
            for row in range(rows):
                at = real[row]
                tokens = data.decode(batch.inputs[row][at].tolist())
                parts.append(
                    {
                        "sequence": done + row,
                        "position": at.nonzero().squeeze(1).numpy(),
                        "token": tokens or None,
                        "class": None if classes is None else [data.token_classes[c] for c in classes[row][at]],
                        "layer": i,
                        "active": activation.active[row][at].numpy(),
                        "confidence": activation.confidence[row][at].float().numpy(),
                        "span": span[row][at].numpy(),
                    }
                )
        done += rows
        if done == sequences:
            break
    pandas = _pandas()
    return pandas.concat([pandas.DataFrame(part) for part in parts], ignore_index=True)


def decisions_over_time(run: str | Path) -> pd.DataFrame:
    """What a run decided at each validation for the same tokens (the first 8,192 real ones of a batch of the first
    process), one row a validation, layer and token: `step` (updates), `layer` (of those that decide), `sequence` (from
    0; of pairs, a document), `position`, `token`, `class` (both as in `activations`), `active`.

    Read from the run's decisions.jsonl alone: neither data nor checkpoints are needed. Raises `ConfigError` where the
    run kept no decisions.
    """
    kept, pandas = read_decisions(Path(run)), _pandas()
    validations, layers, n = kept.active.shape
    columns = {"sequence": kept.sequence, "position": kept.position, "token": kept.tokens, "class": kept.classes}
    table = pandas.DataFrame(columns, index=range(n))
    for name in ("token", "class"):  # of few kinds, so that a long run's table stays small
        table[name] = table[name].astype("category")
    table = table.iloc[np.tile(np.arange(n), validations * layers)].reset_index(drop=True)
    table.insert(0, "step", np.repeat(kept.steps, layers * n))
    table.insert(1, "layer", np.tile(np.repeat(np.arange(layers), n), validations))
    return table.assign(active=kept.active.reshape(-1))


def churn(run: str | Path) -> pd.DataFrame:
    """How many decisions change, one row a validation (but the first) and layer: `step`, `layer`, `churn` (share of the
    tokens of `decisions_over_time` that the validation before decided otherwise), `rate` and `rate_before` (their
    active shares at both), and `independent`: the churn p(1 - q) + q(1 - p) of decisions that are drawn anew each time
    at those rates p and q. A churn as high as that means that the layer activates other tokens every time.

    Raises `ConfigError` where the run kept no decisions.
    """
    kept = read_decisions(Path(run))
    rates = kept.active.mean(-1)  # (validations, layers)
    changed = (kept.active[1:] != kept.active[:-1]).mean(-1)
    rows = [
        {"step": kept.steps[v + 1], "layer": layer, "churn": changed[v, layer], "rate": q, "rate_before": p,
         "independent": p * (1 - q) + q * (1 - p)}
        for v in range(len(changed))
        for layer, (p, q) in enumerate(zip(rates[v], rates[v + 1], strict=True))
    ]  # fmt: skip
    return _pandas().DataFrame(rows, columns=["step", "layer", "churn", "rate", "rate_before", "independent"])


def _directories(places: Place | Iterable[Place]) -> list[Path]:
    """Runs in the order given, those of a pattern by name. Raises `ConfigError` for what matches nothing."""
    listed = [places] if isinstance(places, (str, Path)) else list(places)
    found: list[Path] = []
    for place in listed:
        matching = sorted(path for path in glob(str(place)) if (Path(path) / "config.yaml").is_file())
        if not matching:
            raise ConfigError(str(place), "matches no run; expected a run's directory, or a pattern of some")
        found += map(Path, matching)
    return found


def _cells(settings: dict[str, Any]) -> dict[str, Any]:
    """Lists and mappings as JSON, so that tables can be grouped by any column."""
    return {key: json.dumps(value) if isinstance(value, (list, dict)) else value for key, value in settings.items()}


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return _pandas().DataFrame(rows)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise ConfigError("pandas", "is not installed; tables need it: pip install 'seqboat-lab[tables]'") from None
    return pandas

"""A sweep in TensorBoard: its figures and hypervolume, and HParams beside the curves of every trial."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqboat_lab.analysis.pareto import is_number

HPARAMS_SUFFIX = ".hparams"
FIRST = "Sweep"
"""Group of the figures: TensorBoard sorts groups by name, capitals first, so that it stands above a run's own."""
COSTS = "cost/"


def write_tensorboard(
    directory: Path,
    rows: Sequence[Mapping[str, Any]],
    objectives: Mapping[str, str],
    searched: Sequence[str],
    pictures: Mapping[str, bytes],
    history: Sequence[float],
) -> None:
    """Figures (PNG, the first one first) and hypervolume in `directory`/tensorboard, and HParams beside the curves of
    every completed or stopped trial's run (as a run of their own they would double the number of runs)."""
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
    from torch.utils.tensorboard import SummaryWriter

    shutil.rmtree(directory / "tensorboard", ignore_errors=True)
    with SummaryWriter(str(directory / "tensorboard")) as writer:
        for n, (name, picture) in enumerate(pictures.items(), 1):  # one tag can show one kind only
            image = Summary.Image(encoded_image_string=picture, colorspace=4)
            writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=f"{FIRST}/{n} {name}", image=image)]))
        for n, volume in enumerate(history, 1):
            writer.add_scalar("hypervolume", volume, n)
    for row in rows:
        run = directory / "trials" / f"{row['number']:04d}"
        if row["state"] in ("complete", "stopped") and run.is_dir():
            _write_hparams(run, row, objectives, searched)


def _write_hparams(run: Path, row: Mapping[str, Any], objectives: Mapping[str, str], searched: Sequence[str]) -> None:
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams

    known = {**_last_validation(run), **row}
    metrics = [*objectives, *(key for key in known if key.startswith(COSTS) and key not in objectives)]
    values = {metric: known[metric] for metric in metrics if is_number(known.get(metric))}
    shown = {key: _hparam(row.get(key)) for key in searched} | {"state": row["state"]}
    contents = hashlib.sha256(json.dumps([shown, values], sort_keys=True, default=str).encode()).hexdigest()[:12]
    suffix = f".{contents}{HPARAMS_SUFFIX}"
    there = list(run.glob(f"*{HPARAMS_SUFFIX}"))
    if len(there) == 1 and there[0].name.endswith(suffix):  # of thousands of trials few are new
        return
    for old in there:
        old.unlink()
    with SummaryWriter(str(run), filename_suffix=suffix) as writer:
        for summary in hparams(shown, values):
            writer.file_writer.add_summary(summary)


def _last_validation(run: Path) -> dict[str, Any]:
    """What a trial measured last: of one that was stopped, its row does not know the costs."""
    try:
        last = json.loads((run / "validations.jsonl").read_text(errors="replace").splitlines()[-1])
    except (OSError, ValueError, IndexError):
        return {}
    return last if isinstance(last, dict) else {}


def _hparam(value: Any) -> Any:
    return value if isinstance(value, (bool, float, str)) or is_number(value) else str(value)

"""What `seqboat data prepare` and `seqboat data status` do."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seqboat_lab.config import DataConfig
from seqboat_lab.config.data import DATA_CONFIGS, PATHFINDER_SIZES
from seqboat_lab.data import TASKS
from seqboat_lab.data.files.errors import ArchiveError, DataError
from seqboat_lab.data.files.files import user_path, writing
from seqboat_lab.data.files.sources import SOURCES, download
from seqboat_lab.data.files.unpack import unpack
from seqboat_lab.data.files.unpack_file import unpack_file
from seqboat_lab.data.loading.base import TaskDataModule
from seqboat_lab.data.loading.batch import SPLITS
from seqboat_lab.data.loading.store import Store


def prepare(
    task: str, config: DataConfig, archive: Path | str | None = None, processes: int | None = None
) -> dict[str, int]:
    """Bring a task's data in place (download, unpack or generate, then build the stores): samples, or bytes of
    text, of each split.

    archive: an official archive that the user already has; nothing is downloaded then.
    processes: for generating and reading; null = all CPUs. Idempotent, and safe when two run at once.
    Raises `DataError`.
    """
    module = TASKS[task](config, seed=0, batch_size=1)
    module.processes, module.thorough = processes, True
    with writing(module.root):
        _bring(task, module, archive)
        module.prepare_data()
        module.setup()
        return module.sizes()


def _bring(task: str, module: TaskDataModule, archive: Path | str | None) -> None:
    """Official files in their place."""
    official = module.official
    if official is None:
        if archive is not None:
            raise DataError(f"{archive}: --from is for official files, which {task} does not read as it is configured")
    elif not official.is_whole(module.official_directory()):
        ours = archive is None
        source = (
            download(SOURCES[official.archive], module.root / "downloads")
            if archive is None
            else user_path(archive, "--from")
        )
        try:
            (unpack_file if official.single_file else unpack)(source, official, module.root / official.place)
        except ArchiveError as error:
            if not ours:
                raise
            aside = source.with_name(f"{source.name}.damaged")
            source.replace(aside)
            raise DataError(f"{error}; it was moved to {aside.name}, so that the next call downloads it anew") from None


@dataclass(frozen=True)
class StatusRow:
    """One kind of data and whether it is there."""

    task: str
    variant: str
    """`official`, or the name of a generated or synthetic set."""
    state: Literal["ready", "files only", "missing"]
    """`files only`: the source is there, its stores are made at the first use."""
    place: Path
    """Where its files are or would be."""
    detail: str
    """Samples (or bytes of text) of each split, or what to do."""


def status(root: Path | str) -> list[StatusRow]:
    """What is there under `root` and what is missing."""
    rows, root = [], user_path(root, "--root")
    for task, cls in DATA_CONFIGS.items():
        sizes = [{"size": size} for size in PATHFINDER_SIZES if size > 16] if task == "pathfinder" else [{}]
        for fields in sizes:
            module = TASKS[task](cls(root=str(root), **fields), seed=0, batch_size=1)
            rows.append(_row(task, module))
        shown = {row.variant for row in rows if row.task == task}
        for directory in sorted((root / "prepared" / task).glob("[!.]*")):

            def sizes_there(at: Path = directory) -> dict[str, int]:
                return {split: len(Store(at / split)) for split in SPLITS}

            counts = _counts(sizes_there)
            if directory.name not in shown and counts:
                rows.append(StatusRow(task, directory.name, "ready", directory, counts))
    return rows


def _row(task: str, module: TaskDataModule) -> StatusRow:
    counts = _counts(module.sizes)
    if counts:
        return StatusRow(task, module.variant, "ready", module.place, counts)
    if module.official is None or not module.official.is_whole(module.place):
        return StatusRow(task, module.variant, "missing", module.place, f"run `{module.command}`")
    return StatusRow(task, module.variant, "files only", module.place, f"run `{module.command}` or just train")


def _counts(sizes: Callable[[], dict[str, int]]) -> str:
    """`96,000 / 2,000 / 2,000` when all three splits are ready, else nothing."""
    try:
        return " / ".join(f"{count:,}" for count in sizes().values())
    except DataError:
        return ""

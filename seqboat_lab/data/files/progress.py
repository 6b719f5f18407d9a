"""How far a long preparation is: a bar on a terminal, silence elsewhere."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress(
    title: str, total: int | None, *, in_bytes: bool = False, start: int = 0
) -> Iterator[Callable[[int], None]]:
    """A function that is told how many more items (or bytes) are done."""
    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    bar = Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), count, TimeRemainingColumn(),
        console=Console(file=sys.stderr), disable=not sys.stderr.isatty(), transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task(title, total=total, completed=start)
        yield lambda done: bar.advance(task, done)


T = TypeVar("T")


def counted(items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
    """The items, with a bar that counts them."""
    with progress(title, total) as tick:
        for number, item in enumerate(items, start=1):
            yield item
            if number % 100 == 0:  # drawing the bar costs more than some items do
                tick(100)

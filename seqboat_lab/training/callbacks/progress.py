"""Progress for people: a rich bar on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SHOWN = (  # what stands behind the bar: logged name, label, format
    ("train/loss", "loss", "{:.3f}"),
    ("train/bpc", "bpc", "{:.3f}"),
    ("train/accuracy", "acc", "{:.1%}"),
    ("train/activation_rate", "active", "{:.1%}"),
    ("tokens_per_second", "tok/s", "{:,.0f}"),
)
VALIDATED = (
    ("val/loss", "loss", "{:.4f}"),
    ("val/bpc", "bpc", "{:.4f}"),
    ("val/accuracy", "accuracy", "{:.2%}"),
    ("val/activation_rate", "active", "{:.1%}"),
)


def describe(metrics: dict, shown: tuple = SHOWN) -> str:
    """`loss 1.234  acc 45.6%`, of those values that are there."""
    return "  ".join(f"{label} {form.format(float(metrics[k]))}" for k, label, form in shown if k in metrics)


class ProgressReport(Callback):
    """Shows step, loss, accuracy, activation rate and tokens/s, and every validation as a line."""

    def __init__(self, max_steps: int, log_every: int):
        self.max_steps, self.log_every = max_steps, log_every
        self.console = Console()
        self.live = self.console.is_terminal
        self.bar: Progress | None = None
        self.shown_at = -1

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.started, self.first = time.perf_counter(), trainer.global_step
        if self.live and trainer.is_global_zero:
            columns = (
                TextColumn("[bold]training"), BarColumn(), MofNCompleteColumn(),
                TextColumn("{task.fields[metrics]}", markup=False), TimeElapsedColumn(), TimeRemainingColumn(),
            )  # fmt: skip
            self.bar = Progress(*columns, console=self.console)
            self.task = self.bar.add_task("", total=self.max_steps, completed=self.first, metrics="")
            self.bar.start()

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *args) -> None:
        step = trainer.global_step
        if not trainer.is_global_zero or step in (self.first, self.shown_at):  # part of an accumulated update
            return
        if self.bar is not None:
            fields: dict[str, Any] = (
                {"metrics": describe(trainer.callback_metrics)} if step % self.log_every == 0 else {}
            )
            self.bar.update(self.task, completed=step, **fields)
        elif not self.live and step % (5 * self.log_every) == 0:
            seconds = (time.perf_counter() - self.started) / (step - self.first)
            print(f"step {step}/{self.max_steps}  {describe(trainer.callback_metrics)}  {seconds:.3f} s/step")
            sys.stdout.flush()
        self.shown_at = step

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.is_global_zero and not trainer.sanity_checking:
            self.console.print(
                f"validation at step {trainer.global_step}: {describe(trainer.callback_metrics, VALIDATED)}",
                markup=False,
            )

    def teardown(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

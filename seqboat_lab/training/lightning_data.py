"""A task's data as Lightning asks for it. The tasks themselves know no Lightning, which takes seconds to import."""

from collections.abc import Iterable

import lightning as L
from torch.utils.data import DataLoader

from seqboat_lab.data.loading.base import TaskDataModule
from seqboat_lab.data.loading.batch import Batch, Split


class LightningData(L.LightningDataModule):
    """What `Trainer.fit`, `validate` and `test` take: in each process, the loaders of `task` for its rank.

    test_split: the split that `Trainer.test` measures.
    """

    def __init__(self, task: TaskDataModule, test_split: Split = "test"):
        super().__init__()
        self.task, self.test_split = task, test_split

    def prepare_data(self) -> None:
        self.task.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        self.task.setup(stage)

    def train_dataloader(self) -> Iterable[Batch]:
        return self.task.train_dataloader()

    def val_dataloader(self) -> DataLoader:
        return self.task.val_dataloader()

    def test_dataloader(self) -> DataLoader:
        return self.task.evaluation_dataloader(self.test_split)


def task_of(trainer: L.Trainer) -> TaskDataModule | None:
    """The task whose data a trainer has; None where it was given others, or none."""
    data = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it
    return data.task if isinstance(data, LightningData) else None

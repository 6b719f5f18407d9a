"""The data floor: one DataModule per task over one base class."""

from seqboat_lab.config.data import DATA_CONFIGS
from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.loading.base import SequenceDataModule, TaskDataModule
from seqboat_lab.data.loading.batch import Batch, TaskSpec

TASKS = DATA_CONFIGS.implementations
"""Name of a task -> its DataModule; also `package.module:Class` of one from outside."""

__all__ = ["TASKS", "Batch", "DataError", "SequenceDataModule", "TaskDataModule", "TaskSpec"]

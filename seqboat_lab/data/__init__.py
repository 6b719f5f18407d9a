"""The data floor: one DataModule per task over one base class."""

from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.loading.base import SequenceDataModule, TaskDataModule
from seqboat_lab.data.loading.batch import Batch, TaskSpec
from seqboat_lab.data.tasks.array import ArrayDataModule
from seqboat_lab.data.tasks.image import ImageDataModule
from seqboat_lab.data.tasks.language import CorpusDataModule, Enwik8DataModule, Text8DataModule
from seqboat_lab.data.tasks.listops import ListOpsDataModule
from seqboat_lab.data.tasks.pathfinder import PathfinderDataModule
from seqboat_lab.data.tasks.retrieval import RetrievalDataModule
from seqboat_lab.data.tasks.speech_commands import SpeechCommandsDataModule
from seqboat_lab.data.tasks.text import TextDataModule
from seqboat_lab.data.tasks.web_text import WebTextDataModule

TASKS: dict[str, type[TaskDataModule]] = {
    "listops": ListOpsDataModule,
    "text": TextDataModule,
    "retrieval": RetrievalDataModule,
    "image": ImageDataModule,
    "pathfinder": PathfinderDataModule,
    "speech_commands": SpeechCommandsDataModule,
    "enwik8": Enwik8DataModule,
    "text8": Text8DataModule,
    "corpus": CorpusDataModule,
    "web_text": WebTextDataModule,
    "array": ArrayDataModule,
}

__all__ = ["TASKS", "Batch", "DataError", "SequenceDataModule", "TaskDataModule", "TaskSpec"]

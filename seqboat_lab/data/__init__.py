"""The data floor: one DataModule per task over one base class."""

from seqboat_lab.data.base import Batch, SequenceDataModule, TaskDataModule, TaskSpec
from seqboat_lab.data.errors import DataError
from seqboat_lab.data.image import ImageDataModule
from seqboat_lab.data.language import CorpusDataModule, Enwik8DataModule, Text8DataModule
from seqboat_lab.data.listops import ListOpsDataModule
from seqboat_lab.data.pathfinder import PathfinderDataModule
from seqboat_lab.data.recall import RecallDataModule
from seqboat_lab.data.retrieval import RetrievalDataModule
from seqboat_lab.data.speech_commands import SpeechCommandsDataModule
from seqboat_lab.data.text import TextDataModule
from seqboat_lab.data.web_text import WebTextDataModule

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
    "recall": RecallDataModule,
}

__all__ = ["TASKS", "Batch", "DataError", "SequenceDataModule", "TaskDataModule", "TaskSpec"]

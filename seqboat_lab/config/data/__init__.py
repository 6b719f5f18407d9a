"""The data's part of an experiment: one dataclass per task, listed in `DATA_CONFIGS` with the task's DataModule."""

from seqboat_lab.config.components import Components
from seqboat_lab.config.data.array import ARRAY_FILES, ArrayConfig
from seqboat_lab.config.data.base import LONGEST, MOST_SAMPLES, DataConfig
from seqboat_lab.config.data.benchmarks import (
    PATHFINDER_SIZES,
    ImageConfig,
    ListOpsConfig,
    PathfinderConfig,
    RetrievalConfig,
    SpeechCommandsConfig,
    StandInConfig,
    TextConfig,
)
from seqboat_lab.config.data.language import CorpusConfig, Enwik8Config, LanguageConfig, Text8Config, WebTextConfig
from seqboat_lab.config.data.multimodal import MultimodalConfig
from seqboat_lab.config.data.recall import RecallConfig

__all__ = [
    "ARRAY_FILES",
    "DATA_CONFIGS",
    "LONGEST",
    "MOST_SAMPLES",
    "PATHFINDER_SIZES",
    "ArrayConfig",
    "CorpusConfig",
    "DataConfig",
    "Enwik8Config",
    "ImageConfig",
    "LanguageConfig",
    "ListOpsConfig",
    "MultimodalConfig",
    "PathfinderConfig",
    "RecallConfig",
    "RetrievalConfig",
    "SpeechCommandsConfig",
    "StandInConfig",
    "Text8Config",
    "TextConfig",
    "WebTextConfig",
]

DATA_CONFIGS = Components(
    "task",
    {
        "listops": (ListOpsConfig, "seqboat_lab.data.tasks.listops:ListOpsDataModule"),
        "text": (TextConfig, "seqboat_lab.data.tasks.text:TextDataModule"),
        "retrieval": (RetrievalConfig, "seqboat_lab.data.tasks.retrieval:RetrievalDataModule"),
        "image": (ImageConfig, "seqboat_lab.data.tasks.image:ImageDataModule"),
        "pathfinder": (PathfinderConfig, "seqboat_lab.data.tasks.pathfinder:PathfinderDataModule"),
        "speech_commands": (SpeechCommandsConfig, "seqboat_lab.data.tasks.speech_commands:SpeechCommandsDataModule"),
        "enwik8": (Enwik8Config, "seqboat_lab.data.tasks.language:Enwik8DataModule"),
        "text8": (Text8Config, "seqboat_lab.data.tasks.language:Text8DataModule"),
        "corpus": (CorpusConfig, "seqboat_lab.data.tasks.language:CorpusDataModule"),
        "web_text": (WebTextConfig, "seqboat_lab.data.tasks.web_text:WebTextDataModule"),
        "recall": (RecallConfig, "seqboat_lab.data.tasks.recall:RecallDataModule"),
        "multimodal": (MultimodalConfig, "seqboat_lab.data.tasks.multimodal:MultimodalDataModule"),
        "array": (ArrayConfig, "seqboat_lab.data.tasks.array:ArrayDataModule"),
    },
)

"""The one schema of an experiment: frozen dataclasses, checked when they are made."""

from seqboat_lab.config.checks import ConfigError
from seqboat_lab.config.data import DataConfig, ListOpsConfig
from seqboat_lab.config.experiment import ExperimentConfig, OptimConfig, TrainerConfig
from seqboat_lab.config.files import load_experiment
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.config.ssm import EMAConfig

__all__ = [
    "ConfigError",
    "DataConfig",
    "EMAConfig",
    "ExperimentConfig",
    "ListOpsConfig",
    "ModelConfig",
    "OptimConfig",
    "TrainerConfig",
    "load_experiment",
]

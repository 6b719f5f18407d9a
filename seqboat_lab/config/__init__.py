"""The one schema of an experiment: frozen dataclasses, checked when they are made."""

from seqboat_lab.config.checks import ConfigError
from seqboat_lab.config.configurator import ConfiguratorConfig
from seqboat_lab.config.data import DataConfig, ListOpsConfig
from seqboat_lab.config.experiment import ExperimentConfig, OptimConfig, TrainerConfig
from seqboat_lab.config.files import load_experiment
from seqboat_lab.config.mixers import MixerConfig
from seqboat_lab.config.model import EncoderConfig, ModelConfig
from seqboat_lab.config.ssm import EMAConfig, KernelConfig

__all__ = [
    "ConfigError",
    "ConfiguratorConfig",
    "DataConfig",
    "EMAConfig",
    "EncoderConfig",
    "ExperimentConfig",
    "KernelConfig",
    "ListOpsConfig",
    "MixerConfig",
    "ModelConfig",
    "OptimConfig",
    "TrainerConfig",
    "load_experiment",
]

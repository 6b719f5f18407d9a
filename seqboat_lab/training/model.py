"""The data and the model of one config: what a run trains, and all that a count of its costs has to know.

Without Lightning, which takes seconds to import.
"""

import torch

from seqboat_lab.config import ExperimentConfig
from seqboat_lab.data import TASKS
from seqboat_lab.data.loading.base import TaskDataModule
from seqboat_lab.data.loading.batch import TaskSpec
from seqboat_lab.nn import Classifier, LanguageModel
from seqboat_lab.nn.capacity import plan_training


def make_datamodule(config: ExperimentConfig) -> TaskDataModule:
    """The task's DataModule; its batches are per process and backward pass."""
    share = config.trainer.devices * config.trainer.accumulate
    datamodule = TASKS[config.task](config.data, seed=config.seed, batch_size=config.data.batch_size // share)
    datamodule.accumulate = config.trainer.accumulate
    return datamodule


def make_model(config: ExperimentConfig, spec: TaskSpec) -> Classifier | LanguageModel:
    """The model with the task's head, initialised from the experiment's seed and planned for its training."""
    return make_classifier(config, spec) if spec.head in ("classifier", "pair") else make_language_model(config, spec)


def make_classifier(config: ExperimentConfig, spec: TaskSpec) -> Classifier:
    torch.manual_seed(config.seed)
    model = Classifier(config.model, spec.num_classes, spec.vocab_size, pair=spec.head == "pair")
    _plan(model, config)
    return model


def make_language_model(config: ExperimentConfig, spec: TaskSpec) -> LanguageModel:
    assert spec.vocab_size is not None  # such tasks have ids
    torch.manual_seed(config.seed)
    model = LanguageModel(config.model, spec.vocab_size)
    _plan(model, config)
    return model


def _plan(model: torch.nn.Module, config: ExperimentConfig) -> None:
    if config.trainer.compile:
        model.compile()
    plan_training(model, config.trainer.max_steps * config.trainer.accumulate)

"""MkDocs: writes the page of every configuration field from the dataclasses, while the site is built."""

from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from seqboat_lab.config.configurator import CONFIGURATOR_CONFIGS
from seqboat_lab.config.data import DATA_CONFIGS
from seqboat_lab.config.experiment import ExperimentConfig, OptimConfig, TrainerConfig
from seqboat_lab.config.explain import table
from seqboat_lab.config.mixers import MIXER_CONFIGS
from seqboat_lab.config.model import ModelConfig
from seqboat_lab.config.ssm import SSM_CONFIGS
from seqboat_lab.sweep.definition.config import SweepConfig
from seqboat_lab.sweep.definition.confirm import ConfirmConfig
from seqboat_lab.sweep.definition.constraints import Constraint
from seqboat_lab.sweep.definition.samplers import SAMPLER_CONFIGS
from seqboat_lab.sweep.definition.space import Parameter
from seqboat_lab.sweep.stopping.config import STOPPING_CONFIGS

INTRODUCTION = """# Every field

`seqboat config NAME` prints an experiment with all its fields, `seqboat config --explain NAME` with what they mean. Any
of them is set in a YAML file or by `key=value`. A text field takes what is typed (`null` where it may be null);
`${other.key}` stands for another field; a section that is chosen by a name may be given as that name alone
(`model.configurator=never`)."""


def reference() -> str:
    """Every field of every section as one page of Markdown."""
    lines = [INTRODUCTION, *table("Experiments", "", ExperimentConfig)]
    for title, cls in (("model", ModelConfig), ("optim", OptimConfig), ("trainer", TrainerConfig)):
        lines += table(title, f"{title}.", cls)
    for kind, classes in (
        ("model.ssm", SSM_CONFIGS),
        ("model.configurator", CONFIGURATOR_CONFIGS),
        ("data", DATA_CONFIGS),
    ):
        for name, cls in classes.items():
            lines += table(f"{kind}: {name}", f"{kind}.", cls)
    for name, cls in MIXER_CONFIGS.items():
        lines += table(f"model.mixers: {name}", f"model.mixers.{name}.", cls)
    lines += table("Sweeps", "", SweepConfig)
    lines += table("Values of a searched field", "space.FIELD.", Parameter)
    lines += table("Constraints", "constraints.METRIC.", Constraint)
    for name, cls in STOPPING_CONFIGS.items():
        lines += table(f"stopping: {name}", "stopping.", cls)
    lines += table("Confirmation", "confirm.", ConfirmConfig)
    for name, cls in SAMPLER_CONFIGS.items():
        lines += table(f"sampler: {name}", "sampler.", cls)
    return "\n".join(lines) + "\n"


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    files.append(File.generated(config, "reference/config.md", content=reference()))
    return files

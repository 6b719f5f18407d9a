"""YAML files and `key=value` overrides to a checked `ExperimentConfig`, and back."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from seqboat_lab.config.checks import choose, is_file, user_path
from seqboat_lab.config.experiment import ExperimentConfig
from seqboat_lab.config.overrides import merge
from seqboat_lab.config.schema import build, field_type, to_dict
from seqboat_lab.config.yaml_text import read_yaml

__all__ = [
    "CONFIG_DIR",
    "build",
    "field_type",
    "find_config",
    "load_experiment",
    "merge",
    "read_yaml",
    "to_dict",
    "to_yaml",
]

CONFIG_DIR = Path(__file__).parents[2] / "configs"


def load_experiment(source: str | Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """The experiment of a YAML file (path, or name under configs/) with `key=value` overrides applied.

    Raises `ConfigError` for anything that is not a runnable experiment.
    """
    return build(ExperimentConfig, merge(read_yaml(find_config(source)), overrides, ExperimentConfig))


def find_config(name: str | Path, what: str = "experiment", others: Iterable[str] = ()) -> Path:
    """The file a user means by `lra/listops_short`, `configs/lra/listops_short.yaml` or any path.

    Raises `ConfigError` if there is none: it tells what was expected, and the names that could have been given, those
    of the experiments and `others`.
    """
    given = Path(user_path(str(name), "config")) if str(name) else Path()
    names = [given, Path(f"{given}.yaml")]  # what follows a dot belongs to the name
    for path in (given, *(folder / name for folder in (Path("configs"), CONFIG_DIR, Path()) for name in names)):
        if is_file(path):
            return path
    known = [str(p.relative_to(CONFIG_DIR).with_suffix("")) for p in CONFIG_DIR.rglob("*.yaml") if is_file(p)]
    choose("config", str(name), {*known, *others} - {str(name)}, what)
    raise AssertionError("unreachable: no known name is left that this could be")


def to_yaml(config: Any) -> str:
    """YAML that `read_yaml`, `merge` and `build` read back to an equal config: a `${` in a text is escaped."""

    def escaped(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: escaped(inner) for key, inner in value.items()}
        if isinstance(value, str):
            return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + "\\${", value)
        return [escaped(inner) for inner in value] if isinstance(value, list) else value

    values = config if isinstance(config, Mapping) else to_dict(config)
    return OmegaConf.to_yaml(OmegaConf.create(escaped(values)))

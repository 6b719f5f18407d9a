"""A sweep's definition, kept with its study: workers on machines that have no file of it join by the study's name."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna

from seqboat_lab.config.checks import ConfigError, choose
from seqboat_lab.config.files import to_dict, to_yaml
from seqboat_lab.sweep.definition.config import SWEEP_ROOT, SweepConfig, load_sweep
from seqboat_lab.sweep.definition.space import flatten
from seqboat_lab.sweep.study.attributes import DEFINITION
from seqboat_lab.sweep.study.storage import errors_in_one_line, open_storage, storage_url

OF_A_MACHINE = ("data.root", "data.path", "data.val_path", "data.test_path", "trainer.accelerator", "trainer.threads")
"""Fields of an experiment that may differ between the workers of a sweep: where things are, not what they are."""


def other_search(known: Mapping[str, Any], mine: Mapping[str, Any], defined: bool) -> list[str]:
    """The fields in which the identities of two sweeps differ; where the study is `defined`, what the experiment holds
    is compared, and not where its file lies."""

    def part(identity: Mapping[str, Any], key: str) -> Any:
        value = identity.get(key)
        return _of_all_machines(value) if key == "overrides" and isinstance(value, Mapping) else value

    keys = [key for key in mine if not (defined and key == "experiment")]
    return [key for key in keys if part(known, key) != part(mine, key)]


def keep_definition(study: optuna.Study, sweep: SweepConfig) -> None:
    """Writes the sweep down with its study: call it alone. Raises `ConfigError` if it began with another experiment."""
    known, written = study.user_attrs.get(DEFINITION), sweep.written()
    mine = json.loads(json.dumps(to_dict(replace(sweep, storage=None, experiment_fields=written))))
    if known is not None:
        begun, here = (_of_all_machines(dict(flatten(fields))) for fields in (known["experiment_fields"], written))
        differs = sorted(key for key in begun.keys() | here.keys() if begun.get(key) != here.get(key))
        if differs:
            reason = f"began with another {sweep.experiment} than is here: it differs in {', '.join(differs)}"
            reason += "; bring the files in line, or give this one another name (name=...)"
            raise ConfigError(f"study {sweep.name}", reason)
        mine["experiment_fields"] = known["experiment_fields"]
    if known != mine:
        study.set_user_attr(DEFINITION, mine)


def join_sweep(url: str, name: str, overrides: Sequence[str]) -> SweepConfig:
    """The sweep called `name` in the storage at `url`, with `key=value` overrides, checked.

    Raises `ConfigError` if there is none.
    """
    with errors_in_one_line(SWEEP_ROOT, url):
        storage = open_storage(url, SWEEP_ROOT / "study.journal")
        names = [s.study_name for s in storage.get_all_studies() if DEFINITION in s.user_attrs]
        if name not in names:
            if not names:
                start = "seqboat sweep FILE storage=URL"
                reason = f"{name!r} is no sweep there: the storage holds none; start it with: {start}"
                raise ConfigError("--join", reason)
            choose("--join", name, names, "sweep")
        study = optuna.load_study(study_name=name, storage=storage)
        definition = study.user_attrs[DEFINITION]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "sweep.yaml"
        path.write_text(to_yaml(definition))
        return replace(load_sweep(path, overrides), storage=url)


def with_storage(sweep: SweepConfig, overrides: Sequence[str]) -> SweepConfig:
    """`sweep` with the URL of the environment, unless the command line names one."""
    named = any(override.startswith("storage=") for override in overrides)
    return sweep if named else replace(sweep, storage=storage_url(sweep.storage))


def _of_all_machines(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key not in OF_A_MACHINE}

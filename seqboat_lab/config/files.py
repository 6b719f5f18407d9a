"""YAML files and `key=value` overrides to a checked `ExperimentConfig`, and back.

OmegaConf merges and interpolates; `build` turns the result into the frozen dataclasses, strictly:
an unknown key, a wrong type or an impossible value is a one-line `ConfigError` with the full key.
"""

import dataclasses
import types
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from seqboat_lab.config.checks import ConfigError, choose, require
from seqboat_lab.config.experiment import ExperimentConfig

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
    name = Path(name)
    candidates = [name, Path("configs") / name.with_suffix(".yaml"), CONFIG_DIR / name.with_suffix(".yaml")]
    for path in candidates:
        if path.is_file():
            return path
    known = [str(p.relative_to(CONFIG_DIR).with_suffix("")) for p in CONFIG_DIR.rglob("*.yaml")]
    choose("config", str(name), [*known, *others], what)
    raise AssertionError("unreachable: the name is known, so its file was found above")


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping as plain data. Raises `ConfigError` naming the file."""
    try:
        loaded = OmegaConf.load(path)
    except (OSError, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(str(path), f"cannot be read: {_one_line(error)}") from None
    except YAMLError as error:
        raise ConfigError(str(path), f"is not YAML: {_one_line(error)}") from None
    if not OmegaConf.is_dict(loaded):
        raise ConfigError(str(path), "expected a mapping of fields to values")
    return OmegaConf.to_container(loaded)


def merge(base: Mapping[str, Any], overrides: Sequence[str] | Mapping[str, Any], schema: type) -> dict[str, Any]:
    """`base` with overrides (`key=value` strings, or a mapping of dotted keys) laid over it.

    An override that chooses another component (`model.ssm.kernel=s4d`) drops those of its fields in `base`
    that only the old one had; fields that the overrides set themselves stay, for `build` to judge.
    """
    base = _text_keys(base)
    layered = OmegaConf.create(base)
    if isinstance(overrides, Mapping):
        pairs = list(overrides.items())
    else:
        for item in overrides:
            if "=" not in item or item.startswith("="):
                raise ConfigError(item, "expected an override of the form key=value")
        pairs = [item.split("=", 1) for item in overrides]
    overridden = set()
    try:
        for key, value in pairs:
            parsed = OmegaConf.create(f"value: {value}").value if isinstance(value, str) else value
            parsed = _text_keys(OmegaConf.to_container(parsed) if OmegaConf.is_dict(parsed) else parsed)
            overridden |= _keys(key, parsed)
            OmegaConf.update(layered, key, parsed, force_add=True)
        merged = OmegaConf.to_container(layered, resolve=True)
    except (OmegaConfBaseException, YAMLError) as error:
        raise ConfigError("overrides", _one_line(error)) from None
    _drop_what_was_replaced(schema, base, merged, overridden)
    return merged


def _text_keys(value: Any) -> Any:
    """The same mappings with every key as text: `by_layer: {0: ...}` and the override `by_layer.0` are one key."""
    if isinstance(value, Mapping):
        return {str(key): _text_keys(inner) for key, inner in value.items()}
    return value


def _keys(key: str, value: Any) -> set[str]:
    """The dotted names of a value and of all inside it."""
    inside = value.items() if isinstance(value, Mapping) else ()
    return {key}.union(*(_keys(f"{key}.{name}", inner) for name, inner in inside))


def _drop_what_was_replaced(cls: type, base: Any, merged: Any, overridden: set[str], path: str = "") -> None:
    for key, spec in _fields(cls).items():
        full, old, new = f"{path}{key}", (base or {}).get(key), merged.get(key)
        if not isinstance(old, Mapping) or not isinstance(new, dict):
            continue
        hint = _hints(cls)[key]
        if "among" in spec.metadata:
            try:
                hint = _choose_class(full, spec, new, merged)
                if hint is not _choose_class(full, spec, old, base):
                    for name in set(old) - set(_fields(hint)):
                        if f"{full}.{name}" not in overridden:
                            del new[name]
            except ConfigError:  # an unknown name; `build` says so
                continue
        if dataclasses.is_dataclass(hint):
            _drop_what_was_replaced(hint, old, new, overridden, f"{full}.")


def build(cls: type, values: Mapping[str, Any], path: str = "") -> Any:
    """Dataclass `cls` from a nested mapping; every error names the full key."""
    if not isinstance(values, Mapping):
        raise ConfigError(path, f"{values!r} is not a section; its fields are {', '.join(_fields(cls))}")
    fields = _fields(cls)
    kwargs = {}
    for key, value in values.items():
        full = f"{path}.{key}" if path else str(key)
        choose(full, key, fields, f"field of {cls.__name__}")
        spec = fields[key]
        if "among" in spec.metadata and value is None and spec.metadata.get("optional"):
            kwargs[key] = None
        elif "among" in spec.metadata:
            chosen = _choose_class(full, spec, value, values)
            kwargs[key] = build(chosen, value, full)
        else:
            kwargs[key] = _convert(full, value, _hints(cls)[key])
    for key, spec in fields.items():  # a section left out still follows its tag: task chooses the data class
        if key not in kwargs and "among" in spec.metadata and not spec.metadata.get("optional"):
            kwargs[key] = build(_choose_class(key, spec, {}, values), {}, key)
    try:
        return cls(**kwargs)
    except ConfigError as error:
        raise error.under(path) from None


def to_dict(config: Any) -> dict[str, Any]:
    """Plain nested data, ready for YAML; `build` reads it back to an equal config."""
    return dataclasses.asdict(config)


def field_type(cls: type, key: str, values: Mapping[str, Any]) -> Any:
    """The annotation of the dotted `key`, following the tags in `values`. Raises `ConfigError` if none."""
    head, _, rest = key.partition(".")
    fields = _fields(cls)
    choose(head, head, fields, f"field of {cls.__name__}")
    hint = _hints(cls)[head]
    below = values.get(head) or {}
    if "among" in fields[head].metadata:
        hint = _choose_class(head, fields[head], below, values)
    if not rest:
        return hint
    if get_origin(hint) is dict and "." in rest:  # the next part is one of its names
        name, _, rest = rest.partition(".")
        hint = get_args(hint)[1]
        below = next((inner for each, inner in below.items() if str(each) == name), None) or {}
        head = f"{head}.{name}"
    if not dataclasses.is_dataclass(hint):
        raise ConfigError(key, f"{head} is a single value and has no field {rest!r}")
    try:
        return field_type(hint, rest, below)
    except ConfigError as error:
        raise error.under(head) from None


def _choose_class(full: str, spec: dataclasses.Field, value: Any, siblings: Mapping[str, Any]) -> type:
    tag, among = spec.metadata["tag"], spec.metadata["among"]
    if tag.startswith("../"):
        tag = tag.removeprefix("../")
        key, holder = tag, siblings
    else:
        key, holder = f"{full}.{tag}", value if isinstance(value, Mapping) else {}
    default = next(iter(among))
    return among[choose(key, holder.get(tag, default), among, tag)]


def _convert(key: str, value: Any, hint: Any) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        inner = [arg for arg in get_args(hint) if arg is not type(None)]
        return _convert(key, value, inner[0])
    if origin is Literal:
        return choose(key, value, get_args(hint))
    if origin is dict:
        named, inner = get_args(hint)
        require(isinstance(value, Mapping), key, value, "a mapping of names to values")
        make = build if dataclasses.is_dataclass(inner) else lambda of, v, at: _convert(at, v, of)
        return {_name(key, name, named): make(inner, v, f"{key}.{name}") for name, v in value.items()}
    if hint is list:
        require(isinstance(value, Sequence) and not isinstance(value, str), key, value, "a list")
        return list(value)
    if dataclasses.is_dataclass(hint):
        return build(hint, value, key)
    if hint is Any:
        return value
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 4e-3 as a string
        try:
            return float(value)
        except ValueError:
            pass
    if hint is str and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return str(value)
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    raise ConfigError(key, f"{value!r} is not possible here; expected {names[hint]}")


def _name(key: str, name: Any, kind: type) -> Any:
    if kind is not int:
        return str(name)
    if not str(name).isdigit():
        raise ConfigError(f"{key}.{name}", f"{name!r} is not possible here; expected a whole number from 0")
    return int(name)


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


@cache
def _fields(cls: type) -> dict[str, dataclasses.Field]:
    return {f.name: f for f in dataclasses.fields(cls)}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

"""YAML files and `key=value` overrides to a checked `ExperimentConfig`, and back.

Overrides are laid over the file, OmegaConf interpolates, and `build` turns the result into the frozen dataclasses,
strictly: an unknown key, a wrong type or an impossible value is a one-line `ConfigError` with the full key.
"""

import dataclasses
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf

from seqboat_lab.config.checks import ConfigError, choose, is_file, require, show, user_path
from seqboat_lab.config.experiment import ExperimentConfig
from seqboat_lab.config.yaml_text import DEEPEST, parse_value, read_yaml

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
    for path in (given, *(folder / name for folder in (Path("configs"), CONFIG_DIR) for name in names)):
        if is_file(path):
            return path
    known = [str(p.relative_to(CONFIG_DIR).with_suffix("")) for p in CONFIG_DIR.rglob("*.yaml") if is_file(p)]
    choose("config", str(name), {*known, *others} - {str(name)}, what)
    raise AssertionError("unreachable: no known name is left that this could be")


def merge(base: Mapping[str, Any], overrides: Sequence[str] | Mapping[str, Any], schema: type) -> dict[str, Any]:
    """`base` with overrides laid over it, and `${other.key}` resolved against the whole, defaults included.

    Args:
        overrides: `key=value` strings, as typed on a command line: a field of type text takes the text as it is (and
            `null` is no text where a field may be null; call a file of that name `./null`), others are YAML. Or a
            mapping of dotted keys to values that are values already.

    An override that chooses another component (`model.ssm.kernel=s4d`) drops those of its fields in `base`
    that only the old one had; fields that the overrides set themselves stay, for `build` to judge.
    """
    pairs = list(overrides.items()) if isinstance(overrides, Mapping) else _parse(base, overrides, schema)
    merged, overridden = _copy(base), set()
    for key, value in pairs:
        overridden |= _keys(key, value)
        _lay_over(merged, key, value)
    merged = _resolve(merged, schema)
    _drop_what_was_replaced(schema, base, merged, overridden)
    return merged


def _parse(base: Mapping[str, Any], overrides: Sequence[str], schema: type) -> list[tuple[str, Any]]:
    """`key=value` strings as keys and values; what is text depends on the components that all of them choose."""
    for item in overrides:
        if "=" not in item or item.startswith("="):
            raise ConfigError(show(item).strip("'"), "expected an override of the form key=value")
    pairs, chosen = [item.split("=", 1) for item in overrides], _copy(base)
    for key, value in pairs:
        try:
            _lay_over(chosen, key, parse_value(value, key))
        except ConfigError:  # text that is no YAML chooses nothing
            continue
    return [(key, _typed(value, key, _field_type(schema, key, chosen))) for key, value in pairs]


def _typed(text: str, key: str, hint: Any) -> Any:
    if hint is str:
        return text
    if get_origin(hint) in (Union, types.UnionType) and str in get_args(hint):
        return None if text == "null" else text
    return parse_value(text, key)


def _field_type(schema: type, key: str, values: Mapping[str, Any]) -> Any:
    try:
        return field_type(schema, key, values)
    except ConfigError:  # `build` says what is wrong
        return None


def _copy(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {key: _copy(value) for key, value in values.items()}
    return [_copy(value) for value in values] if isinstance(values, list) else values


def _lay_over(values: dict[str, Any], key: str, new: Any) -> None:
    """Sets a dotted key; a mapping is merged into what is there."""
    *above, last = key.split(".")
    if len(above) >= DEEPEST:
        raise ConfigError(show(key), f"is nested more than {DEEPEST} levels deep")
    for name in above:
        below = values.setdefault(name, {})
        if below is None:
            below = values[name] = {}
        if not isinstance(below, dict):
            raise ConfigError(key, f"{name} is {show(below)}, which has no fields")
        values = below
    if isinstance(new, Mapping) and isinstance(values.get(last), dict):
        for name, inner in new.items():
            _merge_in(values[last], name, inner)
    else:
        values[last] = _copy(new)


def _merge_in(values: dict[str, Any], name: str, new: Any) -> None:
    """Like `_lay_over` for a name that is one, dots and all."""
    if isinstance(new, Mapping) and isinstance(values.get(name), dict):
        for inner_name, inner in new.items():
            _merge_in(values[name], inner_name, inner)
    else:
        values[name] = _copy(new)


def _resolve(values: dict[str, Any], schema: type) -> dict[str, Any]:
    """`values` with every `${...}` replaced, which may name fields that only have their default."""
    if not _interpolates(values):
        return values
    try:
        whole = OmegaConf.create(_with_defaults(schema, values))
        return _only(values, OmegaConf.to_container(whole, resolve=True))
    except Exception as error:  # antlr's and Python's own besides OmegaConf's
        raise ConfigError("overrides", f"${{...}} cannot be resolved: {_one_line(error)[:300]}") from None


def _interpolates(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_interpolates, value.values()))
    return any(map(_interpolates, value)) if isinstance(value, list) else isinstance(value, str) and "${" in value


def _with_defaults(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` and the defaults of the fields that it leaves out."""
    full = dict(values)
    for key, spec in _fields(cls).items():
        hint = _hints(cls)[key]
        if "among" in spec.metadata:
            try:
                hint = _choose_class(key, spec, values.get(key) or {}, values)
            except ConfigError:  # `build` says so
                continue
        if dataclasses.is_dataclass(hint) and isinstance(values.get(key, {}), Mapping):
            full[key] = _with_defaults(hint, values.get(key, {}))
        elif key not in values and spec.default is not dataclasses.MISSING:
            full[key] = spec.default
    return full


def _only(wanted: Any, found: Any) -> Any:
    """The part of `found` that is in `wanted`."""
    if isinstance(wanted, Mapping):
        return {key: _only(value, found[key]) for key, value in wanted.items()}
    return found


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
        raise ConfigError(path, f"{show(values)} is not a section; its fields are {', '.join(_fields(cls))}")
    fields = _fields(cls)
    kwargs = {}
    for key, value in values.items():
        full = f"{path}.{key}" if path else str(key)
        choose(full, key, fields, f"field of {cls.__name__}")
        spec = fields[key]
        if "among" in spec.metadata:
            chosen = _choose_class(full, spec, value, values)
            kwargs[key] = build(chosen, value, full)
        else:
            kwargs[key] = _convert(full, value, _hints(cls)[key])
    for key, spec in fields.items():  # a section left out still follows its tag: task chooses the data class
        if key not in kwargs and "among" in spec.metadata:
            kwargs[key] = build(_choose_class(key, spec, {}, values), {}, key)
    try:
        return cls(**kwargs)
    except ConfigError as error:
        raise error.under(path) from None


def to_dict(config: Any) -> dict[str, Any]:
    """Plain nested data; `build` reads it back to an equal config."""
    return dataclasses.asdict(config)


def to_yaml(config: Any) -> str:
    """YAML that `read_yaml`, `merge` and `build` read back to an equal config: a `${` in a text is escaped."""

    def escaped(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: escaped(inner) for key, inner in value.items()}
        if isinstance(value, str):
            return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + "\\${", value)
        return [escaped(inner) for inner in value] if isinstance(value, list) else value

    return OmegaConf.to_yaml(OmegaConf.create(escaped(to_dict(config))))


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
        inner = get_args(hint)[1]
        require(isinstance(value, Mapping), key, value, "a mapping of names to values")
        make = build if dataclasses.is_dataclass(inner) else lambda of, v, at: _convert(at, v, of)
        return {str(name): make(inner, v, f"{key}.{name}") for name, v in value.items()}
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
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 4e-3 as a string
        except (ValueError, OverflowError):
            pass
    if hint is str and isinstance(value, str):
        return value
    # a number is not turned back into text: 007 and 1e3 are no longer what was written
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text, in quotes in a YAML file"}
    raise ConfigError(key, f"{show(value)} is not possible here; expected {names[hint]}")


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


@cache
def _fields(cls: type) -> dict[str, dataclasses.Field]:
    return {f.name: f for f in dataclasses.fields(cls)}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

"""Nested plain data to frozen dataclasses, strictly, and back.

An unknown key, a wrong type or an impossible value is a one-line `ConfigError` with the full key.
"""

import contextlib
import dataclasses
import types
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, TypeGuard, Union, get_args, get_origin, get_type_hints

from seqboat_lab.config.checks import ConfigError, choose, is_utf8, require, show


def build(cls: type, values: Mapping[str, Any], path: str = "") -> Any:
    """Dataclass `cls` from a nested mapping; every error names the full key."""
    if not isinstance(values, Mapping):
        raise ConfigError(path, f"{show(values)} is not a section; its fields are {', '.join(fields_of(cls))}")
    fields = fields_of(cls)
    kwargs: dict[str, Any] = {}
    for key, value in values.items():
        full = f"{path}.{key}" if path else str(key)
        choose(full, key, fields, f"field of {cls.__name__}")
        spec = fields[key]
        if value is None and spec.metadata.get("optional"):
            kwargs[key] = None
        elif "among" in spec.metadata:
            kwargs[key] = build(choose_class(full, spec, value, values), section(spec, value), full)
        elif "by_name" in spec.metadata:
            kwargs[key] = _build_by_name(full, spec.metadata["by_name"], value)
        else:
            kwargs[key] = _convert(full, value, hints_of(cls)[key])
    for key, spec in fields.items():  # a section left out still follows its tag: task chooses the data class
        if key not in kwargs and "among" in spec.metadata and not spec.metadata.get("optional"):
            full = f"{path}.{key}" if path else key
            kwargs[key] = build(choose_class(full, spec, {}, values), {}, full)
    try:
        return cls(**kwargs)
    except ConfigError as error:
        raise error.under(path) from None


def _build_by_name(key: str, among: Any, value: Any) -> dict[str, Any]:
    """A mapping of components' names to their settings."""
    require(isinstance(value, Mapping), key, value, "a mapping of names to settings")
    classes = {str(name): among.settings(f"{key}.{name}", name) for name in value}
    return {name: build(cls, value[name] or {}, f"{key}.{name}") for name, cls in classes.items()}


def to_dict(config: Any) -> dict[str, Any]:
    """Plain nested data; `build` reads it back to an equal config."""
    return dataclasses.asdict(config)


def is_section(hint: Any) -> TypeGuard[type]:
    """Is this annotation a section of its own, and no single value?"""
    return dataclasses.is_dataclass(hint)


def field_type(cls: type, key: str, values: Mapping[str, Any]) -> Any:
    """The annotation of the dotted `key`, following the tags in `values`. Raises `ConfigError` if none."""
    head, _, rest = key.partition(".")
    fields = fields_of(cls)
    choose(head, head, fields, f"field of {cls.__name__}")
    hint = hints_of(cls)[head]
    below = values.get(head)
    below = below if isinstance(below, Mapping) else {}
    if "among" in fields[head].metadata:
        hint = choose_class(head, fields[head], below, values)
    if not rest:
        return hint
    if get_origin(hint) is dict and "." in rest:  # the next part is one of its names
        name, _, rest = rest.partition(".")
        by_name = fields[head].metadata.get("by_name")
        hint, head = by_name.settings(f"{head}.{name}", name) if by_name else get_args(hint)[1], f"{head}.{name}"
        below = next((inner for each, inner in below.items() if str(each) == name), None) or {}
    if not is_section(hint):
        raise ConfigError(key, f"{head} is a single value and has no field {rest!r}")
    try:
        return field_type(hint, rest, below)
    except ConfigError as error:
        raise error.under(head) from None


def section(spec: dataclasses.Field, value: Any) -> Any:
    """A section that is chosen by a tag of its own may be given as the tag alone: `configurator: never`."""
    tag = spec.metadata["tag"]
    return {tag: value} if isinstance(value, str) and not tag.startswith("../") else value


def expand(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with every such section written out, and every name of a mapping as text."""
    expanded = dict(values)
    for key, spec in fields_of(cls).items():
        if key not in expanded:
            continue
        hint = hints_of(cls)[key]
        if "among" in spec.metadata:
            expanded[key] = section(spec, expanded[key])
        elif is_section(hint) and isinstance(expanded[key], Mapping):
            expanded[key] = expand(hint, expanded[key])
        elif get_origin(hint) is dict and isinstance(expanded[key], Mapping):
            inner = get_args(hint)[1]
            expanded[key] = {
                str(name): expand(inner, value) if is_section(inner) and isinstance(value, Mapping) else value
                for name, value in expanded[key].items()
            }
    return expanded


def choose_class(full: str, spec: dataclasses.Field, value: Any, siblings: Mapping[str, Any]) -> type:
    """The dataclass of a section, by the tag in it or beside it. Raises `ConfigError` for an unknown one."""
    tag, among = spec.metadata["tag"], spec.metadata["among"]
    if tag.startswith("../"):
        tag, above = tag.removeprefix("../"), full.rpartition(".")[0]
        key, holder = f"{above}.{tag}" if above else tag, siblings
    else:
        key, holder = f"{full}.{tag}", section(spec, value)
        holder = holder if isinstance(holder, Mapping) else {}
    default = next(iter(among))
    return among.settings(key, holder.get(tag, default))


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
    if hint is list or origin is list:
        require(isinstance(value, Sequence) and not isinstance(value, str), key, value, "a list")
        return [_convert(key, each, get_args(hint)[0]) for each in value] if origin else list(value)
    if is_section(hint):
        return build(hint, value, key)
    if hint is Any:
        return value
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            return float(value)  # YAML 1.1 reads 4e-3 as a string
    if hint is str and isinstance(value, str):
        require(is_utf8(value), key, value, "text in UTF-8")
        return value
    # a number is not turned back into text: 007 and 1e3 are no longer what was written
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text, in quotes in a YAML file"}
    raise ConfigError(key, f"{show(value)} is not possible here; expected {names[hint]}")


def _name(key: str, name: Any, kind: type) -> Any:
    """A key of a mapping; numbers may be written as text, as in `model.by_layer.0`."""
    if kind is not int:
        return str(name)
    if not (str(name).isdecimal() and len(str(name)) < 9):
        raise ConfigError(f"{key}.{name}"[:200], f"{show(name)} is not possible here; expected a whole number from 0")
    return int(name)


@cache
def hints_of(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


@cache
def fields_of(cls: type) -> dict[str, dataclasses.Field]:
    return {f.name: f for f in dataclasses.fields(cls)}

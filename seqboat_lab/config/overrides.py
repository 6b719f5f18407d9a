"""Overrides laid over a file's values, and `${other.key}` resolved (by OmegaConf)."""

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any, Union, get_args, get_origin

from omegaconf import OmegaConf

from seqboat_lab.config.checks import ConfigError, show
from seqboat_lab.config.schema import choose_class, expand, field_type, fields_of, hints_of, is_section
from seqboat_lab.config.yaml_text import DEEPEST, parse_value


def merge(base: Mapping[str, Any], overrides: Sequence[str] | Mapping[str, Any], schema: type) -> dict[str, Any]:
    """`base` with overrides laid over it, and `${other.key}` resolved against the whole, defaults included.

    Args:
        overrides: `key=value` strings, as typed on a command line: a field of type text takes the text as it is (and
            `null` is no text where a field may be null; call a file of that name `./null`), others are YAML. Or a
            mapping of dotted keys to values, which are taken as they are; only a section may be a text of YAML (a
            sweep's choices have to be single values).

    An override that chooses another component (`model.ssm.kernel=s4d`) drops those of its fields in `base`
    that only the old one had; fields that the overrides set themselves stay, for `build` to judge.
    """
    if isinstance(overrides, Mapping):
        pairs = _read_mapping(base, overrides, schema)
    else:
        pairs = _read_words(base, overrides, schema)
    base = expand(schema, base)
    merged, overridden = _copy(base), set()
    for key, value in pairs:
        overridden |= _keys(key, value)
        _lay_over(merged, key, value)
        merged = expand(schema, merged)
    merged = _resolve(merged, schema)
    _drop_what_was_replaced(schema, base, merged, overridden)
    return merged


def _read_mapping(base: Mapping[str, Any], overrides: Mapping[str, Any], schema: type) -> list[tuple[str, Any]]:
    """Dotted keys with values; sections that are written as text are parsed."""

    def read(key: str, value: Any) -> Any:
        is_section = isinstance(value, str) and dataclasses.is_dataclass(_field_type(schema, key, base))
        return parse_value(value, key) if is_section else value

    return [(key, read(key, value)) for key, value in overrides.items()]


def _read_words(base: Mapping[str, Any], overrides: Sequence[str], schema: type) -> list[tuple[str, Any]]:
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
        return {str(key): _copy(value) for key, value in values.items()}  # a layer's number, too
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
            _merge_in(values[last], str(name), inner)
    else:
        values[last] = _copy(new)


def _merge_in(values: dict[str, Any], name: str, new: Any) -> None:
    """Like `_lay_over` for a name that is one, dots and all."""
    if isinstance(new, Mapping) and isinstance(values.get(name), dict):
        for inner_name, inner in new.items():
            _merge_in(values[name], str(inner_name), inner)
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
    for key, spec in fields_of(cls).items():
        hint = hints_of(cls)[key]
        if "among" in spec.metadata:
            try:
                hint = choose_class(key, spec, values.get(key) or {}, values)
            except ConfigError:  # `build` says so
                continue
        if is_section(hint) and isinstance(values.get(key, {}), Mapping):
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
    for key, spec in fields_of(cls).items():
        full, old, new = f"{path}{key}", (base or {}).get(key), merged.get(key)
        if not isinstance(old, Mapping) or not isinstance(new, dict):
            continue
        hint = hints_of(cls)[key]
        if "among" in spec.metadata:
            try:
                hint = choose_class(full, spec, new, merged)
                if hint is not choose_class(full, spec, old, base):
                    for name in set(old) - set(fields_of(hint)):
                        if f"{full}.{name}" not in overridden:
                            new.pop(name, None)
            except ConfigError:  # an unknown name; `build` says so
                continue
        if is_section(hint):
            _drop_what_was_replaced(hint, old, new, overridden, f"{full}.")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

"""YAML to plain data, whatever the text: names with numbers, texts, lists and mappings, or one clear line."""

import io
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from yaml.events import MappingEndEvent, MappingStartEvent, SequenceEndEvent, SequenceStartEvent

from seqboat_lab.config.checks import ConfigError, show

LARGEST_FILE = 2**20
DEEPEST = 32
"""Levels of nesting. The parser in C overflows its stack, and ends the process, at some ten thousand."""


def read_yaml(path: Path) -> dict[str, Any]:
    """A file's mapping as plain data, `${...}` left as it is. Raises `ConfigError` naming the file."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > LARGEST_FILE:
        raise ConfigError(str(path), f"is larger than {LARGEST_FILE:,} bytes; expected a mapping of fields to values")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"is not UTF-8 text (byte {error.start:,})") from None
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict) or values == {text.strip(): None}:  # OmegaConf's reading of a text
        raise ConfigError(str(path), "expected a mapping of fields to values")
    if not values:
        raise ConfigError(str(path), "is empty; expected a mapping of fields to values")
    return values


def parse_value(text: str, key: str) -> Any:
    """What YAML makes of a single value. Raises `ConfigError` naming the key."""
    values = parse_yaml(f"value: {text}", key)
    if set(values) != {"value"}:
        raise ConfigError(key, f"{show(text)} is more than one value")
    return values["value"]


def parse_yaml(text: str, where: str) -> Any:
    """Plain data from a YAML document, without resolving `${...}`. Raises `ConfigError` at `where`."""
    try:
        _refuse_depth(text, where)
        values = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)))
    except ConfigError:
        raise
    except Exception as error:  # the constructors of strange tags and numbers raise all kinds
        raise ConfigError(where, f"is not YAML: {' '.join(str(error).split())[:300]}") from None
    _refuse_odd(values, where)
    return values


def _refuse_depth(text: str, where: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        depth += isinstance(event, (MappingStartEvent, SequenceStartEvent))
        depth -= isinstance(event, (MappingEndEvent, SequenceEndEvent))
        if depth > DEEPEST:
            raise ConfigError(where, f"is nested more than {DEEPEST} levels deep")


def _refuse_odd(value: Any, where: str, inside: bool = False) -> None:
    """Raises for what YAML has and a configuration has not: keys that are no text (inside, whole numbers may be: those
    of layers), sets, bytes."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not (isinstance(key, str) or (inside and isinstance(key, int) and not isinstance(key, bool))):
                raise ConfigError(where, f"{show(key)} is no name of a field; put it in quotes if it is one")
            _refuse_odd(inner, where, inside=True)
    elif isinstance(value, list):
        for inner in value:
            _refuse_odd(inner, where, inside=True)
    elif not (value is None or isinstance(value, (str, int, float))):
        raise ConfigError(where, f"{show(value)} is neither text, a number, a list nor a mapping")

"""One sweep file for several tasks and sizes: `task=recall` and `scale=paper` lay parts of it over the rest."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from seqboat_lab.config.checks import ConfigError, choose, require
from seqboat_lab.sweep.definition.space import flatten, flatten_space

VARIANTS = {"task": "tasks", "scale": "scales"}
"""What is chosen on the command line, and the section that has the choices; a task may have scales of its own."""

FLAT: dict[str, Callable] = {"overrides": flatten, "space": flatten_space}


def with_variants(sweep: Mapping[str, Any], words: Sequence[str], where: str) -> tuple[dict[str, Any], list[str]]:
    """The sweep that `task=` and `scale=` among `words` choose, and the words that are left.

    What is chosen is laid over the file field by field, and joins the sweep's name: each is a study of its own. A
    searched field counts as a whole; null stands for one that is not searched, or an override that is not made.

    Raises `ConfigError` for an unknown task or scale, and if there are tasks and none is chosen.
    """
    values = dict(sweep)
    chosen = dict(word.split("=", 1) for word in words if word.partition("=")[0] in VARIANTS and "=" in word)
    for key, section in VARIANTS.items():
        known = values.pop(section, None) or {}
        _check(known, section)
        if key in chosen:
            if not known:
                raise ConfigError(key, f"{where} has no {section} to choose from; leave {key}={chosen[key]} out")
            choose(key, chosen[key], known, key)
            values = _laid_over(values, known[chosen[key]]) | {"name": f"{values['name']}_{chosen[key]}"}
        elif key == "task" and known:
            names = " or ".join(f"task={name}" for name in known)
            raise ConfigError("task", f"{where} is for one of several tasks; expected {names}")
    if chosen:
        values |= {section: _without_nulls(values[section]) for section in FLAT if section in values}
    return values, [word for word in words if "=" not in word or word.partition("=")[0] not in VARIANTS]


def _check(variants: Any, where: str) -> None:
    """Raises `ConfigError` unless these are names, each with fields of the sweep."""
    plain = isinstance(variants, Mapping) and all(isinstance(v, Mapping) for v in variants.values())
    require(plain, where, variants, "names, each with fields of the sweep")
    for name, fields in variants.items():
        if "scales" in fields:
            _check(fields["scales"], f"{where}.{name}.scales")


def tasks_of(sweep: Mapping[str, Any]) -> list[str]:
    """The tasks that a sweep file as it was read is for; empty if it has one experiment."""
    return list(sweep.get("tasks") or {})


def _laid_over(values: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(values)
    for key, value in other.items():
        old = result.get(key)
        if not (isinstance(old, Mapping) and isinstance(value, Mapping)):
            result[key] = value
        elif key in FLAT:
            result[key] = dict(FLAT[key](old)) | dict(FLAT[key](value))
        elif key == "scales":
            result[key] = {**old, **{name: _laid_over(old.get(name) or {}, inner) for name, inner in value.items()}}
        else:
            result[key] = value
    return result


def _without_nulls(section: Any) -> Any:
    if not isinstance(section, Mapping):
        return section
    return {field: value for field, value in section.items() if value is not None}

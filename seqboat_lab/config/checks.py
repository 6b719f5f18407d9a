"""The errors a user can cause, and the checks that raise those of a wrong configuration."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """What a user can cause and mend: its message is one line that the command line prints as it is."""


class ConfigError(UserError):
    """A configuration that cannot be run: one line with the full key, the value and what is allowed."""

    def __init__(self, key: str, problem: str):
        self.key, self.problem = key, problem
        super().__init__(f"{key}: {problem}")

    def under(self, prefix: str) -> "ConfigError":
        """The same error seen from the enclosing section."""
        return ConfigError(f"{prefix}.{self.key}" if prefix else self.key, self.problem)


def require(condition: bool, key: str, value: object, expected: str) -> None:
    if not condition:
        raise ConfigError(key, f"{value!r} is not possible here; expected {expected}")


def at_least(section: object, name: str, low: float) -> None:
    value = getattr(section, name)
    require(value >= low, name, value, f"at least {low}")


def positive(section: object, name: str) -> None:
    value = getattr(section, name)
    require(value > 0, name, value, "a number above 0")


def fraction(section: object, name: str) -> None:
    value = getattr(section, name)
    require(0 <= value <= 1, name, value, "a number from 0 to 1")


def choose(key: str, name: object, allowed: Iterable[str], what: str = "value") -> str:
    """`name` if it is allowed, else a `ConfigError` that names the nearest one."""
    allowed = sorted(set(allowed))
    if name in allowed:
        return name
    near = difflib.get_close_matches(str(name), allowed, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ConfigError(key, f"unknown {what} {name!r}{hint}; allowed: {', '.join(allowed)}")

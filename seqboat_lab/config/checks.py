"""The errors a user can cause, and the checks that raise those of a wrong configuration."""

import difflib
from collections.abc import Iterable
from pathlib import Path

LARGEST = 10**9
"""No count in a configuration is larger: whatever it counts would not fit a machine."""
LARGEST_SEED = 2**32 - 1
"""What every random generator that is used takes."""


class UserError(ValueError):
    """What a user can cause and mend: its message is one line that the command line prints as it is."""

    status = 2
    """The exit status of a command that it ends."""


class ConfigError(UserError):
    """A configuration that cannot be run: one line with the full key, the value and what is allowed."""

    def __init__(self, key: str, problem: str):
        self.key, self.problem = key, problem
        text = f"{key}: {problem}"  # a key, or a name that is allowed, may be anything that a file holds
        super().__init__("".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text))

    def under(self, prefix: str) -> "ConfigError":
        """The same error seen from the enclosing section."""
        return ConfigError(f"{prefix}.{self.key}" if prefix else self.key, self.problem)


def show(value: object, longest: int = 200) -> str:
    """`repr` for a message: cut where it would be endless, and possible for numbers of any size."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no whole numbers of more than 4,300 digits
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text):,} characters)"


def require(condition: bool, key: str, value: object, expected: str) -> None:
    if not condition:
        raise ConfigError(key, f"{show(value)} is not possible here; expected {expected}")


def at_least(section: object, name: str, low: float, high: float = LARGEST) -> None:
    """A number from `low` to `high`, or null where the field may be null. NaN and infinity never pass."""
    value = getattr(section, name)
    if value is not None:
        require(value >= low, name, value, f"at least {low}")
        require(value <= high, name, value, f"at most {high:,}" if isinstance(high, int) else f"at most {high:g}")


def positive(section: object, name: str, low: float = 1e-30, high: float = LARGEST) -> None:
    """A number above 0 that arithmetic can tell from it: from `low` to `high`."""
    value = getattr(section, name)
    require(low <= value <= high, name, value, f"a number above 0 ({low:g} to {high:g})")


def fraction(section: object, name: str, below_one: bool = False) -> None:
    """A number from 0 to 1, or to just below it."""
    value = getattr(section, name)
    require(0 <= value <= 1, name, value, "a number from 0 to 1")
    require(not below_one or value < 1, name, value, "a number below 1")


def seed(section: object, name: str = "seed") -> None:
    at_least(section, name, 0, LARGEST_SEED)


def expand_path(section: object, name: str) -> None:
    """Replaces `~` of a frozen config's path. This is the one place: whatever reads the field finds a plain path."""
    value = getattr(section, name)
    if value is not None:
        object.__setattr__(section, name, user_path(value, name))


def user_path(text: str, key: str) -> str:
    """A path as the system takes it: `~` and `~name` expanded, all else as typed.

    Raises `ConfigError` for what no file can be called.
    """
    require(text != "", key, text, "a path")
    require("\0" not in text, key, text, "a path, which has no NUL character")
    require(is_utf8(text), key, text, "a path in UTF-8; rename it")
    size, longest = len(text.encode()), max(len(part.encode()) for part in text.split("/"))
    require(longest <= 255 and size < 4096, key, text, "a path whose names have up to 255 bytes each, 4,095 in all")
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:
        raise ConfigError(key, f"{show(text)} names a home directory that is not known here; write it out") from None


def is_utf8(text: str) -> bool:
    """False for what Python made of a command line's other bytes, which no file or log of ours could hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_file(path: Path) -> bool:
    """`Path.is_file`, and False where the system cannot even look: names too long or with a NUL, closed folders."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def choose(key: str, name: object, allowed: Iterable[str], what: str = "value") -> str:
    """`name` if it is allowed, else a `ConfigError` that names the nearest one."""
    allowed = sorted(set(allowed))
    if name in allowed:
        return name
    near = difflib.get_close_matches(show(name).strip("'"), allowed, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ConfigError(key, f"unknown {what} {show(name)}{hint}; allowed: {', '.join(allowed)}")

"""The border to the terminal: streams that can always be written, mistakes in one line, types of arguments."""

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from seqboat_lab.config.checks import ConfigError, require, user_path

LONGEST_LINE = 2000


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        complain(f"seqboat: {message}; see `{self.prog} --help`")
        self.exit(2)


def path(text: str) -> Path:
    """The type of every path on the command line: here its `~` is expanded."""
    try:
        return Path(user_path(text, "path"))
    except ConfigError as error:
        raise argparse.ArgumentTypeError(error.problem) from None


def check_number(option: str, value: float, low: float, high: float) -> None:
    require(low <= value <= high, option, value, f"a number from {low} to {high}")


def complain(message: str) -> None:
    """One line on stderr, whatever a user's names hold: line ends and terminal codes are escaped."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
    print(line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}...", file=sys.stderr)


def open_streams() -> None:
    """Output that is always possible: nowhere where it was closed, and with escapes for what the encoding lacks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (as long as the process)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def give_up_output() -> None:
    """What stdout could not take is not tried again when Python ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_out_of_memory(error: BaseException) -> bool:
    """Of Python, or of torch on a device or the CPU."""
    return isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error)

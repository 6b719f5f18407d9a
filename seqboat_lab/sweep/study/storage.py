"""Where a study is kept: a journal file in the sweep's directory, or a database, whose errors are one line."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage
from sqlalchemy.exc import SQLAlchemyError

from seqboat_lab.config.checks import ConfigError, UserError
from seqboat_lab.sweep.study.journal import Journal

STORAGE_VARIABLE = "SEQBOAT_STORAGE"  # a sweep hands its workers the URL here: a file or a command could be read
PACKAGES = {"psycopg2": "psycopg2-binary", "psycopg": "psycopg[binary]", "MySQLdb": "mysqlclient"}
"""Modules of database drivers whose package has another name."""
PASSWORD = re.compile(r"(?<=://)([^:/?#\s]*):(.*)@")  # to the last @, since a password may hold some, too
PARAMETER = re.compile(r"([?&][^=&#\s]*(?:pass|pwd|secret|token|key)[^=&#\s]*=)([^&#\s]*)", re.IGNORECASE)


def without_secrets(url: str) -> str:
    """A storage URL that may be shown."""
    return PARAMETER.sub(r"\1***", PASSWORD.sub(r"\1:***@", url))


def hide(text: str, url: str | None) -> str:
    """`text` without the secrets of `url`, in whatever form a driver repeats them."""
    if url is None:
        return text
    text = text.replace(url, without_secrets(url))
    secrets = [m[2] for pattern in (PASSWORD, PARAMETER) for m in pattern.finditer(url) if m[2]]
    for secret in sorted({s for raw in secrets for s in (raw, unquote(raw))}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def open_storage(url: str | None, journal: Path, study: Mapping[str, Any] | None = None) -> BaseStorage:
    """The storage at `url`, or else the journal file, which begins with the record `study`. Raises `UserError`."""
    if url is None:
        backend = Journal(journal, study)
        try:
            return JournalStorage(backend)
        except (KeyError, TypeError, ValueError, AssertionError) as error:  # records without sense
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"{journal} is no journal of a study ({reason}); move it away to begin anew") from None
    shown = without_secrets(url)
    try:
        return optuna.storages.get_storage(url)
    except ImportError as error:
        module = next((e.name for e in (error.__cause__, error) if isinstance(e, ImportError) and e.name), None)
        if module is None:
            raise ConfigError("storage", f"{shown} cannot be opened: {_first_line(error, url)}") from None
        package = PACKAGES.get(module.partition(".")[0], module.partition(".")[0])
        install = f"{sys.executable} -m pip install '{package}'"
        raise ConfigError("storage", f"{shown} needs the package {package}; install it with: {install}") from None
    except Exception as error:  # each database driver has its own errors
        raise ConfigError("storage", f"{shown} cannot be opened: {_first_line(error, url)}") from None


@contextmanager
def errors_in_one_line(directory: Path, url: str | None = None) -> Iterator[None]:
    """What the operating system or a database refuses, as a `UserError`."""
    try:
        yield
    except BrokenPipeError:  # the reader of our output went away
        raise
    except OSError as error:
        where = error.filename or directory
        raise UserError(f"{where}: {error.strerror or error}; the same command goes on once that is mended") from None
    except (StorageInternalError, SQLAlchemyError) as error:
        cause = error.__cause__ or error
        shown = without_secrets(url or str(directory))
        raise UserError(f"storage {shown} failed: {_first_line(cause, url)}; the same command goes on") from None


def storage_url(given: str | None) -> str | None:
    """The URL that a worker's sweep handed it, else the one in its file."""
    return os.environ.get(STORAGE_VARIABLE, given)


def _first_line(error: BaseException, url: str | None) -> str:
    return hide(next((line for line in str(error).splitlines() if line.strip()), type(error).__name__), url)

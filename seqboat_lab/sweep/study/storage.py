"""Where a study is kept: a journal file in the sweep's directory, or a database, whose errors are one line."""

import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import JournalStorage
from sqlalchemy.exc import SQLAlchemyError

from seqboat_lab.config.checks import ConfigError, UserError
from seqboat_lab.sweep.study.database import open_database
from seqboat_lab.sweep.study.journal import Journal
from seqboat_lab.sweep.study.patient import PATIENCE_SECONDS, Patient, is_away

STORAGE_VARIABLE = "SEQBOAT_STORAGE"  # a sweep hands its workers the URL here: a file or a command could be read
GRPC = "grpc://"
SERVER_CONNECTIONS = 10  # of a server to its database, and four times as many for moments
PACKAGES = {"psycopg": "seqboat-lab[postgresql]", "psycopg2": "psycopg2-binary", "pymysql": "seqboat-lab[mysql]",
            "MySQLdb": "mysqlclient", "grpc": "seqboat-lab[grpc]", "google": "seqboat-lab[grpc]"}  # fmt: skip
"""Modules of database drivers whose package, or our extra with it, has another name."""
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


def open_storage(
    url: str | None, journal: Path, study: Mapping[str, Any] | None = None, patience: float = 0.0, connections: int = 1
) -> Patient | JournalStorage:
    """The storage at `url`, or else the journal file, which begins with the record `study`.

    Raises `ConfigError` for a URL that leads nowhere, a driver that is missing, and what the database refuses.

    Args:
        patience: seconds for which one that is away is waited for: by who knows that it is there.
        connections: to a database, that stay open.
    """
    if url is None:
        backend = Journal(journal, study)
        try:
            return JournalStorage(backend)
        except (KeyError, TypeError, ValueError, AssertionError) as error:  # records without sense
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"{journal} is no journal of a study ({reason}); move it away to begin anew") from None
    shown = without_secrets(url)
    try:
        storage = _open_server(url, patience) if url.startswith(GRPC) else None
        storage = storage or open_database(url, journal.parent, patience, connections)
    except ImportError as error:
        module = next((e.name for e in (error.__cause__, error) if isinstance(e, ImportError) and e.name), None)
        if module is None:
            raise ConfigError("storage", f"{shown} cannot be opened: {_first_line(error, url)}") from None
        raise _missing(module, shown) from None
    except ConfigError:
        raise
    except Exception as error:  # each database driver has its own errors
        raise ConfigError("storage", f"{shown} cannot be opened: {_first_line(error, url)}") from None
    storage.patience = PATIENCE_SECONDS
    return storage


def _missing(module: str, what: str) -> ConfigError:
    package = PACKAGES.get(module.partition(".")[0], module.partition(".")[0])
    install = f"{sys.executable} -m pip install '{package}'"
    return ConfigError("storage", f"{what} needs the package {package}; install it with: {install}")


def _open_server(url: str, patience: float) -> Patient:
    found = re.fullmatch(r"grpc://([^/:@?#\s]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})/?", url)
    if not found:
        raise ConfigError("storage", f"{without_secrets(url)} is no server; expected grpc://HOST:PORT, the one that "
                          "`seqboat storage serve` told")  # fmt: skip
    from seqboat_lab.sweep.study.served import Served  # an extra is needed

    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        server = Served(host=found[1], port=int(found[2]))
    storage = Patient(server, server.excluding, patience)
    try:
        storage._get_stale_trial_ids(0)
    except Exception as error:
        server.close()
        code = error.code() if hasattr(error, "code") else error
        if is_away(error):
            raise ConfigError("storage", f"nothing answers at {url}; start it with: seqboat storage serve STORAGE "
                              f"--host {found[1]} --port {found[2]}") from None  # fmt: skip
        reason = "an Optuna proxy, or another server" if getattr(code, "name", "") == "UNIMPLEMENTED" else code
        raise ConfigError("storage", f"{url} is not what `seqboat storage serve` starts ({reason})") from None
    return storage


def serve(url: str, host: str, port: int) -> None:
    """Stands before the database at `url` until it is interrupted. Raises `ConfigError` for a URL that is none of a
    database, and a port or an address that cannot be had."""
    if url.startswith(GRPC):
        raise ConfigError("storage", f"{url} is a server already; expected the URL of the database itself")
    storage = open_storage(url, Path("study.journal"), connections=SERVER_CONNECTIONS)
    assert isinstance(storage, Patient)  # it has a URL
    try:
        from seqboat_lab.sweep.study.served import make_server
    except ImportError:
        raise _missing("grpc", "storage serve") from None
    try:
        server, _ = make_server(storage, host, port)
    except RuntimeError:
        raise ConfigError("storage", f"cannot listen on {host}:{port}; another program may, or the address is not of "
                          "this machine: give other ones (--host, --port)") from None  # fmt: skip
    server.start()
    print(f"storage {without_secrets(url)} is at grpc://{host}:{port}, for whoever reaches it; Ctrl-C ends", flush=True)
    try:
        server.wait_for_termination()
    finally:
        server.stop(None)


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
    except Exception as error:
        if not isinstance(error, (StorageInternalError, SQLAlchemyError)) and not hasattr(error, "debug_error_string"):
            raise
        cause = error.__cause__ or error  # that attribute is one of gRPC's errors
        said = error.details() if hasattr(error, "details") else _first_line(cause, url)
        shown = without_secrets(url or str(directory))
        raise UserError(f"storage {shown} failed: {hide(said, url)}; the same command goes on") from None


def storage_url(given: str | None) -> str | None:
    """The URL that a worker's sweep handed it, else the one in its file."""
    return os.environ.get(STORAGE_VARIABLE, given)


def _first_line(error: BaseException, url: str | None) -> str:
    return hide(next((line for line in str(error).splitlines() if line.strip()), type(error).__name__), url)

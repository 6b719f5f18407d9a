"""A relational database: how it is reached, and how the workers that share it take turns."""

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage, _CachedStorage
from sqlalchemy import NullPool, create_engine, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from seqboat_lab.data.files.files import locked
from seqboat_lab.sweep.study import patient
from seqboat_lab.sweep.study.patient import Excluding, Patient

CONNECT_SECONDS = 10  # after which a server that does not answer is away
BUSY_SECONDS = 60  # that a SQLite file may be busy for
TURN_SECONDS = 3600  # that MySQL waits for one's turn
POSTGRESQL = {
    "connect_timeout": CONNECT_SECONDS,
    # a machine that lost its power says no goodbye: neither side believes in it for longer than this
    "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000,
    # heartbeats are kept without their time zone: in local time all were old when the clocks change
    "options": "-c timezone=utc -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3",
}  # fmt: skip
TRIES = 5  # of making the tables, which several workers may do at once


def open_database(url: str, directory: Path, patience: float, connections: int = 1) -> Patient:
    """The storage at an Optuna URL. Raises whatever the database or its driver does.

    Args:
        directory: that of the sweep.
        patience: seconds for which a database that is away is waited for.
        connections: how many stay open, and some more while they are needed.
    """
    options = _options(make_url(url), connections)

    def opened() -> Patient:
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            storage = RDBStorage(
                url,
                options,
                heartbeat_interval=patient.HEARTBEAT_SECONDS,
                grace_period=patient.GRACE_SECONDS,
            )
        return Patient(_CachedStorage(storage), excluding(storage.engine.url, directory, options), patience)

    def made() -> Patient:
        for left in reversed(range(TRIES)):
            try:
                return opened()
            except (IntegrityError, ProgrammingError):  # another worker makes the same tables
                if not left:
                    raise
        raise AssertionError("unreachable")

    return patient.patiently(made, patience)


def _options(url: URL, connections: int) -> dict[str, Any]:
    """What SQLAlchemy is told."""
    arguments: dict[str, Any] = {}
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_SECONDS}}
    if url.get_driver_name() in ("psycopg", "psycopg2"):
        arguments = {name: value for name, value in POSTGRESQL.items() if name not in url.query}
    elif url.get_backend_name() == "mysql":
        arguments = {"connect_timeout": CONNECT_SECONDS}
    return {"connect_args": arguments, "pool_size": connections, "max_overflow": 4 * connections}


def excluding(url: URL, directory: Path, options: dict[str, Any]) -> Excluding:
    """Turns by name: PostgreSQL and MySQL lend one to a connection and take it back however that ends; SQLite's go by a
    file beside the database, others' by one in the sweep's directory."""
    kind, file = url.get_backend_name(), url.database
    if kind not in ("postgresql", "mysql"):
        beside = Path(f"{file}-claim") if kind == "sqlite" and file not in (None, "", ":memory:") else None
        return lambda name: locked(beside or directory / "claim")
    connections = create_engine(url, poolclass=NullPool, connect_args=options["connect_args"])

    @contextmanager
    def turn(name: str) -> Iterator[None]:
        digest = hashlib.sha256(f"seqboat {file} {name}".encode()).digest()
        connection = connections.connect()
        try:
            if kind == "postgresql":  # until the transaction ends, in whatever way
                key = int.from_bytes(digest[:8], "big", signed=True)
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
            else:
                query = text("SELECT GET_LOCK(:name, :seconds)")
                connection.execute(query, {"name": digest.hex()[:60], "seconds": TURN_SECONDS})
            yield
        finally:
            with suppress(SQLAlchemyError):  # it went away, and the turn with it
                connection.close()

    return turn

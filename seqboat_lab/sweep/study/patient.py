"""A database, or a server before it, that may be away for a while: whatever is asked of it is asked again."""

import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.trial import TrialState
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, PendingRollbackError

HEARTBEAT_SECONDS = 10
"""Between two signs of life of a trial that a database keeps."""
GRACE_SECONDS = 60
"""Without any for so long, a trial's worker is taken for dead."""
PATIENCE_SECONDS = 600.0
"""A storage that is away for longer ends a worker."""
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0  # seconds
PERMANENT = ("no such", "readonly database", "unable to open")
"""What SQLite calls an `OperationalError`, though trying again cannot help."""

T = TypeVar("T")
Excluding = Callable[[str], AbstractContextManager[None]]
"""Name -> a context that one process at a time can be in."""


def is_away(error: Exception) -> bool:
    """Does this error of a storage's say that it could not be reached, or went away?"""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if isinstance(cause, PendingRollbackError):  # Optuna asked the lost connection once more, in another way
        return True
    if isinstance(cause, (OperationalError, InterfaceError)):
        return not any(told in str(cause.orig) for told in PERMANENT)
    if isinstance(cause, DBAPIError):
        return cause.connection_invalidated
    code = getattr(cause, "code", None)  # of gRPC's, which need not be installed
    return callable(code) and getattr(code(), "name", "") == "UNAVAILABLE"


def patiently(do: Callable[[], T], patience: float, lost_touch: Callable[[], None] = lambda: None) -> T:
    """What `do` returns, tried again for `patience` seconds while the storage is away."""
    begun, wait = None, FIRST_WAIT
    while True:
        try:
            return do()
        except Exception as error:
            if not is_away(error):
                raise
            lost_touch()
            now = time.monotonic()
            if begun is None:
                begun = now
                if patience > LONGEST_WAIT:
                    print(f"the storage does not answer; trying again for {patience:g} s", file=sys.stderr, flush=True)
            if now + wait > begun + patience:
                raise
            time.sleep(wait * random.uniform(0.5, 1))
            wait = min(2 * wait, LONGEST_WAIT)


class _Patient:
    def __init__(self, storage: Any, excluding: Excluding, patience: float):
        """
        Args:
            storage: what is asked.
            patience: seconds for which it is asked again.
        """
        self.storage, self.excluding, self.patience = storage, excluding, patience
        self._here = threading.local()
        self._in_touch_since = time.monotonic()

    def alone(self, name: str, do: Callable[[], T]) -> T:
        """What `do` returns, which no two processes that share the storage do at the same time.

        Whoever loses the storage in the middle has lost its turn, too: `do` begins anew then.
        """

        def once() -> T:
            with self.excluding(name):
                self._here.alone = True
                try:
                    return do()
                finally:
                    self._here.alone = False

        return self._patiently(once)

    def _patiently(self, do: Callable[[], T]) -> T:
        if getattr(self._here, "alone", False):
            return do()
        return patiently(do, self.patience, self._lost_touch)

    def _lost_touch(self) -> None:
        self._in_touch_since = time.monotonic()

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        tries = 0

        def once() -> bool:
            nonlocal tries
            tries += 1
            try:
                return self.storage.set_trial_state_values(trial_id, state, values)
            except UpdateFinishedTrialError:
                if tries > 1:  # it was done, only that word of it was lost
                    there = self.storage.get_trial(trial_id)
                    if there.state == state and (values is None or there.values == list(values)):
                        return True
                raise

        return self._patiently(once)

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """Of trials without a sign of life for so long. While the storage was away nobody could give any: who was not
        in touch with it all the time cannot judge."""
        found = self._patiently(lambda: self.storage._get_stale_trial_ids(study_id))
        return found if time.monotonic() - self._in_touch_since > GRACE_SECONDS else []


def _asked(name: str) -> Callable[..., Any]:
    def ask(self: _Patient, *arguments: Any, **options: Any) -> Any:
        return self._patiently(lambda: getattr(self.storage, name)(*arguments, **options))

    return ask


_NAMES = {name for base in (BaseStorage, BaseHeartbeat) for name in vars(base) if callable(getattr(base, name))}
_ASKED = {name: _asked(name) for name in _NAMES if not name.startswith("__") and name not in vars(_Patient)}


class Patient(_Patient, type("_Asked", (BaseStorage, BaseHeartbeat), _ASKED)):  # type: ignore[misc]
    """A storage whose every method is asked again while it is away."""

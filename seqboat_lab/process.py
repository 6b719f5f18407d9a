"""The process of a command: started and ended without work that nobody waits for."""

import atexit
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def importing() -> Iterator[None]:
    """Around imports of large libraries: what they make stays, so no garbage is looked for among it. That search takes
    a fifth of the time of Lightning's import."""
    searching = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searching:
            gc.freeze()
            gc.unfreeze()  # both together: what is there counts as old, without being looked at
            gc.enable()


def end_with(main: Callable[[], int]) -> NoReturn:
    """Calls `main` and ends the process with the status that it returns.

    Python would then take apart all modules and all that they hold, piece by piece, which takes a second once Lightning
    was imported. What others can notice comes before: threads that are not daemons are waited for, `atexit` calls what
    was registered since this call (in reverse order, so that of this file comes last), and the streams are flushed.
    Where `main` raises something, `SystemExit` too, Python ends as it always does.
    """
    returned: list[int] = []

    def leave() -> None:
        if returned:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            except (OSError, ValueError):  # a full disk, a reader that went away: for Python to tell
                return
            os._exit(returned[0])

    atexit.register(leave)
    returned.append(main())
    sys.exit(returned[0])

"""Worker processes of data loaders."""

import os
import signal
import threading


def leave_sigterm_to_the_run(worker: int) -> None:
    """Schedulers and service managers send SIGTERM to all processes of a job. A run then saves where it is, for which
    its workers have to live on: they end when it tells them to.

    PyTorch ends a worker on any SIGTERM, and the run with it, in the middle of a step.
    """
    if not hasattr(signal, "sigwaitinfo"):  # macOS
        return
    run = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != run:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()

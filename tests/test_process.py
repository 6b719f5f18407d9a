"""A command's process: imports without garbage collection, an end that leaves out only what nobody can notice."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqboat_lab.process import importing


def test_garbage_is_looked_for_again_after_imports():
    with importing():
        assert not gc.isenabled()
        with importing():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    with pytest.raises(ModuleNotFoundError), importing():
        import no_such_module  # noqa: F401
    assert gc.isenabled()


def test_who_collects_no_garbage_is_left_in_peace():
    gc.disable()
    try:
        with importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


ENDS = """
import atexit, sys, tempfile, threading, time
from seqboat_lab.process import end_with

class Object:
    def __del__(self):
        print("taken apart", flush=True)

kept = Object()

def slow():
    time.sleep(0.3)
    print("the thread came to its end")

def main():
    global directory
    directory = tempfile.TemporaryDirectory()
    print(directory.name)
    atexit.register(print, "atexit")
    threading.Thread(target=slow).start()
    {body}

end_with(main)
"""


def ended(body: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", ENDS.format(body=body)], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("status", [0, 2])
def test_all_that_can_be_noticed_is_done_and_nothing_is_taken_apart(status):
    done = ended(f"return {status}")
    directory, *lines = done.stdout.splitlines()
    assert lines == ["the thread came to its end", "atexit"]
    assert (done.returncode, done.stderr) == (status, "")
    assert not Path(directory).exists()


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [("sys.exit(7)", 7, ""), ("sys.exit('no')", 1, "no"), ("raise ValueError('why')", 1, "ValueError: why")],
)
def test_what_is_raised_ends_a_process_as_ever(body, status, told):
    done = ended(body)
    assert done.returncode == status
    assert done.stderr.strip().endswith(told)
    assert done.stdout.splitlines()[1:] == ["the thread came to its end", "atexit", "taken apart"]


def test_a_status_that_could_not_be_told_is_not_0():
    """stdout is a full disk: what Python makes of it."""
    with open("/dev/full", "w") as full:
        call = [sys.executable, "-c", "from seqboat_lab.process import end_with; end_with(lambda: print('x') or 0)"]
        buffered = os.environ | {"PYTHONUNBUFFERED": ""}
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, env=buffered)
    assert done.returncode == 120
    assert "No space left" in done.stderr

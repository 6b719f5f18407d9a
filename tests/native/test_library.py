"""Compiling: once, by one of several processes; and torch in its place wherever that does not work."""

import os
import subprocess
import sys

import pytest
import torch

from seqboat_lab.native import library
from seqboat_lab.native.library import native

TRY = "import torch; from seqboat_lab.native.library import native; print(native(torch.zeros(1)) is not None)"


def loads(**environment: str) -> bool:
    """Whether a new process has a library."""
    command = [sys.executable, "-c", TRY]
    found = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    return {"True": True, "False": False}[found.stdout.strip()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_compiles_and_loads_where_there_is_a_compiler(dtype):
    """A fault in the C files must not go unseen as a fall back on torch."""
    assert native(torch.zeros(1, dtype=dtype)) is not None


def test_it_is_for_whole_precision_on_a_cpu():
    assert native(torch.zeros(1, dtype=torch.bfloat16)) is None
    assert native(torch.zeros(1, device="meta")) is None


def test_it_can_be_left_out(monkeypatch):
    monkeypatch.setenv("SEQBOAT_NATIVE", "0")
    assert native(torch.zeros(1)) is None


def test_torch_does_without_a_compiler_and_where_the_cache_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    assert not loads(CC="no-such-compiler")
    with_false = subprocess.run(
        [sys.executable, "-c", TRY],
        env=os.environ | {"CC": "false", "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert with_false.stdout.strip() == "False"
    assert "false cannot compile seqboat_lab/native (exit status 1): torch goes on without" in with_false.stderr
    assert not loads(XDG_CACHE_HOME=str(tmp_path / "file"))
    assert [path.name for path in tmp_path.rglob("*.so")] == []


def test_processes_that_start_together_compile_one_file(tmp_path):
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", TRY]
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in started] == ["True"] * 3
    assert len(list((tmp_path / "seqboat_lab").iterdir())) == 1


def test_a_file_that_was_cut_off_is_compiled_again(tmp_path):
    assert loads(XDG_CACHE_HOME=str(tmp_path))
    (path,) = tmp_path.rglob("*.so")
    path.write_bytes(b"")
    assert loads(XDG_CACHE_HOME=str(tmp_path))
    assert path.stat().st_size > 0


def test_the_compiler_may_be_given_with_options(tmp_path):
    assert loads(CC="cc -g0", XDG_CACHE_HOME=str(tmp_path))


def test_a_user_without_a_home_has_torch(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(library.Path, "home", no_home)
    assert library._library.__wrapped__(torch.float32) is None


def test_another_processor_or_source_is_another_file(monkeypatch):
    before = library._fingerprint(["cc"])
    assert before == library._fingerprint(["cc"]) != library._fingerprint(["cc", "-g"])
    monkeypatch.setattr(library.platform, "machine", lambda: "another")
    assert library._fingerprint(["cc"]) != before

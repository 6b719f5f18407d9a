"""Compiles the C files beside this one, once for each kind of processor, and loads them.

With `SEQBOAT_NATIVE=0` in the environment, or no C compiler, torch computes the same, to rounding.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor

HERE = Path(__file__).parent
SOURCES = sorted(HERE.glob("*.c"))
FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC")
TYPES = {torch.float32: ("float", "int32_t"), torch.float64: ("double", "int64_t")}


def native(x: Tensor) -> ctypes.CDLL | None:
    """The library for tensors like `x`, or None where torch has to do: not on a CPU, in half precision, in a model
    that is being compiled, where a tensor stands for others or operations are watched, without a C compiler, or not
    wanted."""
    if x.device.type != "cpu" or x.dtype not in TYPES or os.environ.get("SEQBOAT_NATIVE") == "0":
        return None
    return None if torch.compiler.is_compiling() or _watched(x) else _library(x.dtype)


def _watched(x: Tensor) -> bool:
    """Whether more is done to `x` than to compute with its values: it has none (fake tensors), `torch.func` goes
    through what is done, or a mode traces or counts it. None of them sees what C writes."""
    transformed = torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack() > 0
    return transformed or type(x) not in (Tensor, torch.nn.Parameter)


def loaded(x: Tensor) -> ctypes.CDLL:
    """The library for tensors like `x`, where `native` said that there is one."""
    library = _library(x.dtype)
    assert library is not None
    return library


@functools.cache
def _library(dtype: torch.dtype) -> ctypes.CDLL | None:
    compiler = shlex.split(os.environ.get("CC") or "cc")  # with options, maybe
    if shutil.which(compiler[0]) is None:
        return None
    real, integer = TYPES[dtype]
    command = [*compiler, *FLAGS, f"-DREAL={real}", f"-DINTEGER={integer}", *map(str, SOURCES)]
    try:
        path = _cache() / f"{real}-{_fingerprint(command)}.so"
        with contextlib.suppress(OSError):  # not compiled yet, or cut off where a machine lost power
            return ctypes.CDLL(str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as directory:  # several workers may be at it
            new = Path(directory) / path.name
            subprocess.run([*command, "-o", str(new)], check=True, capture_output=True)
            new.replace(path)
        return ctypes.CDLL(str(path))
    except subprocess.CalledProcessError as failed:  # no such flags, no OpenMP
        said = (failed.stderr.decode(errors="replace").strip() or f"exit status {failed.returncode}").splitlines()[0]
        problem = f"{compiler[0]} cannot compile seqboat_lab/native ({said}): torch goes on without, slower"
        warnings.warn(f"{problem}; SEQBOAT_NATIVE=0 leaves it out, CC=... names another compiler", stacklevel=2)
        return None
    except (OSError, RuntimeError):  # no directory to write to, a user without a home
        return None


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seqboat_lab"


def _fingerprint(command: list[str]) -> str:
    """Of what the compiled file depends on: nodes of a cluster that share a home may have different processors."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else [platform.processor()]
    kind = {line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}
    parts = [
        *command,
        platform.machine(),
        *sorted(kind),
        *(source.read_text() for source in sorted(HERE.glob("*.[ch]"))),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def plain(x: Tensor) -> Tensor:
    """The same numbers as C reads them: one after the other, and conjugated where torch has only noted that."""
    return x.contiguous().resolve_conj().resolve_neg()


def pointer(x: Tensor | None) -> ctypes.c_void_p:
    """Where a plain tensor begins; NULL for None."""
    return ctypes.c_void_p(None if x is None else x.data_ptr())

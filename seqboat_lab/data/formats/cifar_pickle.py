"""Unpickles CIFAR-10's batches without running, believing or allocating what a damaged or hostile file asks for."""

import io
import pickle
import pickletools
import warnings
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.files.files import read_bounded

LARGEST = 1 << 28
"""Bytes; an official batch has 31 million."""
TUPLES = 32
"""Most tuples, of which an official batch has 8: hashing one inside the other takes twice as long for each."""
UNWANTED = ("EXT", "PERSID", "BINPERSID", "NEXT_BUFFER", "FROZENSET", "ADDITEMS", "INST", "OBJ", "NEWOBJ", "DUP")


class _Dtype:
    """Stands for `numpy.dtype(name, ...)`, whose own state is of no interest: numbers have none."""

    def __init__(self, name: str = "", *_: Any):
        self.name = name

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """Stands for an array: `numpy.ndarray` would allocate whatever shape it is told."""

    array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran_order, data = state
        if not (isinstance(dtype, _Dtype) and isinstance(shape, tuple) and isinstance(data, bytes)):
            raise ValueError("an array of objects")
        numbers = np.dtype(dtype.name) if dtype.name[-2:] in ("u1", "i1", "i4", "i8", "f4", "f8") else None
        if numbers is None or any(type(n) is not int or n < 0 for n in shape):
            raise ValueError("an array of no numbers")
        if prod(shape) * numbers.itemsize != len(data):
            raise ValueError(f"an array of shape {shape[:4]} with {len(data)} bytes")
        self.array = np.frombuffer(data, numbers).reshape(shape, order="F" if fortran_order else "C")


def _latin1(text: str, _: str) -> bytes:
    return text.encode("latin1")  # how protocol 2 writes bytes


class _ArraysOnly(pickle.Unpickler):
    """Builds the stand-ins and plain values, calls nothing else: a pickle could otherwise run any program."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return lambda *_: _Array()
        if (module, name) == ("numpy", "dtype"):
            return _Dtype
        if (module, name) == ("numpy", "ndarray"):
            return None  # an argument of _reconstruct
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no image file needs")


def load(path: Path) -> Any:
    """What is pickled in a file: plain values, and NumPy arrays in dictionaries. Raises `DataError`."""
    data = read_bounded(path, LARGEST, "a CIFAR-10 batch")
    try:
        with warnings.catch_warnings(action="ignore"):
            _check(data)
            found = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
            MemoryError, RecursionError) as error:  # fmt: skip
        problem = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path}: not a CIFAR-10 batch ({problem}); get the archive again") from None
    if not isinstance(found, dict):
        return found
    return {key: value.array if isinstance(value, _Array) else value for key, value in found.items()}


def _check(data: bytes) -> None:
    """Refuse, before any of it runs, what would make the unpickler allocate or compute without end."""
    tuples = 0
    for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
        tuples += opcode.name.startswith(("TUPLE", "REDUCE"))
        if opcode.name.startswith(UNWANTED) or tuples > TUPLES:
            raise ValueError(f"{opcode.name}, which no image file needs")
        # a place in a table that grows up to it
        if "PUT" in opcode.name and argument is not None and argument > len(data):
            raise ValueError("a damaged pickle")

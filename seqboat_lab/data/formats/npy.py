"""Headers of .npy files, without believing what they say."""

import struct
import tokenize
import warnings
from math import prod
from typing import IO, NamedTuple

import numpy as np


class Header(NamedTuple):
    """What follows in the file."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool
    offset: int
    """Bytes before the data."""


def read_header(file: IO[bytes], size: int) -> Header | None:
    """The header of an array that fills the file of `size` bytes exactly; None if there is no such thing."""
    try:
        if np.lib.format.read_magic(file) != (1, 0):  # later versions, for fields by the thousand, may claim 4 GB
            return None
        with warnings.catch_warnings(action="ignore"):  # of headers that Python 2 wrote
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=10_000)
    except (ValueError, TypeError, LookupError, SyntaxError, RecursionError, MemoryError, EOFError, struct.error,
            tokenize.TokenError, AttributeError, ArithmeticError):  # fmt: skip
        return None
    whole = all(isinstance(n, int) and n >= 0 for n in shape) and not dtype.hasobject
    if not whole or file.tell() + prod(shape) * dtype.itemsize != size:
        return None
    return Header(shape, dtype, fortran_order, file.tell())

"""RIFF WAVE files as programs write them: PCM, plain or extensible, with chunks of any order, and from streams.

Python's own `wave` refuses the extensible form and takes the sizes in the headers for true.
"""

import struct
from pathlib import Path

import numpy as np

from seqboat_lab.data.files.errors import DataError
from seqboat_lab.data.files.files import read_bounded

PCM, EXTENSIBLE = 1, 0xFFFE
PCM_GUID = b"\x01\x00\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
"""Sub-format of an extensible header whose samples are PCM."""
ENDLESS = 0x7FFFF000
"""A program that writes to a pipe cannot know sizes: it leaves 0 or the largest number that it can think of."""


def read_wav(path: Path, rate: int, longest: int) -> np.ndarray:
    """A clip's samples, (n,) int16. Raises `DataError` unless it is mono 16-bit PCM of that rate, 1 to `longest`
    samples."""
    try:
        data = read_bounded(path, 2 * longest + (1 << 20), "a clip of such a length")
    except DataError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise DataError(f"{path}: no such clip; unpack the archive again") from None
        raise
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise DataError(
            f"{path}: not a WAV file ({'it is empty' if not data else 'no RIFF WAVE header'}); get it again"
        )
    streamed = _endless(int.from_bytes(data[4:8], "little"))
    kind, position = None, 12
    while position + 8 <= len(data):
        name, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8
        if name == b"fmt ":
            kind = data[position : position + size]
            _check_kind(path, kind, rate)
        elif name == b"data":
            if kind is None:
                raise DataError(f"{path}: not a WAV file (samples before any description of them); get it again")
            if streamed and (_endless(size) or size > len(data) - position):
                size = len(data) - position
            return _samples(path, data[position : position + size], size, longest)
        position += size
        # A chunk of an odd size is followed by a padding byte, which some programs leave out.
        if size % 2 and data[position : position + 4] not in (b"fmt ", b"data", b"LIST", b"fact"):
            position += 1
    raise DataError(f"{path}: not a WAV file (it breaks off before its samples); get it again")


def _endless(size: int) -> bool:
    return size == 0 or size >= ENDLESS


def _check_kind(path: Path, kind: bytes, rate: int) -> None:
    if len(kind) < 16:
        raise DataError(f"{path}: not a WAV file (a format description of {len(kind)} bytes); get it again")
    tag, channels, found_rate, _, _, bits = struct.unpack("<HHIIHH", kind[:16])
    if tag == EXTENSIBLE and kind[24:40] == PCM_GUID:
        tag = PCM
    if tag != PCM:
        raise DataError(f"{path}: samples of format {tag:#06x}; expected PCM (0x0001); convert it")
    if (channels, bits, found_rate) != (1, 16, rate):
        raise DataError(
            f"{path}: expected 1 channel of 16 bits at {rate} Hz, found {channels} of {bits} bits at {found_rate} Hz; "
            "convert it"
        )


def _samples(path: Path, data: bytes, size: int, longest: int) -> np.ndarray:
    if len(data) < size:
        raise DataError(f"{path}: breaks off after {len(data) // 2} of {size // 2} samples; unpack the archive again")
    if size % 2:
        raise DataError(f"{path}: ends in the middle of a sample ({size} bytes, expected 2 a sample); get it again")
    if not 0 < size // 2 <= longest:
        raise DataError(f"{path}: {size // 2} samples; expected 1 to {longest}")
    return np.frombuffer(data, "<i2")

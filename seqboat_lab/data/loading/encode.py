"""From stored values to what the model reads. Small picklable callables: (B, L) array, padding -> tensor."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from seqboat_lab.data.files.errors import DataError


@dataclass(frozen=True)
class Ids:
    """Stored token ids as they are; padding is id 0. Returns (B, L) int64. Raises `DataError` for others."""

    vocab_size: int = 256

    def __call__(self, values: np.ndarray, padding: np.ndarray | None) -> torch.Tensor:
        if values.max(initial=0) >= self.vocab_size:
            raise DataError(
                f"a prepared sample holds id {values.max()}, expected at most {self.vocab_size - 1}: the store is "
                "damaged; run `seqboat data prepare` again"
            )
        return torch.from_numpy(values.astype(np.int64))


@dataclass(frozen=True)
class Bytes:
    """Stored bytes as ids: byte + 1, padding is id 0. Returns (B, L) int64 in 0 ... 256."""

    def __call__(self, values: np.ndarray, padding: np.ndarray | None) -> torch.Tensor:
        ids = values.astype(np.int64) + 1
        if padding is not None:
            ids[padding] = 0
        return torch.from_numpy(ids)


@dataclass(frozen=True)
class Real:
    """Stored numbers as (x * scale - mean) / std; padding is 0. Returns (B, L) float32."""

    mean: float
    std: float
    scale: float = 1.0

    def __call__(self, values: np.ndarray, padding: np.ndarray | None) -> torch.Tensor:
        real = (values.astype(np.float32) * np.float32(self.scale) - np.float32(self.mean)) / np.float32(self.std)
        if padding is not None:
            real[padding] = 0
        return torch.from_numpy(real)


def decode_bytes(ids: Sequence[int]) -> list[str]:
    """A character for each byte id: itself if it is printable ASCII, "¶" for a line's end, else a middle dot."""
    return [chr(i - 1) if 32 <= i - 1 < 127 else "¶" if i - 1 == ord("\n") else "·" for i in ids]


BYTE_CLASSES = ("letter", "digit", "space", "punctuation", "other")
"""Kinds of byte: of ASCII its letters, digits, white space and other printable signs; all else, such as UTF-8's."""
_CLASS_OF_BYTE = torch.tensor(
    [
        0 if sign.isalpha() else 1 if sign.isdigit() else 2 if sign.isspace() else 3 if 32 <= ord(sign) < 127 else 4
        for sign in map(chr, range(128))
    ]
    + [4] * 128
)


def byte_class(values: torch.Tensor) -> torch.Tensor:
    """Index into `BYTE_CLASSES` of each byte, of any shape; what is none, such as padding, is "other"."""
    return _CLASS_OF_BYTE.to(values.device)[torch.where((values >= 0) & (values < 256), values, 255)]

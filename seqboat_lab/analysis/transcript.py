"""Generated text on a terminal, as it comes, with the activated bytes highlighted."""

import codecs
import time
from collections.abc import Iterable
from typing import BinaryIO

from seqboat_lab.inference.generation import GeneratedByte

SHADES = (None, 153, 111, 69, 27)
"""Backgrounds of the 256-colour palette, for up to none, a quarter, a half, three quarters, all of the layers."""


class Transcript:
    """Writes bytes to `out` and counts them.

    highlight: colour each character's background by the share of layers that activated its bytes, with ANSI codes
    even where `out` is no terminal (read it with `less -R`); bytes that are no UTF-8 then show as \\xNN. Otherwise
    bytes are written as they are.
    """

    def __init__(self, out: BinaryIO, highlight: bool = False):
        self.out, self.highlight = out, highlight
        self.decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self.shares: list[float] = []  # of the character whose bytes are still coming
        self.new, self.active, self.seconds = 0, 0.0, 0.0

    def write(self, generated: Iterable[GeneratedByte]) -> None:
        """Writes and flushes byte by byte, to the end or until interrupted."""
        start = None
        for byte in generated:
            if not byte.prompt:
                start = start or time.perf_counter()
                self.new, self.active = self.new + 1, self.active + byte.active
                self.seconds = time.perf_counter() - start
            self._show(byte)
        self._flush(self.decoder.decode(b"", final=True))

    def summary(self) -> str:
        """How many bytes were generated, how fast, and how many of them were active."""
        if self.new < 2:
            return f"{self.new} bytes"
        rate = (self.new - 1) / max(self.seconds, 1e-9)
        return f"{self.new} bytes, {rate:,.0f} bytes/s; active in {self.active / self.new:.0%} of the layers on average"

    def _show(self, byte: GeneratedByte) -> None:
        if not self.highlight:
            self.out.write(bytes([byte.byte]))
            self.out.flush()
            return
        self.shares.append(byte.active)
        self._flush(self.decoder.decode(bytes([byte.byte])))

    def _flush(self, text: str) -> None:
        if not text:
            return
        shade = SHADES[-(-int(1000 * max(self.shares)) // 250)] if self.shares else None
        self.shares = []
        plain = shade is None or text == "\n"
        self.out.write(text.encode() if plain else f"\x1b[48;5;{shade};30m{text}\x1b[0m".encode())
        self.out.flush()

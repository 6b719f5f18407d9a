"""Streams a tar archive, of any size, and writes only what a task needs of it."""

import bz2
import gzip
import io
import lzma
import re
import shutil
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Self

from seqboat_lab.data.files.errors import ArchiveError, DataError, shown
from seqboat_lab.data.files.files import is_data, landing, locked, open_source, remove
from seqboat_lab.data.files.official import Official
from seqboat_lab.data.files.progress import progress

DESCRIPTION = 1 << 20
"""Bytes of a header that describes another member: a long name, say."""


def unpack(archive: Path, official: Official, directory: Path) -> None:
    """Write the task's members of a (compressed) tar to `directory`, which appears whole or not at all.

    Of several copies in the archive the first of `official.members` that is whole is taken. Raises `DataError`
    for an archive that is damaged, truncated, incomplete or unsafe: absolute paths, `..`, links and devices
    are refused wherever they are in it, and so is what unpacks to more than the task can have. Files that are not data
    (`._x.txt`, `.DS_Store`) are left out.
    """
    if not archive.is_file():
        raise DataError(f"{archive}: no such archive")
    wanted = re.compile(official.wanted)
    with locked(directory):
        if official.is_whole(directory):  # another process was first
            return
        if directory.exists():
            lacking = next(name for name in official.needed if not (directory / name).exists())
            raise DataError(
                f"{directory}: is there but lacks {lacking}; complete it or move it away, so that nothing of "
                "yours is overwritten"
            )
        with landing(directory) as temporary:
            staging = temporary.with_suffix(".copies.partial")
            copies = [staging / str(i) for i in range(len(official.members))]
            try:
                with _readable(archive):
                    for member, stream in _members(archive, official.unpacked):
                        copy, relative = _destination(PurePosixPath(member.name), official.members, copies)
                        if not (copy and member.isfile() and wanted.search(str(relative))):
                            continue
                        if member.size > official.largest:
                            raise ArchiveError(
                                f"{archive}: refused, since its member {shown(member.name, 200)} unpacks to "
                                f"{member.size:,} bytes; at most {official.largest:,} are possible"
                            )
                        if all(is_data(part) for part in relative.parts):
                            _write(stream(), copy / relative)
                whole = [copy for copy in copies if official.is_whole(copy)]
                if not whole:
                    places = " or ".join(filter(None, official.members)) or "the data"
                    raise ArchiveError(
                        f"{archive}: holds no complete copy of {places}; expected {', '.join(official.needed[:4])} "
                        "there; is it the right archive?"
                    )
                whole[0].rename(temporary)
            finally:
                remove(staging)


def _destination(name: PurePosixPath, members: tuple[str, ...], copies: list[Path]) -> tuple[Path | None, Path]:
    """Which copy a member belongs to (the preferred ones come first), and its path there."""
    for prefix, copy in zip(members, copies, strict=True):
        if name.is_relative_to(prefix):
            return copy, Path(name.relative_to(prefix))
    return None, Path()


def _members(archive: Path, unpacked: int) -> Iterator[tuple[tarfile.TarInfo, Callable]]:
    """Every member in order and a function that opens it, each checked to be harmless."""
    with (
        open_source(archive) as file,
        _decompressed(file) as plain,
        tarfile.open(fileobj=plain, mode="r|", tarinfo=_StrictTarInfo) as tar,
        progress(f"unpacking {archive.name}", archive.stat().st_size, in_bytes=True) as tick,
    ):
        seen = total = 0
        for member in tar:
            _check(archive, member)
            total += member.size
            if total > unpacked:
                raise ArchiveError(
                    f"{archive}: refused, since it unpacks to more than {unpacked:,} bytes; is it the right archive?"
                )
            yield member, lambda member=member: tar.extractfile(member)
            tick(file.tell() - seen)
            seen = file.tell()
        while piece := plain.read(1 << 20):  # to the end, where the checksum of a compressed file is
            total += len(piece)
            if total > unpacked:
                raise tarfile.ReadError("it goes on and on behind its end")


def _decompressed(file: BinaryIO) -> BinaryIO | gzip.GzipFile | bz2.BZ2File:
    """The tar inside a plain or compressed file. Python's own tarfile would leave checksums unchecked here."""
    magic = file.read(6)
    file.seek(0)
    for start, opener in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ", _open_xz)):
        if magic.startswith(start):
            return opener(file)
    return file


class _Xz(io.RawIOBase):
    """Python's own `lzma.open` allocates up to 4 GB where a file's header asks for it; this up to 256 MB."""

    def __init__(self, file: BinaryIO):
        self.file, self.decompressor = file, lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 28)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.decompressor.eof:
            piece = self.file.read(1 << 16) if self.decompressor.needs_input else b""
            if self.decompressor.needs_input and not piece:
                raise EOFError("it breaks off")
            data = self.decompressor.decompress(piece, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
        return 0


def _open_xz(file: BinaryIO) -> BinaryIO:
    return io.BufferedReader(_Xz(file), 1 << 16)


class _StrictTarInfo(tarfile.TarInfo):
    """tarfile takes an archive that breaks off between two members for one that ends there; this does not.

    Nor does it take any size for true of a header that only describes the next member, and is held in memory.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.size < 0 or (not (info.isfile() or info.isdir()) and info.size > DESCRIPTION):
            raise tarfile.ReadError("a header with an absurd size")
        return info

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tar)
        except (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError):  # type: ignore[attr-defined]  # undocumented
            raise tarfile.ReadError("it breaks off") from None


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError, ValueError, LookupError, ArithmeticError,
            TypeError, AttributeError, MemoryError, RecursionError, struct.error) as error:  # fmt: skip
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's trouble, not the archive's
        problem = " ".join(str(error).split()) or type(error).__name__
        raise ArchiveError(
            f"{archive}: damaged or truncated archive, or no tar at all ({problem}); nothing of it was kept: "
            "get it again"
        ) from None


def _check(archive: Path, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    if "\0" in member.name or path.is_absolute() or ".." in path.parts or "\\" in member.name:
        what = "a path that leads out of the directory"
    elif member.issym() or member.islnk():
        what = "a link"
    elif not (member.isfile() or member.isdir()) or member.issparse():
        what = "a device or another special file"
    else:
        return
    name = shown(member.name, 200)
    raise ArchiveError(f"{archive}: refused, since its member {name} is {what}; nothing was unpacked")


def _write(stream, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with stream, open(path, "wb") as file:
        shutil.copyfileobj(stream, file, 1 << 20)

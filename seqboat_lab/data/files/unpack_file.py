"""Brings official data of one file in place, from its zip or from the file itself."""

import shutil
import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from seqboat_lab.data.files.errors import ArchiveError, DataError
from seqboat_lab.data.files.files import landing, locked, open_source
from seqboat_lab.data.files.official import Official


def unpack_file(archive: Path, official: Official, directory: Path) -> None:
    """Write `official.needed`'s one file to `directory`.

    Raises `DataError` for a zip that is damaged or lacks the file, and for a file of another size.
    """
    (name,) = official.needed
    if not archive.is_file():
        raise DataError(f"{archive}: no such archive")
    target = directory / name
    with locked(target):
        if target.is_file():  # another process was first
            return
        with landing(target) as temporary:
            with open_source(archive) as source, open(temporary, "wb") as file:
                _copy(archive, source, name, file, official.size)
            size = temporary.stat().st_size
            if official.size not in (None, size):
                raise ArchiveError(
                    f"{archive}: holds {size:,} bytes of {name}, expected {official.size:,}; is it the right archive?"
                )


def _copy(archive: Path, source: BinaryIO, name: str, file: BinaryIO, size: int | None) -> None:
    if not zipfile.is_zipfile(source):
        if archive.suffix == ".zip":
            raise ArchiveError(f"{archive}: damaged or truncated zip; nothing of it was kept: get it again")
        found = archive.stat().st_size
        if size not in (None, found):
            raise ArchiveError(f"{archive}: holds {found:,} bytes of {name}, expected {size:,}; is it the right file?")
        source.seek(0)
        shutil.copyfileobj(source, file, 1 << 20)
        return
    try:
        with zipfile.ZipFile(source) as zipped:
            if name not in zipped.namelist():
                raise ArchiveError(f"{archive}: holds no file {name!r}; is it the right archive?")
            info = zipped.getinfo(name)
            if size not in (None, info.file_size):
                raise ArchiveError(
                    f"{archive}: holds {info.file_size:,} bytes of {name}, expected {size:,}; is it the right archive?"
                )
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise zipfile.BadZipFile(f"compression of kind {info.compress_type}, expected deflate")
            with zipped.open(info) as member:  # never more than file_size bytes, whatever is in it
                shutil.copyfileobj(member, file, 1 << 20)
    except DataError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, LookupError, ArithmeticError, TypeError,
            MemoryError, struct.error) as error:  # fmt: skip
        problem = " ".join(str(error).split())  # RuntimeError: encrypted
        raise ArchiveError(f"{archive}: damaged zip ({problem}); nothing of it was kept: get it again") from None

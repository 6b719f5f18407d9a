"""Brings official data of one file in place, from its zip or from the file itself."""

import shutil
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from seqboat_lab.data.base import Official
from seqboat_lab.data.errors import DataError
from seqboat_lab.data.files import landing, locked, open_source


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
                _copy(archive, source, name, file)
            size = temporary.stat().st_size
            if official.size not in (None, size):
                raise DataError(
                    f"{archive}: holds {size:,} bytes of {name}, expected {official.size:,}; is it the right archive?"
                )


def _copy(archive: Path, source: BinaryIO, name: str, file: BinaryIO) -> None:
    if not zipfile.is_zipfile(source):
        if archive.suffix == ".zip":
            raise DataError(f"{archive}: damaged or truncated zip; nothing of it was kept: get it again")
        source.seek(0)
        shutil.copyfileobj(source, file, 1 << 20)
        return
    try:
        with zipfile.ZipFile(source) as zipped:
            if name not in zipped.namelist():
                raise DataError(f"{archive}: holds no file {name!r}; is it the right archive?")
            with zipped.open(name) as member:
                shutil.copyfileobj(member, file, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: encrypted
        raise DataError(f"{archive}: damaged zip ({error}); nothing of it was kept: get it again") from None

"""Brings official data of one file in place, from its zip or from the file itself."""

import shutil
import zipfile
import zlib
from pathlib import Path

from seqboat_lab.data.base import Official
from seqboat_lab.data.errors import DataError
from seqboat_lab.data.files import landing, locked


def unpack_file(archive: Path, official: Official, directory: Path) -> None:
    """Write `official.needed`'s one file to `directory`. Its contents are the task's to check.

    Raises `DataError` for a zip that is damaged or lacks the file.
    """
    (name,) = official.needed
    if not archive.is_file():
        raise DataError(f"{archive}: no such archive")
    target = directory / name
    with locked(target):
        if target.is_file():  # another process was first
            return
        with landing(target) as temporary:
            if not zipfile.is_zipfile(archive):
                if archive.suffix == ".zip":
                    raise DataError(f"{archive}: damaged or truncated zip; nothing of it was kept: get it again")
                shutil.copyfile(archive, temporary)
                return
            try:
                with zipfile.ZipFile(archive) as zipped:
                    if name not in zipped.namelist():
                        raise DataError(f"{archive}: holds no file {name!r}; is it the right archive?")
                    with zipped.open(name) as member, open(temporary, "wb") as file:
                        shutil.copyfileobj(member, file, 1 << 20)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise DataError(f"{archive}: damaged zip ({error}); nothing of it was kept: get it again") from None

"""Files that are replaced as a whole: whoever reads one sees the old or the new contents, also after a crash."""

import os
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8 in place of what was there."""
    replace_bytes(path, text.encode(errors="backslashreplace"))


def replace_bytes(path: Path, data: bytes) -> None:
    """Writes `data` in place of what was there."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.write_bytes(data)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise

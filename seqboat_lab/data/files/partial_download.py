"""What has arrived of a download so far, which version of which URL it is, and whether it looks like what is wanted."""

import json
from pathlib import Path

BEGINNINGS = ((".zip", (b"PK\x03\x04",)), ((".gz", ".tgz"), (b"\x1f\x8b",)))
"""How a file with such a name begins; a plain tar named so is fine as well."""


class Partial:
    """`.<name>.download`, and beside it in `.<name>.download.from` whose it is: only the same is ever appended."""

    def __init__(self, path: Path):
        self.path, self.note = path, path.with_name(f"{path.name}.from")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def version(self, url: str) -> str | None:
        """The ETag or date of what has arrived, if it came from this URL."""
        try:
            noted = json.loads(self.note.read_text())
            return noted["version"] if noted["url"] == url else None
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def begin(self, url: str, version: str | None) -> None:
        """Forget what has arrived; what comes now is this."""
        self.remove()
        if version:
            self.note.write_text(json.dumps({"url": url, "version": version}))


def other_kind(first: bytes, filename: str) -> str:
    """What is wrong with a file that begins so; nothing if it may be right."""
    for ending, beginnings in BEGINNINGS:
        if filename.endswith(ending) and not first.startswith(beginnings) and first[257:262] != b"ustar":
            return f"not a {filename.rpartition('.')[2]} archive, but what begins with {first[:20]!r}"
    return ""

"""Official data: where it comes from and where it lies."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Official:
    """Where official files come from and where they lie."""

    archive: str
    """Key of the archive in sources.SOURCES."""
    members: tuple[str, ...]
    """Directories inside the archive that hold the task, the preferred one first."""
    place: str
    """Directory under the data root that they are unpacked to."""
    needed: tuple[str, ...]
    """Files and directories that are all there when the task is."""
    wanted: str = ""
    """Regular expression of the members' paths to unpack; empty = all."""
    single_file: bool = False
    """The archive is a zip of one file, or that file itself."""
    size: int | None = None
    """Bytes of that one file."""
    largest: int = 1 << 28
    """Bytes that none of the wanted members exceeds."""
    unpacked: int = 1 << 36
    """Bytes that all members together, wanted or not, do not exceed."""

    def is_whole(self, place: Path) -> bool:
        """Whether a directory has all that is needed."""
        return all((place / name).exists() for name in self.needed)

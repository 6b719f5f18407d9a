"""The one kind of error that a user's data can raise."""

from seqboat_lab.config.checks import UserError

LONGEST = 2000


class DataError(UserError):
    """Unusable data: one line with what, where (file, line or sample), what was expected, what to do.

    Names come from files and archives: what would break the line is escaped, and a text without end is cut.
    """

    def __init__(self, message: str):
        if message.startswith("Caught DataError in DataLoader worker"):  # PyTorch puts a traceback before it
            message = message.rpartition("DataError: ")[2].strip()
        line = "".join(c if c.isprintable() or "\ud800" <= c <= "\udfff" else repr(c)[1:-1] for c in message)
        super().__init__(line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}")


class ArchiveError(DataError):
    """An archive that is not what it should be, however often it is unpacked."""


def shown(text: str | bytes, longest: int = 40) -> str:
    """A piece of a file as it can stand in an error: quoted, and cut where it is long."""
    text = (text[: 4 * longest].decode("utf-8", "replace") if isinstance(text, bytes) else text).strip()
    return repr(text if len(text) <= longest else text[:longest] + "…")

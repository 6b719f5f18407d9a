"""The one kind of error that a user's data can raise."""

from seqboat_lab.config.checks import UserError


class DataError(UserError):
    """Unusable data: one line with what, where (file, line or sample), what was expected, what to do."""

"""What can go wrong for a user, each kind by name.

Every error carries a message (what is wrong) and a hint (what to do). The command
line words both on one line and exits with 1; a bug is not a BuildexError and keeps
its traceback.
"""

from __future__ import annotations


class BuildexError(Exception):
    """Something the user can mend.

    Args:
        message: what is wrong; no capital, no final full stop, paths in backticks.
        hint: what to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class ConfigError(BuildexError):
    """An option or a key of a configuration file is unknown or has a wrong value."""


class RasterError(BuildexError):
    """A mosaic cannot be opened, read, or used as one."""


class CrsError(BuildexError):
    """A coordinate reference system is missing, unknown, or unfit for the job."""


class VectorError(BuildexError):
    """A file of labels, predictions or an area of interest cannot be used."""


class DatasetError(BuildexError):
    """A dataset folder is missing, incomplete, or of another version."""


class ModelError(BuildexError):
    """A model is unknown, damaged, or of another version."""


class OutputError(BuildexError):
    """The output exists already, or its folder is missing or cannot be written."""


class NetworkError(BuildexError):
    """A server does not answer, refuses, or answers what cannot be used."""


class TrainingError(BuildexError):
    """Training cannot start or cannot go on."""


class ClusterError(BuildexError):
    """Workers or their scheduler are not there, are lost, or do not suit."""

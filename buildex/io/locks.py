"""Files that one run at a time may change. SQLite locks them, on every system and most drives.

The system frees the locks of a killed run.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from buildex.errors import OutputError

PATIENCE = 60.0  # seconds that a run waits for others at a file that they share


class InUseError(OutputError):
    """Another run is at work on the same output."""


@contextmanager
def alone(path: Path, patience: float = PATIENCE, kept: bool = True) -> Iterator[None]:
    """Let one run at a time change a file that several share.

    An empty file beside it, `.NAME.lock`, is locked meanwhile, and stays: one that went could
    be locked by two who wait for it.

    Args:
        path: the file.
        patience: seconds to wait for others.
        kept: whether that file stays; where nobody waits it need not.

    Raises:
        OutputError: if others do not let go of it, or nothing can be locked there.
    """
    lock = path.with_name(f".{path.name}.lock")
    with worded(lock):
        database = sqlite3.connect(lock, timeout=patience)
    with closing(database):
        with worded(lock):
            database.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            if not kept:
                with suppress(OSError):  # some systems keep what is open
                    lock.unlink()


@contextmanager
def worded(path: Path, in_use: type[OutputError] = OutputError) -> Iterator[None]:
    """SQLite's errors about a file as ours.

    Args:
        path: the file.
        in_use: the error if others have locked it.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "locked" in text:
            raise in_use(
                f"`{path}` is in use by another run", hint="wait for it, or write elsewhere"
            ) from None
        full = "make room on the disk; the same command continues"
        raise OutputError(
            f"`{path}` cannot be written: {text}",
            hint="write elsewhere" if "unable to open" in text else full,
        ) from None
    except (sqlite3.DatabaseError, pa.ArrowException) as error:
        raise OutputError(
            f"`{path}` is damaged or no journal: {error}",
            hint="remove it, then give the same command again",
        ) from None

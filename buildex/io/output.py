"""Outputs: checked before the work, written beside their place and renamed into it."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from buildex.errors import OutputError


def check_output(path: str | Path, overwrite: bool = False) -> None:
    """Make sure that a file or folder can be written.

    Raises:
        OutputError: if it exists already, or its folder is missing or not writable.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputError(f"`{path}` exists already", hint="write elsewhere or add `--overwrite`")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise OutputError(f"folder `{folder}` does not exist", hint="make it first")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"folder `{folder}` cannot be written", hint="write elsewhere")


def clear_beside(path: Path) -> None:
    """Remove what a killed program left of writing beside `path`; nobody may write there now."""
    path = path.absolute()
    for folder in path.parent.glob(f".{glob.escape(path.name)}-*"):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path in an empty folder beside `path` to write to; its files are moved on success.

    All files that were written to that folder move, so sidecar files come along; the one at
    the path is the last. After an error nothing is left of them.
    """
    path = path.absolute()
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield folder / path.name
        for file in sorted(folder.iterdir(), key=lambda file: (file.name == path.name, file.name)):
            file.replace(path.parent / file.name)
    except OSError as error:
        raise OutputError(
            f"`{path}` cannot be written: {error.strerror or error}", hint="write elsewhere"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)

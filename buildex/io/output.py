"""Outputs: checked before the work, written beside their place and renamed into it."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from buildex.errors import OutputError
from buildex.io.layer_names import parted

UNSAVED = ("-wal", "-journal")  # beside an SQLite file: what a program has not put into it yet
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # the disk takes no more
SHARED = "-shm"  # beside these: what the programs that have it open tell each other


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


def check_file(path: str | Path, overwrite: bool = False) -> None:
    """Make sure that a file can be written.

    Raises:
        OutputError: as `check_output`, or if a folder is in its place, or another program has
            changes of an older file that it would put into the new one.
    """
    if Path(path).is_dir():
        raise OutputError(f"`{path}` is a folder", hint="write elsewhere")
    check_output(path, overwrite)
    _check_closed(Path(path))


def check_named(path: str | Path) -> None:
    """Make sure that GDAL's vector side takes a path as it is: it reads `!` and `;` otherwise.

    Raises:
        OutputError: if not; another file would be written, or none.
    """
    path = Path(path)
    if "!" in str(path.absolute()) or ";" in path.name:
        raise OutputError(
            f"`{path}` has a `!` or `;` in its path, which GDAL takes for something else",
            hint="write to a folder and a name without",
        )


def check_apart(output: str | Path, *others: str | Path | None) -> None:
    """Make sure that an output is none of the files that the same run reads or writes.

    Args:
        output: where something is to be written.
        others: paths, layers of files, URLs and what GDAL opens; None is passed over.

    Raises:
        OutputError: if it is one of them, by whatever path.
    """
    place = Path(output).resolve()
    for other in others:
        if other is not None and Path(parted(other)[0]).resolve() == place:
            raise OutputError(f"`{output}` is needed by this run itself", hint="write elsewhere")


def clear_beside(path: Path) -> None:
    """Remove what a killed program left of writing beside `path`; nobody may write there now."""
    path = path.absolute()
    for folder in path.parent.glob(f"{glob.escape(_prefix(path))}{'[a-z0-9_]' * 8}"):
        shutil.rmtree(folder, ignore_errors=True)


def _prefix(path: Path) -> str:
    """What the folders beside a path are called, but for the eight letters of `mkdtemp`."""
    return f".{path.name}.buildex-"


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path in an empty folder beside `path` to write to; its files are moved on success.

    All files that were written to that folder move, so sidecar files come along; the one at
    the path is the last. After an error nothing is left of them.

    Raises:
        OutputError: if they cannot be written, or another program has changes of an older file.
    """
    path = path.absolute()
    folder: Path | None = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.parent))
        yield folder / path.name
        files = sorted(folder.iterdir(), key=lambda file: (file.name == path.name, file.name))
        for file in files:
            _to_disk(file)
        _check_closed(path)
        for end in (*UNSAVED, SHARED):  # empty, and of the older file
            path.with_name(f"{path.name}{end}").unlink(missing_ok=True)
        for file in files:
            file.replace(path.parent / file.name)
        _to_disk(path.parent)
    except OSError as error:
        raise OutputError(
            f"`{path}` cannot be written: {error.strerror or error}", hint="write elsewhere"
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def told_of_full_disks(place: Path, hint: str) -> Iterator[None]:
    """Word what the system says of a disk that takes no more, of whatever is written there.

    Raises:
        OutputError: in the place of such an OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise OutputError(f"`{place}` cannot be written: {error.strerror}", hint=hint) from error


def _check_closed(path: Path) -> None:
    """Make sure that nobody has changes of an SQLite file, such as a GeoPackage, beside it.

    Whoever opens the file next puts them into it, whatever file that is by then.
    """
    for end in UNSAVED:
        log = path.with_name(f"{path.name}{end}")
        if log.is_file() and log.stat().st_size:
            raise OutputError(
                f"`{path.name}` is open in another program",
                hint=f"close it there; if it is open nowhere, remove `{log}`",
            )


def _to_disk(path: Path) -> None:
    """Make what was written outlive a power cut, where the system knows how."""
    if path.is_dir() and os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network drives have no such thing
            raise
    finally:
        os.close(handle)

"""Work that can be stopped and continued: a dataset folder in the making.

It lies beside its place, as `NAME.partial`, with one record per finished tile in
`records/`. A record is written after the tile's image, so a tile with a record is done.
One run at a time holds it: an empty file beside it, `.NAME.partial.lock`, is locked as long as the
run lives (one in it would keep some systems from moving the folder).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from buildex.errors import OutputError
from buildex.io.locks import alone

PLAN = "plan.json"
RECORDS = "records"
ORDER = {RECORDS: 0, PLAN: 2}  # in which a folder is cleared: what shows that it is ours goes last


def to_json(table: Any) -> bytes:
    """A value as JSON; equal values give equal bytes."""
    return (json.dumps(table, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


class Partial:
    """A folder in the making. Pickles as its path.

    Attributes:
        final: where the folder goes when it is done.
        path: where it lies until then.
    """

    def __init__(self, final: Path) -> None:
        self.final = final.absolute()
        self.path = self.final.with_name(f"{self.final.name}.partial")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for one run; it goes with the run if no tile is finished by then.

        Raises:
            OutputError: if another run holds it, or no run left what is there, or it cannot be
                made.
        """
        with alone(self.path, patience=0, kept=False):
            self._make()
            try:
                yield
            finally:
                if not any((self.path / RECORDS).rglob("*.json")):
                    self.discard()

    def start(self, plan: Mapping[str, Any]) -> bool:
        """Begin, or take up what an interrupted run with the same plan left; another's goes.

        Returns:
            Whether there was something to take up.
        """
        content = to_json(plan)
        known = self.path / PLAN
        if known.is_file() and known.read_bytes() == content:
            return True
        try:
            for path in sorted(self.path.iterdir(), key=lambda path: ORDER.get(path.name, 1)):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        except OSError as error:
            raise OutputError(
                f"`{self.path}` cannot be cleared: {error.strerror}", hint="remove it yourself"
            ) from None
        self.write(PLAN, content)
        return False

    def write(self, name: str, content: bytes) -> str:
        """Write a file as a whole or not at all.

        Args:
            name: path inside the folder.
            content: its bytes.

        Returns:
            SHA-256 of the content.

        Raises:
            OutputError: if it cannot be written.
        """
        path = self.path / name
        beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(content)
            beside.replace(path)
        except OSError as error:
            raise OutputError(
                f"`{path}` cannot be written: {error.strerror}",
                hint="make room; the same command goes on then",
            ) from None
        return hashlib.sha256(content).hexdigest()

    def record(self, key: str) -> dict[str, Any] | None:
        """What was recorded of a finished tile; None if it is not finished."""
        path = self.path / RECORDS / f"{key}.json"
        try:
            table: dict[str, Any] = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return table

    def put(self, key: str, record: Mapping[str, Any]) -> None:
        """Record that a tile is finished."""
        self.write(f"{RECORDS}/{key}.json", to_json(record))

    def finish(self, files: Iterable[str]) -> None:
        """Keep only the given files, and move the folder to its place, over an older one.

        Raises:
            OutputError: if it cannot be moved; the older one stays then, or it says where that is.
        """
        wanted = {self.path / PLAN, *(self.path / name for name in files)}
        for path in sorted(self.path.rglob("*"), reverse=True):
            if RECORDS in path.relative_to(self.path).parts[:1]:
                continue
            if path.is_dir():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path not in wanted:
                path.unlink()
        try:
            self._move()
        except OSError as error:
            raise OutputError(
                f"`{self.final}` cannot be written: {error.strerror}",
                hint="close what has it open; the same command goes on",
            ) from None
        shutil.rmtree(self.final / RECORDS, ignore_errors=True)
        (self.final / PLAN).unlink()

    def discard(self) -> None:
        """Remove the folder and all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _make(self) -> None:
        """Make the folder where there is none; one without a plan, but not empty, is not ours."""
        try:
            self.path.mkdir(exist_ok=True)
            there = {path.name for path in self.path.iterdir()}
        except OSError as error:
            raise OutputError(
                f"`{self.path}` cannot be made: {error.strerror}", hint="write elsewhere"
            ) from None
        if PLAN not in there and any(not name.startswith(PLAN) for name in there):
            raise OutputError(
                f"`{self.path}` is in the way, and no run of this command left it",
                hint="move it, or write elsewhere",
            )

    def _move(self) -> None:
        """Move the folder to its place; an older one goes when this one is there."""
        aside = Path(tempfile.mkdtemp(prefix=f".{self.final.name}-", dir=self.final.parent))
        older = aside / self.final.name
        try:
            if self.final.exists():
                self.final.rename(older)
            try:
                self.path.rename(self.final)
            except BaseException:
                _put_back(older, self.final)
                raise
            shutil.rmtree(older, ignore_errors=True)
        finally:
            with suppress(OSError):  # what could not be moved back is still there
                aside.rmdir()


def _put_back(older: Path, place: Path) -> None:
    """Move an older folder, if there was one, back to its place; say where it is if that fails."""
    if older.exists():
        try:
            older.rename(place)
        except OSError as error:
            raise OutputError(
                f"`{place}` cannot be written: {error.strerror}",
                hint=f"the older one is in `{older}`: move it back",
            ) from None

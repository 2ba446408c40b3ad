"""What a long run has finished, so that the same command goes on where it was stopped.

One SQLite file beside the output, `NAME.journal`. A row of tiles is there as a whole or not
at all: what its tiles saw, and the buildings that became final with it, are committed
together. After a kill or a power cut SQLite's own `NAME.journal-journal` may lie beside it: it
belongs to it until the run goes on.

SQLite's rollback journal with `synchronous=FULL`: a commit is on the disk before it
returns, at a cost of some milliseconds for a row of tiles that took seconds. The faster
write-ahead log needs shared memory, which network drives do not offer. The file is locked as
long as its run lives; the system frees the lock of a killed one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.ipc

from buildex.errors import OutputError
from buildex.io.locks import InUseError, worded

VERSION = 1
TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rows (
    number INTEGER PRIMARY KEY, tiles INTEGER NOT NULL, seen BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS layer (number INTEGER PRIMARY KEY, buildings BLOB NOT NULL);
"""


class SeenRow(NamedTuple):
    """A finished row of tiles.

    Attributes:
        number: its place among the rows.
        tiles: how many of its tiles had ground.
        seen: what they saw, as Arrow record batch.
    """

    number: int
    tiles: int
    seen: pa.RecordBatch


class Journal:
    """The journal of one run; open from the first row to the complete output."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self.path = path
        self._database = database

    @classmethod
    def of(cls, output: Path) -> Path:
        """Where the journal of an output lies."""
        return output.with_name(f"{output.name}.journal")

    @classmethod
    @contextmanager
    def opened(
        cls, output: Path, plan: Mapping[str, Any], *, restart: bool = False
    ) -> Iterator[Journal]:
        """Begin a journal, or go on with the one that an interrupted run of the same plan left.

        One without a finished row is removed at the end, whatever happens.

        Args:
            output: what the run is to write.
            plan: all that the result depends on, as plain values for JSON.
            restart: forget what an older run left.

        Raises:
            InUseError: if another run has it.
            OutputError: if the journal is of another plan, damaged, or cannot be written.
        """
        path = cls.of(output)
        with worded(path, InUseError):
            try:
                journal = cls._begun(path, plan, restart)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                if not restart:
                    raise
                path.unlink()
                journal = cls._begun(path, plan, restart)
        try:
            yield journal
        finally:
            journal._close()

    def count(self) -> int:
        """How many rows are finished."""
        return int(self._database.execute("SELECT COUNT(*) FROM rows").fetchone()[0])

    def rows(self) -> Iterator[SeenRow]:
        """The finished rows, from the first."""
        last = -1
        ask = "SELECT number, tiles, seen FROM rows WHERE number > ? ORDER BY number LIMIT 1"
        while True:
            with worded(self.path):
                found = self._database.execute(ask, (last,)).fetchone()
                if found is None:
                    return
                last, tiles, seen = found
                row = SeenRow(last, tiles, _unpacked(seen))
            yield row

    def tiles(self) -> list[int]:
        """How many tiles had ground, for each finished row."""
        with worded(self.path):
            found = self._database.execute("SELECT tiles FROM rows ORDER BY number")
            return [int(tiles) for (tiles,) in found]

    def put(self, row: SeenRow, buildings: pa.RecordBatch) -> None:
        """Commit a row of tiles, and the buildings that are final with it.

        Raises:
            OutputError: if the disk is full or the file cannot be written.
        """
        with worded(self.path), self._database:
            self._database.execute(
                "INSERT OR REPLACE INTO rows VALUES (?, ?, ?)",
                (row.number, row.tiles, _packed(row.seen)),
            )
            self._put_layer(row.number, buildings)

    def put_last(self, number: int, buildings: pa.RecordBatch) -> None:
        """Commit the buildings that are final when no row is to come, under a number for them."""
        with worded(self.path), self._database:
            self._put_layer(number, buildings)

    def layer(self) -> Iterator[pa.RecordBatch]:
        """All final buildings, row by row."""
        numbers = "SELECT number FROM layer ORDER BY number"
        ask = "SELECT buildings FROM layer WHERE number = ?"
        with worded(self.path):
            known = self._database.execute(numbers).fetchall()
        for number in known:
            with worded(self.path):
                portion = _unpacked(self._database.execute(ask, number).fetchone()[0])
            yield portion

    def promise(self, file: Path) -> None:
        """Note the complete output before it is moved to its place."""
        with worded(self.path), self._database:
            self._fact("written", _stamp(file))

    def kept(self, output: Path) -> bool:
        """Whether the output at its place is the one that was promised."""
        found = self._database.execute("SELECT value FROM facts WHERE name='written'").fetchone()
        return found is not None and output.is_file() and json.loads(found[0]) == _stamp(output)

    def remove(self) -> None:
        """The output is complete: the journal is not needed any more."""
        self._database.close()
        self.path.unlink(missing_ok=True)

    @classmethod
    def _begun(cls, path: Path, plan: Mapping[str, Any], restart: bool) -> Journal:
        database = sqlite3.connect(path, timeout=1.0, check_same_thread=False)
        try:
            journal = cls(path, database)
            journal._begin(plan, restart)
        except BaseException:
            database.close()
            raise
        return journal

    def _begin(self, plan: Mapping[str, Any], restart: bool) -> None:
        self._database.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("PRAGMA cache_size=-8192")
        with self._database:
            self._database.execute("BEGIN EXCLUSIVE")
            for statement in TABLES.split(";"):
                self._database.execute(statement)
            if restart:
                for table in ("facts", "rows", "layer"):
                    self._database.execute(f"DELETE FROM {table}")
            own = json.loads(json.dumps({"version": VERSION, **plan}))
            found = self._database.execute("SELECT value FROM facts WHERE name='plan'").fetchone()
            if found is None:
                self._fact("plan", own)
            elif (old := json.loads(found[0])) != own:
                raise OutputError(
                    f"`{self.path}` is of a run with another {differing(old, own)}",
                    hint="give the same again, or begin anew with `--restart`",
                )

    def _fact(self, name: str, value: Any) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value))
        )

    def _put_layer(self, number: int, buildings: pa.RecordBatch) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO layer VALUES (?, ?)", (number, _packed(buildings))
        )

    def _close(self) -> None:
        try:
            empty = self.count() == 0
        except sqlite3.Error:  # removed already, or unreadable: then it is not ours to remove
            empty = False
        self._database.close()
        if empty:
            self.path.unlink(missing_ok=True)


def differing(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> str:
    """The first thing in which two plans differ, as words."""
    for name in [*new, *old]:
        was, now = old.get(name), new.get(name)
        if isinstance(was, dict) and isinstance(now, dict) and was != now:
            return differing(was, now, f"{name} ")
        if was != now:
            plain = isinstance(was, str | int | float | None) and isinstance(
                now, str | int | float | None
            )
            return f"{prefix}{name}" + (f" ({was}, now {now})" if plain else "")
    return "plan"


def _stamp(file: Path) -> list[int]:
    about = file.stat()
    return [about.st_size, about.st_mtime_ns]


def _packed(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _unpacked(blob: bytes) -> pa.RecordBatch:
    with pa.ipc.open_stream(blob) as reader:
        return reader.read_next_batch()

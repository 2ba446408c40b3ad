"""Work that can be stopped and continued: a dataset folder in the making.

It lies beside its place, as `NAME.partial`, with one record per finished tile in
`records/`. A record is written after the tile's image, so a tile with a record is done.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from buildex.errors import OutputError

PLAN = "plan.json"
RECORDS = "records"


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

    def start(self, plan: Mapping[str, Any]) -> bool:
        """Make the folder, or take up the one that an interrupted run with the same plan left.

        Returns:
            Whether there was one to continue.
        """
        content = to_json(plan)
        known = self.path / PLAN
        if known.is_file() and known.read_bytes() == content:
            return True
        shutil.rmtree(self.path, ignore_errors=True)
        try:
            self.path.mkdir()
        except OSError as error:
            raise OutputError(
                f"`{self.path}` cannot be made: {error.strerror}", hint="write elsewhere"
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
        """Keep only the given files, and move the folder to its place, over an older one."""
        wanted = {self.path / name for name in files}
        for path in sorted(self.path.rglob("*"), reverse=True):
            if path.is_dir():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path not in wanted:
                path.unlink()
        old = self.final.with_name(f"{self.final.name}.old")
        if self.final.exists():
            shutil.rmtree(old, ignore_errors=True)
            self.final.rename(old)
        self.path.rename(self.final)
        shutil.rmtree(old, ignore_errors=True)

    def discard(self) -> None:
        """Remove the folder and all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)

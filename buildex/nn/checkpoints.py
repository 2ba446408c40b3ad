"""How checkpoints are written: whole or not at all, even where a disk is full or power fails."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from buildex.nn.settings import BEST, LAST

Beside = Callable[[Path], AbstractContextManager[Path]]  # see `io.output.beside`


class Checkpoints(TorchCheckpointIO):
    """The files that a run goes on from.

    Lightning writes to the system's folder for temporary files first and moves from there: onto
    another disk that is a plain copy, which takes the place of the last checkpoint byte by byte.

    Args:
        folder: of the files.
        beside: a place to write to, from which a file takes its own place at once.
        going_on: whether there is one to go on from.

    Attributes:
        last: where the newest one lies.
        best: where the network of the best validation lies.
        start: the one to go on from, if any.
    """

    def __init__(self, folder: Path, beside: Beside, going_on: bool = False) -> None:
        super().__init__()
        self.last, self.best = folder / LAST, folder / BEST
        self.start = self.last if going_on else None
        self._beside = beside

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write one; what was there before stays until all of it is on the disk.

        Raises:
            OutputError: if it cannot be written.
        """
        whole = io.BytesIO()  # torch words a full disk as a fault of its own
        torch.save(checkpoint, whole)
        with self._beside(Path(path)) as place:
            place.write_bytes(whole.getbuffer())

"""How one layer of a file is named where it has several: `FILE|layername=NAME`."""

from __future__ import annotations

from pathlib import Path


def parted(path: str | Path) -> tuple[str, str]:
    """The file of a path and the layer that it names; empty where it names none."""
    file, _, layer = str(path).partition("|layername=")
    return file, layer

"""Tiles that cover a grid, and which of them owns a point.

Tile (row, col) has its top-left pixel at (col * step, row * step), where step = size -
overlap. All tiles are of full size; those at the right and bottom may reach beyond the
grid. The core of a tile is the tile less half the overlap on each side, and out to the edge
of the grid where it has no neighbour: cores divide the grid without gap or overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from buildex.geo.boxes import PixelBox
from buildex.geo.grid import Grid


class TilePlace(NamedTuple):
    """A tile's place: its row and column among the tiles, and its pixels in the grid."""

    row: int
    col: int
    box: PixelBox


@dataclass(frozen=True)
class Cover:
    """The tiles of a grid. Iterates over them row by row.

    Attributes:
        width: columns of the grid in pixels.
        height: rows of the grid in pixels.
        size: side of a tile in pixels.
        overlap: pixels that neighbouring tiles share; less than `size`.
    """

    width: int
    height: int
    size: int
    overlap: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.size:
            raise ValueError(f"tiles of {self.size} pixels cannot overlap by {self.overlap}")

    @property
    def step(self) -> int:
        """Pixels from one tile to the next."""
        return self.size - self.overlap

    @property
    def rows(self) -> int:
        """Number of tiles from top to bottom."""
        return _count(self.height, self.size, self.step)

    @property
    def cols(self) -> int:
        """Number of tiles from left to right."""
        return _count(self.width, self.size, self.step)

    def __len__(self) -> int:
        return self.rows * self.cols

    def __iter__(self) -> Iterator[TilePlace]:
        for row in range(self.rows):
            for col in range(self.cols):
                yield TilePlace(row, col, self.box(row, col))

    def box(self, row: int, col: int) -> PixelBox:
        """All pixels of a tile; some may lie beyond the grid."""
        x, y = col * self.step, row * self.step
        return PixelBox(x, y, x + self.size, y + self.size)

    def core(self, row: int, col: int) -> PixelBox:
        """The pixels of the grid that a tile owns."""
        x0, x1 = _span(col, self.cols, self.width, self.step, self.overlap)
        y0, y1 = _span(row, self.rows, self.height, self.step, self.overlap)
        return PixelBox(x0, y0, x1, y1)

    def owner(self, x: float, y: float) -> tuple[int, int]:
        """Row and column of the tile that owns a point; outside the grid, the nearest one."""
        margin = self.overlap // 2
        row = min(max(int((y - margin) // self.step), 0), self.rows - 1)
        col = min(max(int((x - margin) // self.step), 0), self.cols - 1)
        return row, col


def cover(grid: Grid, size: int, overlap: int = 0) -> Cover:
    """The tiles of `size` pixels, `overlap` of them shared, that cover a grid."""
    return Cover(grid.width, grid.height, size, overlap)


def _count(length: int, size: int, step: int) -> int:
    return 1 + max(0, -((size - length) // step))


def _span(index: int, count: int, length: int, step: int, overlap: int) -> tuple[int, int]:
    margin = overlap // 2
    start = 0 if index == 0 else index * step + margin
    end = length if index == count - 1 else (index + 1) * step + margin
    return start, end

"""Blocks of ground: what a mean over tiles runs over, and what a bootstrap draws.

Squares at multiples of their side in a metric CRS. A building lies in the block of its
centre, so every building is in one block, and sums over blocks are sums over the scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from buildex.geo.footprints import Polygons

Floats = NDArray[np.float64]
Index = NDArray[np.int64]
SLACK = 1e-6  # of a side: what lies on a line stays on it


@dataclass(frozen=True)
class Blocks:
    """The blocks of a scene.

    Attributes:
        side: of a block, in metres.
        cells: (B, 2) column and row of each, rising; x and y over the side, rounded down.
    """

    side: float
    cells: Index

    @classmethod
    def around(cls, side: float, points: Floats) -> Blocks:
        """The blocks in which points (N, 2) lie."""
        return cls(side, np.unique(_cells(points, side), axis=0))

    def __len__(self) -> int:
        return len(self.cells)

    def of(self, points: Floats) -> Index:
        """The block (N,) of each point (N, 2); the nearest where it lies in none."""
        cells, mine = _cells(points, self.side), _packed(self.cells)
        found = np.searchsorted(mine, _packed(cells)).clip(max=len(mine) - 1)
        lost = np.flatnonzero(mine[found] != _packed(cells))
        if len(lost):
            found[lost] = cKDTree(self.cells).query(cells[lost])[1]
        return np.asarray(found)

    def box(self, block: int) -> shapely.Polygon:
        """A block's square."""
        x, y = self.cells[block] * self.side
        return shapely.box(x, y, x + self.side, y + self.side)

    def total(self, block: Index, values: Floats | Index | None = None) -> Floats:
        """Sum (B,) of values (N,), or their number, in each block."""
        weights = None if values is None else np.asarray(values, dtype=np.float64)
        return np.bincount(block, weights, minlength=len(self)).astype(np.float64)


def centres(polygons: Polygons) -> Floats:
    """Middle (N, 2) of the bounds of polygons, none of them empty."""
    low_x, low_y, high_x, high_y = shapely.bounds(polygons).reshape(-1, 4).T
    return np.stack([(low_x + high_x) / 2, (low_y + high_y) / 2], axis=1)


def _cells(points: Floats, side: float) -> Index:
    return np.floor(points / side + SLACK).astype(np.int64)


def _packed(cells: Index) -> Index:
    """Column and row (N, 2) as one number that sorts like both."""
    return np.asarray(cells[:, 0] * (1 << 31) + cells[:, 1])

"""Where pixels lie on the ground. The only module that knows the pixel convention.

Pixel coordinates are continuous: (0, 0) is the outer corner of the first pixel, x runs
along columns and y down rows, so the centre of row r, column c is (c + 0.5, r + 0.5).
Arrays are indexed [row, col]; points are always (x, y).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from buildex.geo.boxes import PixelBox

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """A raster's place on the ground.

    Attributes:
        crs: the coordinate reference system, as WKT or an authority code.
        transform: affine transform from pixel (x, y) to ground (x, y).
        width: columns.
        height: rows.
    """

    crs: str
    transform: Affine
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a grid of {self.width} x {self.height} pixels")
        if self.transform.is_degenerate:
            raise ValueError("a grid whose transform cannot be inverted")

    @property
    def box(self) -> PixelBox:
        """All of its pixels."""
        return PixelBox(0, 0, self.width, self.height)

    @property
    def gsd(self) -> float:
        """Side of a pixel in units of the CRS: square root of a pixel's area."""
        return math.sqrt(abs(self.transform.determinant))

    def crop(self, box: PixelBox) -> Grid:
        """The grid of a box of its pixels; the ground stays where it was."""
        moved = self.transform @ Affine.translation(box.x0, box.y0)
        return Grid(self.crs, moved, box.width, box.height)

    def to_ground(self, points: Points) -> Points:
        """Pixel points (N, 2) to ground points (N, 2), in units of the CRS."""
        return apply_affine(self.transform, points)

    def to_pixel(self, points: Points) -> Points:
        """Ground points (N, 2), in units of the CRS, to pixel points (N, 2)."""
        return apply_affine(~self.transform, points)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Ground extent: min x, min y, max x, max y."""
        w, h = float(self.width), float(self.height)
        corners = self.to_ground(np.array([[0, 0], [w, 0], [w, h], [0, h]], dtype=float))
        low, high = corners.min(axis=0), corners.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def apply_affine(transform: Affine, points: Points) -> Points:
    """Apply an affine transform to points (N, 2)."""
    points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    x, y = points[:, 0], points[:, 1]
    t = transform
    return np.stack([t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f], axis=1)


def snapped_grid(
    crs: str, bounds: tuple[float, float, float, float], gsd: float, step: int = 1
) -> Grid:
    """The smallest north-up grid of whole steps that covers `bounds`.

    Its origin is a multiple of `step * gsd` in the CRS, so two overlapping areas of the
    same CRS give grids whose pixels and steps coincide.

    Args:
        crs: metric coordinate reference system.
        bounds: min x, min y, max x, max y in metres.
        gsd: side of a pixel in metres.
        step: side of a step in pixels.
    """
    side = gsd * step
    slack = 1e-6  # of a step: a bound that lies on a line stays on it
    col0, col1 = math.floor(bounds[0] / side + slack), math.ceil(bounds[2] / side - slack)
    row0, row1 = math.floor(-bounds[3] / side + slack), math.ceil(-bounds[1] / side - slack)
    col1, row1 = max(col1, col0 + 1), max(row1, row0 + 1)
    transform = Affine(gsd, 0.0, col0 * side, 0.0, -gsd, -row0 * side)
    return Grid(crs, transform, (col1 - col0) * step, (row1 - row0) * step)

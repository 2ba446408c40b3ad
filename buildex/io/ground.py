"""Where a mosaic may show ground, from a coarse overview: so that empty tiles are not read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window
from scipy.ndimage import binary_dilation

from buildex.geo.boxes import PixelBox
from buildex.geo.grid import Grid
from buildex.io.crs import reprojected
from buildex.io.levels import coarsest, known, opened
from buildex.io.source import Source
from buildex.io.warp import border

COARSEST = 64  # source pixels along the side of one of the overview, at most
COARSE = 8  # and at least: a finer one would take longer to read than it saves
MOST = 4096  # cells along a side of the map
PART = 2048  # pixels of the overview along the side of what is read at once


class GroundMap:
    """A coarse picture of where a mosaic is valid, one cell wider than it is on every side.

    A cell is a pixel of the overview, or several of them where those would be too many to hold.
    Ground of less than such a pixel (64 source pixels at most) that an overview left out may be
    missed.
    """

    def __init__(self, cells: NDArray[np.bool_], own: Grid, grid: Grid) -> None:
        self._known = binary_dilation(cells, np.ones((3, 3), dtype=bool))
        self._own, self._grid = own, grid

    @classmethod
    def of(cls, source: Source, grid: Grid) -> GroundMap | None:
        """The map of a file that has a coarse overview; None of one that has none.

        Args:
            source: the file.
            grid: the working grid in whose pixels it is asked.
        """
        with opened(source.path) as dataset:
            overview = coarsest(dataset, COARSE, COARSEST)
            width, height = dataset.width, dataset.height
        if overview is None:
            return None
        try:
            with opened(source.path, overview) as coarse:
                side = -(-max(coarse.width, coarse.height) // MOST)
                cells = _cells(coarse, side)
                across, down = side * width / coarse.width, side * height / coarse.height
        except RasterioError:
            return None  # the tiles themselves will tell what is wrong
        own = source.grid
        full = own.transform @ own.transform.scale(own.width / width, own.height / height)
        coarse_grid = Grid(own.crs, full @ full.scale(across, down), cells.shape[1], cells.shape[0])
        return cls(cells, coarse_grid, grid)

    def __call__(self, box: PixelBox) -> bool:
        """Whether there may be ground in a box of the working grid."""
        points = reprojected(self._grid.to_ground(border(box)), self._grid.crs, self._own.crs)
        cells = self._own.to_pixel(points)
        low = np.maximum(np.floor(cells.min(axis=0)).astype(int), 0)
        high = np.maximum(np.ceil(cells.max(axis=0)).astype(int), 0)
        return bool(self._known[low[1] : high[1] + 1, low[0] : high[0] + 1].any())


def _cells(dataset: Any, side: int) -> NDArray[np.bool_]:
    """Whether any pixel in each cell of `side` x `side` is valid; the mask is read in parts."""
    width, height = dataset.width, dataset.height
    cells = np.zeros((-(-height // side), -(-width // side)), dtype=bool)
    step = max(1, PART // side) * side
    for y in range(0, height, step):
        for x in range(0, width, step):
            window = Window(x, y, min(step, width - x), min(step, height - y))
            part = known(dataset, window)
            for axis in (0, 1):
                part = np.logical_or.reduceat(part, range(0, part.shape[axis], side), axis=axis)
            row, col = y // side, x // side
            cells[row : row + part.shape[0], col : col + part.shape[1]] = part
    return cells

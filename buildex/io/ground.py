"""Where a mosaic may show ground, from a coarse overview: so that empty tiles are not read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from scipy.ndimage import binary_dilation

from buildex.geo.boxes import PixelBox
from buildex.geo.grid import Grid
from buildex.io.crs import reprojected
from buildex.io.source import Source, opened
from buildex.io.warp import border

COARSEST = 64  # source pixels along the side of one of the overview, at most
COARSE = 8  # and at least: a finer one would take longer to read than it saves


class GroundMap:
    """A coarse picture of where a mosaic is valid, one cell wider than it is on every side.

    Ground of less than a cell (64 source pixels at most) that an overview left out may be missed.
    """

    def __init__(self, known: NDArray[np.bool_], own: Grid, grid: Grid) -> None:
        self._known = binary_dilation(known, np.ones((3, 3), dtype=bool))
        self._own, self._grid = own, grid

    @classmethod
    def of(cls, source: Source, grid: Grid) -> GroundMap | None:
        """The map of a file that has a coarse overview; None of one that has none.

        Args:
            source: the file.
            grid: the working grid in whose pixels it is asked.
        """
        with opened(source.path) as dataset:
            factors = dataset.overviews(1)
            width, height = dataset.width, dataset.height
        fitting = [k for k, factor in enumerate(factors) if COARSE <= factor <= COARSEST]
        if not fitting:
            return None
        try:
            with opened(source.path, fitting[-1]) as coarse:
                known = coarse.dataset_mask() > 0
        except RasterioError:
            return None  # the tiles themselves will tell what is wrong
        own = source.grid
        full = own.transform @ own.transform.scale(own.width / width, own.height / height)
        scaled = full @ full.scale(width / known.shape[1], height / known.shape[0])
        return cls(known, Grid(own.crs, scaled, known.shape[1], known.shape[0]), grid)

    def __call__(self, box: PixelBox) -> bool:
        """Whether there may be ground in a box of the working grid."""
        points = reprojected(self._grid.to_ground(border(box)), self._grid.crs, self._own.crs)
        cells = self._own.to_pixel(points)
        low = np.maximum(np.floor(cells.min(axis=0)).astype(int), 0)
        high = np.maximum(np.ceil(cells.max(axis=0)).astype(int), 0)
        return bool(self._known[low[1] : high[1] + 1, low[0] : high[0] + 1].any())

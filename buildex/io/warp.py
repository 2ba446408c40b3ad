"""Bring source pixels to a target grid: which are needed, and how they are resampled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.warp import reproject

from buildex.geo.boxes import PixelBox
from buildex.geo.grid import Grid
from buildex.io import crs as systems

TOLERANCE = 0.01  # source pixels, of the transform between two CRSs


def border(box: PixelBox, count: int = 16) -> NDArray[np.float64]:
    """Points (4 count, 2) along the border of a box."""
    t = np.arange(count) / count
    zero, one = np.zeros(count), np.ones(count)
    x = np.concatenate([t, one, 1 - t, zero])
    y = np.concatenate([zero, t, one, 1 - t])
    return np.stack([box.x0 + x * box.width, box.y0 + y * box.height], axis=1)


def ground_unit(grid: Grid, metric_crs: str) -> float:
    """Ground metres per unit of a grid's CRS at its centre: the root of an area's ratio."""
    x, y = grid.width / 2, grid.height / 2
    square = grid.to_ground(np.array([[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]]))
    ground = systems.reprojected(square, grid.crs, metric_crs)
    u, v = ground[1] - ground[0], ground[3] - ground[0]
    return math.sqrt(abs(float(u[0] * v[1] - u[1] * v[0]))) / grid.gsd


def source_box(source: Grid, target: Grid) -> PixelBox:
    """The pixels of a source grid that resampling to a target needs; some may lie beyond it."""
    ground = target.to_ground(border(target.box))
    pixels = source.to_pixel(systems.reprojected(ground, target.crs, source.crs))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    margin = 4 + int((high - low).max() / target.width)
    x0, y0 = (math.floor(v) - margin for v in low)
    x1, y1 = (math.ceil(v) + margin for v in high)
    return PixelBox(x0, y0, x1, y1)


def warped(values: NDArray[Any], source: Grid, target: Grid, how: Resampling) -> NDArray[Any]:
    """Values (C, h, w) of a source grid on a target grid; 0 where the source does not reach."""
    result = np.zeros((len(values), target.height, target.width), dtype=values.dtype)
    reproject(
        values,
        result,
        src_transform=source.transform,
        src_crs=source.crs,
        dst_transform=target.transform,
        dst_crs=target.crs,
        resampling=how,
        tolerance=TOLERANCE,
    )
    return result

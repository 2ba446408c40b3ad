"""Bring source pixels to a target grid: which are needed, and how they are resampled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.warp import reproject

from buildex.geo.boxes import PixelBox
from buildex.geo.grid import Grid
from buildex.io import crs as systems

LATTICE = 5  # points along each side of a grid that is flattened


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


def flattened(target: Grid, source_crs: str, near: float = 0.0) -> tuple[Grid, float]:
    """A small grid seen in another CRS, where it is as good as flat.

    The same grid always gives the same answer, whatever file it is filled from, which
    GDAL's own approximation does not.

    Args:
        target: the grid.
        source_crs: the other CRS.
        near: longitude from which none is farther than half round the Earth: past the 180th
            meridian they go on.

    Returns:
        The grid with an affine transform to the source CRS, fitted to a lattice of points,
        and the largest distance in target pixels by which that misses one of them.
    """
    t = np.linspace(0.0, 1.0, LATTICE)
    x, y = (axis.ravel() for axis in np.meshgrid(t * target.width, t * target.height))
    pixels = np.stack([x, y], axis=1)
    ground = systems.reprojected(target.to_ground(pixels), target.crs, source_crs)
    if systems.in_degrees(source_crs):
        ground[:, 0] += 360 * np.round((near - ground[:, 0]) / 360)
    origin = ground.mean(axis=0)
    design = np.stack([x, y, np.ones_like(x)], axis=1)
    fit = np.linalg.lstsq(design, ground - origin, rcond=None)[0]
    (a, d), (b, e), (c, f) = fit.tolist()
    flat = Affine(a, b, c + float(origin[0]), d, e, f + float(origin[1]))
    grid = Grid(source_crs, flat, target.width, target.height)
    return grid, float(np.abs(grid.to_pixel(ground) - pixels).max())


def source_box(source: Grid, target: Grid) -> PixelBox:
    """The pixels of a source grid that resampling to a target needs; some may lie beyond it.

    Both grids are in the same CRS.
    """
    w, h = target.width, target.height
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], dtype=np.float64)
    pixels = source.to_pixel(target.to_ground(corners))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    margin = 4 + int((high - low).max() / target.width)
    x0, y0 = (math.floor(v) - margin for v in low)
    x1, y1 = (math.ceil(v) + margin for v in high)
    return PixelBox(x0, y0, x1, y1)


def warped(values: NDArray[Any], source: Grid, target: Grid, how: Resampling) -> NDArray[Any]:
    """Values (C, h, w) of a source grid on a target grid; 0 where the source does not reach.

    Both grids are in the same CRS.
    """
    result = np.zeros((len(values), target.height, target.width), dtype=values.dtype)
    reproject(
        values,
        result,
        src_transform=source.transform,
        src_crs=source.crs,
        dst_transform=target.transform,
        dst_crs=source.crs,
        resampling=how,
    )
    return result

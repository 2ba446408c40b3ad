"""Pixels of two layers, tile by tile: counts, SSIM, boundary IoU, C-IoU.

Tiles are drawn one after the other, so memory does not depend on the area.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.config import Track, silent
from buildex.geo.boundary_bands import eroded
from buildex.geo.boxes import PixelBox
from buildex.geo.drawing import Layer
from buildex.geo.footprints import object_array
from buildex.geo.grid import Grid, snapped_grid
from buildex.geo.matching import Inside
from buildex.geo.measures import PixelCounts, Ssim, pixel_counts, ssim

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class TileCounts:
    """What the pixels of one tile say.

    Attributes:
        centre: x, y of its middle on the ground.
        pixels: of its masks, inside the area.
        bands: of the bands along the outlines.
        similarity: SSIM over its windows.
    """

    centre: tuple[float, float]
    pixels: PixelCounts
    bands: PixelCounts
    similarity: Ssim

    @property
    def valid(self) -> int:
        """Pixels of the area."""
        p = self.pixels
        return p.tp + p.fp + p.fn + p.tn


def tile_counts(
    layers: tuple[Inside, Inside],
    area: shapely.Geometry,
    tiles: list[Grid],
    band: float,
    track: Track = silent,
) -> list[TileCounts]:
    """Draw and count every tile.

    Args:
        layers: predictions and truth as the area sees them.
        area: where pixels count.
        tiles: their grids.
        band: width of the bands along the outlines, in metres.
        track: progress over the tiles.
    """
    predictions, truth = (Layer(seen.polygons[seen.share > 0]) for seen in layers)
    whole = Layer(object_array([area]))
    shapely.prepare(area)
    counts = []
    for grid in track(tiles, total=len(tiles), label="scoring"):
        cut = not area.covers(shapely.box(*grid.bounds))
        counts.append(_counts(grid, (predictions, truth), whole.draw(grid) if cut else None, band))
    return counts


def _counts(grid: Grid, layers: tuple[Layer, Layer], valid: Mask | None, band: float) -> TileCounts:
    """Count a tile; `valid` are the pixels of the area, None where all are."""
    x0, y0, x1, y1 = grid.bounds
    p, t = (layer.draw(grid) for layer in layers)
    pixels, windows = pixel_counts(p, t, valid), ssim(p, t, valid)
    bands = PixelCounts(tn=pixels.tn)
    if pixels.tp + pixels.fp + pixels.fn:
        p_band, t_band = (
            mask & ~_inner(layer, grid, band) if mask.any() else mask
            for mask, layer in zip((p, t), layers, strict=True)
        )
        bands = pixel_counts(p_band, t_band, valid)
    return TileCounts(((x0 + x1) / 2, (y0 + y1) / 2), pixels, bands, windows)


def _inner(layer: Layer, grid: Grid, band: float) -> Mask:
    """Pixels of a layer that lie deeper in it than the band; gaps under a pixel are closed."""
    slack = grid.gsd / 2
    near = layer.near(grid.bounds, band + grid.gsd)
    closed = shapely.union_all(shapely.buffer(near, slack, join_style="mitre"))
    return Layer(eroded(object_array([closed]), band + slack)).draw(grid)


def tiles_of(area: shapely.Geometry, crs: str, gsd: float, pixels: int) -> Iterator[Grid]:
    """The tiles (multiples of their side in the CRS) that touch an area.

    Args:
        area: in metres of the CRS.
        crs: metric.
        gsd: side of a pixel in metres.
        pixels: side of a tile in pixels.
    """
    grid = snapped_grid(crs, area.bounds, gsd, pixels)
    shapely.prepare(area)
    for y in range(0, grid.height, pixels):
        for x in range(0, grid.width, pixels):
            tile = grid.crop(PixelBox(x, y, x + pixels, y + pixels))
            if area.intersects(shapely.box(*tile.bounds)):
                yield tile


def pixel_sums(
    tiles: list[TileCounts], vertices: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    """What the tiles add to the figures, (B,) each.

    Args:
        tiles: B tiles.
        vertices: (B,) of the predicted and of the true buildings, inside each tile.
    """
    drawn, true = vertices
    apart = np.abs(drawn - true) / np.maximum(drawn + true, 1)
    weight = np.array([float(tile.valid) for tile in tiles])
    iou = np.array([tile.pixels.iou for tile in tiles])
    some, has_truth = np.isfinite(iou), true > 0
    sums = {
        f"px_{name}": np.array([float(getattr(tile.pixels, name)) for tile in tiles])
        for name in ("tp", "fp", "fn", "tn")
    }
    for name in ("tp", "fp", "fn"):
        sums[f"band_{name}"] = np.array([float(getattr(tile.bands, name)) for tile in tiles])
    return sums | {
        "tile_weight": np.where(some, weight, 0.0),
        "tile_iou": np.where(some, iou * weight, 0.0),
        "tile_c_iou": np.where(some, iou * (1 - apart) * weight, 0.0),
        "tile_truth_weight": np.where(has_truth, weight, 0.0),
        "tile_n_ratio": np.where(has_truth, drawn / np.maximum(true, 1) * weight, 0.0),
        "ssim": np.array([tile.similarity.total for tile in tiles]),
        "ssim_windows": np.array([float(tile.similarity.windows) for tile in tiles]),
    }


def within(points: NDArray[np.float64], area: shapely.Geometry) -> NDArray[np.float64]:
    """Those of some points (N, 2) that lie in an area."""
    shapely.prepare(area)
    return np.asarray(points[shapely.intersects_xy(area, points[:, 0], points[:, 1])])

"""Pixels of two layers, tile by tile: counts, SSIM, boundary IoU, C-IoU.

Tiles are drawn one after the other, and only where there is something to draw: memory is that
of a tile, and ground without a building costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.config import Track, silent
from buildex.geo.boundary_bands import eroded
from buildex.geo.boxes import PixelBox
from buildex.geo.drawing import Layer
from buildex.geo.footprints import Polygons, object_array
from buildex.geo.grid import Grid, snapped_grid
from buildex.geo.matching import Inside
from buildex.geo.measures import PixelCounts, Ssim, pixel_counts, ssim

Mask = NDArray[np.bool_]
PIECE = 1 << 14  # tiles whose squares are held in one go


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


@dataclass(frozen=True)
class Tiles:
    """The tiles of an area.

    Attributes:
        grid: around all of them.
        pixels: of a tile's side.
        cells: (N, 2) column and row of each, in tiles from the grid's corner.
    """

    grid: Grid
    pixels: int
    cells: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, number: int) -> Grid:
        x, y = (self.cells[number] * self.pixels).tolist()
        return self.grid.crop(PixelBox(x, y, x + self.pixels, y + self.pixels))

    def pieces(self) -> Iterator[Tiles]:
        """The same tiles, some at a time."""
        for low in range(0, len(self), PIECE):
            yield replace(self, cells=self.cells[low : low + PIECE])

    @property
    def corners(self) -> NDArray[np.float64]:
        """West, south, east, north (N, 4) of each on the ground."""
        side = self.pixels * self.grid.gsd
        west = self.grid.transform.c + self.cells[:, 0] * side
        north = self.grid.transform.f - self.cells[:, 1] * side
        return np.stack([west, north - side, west + side, north], axis=1)

    @property
    def boxes(self) -> Polygons:
        """Their squares (N,) on the ground."""
        return np.asarray(shapely.box(*self.corners.T))

    @property
    def centres(self) -> NDArray[np.float64]:
        """Their middles (N, 2) on the ground."""
        corners = self.corners
        return np.asarray((corners[:, :2] + corners[:, 2:]) / 2)


def tiles_of(area: shapely.Geometry, crs: str, gsd: float, pixels: int) -> Tiles:
    """The tiles (multiples of their side in the CRS) that touch an area.

    Args:
        area: in metres of the CRS.
        crs: metric.
        gsd: side of a pixel in metres.
        pixels: side of a tile in pixels.
    """
    grid = snapped_grid(crs, area.bounds, gsd, pixels)
    shapely.prepare(area)
    columns, cells = np.arange(grid.width // pixels), []
    for row in range(grid.height // pixels):
        line = Tiles(grid, pixels, np.stack(np.broadcast_arrays(columns, row), axis=1))
        cells.append(line.cells[shapely.intersects(area, line.boxes)])
    return Tiles(grid, pixels, np.concatenate(cells))


def tile_counts(
    layers: tuple[Inside, Inside],
    area: shapely.Geometry,
    tiles: Tiles,
    band: float,
    track: Track = silent,
) -> list[TileCounts]:
    """Draw and count every tile.

    Args:
        layers: predictions and truth as the area sees them.
        area: where pixels count.
        tiles: of the area.
        band: width of the bands along the outlines, in metres.
        track: progress over the tiles.
    """
    predictions, truth = (Layer(seen.polygons[seen.share > 0]) for seen in layers)
    whole = Layer(object_array([area]))
    shapely.prepare(area)
    parts = [(shapely.covers(area, b), predictions.touch(b) | truth.touch(b))
             for b in (piece.boxes for piece in tiles.pieces())]  # fmt: skip
    covered, built = (np.concatenate(part) for part in zip(*parts, strict=True))
    centres = list(map(tuple, tiles.centres.tolist()))
    counts: list[TileCounts] = []
    bare: TileCounts | None = None
    for number in track(range(len(tiles)), total=len(tiles), label="scoring"):
        alike = bool(covered[number] and not built[number])
        if bare is not None and alike:
            counts.append(replace(bare, centre=centres[number]))
            continue
        grid = tiles[number]
        valid = None if covered[number] else whole.draw(grid)
        counts.append(_counts(grid, (predictions, truth), valid, band))
        bare = counts[-1] if alike else bare
    return counts


def _counts(grid: Grid, layers: tuple[Layer, Layer], valid: Mask | None, band: float) -> TileCounts:
    """Count a tile; `valid` are the pixels of the area, None where all are."""
    p, t = (layer.draw(grid) for layer in layers)
    pixels, windows = pixel_counts(p, t, valid), ssim(p, t, valid)
    bands = PixelCounts(tn=pixels.tn)
    if pixels.tp + pixels.fp + pixels.fn:
        p_band, t_band = (
            mask & ~_inner(layer, grid, band) if mask.any() else mask
            for mask, layer in zip((p, t), layers, strict=True)
        )
        bands = pixel_counts(p_band, t_band, valid)
    x0, y0, x1, y1 = grid.bounds
    return TileCounts(((x0 + x1) / 2, (y0 + y1) / 2), pixels, bands, windows)


def _inner(layer: Layer, grid: Grid, band: float) -> Mask:
    """Pixels of a layer that lie deeper in it than the band; gaps under a pixel are closed."""
    slack = grid.gsd / 2
    near = layer.near(grid.bounds, band + grid.gsd)
    closed = shapely.union_all(shapely.buffer(near, slack, join_style="mitre"))
    return Layer(eroded(object_array([closed]), band + slack)).draw(grid)


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

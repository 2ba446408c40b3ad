"""Pictures to judge by: polygons drawn over a mosaic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from PIL import Image, ImageDraw

from buildex.geo.footprints import Footprints
from buildex.geo.grid import Grid
from buildex.io.crs import reprojected
from buildex.io.output import beside
from buildex.io.raster import Mosaic

Colour = tuple[int, int, int]

PREDICTED: Colour = (255, 64, 160)
TRUE: Colour = (64, 224, 255)
SHARE = 0.25  # of the side of the mosaic's own pixels that the picture's have at least


def write_preview(
    path: Path,
    mosaic_path: str,
    layers: Sequence[tuple[Footprints, Colour]],
    *,
    crs: str | None = None,
    longest: int = 2000,
    gsd: float = 0.10,
) -> None:
    """Draw outlines over a mosaic and save a PNG.

    Args:
        path: where; replaced if it exists.
        mosaic_path: the mosaic.
        layers: footprints with the colour of their outlines, drawn in this order.
        crs: CRS of a mosaic that has none.
        longest: pixels of the picture's longer side, at most.
        gsd: metres per pixel, where the mosaic is small and fine enough.
    """
    with Mosaic.open(mosaic_path, gsd=gsd, crs=crs, share=SHARE) as fine:
        longer = max(fine.grid.width, fine.grid.height)
        shown = fine.grid.gsd * max(1.0, longer / longest)
    with Mosaic.open(mosaic_path, gsd=shown, crs=crs) as mosaic:
        grid = mosaic.grid
        image, valid = mosaic.read(grid.box)
    image[~valid] = 255
    picture = outlined(Image.fromarray(image), grid, layers)
    with beside(path) as place:
        picture.save(place, format="PNG")


def outlined(
    picture: Image.Image, grid: Grid, layers: Sequence[tuple[Footprints, Colour]], width: int = 2
) -> Image.Image:
    """The picture of a grid with outlines drawn over it.

    Args:
        picture: as many pixels as the grid; is drawn on.
        grid: where it lies.
        layers: footprints with the colour of their outlines, drawn in this order.
        width: of a line in pixels.
    """
    draw = ImageDraw.Draw(picture)
    for footprints, colour in layers:
        for polygon in _in_pixels(footprints, grid):
            for ring in (polygon.exterior, *polygon.interiors):
                line = [(float(x), float(y)) for x, y in np.asarray(ring.coords)]
                draw.line(line, fill=colour, width=width, joint="curve")
    return picture


def _in_pixels(footprints: Footprints, grid: Grid) -> list[shapely.Polygon]:
    moved = shapely.transform(
        footprints.polygons,
        lambda points: grid.to_pixel(reprojected(points, footprints.crs, grid.crs)),
    )
    return [polygon for polygon in moved.tolist() if not polygon.is_empty]

"""Small pictures of a mosaic, as text that a page can hold."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path

from affine import Affine
from PIL import Image

from buildex.geo.grid import Grid
from buildex.io.raster import Mosaic
from buildex.io.source import describe

QUALITY = 82


def check_mosaics(paths: Iterable[Path | None]) -> None:
    """Make sure that pictures can be taken of mosaics; None is passed over.

    Raises:
        RasterError: if one is missing or cannot be used.
        CrsError: if one has no CRS that ties it to the Earth.
    """
    for path in paths:
        if path is not None:
            describe(str(path), 1.0, None)


class Snapshots:
    """Pictures of squares of a mosaic.

    Args:
        path: the mosaic.
        crs: metric system in which the squares are given.
        side: of a square, in metres; squares lie at multiples of it.
        pixels: side of a picture.
    """

    def __init__(self, path: Path, crs: str, side: float, pixels: int = 384) -> None:
        self._source = describe(str(path), side / pixels, None)
        self._crs, self._side, self._pixels = crs, side, pixels

    def of(self, x: float, y: float) -> str:
        """The square whose corner of least x and y is given, as the URI of a JPEG.

        Args:
            x: a multiple of the side.
            y: a multiple of the side.
        """
        gsd, pixels = self._side / self._pixels, self._pixels
        place = Affine(gsd, 0.0, x, 0.0, -gsd, y + self._side)
        grid = Grid(self._crs, place, pixels, pixels)
        with Mosaic(self._source, grid) as mosaic:
            image, valid = mosaic.read(grid.box)
        image[~valid] = 128
        out = io.BytesIO()
        Image.fromarray(image).save(out, format="JPEG", quality=QUALITY)
        return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"

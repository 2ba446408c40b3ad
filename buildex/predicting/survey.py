"""Which tiles a run looks at, row by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import compress, groupby
from pathlib import Path
from typing import NamedTuple

import shapely

from buildex.errors import ConfigError, VectorError
from buildex.geo.boxes import PixelBox
from buildex.geo.grid import Grid
from buildex.geo.tiles import Cover, TilePlace, cover
from buildex.io.vector import read_area
from buildex.predicting.settings import LEAST_OVERLAP

BLOCK = 16  # columns of tiles
OVERLAP = 128  # pixels that neighbouring tiles share, where they are large enough


class OutsideError(VectorError):
    """The area of interest does not touch the mosaic."""


class Block(NamedTuple):
    """Neighbouring tiles of one row that are looked at together; batches never leave a block.

    Blocks end at fixed columns, so who looks at them, and in which order, changes nothing.

    Attributes:
        row: their row.
        places: the tiles that may show ground, from west to east.
        bare: the other tiles of the block.
        last: whether the row ends with it.
    """

    row: int
    places: tuple[TilePlace, ...]
    bare: tuple[TilePlace, ...]
    last: bool


def everywhere(box: PixelBox) -> bool:
    """Whether there may be ground in a box, where nothing is known of it."""
    return True


@dataclass(frozen=True)
class Survey:
    """The tiles of a run.

    Attributes:
        grid: the working grid.
        cover: all tiles of it.
        area: the area of interest in pixels, if there is one.
        ground: whether there may be ground in a box; asked before it is read.
        native_gsd: side of the mosaic's own pixels in ground metres; 0 where that is not known.
    """

    grid: Grid
    cover: Cover
    area: shapely.Geometry | None = None
    ground: Callable[[PixelBox], bool] = everywhere
    native_gsd: float = 0.0

    @classmethod
    def of(
        cls,
        grid: Grid,
        size: int,
        overlap: int | None,
        aoi: Path | None = None,
        ground: Callable[[PixelBox], bool] | None = None,
        native_gsd: float = 0.0,
    ) -> Survey:
        """The tiles of `size` pixels that cover a grid, or an area of interest in it.

        Raises:
            ConfigError: if the overlap does not suit the size.
            VectorError: if the area cannot be read or lies elsewhere.
        """
        if overlap is None:
            overlap = min(OVERLAP, size // 2)
        if not LEAST_OVERLAP <= overlap <= size // 2:
            raise ConfigError(
                f"an overlap of {overlap} pixels does not suit tiles of {size}",
                hint=f"use {LEAST_OVERLAP} to {size // 2}",
            )
        area = _area_of_interest(aoi, grid)
        return cls(grid, cover(grid, size, overlap), area, ground or everywhere, native_gsd)

    def rows(self, first: int = 0) -> Iterator[list[TilePlace]]:
        """The tiles that buildings of the area may reach, for each row with some, from `first`."""
        near = None if self.area is None else self.area.buffer(self.cover.size / 2)
        if near is not None:
            shapely.prepare(near)
        for row in range(first, self.cover.rows):
            places = [
                TilePlace(row, col, self.cover.box(row, col)) for col in range(self.cover.cols)
            ]
            if near is not None:
                places = [place for place in places if _meets(near, place.box)]
            if places:
                yield places

    def blocks(self, first: int = 0) -> Iterator[Block]:
        """All tiles of `rows`, cut into blocks."""
        for row in self.rows(first):
            parts = [list(part) for _, part in groupby(row, lambda place: place.col // BLOCK)]
            for k, part in enumerate(parts, start=1):
                known = [self.ground(place.box) for place in part]
                places = tuple(compress(part, known))
                bare = tuple(place for place, kept in zip(part, known, strict=True) if not kept)
                yield Block(part[0].row, places, bare, k == len(parts))

    def count(self, first: int = 0) -> int:
        """How many tiles `rows` gives."""
        if self.area is None:
            return max(0, self.cover.rows - first) * self.cover.cols
        return sum(len(places) for places in self.rows(first))

    def settled(self, row: int) -> float:
        """The y in pixels that no tile after a row reaches north of."""
        return self.cover.box(row + 1, 0).y0 if row + 1 < self.cover.rows else math.inf

    def owned_km2(self, place: TilePlace) -> float:
        """Square kilometres of ground that a tile owns."""
        core = self.cover.core(place.row, place.col)
        return core.width * core.height * self.grid.gsd**2 / 1e6


def _area_of_interest(path: Path | None, grid: Grid) -> shapely.Geometry | None:
    """The area of interest in pixels of the working grid."""
    if path is None:
        return None
    frame = shapely.box(0, 0, grid.width, grid.height)
    around = shapely.transform(frame.buffer(max(grid.width, grid.height) / 8), grid.to_ground)
    area = shapely.transform(read_area(path, grid.crs, near=around.bounds), grid.to_pixel)
    if not area.intersects(frame):
        raise OutsideError(
            f"the area of interest `{path.name}` does not touch the mosaic",
            hint="check that both are of the same place",
        )
    shapely.prepare(area)
    return area


def _meets(area: shapely.Geometry, box: PixelBox) -> bool:
    return bool(area.intersects(shapely.box(box.x0, box.y0, box.x1, box.y1)))

"""From what rows of tiles saw to footprints, as soon as they are final."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.config import Track, silent
from buildex.geo.bands import Band, Bands, Frontier
from buildex.geo.finishing import finish
from buildex.geo.footprints import Footprints
from buildex.geo.sightings import Sightings
from buildex.geo.stitch import Stitched, Stitcher, Stitching
from buildex.predicting.seeing import BlockSeen, Eye, Watch, see
from buildex.predicting.settings import Pixels, PredictConfig, Segmenter
from buildex.predicting.survey import Block, Survey

Model = tuple[str, str]  # name and version


class RowSeen(NamedTuple):
    """What a whole row of tiles saw.

    Attributes:
        number: which row.
        tiles: how many of its tiles had ground.
        seen: their sightings, tile by tile.
    """

    number: int
    tiles: int
    seen: Sightings


class Rows:
    """Gathers blocks, which come in their order, into rows."""

    def __init__(self, take: Callable[[RowSeen], None]) -> None:
        self._take = take
        self._parts: list[BlockSeen] = []

    def add(self, block: Block, part: BlockSeen) -> None:
        """Hand on the row of a block if it is whole with it."""
        self._parts.append(part)
        if block.last:
            parts, self._parts = self._parts, []
            seen = Sightings.concatenate([part.seen for part in parts])
            self._take(RowSeen(block.row, sum(part.tiles for part in parts), seen))


class Drawer:
    """Takes rows of tiles from north to south, gives footprints back that no later row changes.

    They leave in the order in which they become final, whatever the batches were.
    """

    def __init__(self, survey: Survey, config: PredictConfig, model: Model) -> None:
        gsd = survey.grid.gsd
        self._survey, self._model = survey, model
        stitching = Stitching(smallest=config.min_area / gsd**2)
        self._stitcher = Stitcher(stitching)
        self._bands = Bands(config.finishing(gsd, survey.native_gsd), moved=stitching.seam * gsd)

    def add(self, row: int, seen: Sightings) -> Footprints:
        """Take what a row saw, give what is final with it."""
        grid, settled = self._survey.grid, self._survey.settled(row)
        whole = self._stitcher.add(seen, settled)
        waiting = shapely.transform(self._stitcher.waiting, grid.to_ground)
        south = grid.to_ground(np.array([[0.0, min(settled, 1e12)]]))[0, 1]
        return self._drawn(whole, Frontier(float(south), waiting))

    def finish(self) -> Footprints:
        """What is left when all rows have been taken."""
        return self._drawn(self._stitcher.finish(), Frontier())

    def _drawn(self, whole: Stitched, frontier: Frontier) -> Footprints:
        ground = shapely.transform(whole.polygons, self._survey.grid.to_ground)
        band = self._bands.add(whole.take(np.arange(len(whole)), ground), frontier)
        return footprints_of(band, self._survey, self._model)


@dataclass(frozen=True)
class Seen:
    """What a segmenter saw of a whole mosaic, in pixels of its working grid.

    Attributes:
        whole: the buildings, each once, put together from what tiles saw.
        survey: the tiles.
        tiles: how many tiles were segmented.
    """

    whole: Stitched
    survey: Survey
    tiles: int


def look(
    pixels: Pixels, segmenter: Segmenter, config: PredictConfig, track: Track = silent
) -> Seen:
    """Segment all tiles and stitch what they saw, in memory, so that it can be finished often."""
    survey = Survey.of(
        pixels.grid, segmenter.size, config.overlap, config.aoi, native_gsd=pixels.native_gsd
    )
    stitcher = Stitcher(Stitching(smallest=config.min_area / pixels.grid.gsd**2))
    stitched: list[Stitched] = []
    tiles = 0

    def take(row: RowSeen) -> None:
        nonlocal tiles
        tiles += row.tiles
        stitched.append(stitcher.add(row.seen, survey.settled(row.number)))

    eye, watch = Eye(segmenter, survey.cover, config, pixels.grid.gsd), Watch(survey, track)
    see(pixels, eye, survey.blocks(), Rows(take).add, watch)
    watch.end()
    return Seen(Stitched.concatenate([*stitched, stitcher.finish()]), survey, tiles)


def buildings_of(seen: Seen, config: PredictConfig, model: Model = ("", "")) -> Footprints:
    """Move what was seen to the ground, finish it all at once, keep the area of interest."""
    grid, whole = seen.survey.grid, seen.whole
    ground = shapely.transform(whole.polygons, grid.to_ground)
    finishing = config.finishing(grid.gsd, seen.survey.native_gsd)
    done = finish(ground, whole.scores, finishing, whole.sure)
    return footprints_of(Band(whole.take(done.kept), done), seen.survey, model)


def footprints_of(band: Band, survey: Survey, model: Model) -> Footprints:
    """Finished buildings with all their columns, those centred in the area of interest."""
    done, whole = band.finished, band.whole
    grid = survey.grid
    centres = grid.to_pixel(shapely.get_coordinates(shapely.centroid(done.polygons)))
    owners = [survey.cover.owner(x, y) for x, y in centres.tolist()]
    columns: dict[str, NDArray[Any]] = {
        "score": np.round(whole.scores, 4),
        **done.columns,
        "tile": np.array([f"r{row:04d}_c{col:04d}" for row, col in owners], dtype=object),
        "joined": whole.joined,
        "edge": whole.edge,
        "model": np.full(len(owners), model[0], dtype=object),
        "model_version": np.full(len(owners), model[1], dtype=object),
    }
    footprints = Footprints(done.polygons, grid.crs, columns)
    if survey.area is None:
        return footprints
    return footprints.take(shapely.contains_xy(survey.area, centres[:, 0], centres[:, 1]))

"""Draw the buildings of a mosaic: read tiles, segment, group, stitch, write.

The mosaic is read tile by tile, never whole. What the tiles saw is kept as polygons in
pixels of the mosaic's working grid (metric, north-up); the buildings leave in the mosaic's
own CRS.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.config import Track, silent
from buildex.errors import ConfigError, VectorError
from buildex.geo.boxes import PixelBox
from buildex.geo.finishing import Finishing, finish
from buildex.geo.footprints import Footprints, repaired
from buildex.geo.grid import Grid
from buildex.geo.grouping import Grouping, GroupingMethod, polygons_of
from buildex.geo.instances import RoiMaps, Tile
from buildex.geo.keypoints import RoiCodec
from buildex.geo.regularize import Method, Regularizing
from buildex.geo.sightings import Sighting, Sightings, sightings_of
from buildex.geo.stitch import Stitched, Stitcher, Stitching
from buildex.geo.tiles import Cover, TilePlace, cover
from buildex.geo.walls import Walls
from buildex.io.crs import reprojected
from buildex.io.preview import PREDICTED, write_preview
from buildex.io.raster import Mosaic
from buildex.io.vector import check_output, read_area, read_footprints, write_footprints
from buildex.io.zoo import DEFAULT_MODEL, find_model


class Segmenter(Protocol):
    """What stands between tiles and polygons: a network, or an oracle in its place.

    Attributes:
        size: side of its input in pixels.
        gsd: metres per pixel that it expects.
        codec: how its maps are drawn.
        threshold: score from which its answers are buildings, where the user names none.
    """

    size: int
    gsd: float
    codec: RoiCodec
    threshold: float

    def __call__(self, tiles: Sequence[Tile], score: float = 0.0) -> list[RoiMaps]:
        """Say what is in each tile; what scores lower may be left out, which saves its time."""
        ...


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """How to draw the buildings of a mosaic."""

    aoi: Path | None = field(
        default=None, metadata={"help": "Draw only buildings whose centre is in this area."}
    )
    overlap: int = field(
        default=128, metadata={"help": "Pixels that neighbouring tiles share (10 cm each)."}
    )
    threshold: float | None = field(
        default=None,
        metadata={"help": "Score from which a building is drawn, 0 to 1; else the model's own."},
    )
    grouping: GroupingMethod = field(
        default="contour",
        metadata={"help": "How corners become polygons: along the mask, as in the paper, or none."},
    )
    min_area: float = field(default=1.5, metadata={"help": "Smallest building in square metres."})
    regularize: Method = field(
        default="right-angles",
        metadata={"help": "How outlines are squared up; none leaves them as they were seen."},
    )
    tolerance: float | None = field(
        default=None,
        metadata={
            "help": "Metres that squaring may move an outline, at most; else 6 pixels, and "
            "one where all its corners were surely seen."
        },
    )
    gap: float = field(
        default=0.1, metadata={"help": "Metres across which neighbours come to share a wall."}
    )
    batch_size: int = field(default=4, metadata={"help": "Tiles per step of the network."})
    crs: str | None = field(
        default=None, metadata={"help": "CRS of a mosaic that has none, e.g. EPSG:32737."}
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace the output if it exists."})

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise ConfigError(f"threshold is {self.threshold}", hint="use a number from 0 to 1")
        if self.batch_size < 1:
            raise ConfigError(f"batch size is {self.batch_size}", hint="use 1 or more")
        for name in ("tolerance", "gap", "min_area"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ConfigError(f"{name} is {value}", hint="use 0 or more")

    def finishing(self, gsd: float) -> Finishing:
        """How outlines become footprints, on pixels of `gsd` metres."""
        tolerance = 6 * gsd if self.tolerance is None else self.tolerance
        return Finishing(
            Regularizing(method=self.regularize, tolerance=tolerance),
            surest=gsd,
            walls=Walls(gap=self.gap, smallest=self.min_area),
        )


@dataclass(frozen=True)
class PredictReport:
    """What was drawn, and at what cost."""

    mosaic: str
    output: str
    model: str
    buildings: int
    area_m2: float
    joined: int
    tiles: int
    skipped: int
    seconds: float
    seconds_network: float

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return dataclasses.asdict(self)

    def text(self) -> str:
        """The report for a person."""
        per_tile = self.seconds / max(self.tiles, 1)
        found = "no buildings found: the layer is empty" if not self.buildings else (
            f"{self.buildings} buildings, {self.area_m2:,.0f} m2, {self.joined} joined across tiles"
        )  # fmt: skip
        return (
            f"{found}\n"
            f"{self.tiles} tiles in {self.seconds:.1f} s ({per_tile:.2f} s per tile, "
            f"{self.seconds_network:.1f} s in the network), {self.skipped} without ground skipped\n"
            f"written to {self.output} with {self.model}"
        )


def predict(
    mosaic_path: str,
    output: Path,
    segmenter: Segmenter,
    config: PredictConfig | None = None,
    *,
    model: tuple[str, str] = ("", ""),
    track: Track = silent,
) -> PredictReport:
    """Draw the buildings of a mosaic.

    Args:
        mosaic_path: any raster that GDAL opens.
        output: .gpkg, .geojson, .fgb, .parquet or .shp.
        segmenter: the network.
        config: settings.
        model: name and version to write beside each building.
        track: progress over tiles.

    Raises:
        BuildexError: for a mosaic, area or output that cannot be used; nothing is written.
    """
    config = config or PredictConfig()
    started = time.perf_counter()
    check_output(output, config.overwrite)
    with Mosaic.open(mosaic_path, gsd=segmenter.gsd, crs=config.crs) as mosaic:
        seen = look(mosaic, segmenter, config, track)
        source_crs = mosaic.source_crs
    footprints = buildings_of(seen, config, model)
    write_footprints(output, _to_crs(footprints, source_crs), overwrite=config.overwrite)
    return PredictReport(
        mosaic=Path(mosaic_path).name,
        output=str(output),
        model=" ".join(part for part in model if part),
        buildings=len(footprints),
        area_m2=float(np.sum(footprints.columns["area_m2"])),
        joined=int(np.sum(footprints.columns["joined"])),
        tiles=seen.tiles,
        skipped=seen.skipped,
        seconds=time.perf_counter() - started,
        seconds_network=seen.seconds_network,
    )


@dataclass(frozen=True)
class OpenModel:
    """A model that is ready to predict, with the name and version to sign its work with."""

    segmenter: Segmenter
    name: str
    version: str


def open_model(name: str | None = None, device: str = "auto") -> OpenModel:
    """Load a model by name or path; the default one if no name is given.

    Raises:
        ModelError: if it is unknown, damaged, or of another version.
    """
    folder = find_model(name or DEFAULT_MODEL)
    # Imported here: only this runtime needs torch.
    from buildex.nn.segmenter import load_segmenter

    segmenter = load_segmenter(folder, device)
    return OpenModel(segmenter, segmenter.name, segmenter.version)


def draw_preview(path: Path, mosaic_path: str, footprints: Path, crs: str | None = None) -> None:
    """Draw a layer that was written over its mosaic, as a PNG."""
    drawn, _ = read_footprints(footprints)
    write_preview(path, mosaic_path, [(drawn, PREDICTED)], crs=crs)


class Pixels(Protocol):
    """Where tiles come from: a mosaic on its working grid."""

    @property
    def grid(self) -> Grid:
        """The working grid: metric, north-up."""
        ...

    def read(self, box: PixelBox) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """RGB (h, w, 3) and validity (h, w) of a box, which may reach beyond the grid."""
        ...


@dataclass(frozen=True)
class Seen:
    """What a segmenter saw of a mosaic, in pixels of its working grid.

    Attributes:
        whole: the buildings, each once, put together from what tiles saw.
        grid: the working grid.
        cover: the tiles.
        area: the area of interest, if there is one.
        tiles: how many tiles were segmented.
        skipped: how many had no ground.
        seconds_network: spent in the segmenter.
    """

    whole: Stitched
    grid: Grid
    cover: Cover
    area: shapely.Geometry | None
    tiles: int
    skipped: int
    seconds_network: float


def look(
    pixels: Pixels, segmenter: Segmenter, config: PredictConfig, track: Track = silent
) -> Seen:
    """Segment all tiles and group their keypoints into polygons."""
    grid = pixels.grid
    area = _area_of_interest(config.aoi, grid)
    tiles = cover(grid, segmenter.size, _checked_overlap(config.overlap, segmenter.size))
    places = [place for place in tiles if area is None or _meets(area, place)]
    grouping = Grouping(method=config.grouping)
    threshold = segmenter.threshold if config.threshold is None else config.threshold
    smallest = config.min_area / segmenter.gsd**2 / 4
    stitcher = Stitcher(Stitching(smallest=config.min_area / segmenter.gsd**2))
    stitched: list[Stitched] = []
    row: list[Sighting] = []
    done, seconds = 0, 0.0
    for batch in _batches(pixels, places, config.batch_size, track):
        started = time.perf_counter()
        answers = segmenter([tile for _, tile in batch], threshold)
        seconds += time.perf_counter() - started
        done += len(batch)
        for (place, tile), maps in zip(batch, answers, strict=True):
            if row and place.box.y0 != row[-1].box.y0:
                stitched.append(stitcher.add(Sightings.collect(row), place.box.y0))
                row = []
            found = polygons_of(maps, segmenter.codec, score=threshold, grouping=grouping)
            row += sightings_of(found, tile.valid, place, tiles, smallest)
    stitched.append(stitcher.add(Sightings.collect(row)))
    return Seen(
        Stitched.concatenate(stitched), grid, tiles, area, done, len(places) - done, seconds
    )  # fmt: skip


def _batches(
    mosaic: Pixels, places: Sequence[TilePlace], size: int, track: Track
) -> Iterator[list[tuple[TilePlace, Tile]]]:
    """Tiles with ground in them, in batches; the next ones are read while one is in use."""

    def read(place: TilePlace) -> Tile:
        image, valid = mosaic.read(place.box)
        return Tile(image, valid, place.box)

    batch: list[tuple[TilePlace, Tile]] = []
    with ThreadPoolExecutor(max_workers=1) as reader:
        ahead = [reader.submit(read, place) for place in places[: 2 * size]]
        for index, place in enumerate(track(places, total=len(places), label="tiles")):
            tile = ahead.pop(0).result()
            if index + 2 * size < len(places):
                ahead.append(reader.submit(read, places[index + 2 * size]))
            if tile.valid.any():
                batch.append((place, tile))
            if len(batch) == size:
                yield batch
                batch = []
    if batch:
        yield batch


def buildings_of(
    seen: Seen, config: PredictConfig, model: tuple[str, str] = ("", "")
) -> Footprints:
    """Move what was seen to the ground, finish it, keep the area of interest."""
    grid = seen.grid
    whole = seen.whole
    ground = shapely.transform(whole.polygons, grid.to_ground)
    done = finish(ground, whole.scores, config.finishing(grid.gsd), whole.sure)
    centres = grid.to_pixel(shapely.get_coordinates(shapely.centroid(done.polygons)))
    owners = [seen.cover.owner(x, y) for x, y in centres.tolist()]
    whole = whole.take(done.kept)
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
    if seen.area is None:
        return footprints
    return footprints.take(shapely.contains_xy(seen.area, centres[:, 0], centres[:, 1]))


def _to_crs(footprints: Footprints, crs: str) -> Footprints:
    """The same footprints in another CRS; valid there, too: rounding may cross hair-thin necks."""
    moved = shapely.transform(
        footprints.polygons, lambda points: reprojected(points, footprints.crs, crs)
    )
    for k in np.flatnonzero(~shapely.is_valid(moved)):
        moved[k] = repaired(moved[k])[0]
    return footprints.moved(moved, crs)


def _area_of_interest(path: Path | None, grid: Grid) -> shapely.Geometry | None:
    """The area of interest in pixels of the working grid."""
    if path is None:
        return None
    area = shapely.transform(read_area(path, grid.crs), grid.to_pixel)
    if not area.intersects(shapely.box(0, 0, grid.width, grid.height)):
        raise VectorError(
            f"the area of interest `{path.name}` does not touch the mosaic",
            hint="check that both are of the same place",
        )
    return area


def _meets(area: shapely.Geometry, place: TilePlace) -> bool:
    box = place.box
    return bool(area.intersects(shapely.box(box.x0, box.y0, box.x1, box.y1)))


def _checked_overlap(overlap: int, size: int) -> int:
    if not 0 <= overlap <= size // 2:
        raise ConfigError(
            f"an overlap of {overlap} pixels does not suit tiles of {size}",
            hint=f"use 0 to {size // 2}",
        )
    return overlap

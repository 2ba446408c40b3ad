"""What a raster file says of itself: bands, place, overviews, range of values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.windows import Window

from buildex.errors import CrsError, RasterError
from buildex.geo.boxes import PixelBox
from buildex.geo.grid import Grid
from buildex.io import crs as systems
from buildex.io.levels import coarsest, damaged, known, opened
from buildex.io.warp import border, ground_unit

Pixels = NDArray[np.uint8]

SAMPLE_SIDE = 1024
WHOLE_SIDE = 8192  # pixels: of what is larger only spots are sampled
SPOT = 64  # pixels along the side of one
CLIPPED_PERCENT = 0.5
LEAST = 1e-4  # metres; no camera sees less
SEAM = 100.0  # pixels off their place from which coordinates are past the edge of their world
METRES = "bring it to metres with `gdalwarp -t_srs`: UTM zone 1 is EPSG:32601, south 32701"
BEYOND = 1e-6  # degrees past the 180th meridian that are rounding


@dataclass(frozen=True)
class Stretch:
    """How values become 8 bits: `low` and below to 0, `high` and above to 255; one per mosaic."""

    low: float = 0.0
    high: float = 255.0

    def to_dict(self) -> dict[str, float]:
        """The stretch as a table."""
        return {"low": self.low, "high": self.high}

    def __call__(self, values: NDArray[np.floating]) -> Pixels:
        """Values of any shape as 8 bits; halves are rounded up, within float noise."""
        scaled = (values - self.low) * (255.0 / (self.high - self.low))
        rounded: Pixels = np.floor(np.clip(scaled, 0, 255) + 0.501).astype(np.uint8)
        return rounded


@dataclass(frozen=True)
class Source:
    """A raster file, described.

    Attributes:
        path: file, `/vsi` path or URL.
        bands: numbers of the red, green and blue band, from 1.
        grid: its pixels in its own CRS, at the overview that is read.
        overview: index of that overview; None for the full resolution.
        native_gsd: side of a pixel of the full resolution in ground metres.
        metric_crs: a CRS whose unit is a ground metre there; its own where it is one.
        outline: (N, 2) points around it, in `metric_crs`.
        deep: whether its values are others than 8-bit.
    """

    path: str
    bands: tuple[int, ...]
    grid: Grid
    overview: int | None
    native_gsd: float
    metric_crs: str
    outline: NDArray[np.float64]
    deep: bool

    @cached_property
    def stretch(self) -> Stretch:
        """How its values become 8 bits; 8-bit values stay, of others a sample is read once."""
        return _estimated(self.path, self.bands) if self.deep else Stretch()

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process need not read the sample again."""
        return {**vars(self), "stretch": self.stretch}


def describe(path: str, gsd: float, crs: str | None) -> Source:
    """Look at a file without reading its pixels.

    Args:
        path: file, `/vsi` path or URL.
        gsd: ground sample distance in metres that it will be read at.
        crs: the CRS of a file that names none.

    Raises:
        RasterError: if it is missing, no raster, empty, not georeferenced, or not RGB.
        CrsError: if it has no CRS that ties it to the Earth.
    """
    with opened(path) as dataset:
        bands = _rgb_bands(dataset, path)
        full = _grid(dataset, path, crs)
        outline = full.to_ground(border(full.box))
        center = outline.mean(axis=0)
        metric = systems.metric(full.crs, (float(center[0]), float(center[1])))
        native = full.gsd * ground_unit(full, metric)
        if native < LEAST:
            raise RasterError(
                f"`{path}` has pixels of {native:.2g} m: its coordinates look like degrees",
                hint="write their CRS into the file, as with `rio edit-info --crs EPSG:4326 FILE`",
            )
        _check_seam(full, outline, path)
        overview, grid = _overview(dataset, full, gsd / native)
        return Source(
            path=path,
            bands=bands,
            grid=grid,
            overview=overview,
            native_gsd=native,
            metric_crs=metric,
            outline=systems.reprojected(outline, full.crs, metric),
            deep=any(dataset.dtypes[band - 1] != "uint8" for band in bands),
        )


def valid_bounds(path: str, crs: str | None = None) -> tuple[float, float, float, float]:
    """West, south, east, north in degrees around the pixels of a raster that are valid.

    East is less than west where they lie on both sides of the 180th meridian (RFC 7946, 5.2).
    The mask is looked at with at most 1024 samples a side, and one sample is added around.

    Raises:
        RasterError: if the file cannot be used, or has no valid pixel.
        CrsError: if it has no CRS that ties it to the Earth.
    """
    with opened(path) as dataset:
        grid = _grid(dataset, path, crs)
        scale = max(1.0, max(grid.width, grid.height) / SAMPLE_SIDE)
        shape = math.ceil(grid.height / scale), math.ceil(grid.width / scale)
        try:
            shown = known(dataset, shape=shape)
        except RasterioError:
            raise damaged(path) from None
    if not shown.any():
        raise RasterError(f"`{path}` has no valid pixel", hint="check its mask and nodata value")
    rows, cols = (np.flatnonzero(shown.any(axis=axis)) for axis in (1, 0))
    step_x, step_y = grid.width / shape[1], grid.height / shape[0]
    box = PixelBox(
        max(0, math.floor((cols[0] - 1) * step_x)),
        max(0, math.floor((rows[0] - 1) * step_y)),
        min(grid.width, math.ceil((cols[-1] + 2) * step_x)),
        min(grid.height, math.ceil((rows[-1] + 2) * step_y)),
    )
    lon, lat = systems.reprojected(grid.to_ground(border(box)), grid.crs, systems.WGS84).T
    turned = 360 if np.ptp(lon) > 180 > np.ptp(lon % 360) else 0
    lon = lon % 360 if turned else lon
    return float(lon.min()), float(lat.min()), float(lon.max()) - turned, float(lat.max())


def _grid(dataset: Any, path: str, crs: str | None) -> Grid:
    """The file's own grid at full resolution."""
    if dataset.transform.is_identity or dataset.transform.is_degenerate:
        raise RasterError(
            f"`{path}` is not georeferenced: it has no geotransform",
            hint=_placing(dataset),
        )
    own = dataset.crs
    if own is not None and systems.parsed(own.to_wkt(), f"`{path}`").is_engineering:
        own = None  # local coordinates, which are nowhere on the Earth
    if own is None and crs is None:
        raise CrsError(
            f"`{path}` has no coordinate reference system",
            hint="write it into the file with `rio edit-info --crs EPSG:CODE FILE`, or name it "
            "with `--crs`, which `predict`, `tile` and `osm` have",
        )
    if crs is not None:
        systems.parsed(crs, "`--crs`")  # a slip is told even where the file has its own
    where = "`--crs`" if own is None else f"`{path}`"
    named = crs if own is None else own.to_wkt()
    system = systems.parsed(str(named), where)
    grid = Grid(systems.named(system), dataset.transform, dataset.width, dataset.height)
    west, south, east, north = grid.bounds
    if system.is_geographic:
        systems.check_place((west + east) / 2, (south + north) / 2)
        if west < -180 - BEYOND or east > 180 + BEYOND:
            raise RasterError(f"`{path}` reaches across the 180th meridian in degrees", hint=METRES)
    return grid


def _placing(dataset: Any) -> str:
    """How a file without a geotransform comes to its place."""
    if dataset.gcps[0]:
        return "warp it by its control points with `gdalwarp`"
    if dataset.rpcs is not None:
        return "warp it by its RPCs with `gdalwarp -rpc`"
    return "place it on the ground with `gdal_translate -a_ullr`, or export it as a GeoTIFF"


def _check_seam(grid: Grid, outline: NDArray[np.float64], path: str) -> None:
    """Whether all of a mosaic lies in the world of its CRS: web mercator ends at 180 degrees.

    Raises:
        RasterError: if not; what lies beyond would be taken for ground on the other side.
    """
    there = systems.reprojected(outline, grid.crs, systems.WGS84)
    back = systems.reprojected(there, systems.WGS84, grid.crs)
    off = np.abs(back - outline).max(axis=1)
    if (off[np.isfinite(off)] > SEAM * grid.gsd).any():
        raise RasterError(
            f"`{path}` reaches beyond the 180th meridian, or where its CRS has no place",
            hint=METRES,
        )


def _rgb_bands(dataset: Any, path: str) -> tuple[int, ...]:
    if any("complex" in kind for kind in dataset.dtypes):
        raise RasterError(f"`{path}` holds complex numbers", hint="give an RGB mosaic")
    meaning = list(dataset.colorinterp)
    colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    if all(colour in meaning for colour in colours):
        return tuple(meaning.index(colour) + 1 for colour in colours)
    usable = [i for i, what in enumerate(meaning, start=1) if what != ColorInterp.alpha]
    if len(usable) < 3:
        count = f"{dataset.count} band{'s' if dataset.count > 1 else ''}"
        hint = "expand its palette with `gdal_translate -expand rgb`"
        raise RasterError(
            f"`{path}` has {count}, red, green and blue are needed",
            hint=hint if ColorInterp.palette in meaning else "give an RGB mosaic",
        )
    return tuple(usable[:3])


def _overview(dataset: Any, full: Grid, ratio: float) -> tuple[int | None, Grid]:
    """The coarsest overview that is still twice as fine as the grid, and its own grid."""
    overview = coarsest(dataset, 1, ratio * 1.01 / 2)
    if overview is None:
        return None, full
    with opened(dataset.name, overview) as coarse:
        width, height = coarse.width, coarse.height
    scale = Affine.scale(full.width / width, full.height / height)
    return overview, Grid(full.crs, full.transform @ scale, width, height)


def _estimated(path: str, bands: tuple[int, ...]) -> Stretch:
    """Values are stretched between two percentiles of a sample of all three bands."""
    try:
        with opened(path) as dataset:
            sample = _sample(dataset, bands)
    except RasterioError:
        raise damaged(path) from None
    if sample.size == 0:
        return Stretch()
    low, high = _ends(sample)
    return Stretch(low, high if high > low else low + 1)


def _ends(sample: NDArray[np.float64]) -> tuple[float, float]:
    """Two percentiles of values (3, N), which a fill value that nobody declared does not set.

    That is one which all bands have at once, at an end of the sample, and which lies farther from
    the percentiles of the rest than these from one another.
    """
    percents = [CLIPPED_PERCENT, 100 - CLIPPED_PERCENT]
    low, high = np.percentile(sample, percents)
    for end in (sample.min(), sample.max()):
        rest = sample[:, (sample != end).any(axis=0)]
        if end in (low, high) and rest.size:
            first, last = np.percentile(rest, percents)
            if 0 < last - first < max(first - end, end - last):
                sample, low, high = rest, first, last
    return float(low), float(high)


def _sample(dataset: Any, bands: tuple[int, ...]) -> NDArray[np.float64]:
    """About as many valid values (3, N) as 1024 x 1024 pixels have, from all over a file.

    One pixel of every so many, where the file or an overview of it is small enough to be read
    through; else spots, unless hardly any of them shows ground.
    """
    longest = max(dataset.width, dataset.height)
    overview = coarsest(dataset, 1, longest / SAMPLE_SIDE)
    finest = 1 if overview is None else dataset.overviews(1)[overview]
    if longest > WHOLE_SIDE * finest:
        with opened(dataset.name, overview) as level:
            spots = [_values(level, bands, spot) for spot in _spots(level)]
        sample = np.concatenate(spots, axis=1)
        if sample.shape[1] >= len(spots) * SPOT**2 / 16:
            return sample
    scale = max(1.0, longest / SAMPLE_SIDE)
    shape = max(1, round(dataset.height / scale)), max(1, round(dataset.width / scale))
    return _values(dataset, bands, shape=shape)


def _spots(dataset: Any) -> list[Window]:
    """Small windows all over a file, row by row."""
    high, wide = dataset.block_shapes[0]
    tops, lefts = _starts(dataset.height, high), _starts(dataset.width, wide)
    height, width = min(SPOT, dataset.height), min(SPOT, dataset.width)
    return [Window(x, y, width, height) for y in tops for x in lefts]


def _starts(length: int, block: int) -> list[int]:
    """Where spots start along a side: spread evenly, each in one block of the file if it fits."""
    count = min(SAMPLE_SIDE, max(length, SPOT)) // SPOT
    at = ((np.arange(count) + 0.5) * length / count - SPOT / 2).astype(int).clip(0)
    last = at // block * block + block - SPOT
    starts: list[int] = (at if block < SPOT else np.minimum(at, last)).tolist()
    return starts


def _values(
    dataset: Any,
    bands: tuple[int, ...],
    window: Window | None = None,
    shape: tuple[int, int] | None = None,
) -> NDArray[np.float64]:
    """The values (3, N) of the valid pixels of a window, or of all, at a shape."""
    whole = None if shape is None else (len(bands), *shape)
    values = dataset.read(bands, window=window, out_shape=whole).astype(np.float64)
    there = known(dataset, window, shape) & np.isfinite(values).all(axis=0)
    found: NDArray[np.float64] = values[:, there]
    return found

"""Mosaics: any raster that GDAL opens, read in windows as 8-bit RGB on a metric grid.

The grid is cut into fixed blocks, aligned to multiples of the block's side in the CRS. A
block is always resampled as one, so a pixel does not depend on the window it is read
through, nor on where the mosaic was cropped, and no more than a block's source pixels are
held at once. Colours are averaged where the mosaic is finer than the grid and interpolated
where it is coarser; a pixel is valid if the source pixel under its centre is.
"""

from __future__ import annotations

import math
import os
import warnings
from collections import OrderedDict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.warp import reproject
from rasterio.windows import Window

from buildex.errors import CrsError, RasterError
from buildex.geo.boxes import PixelBox
from buildex.geo.grid import Grid, snapped_grid
from buildex.io import crs as systems
from buildex.io import output

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

BLOCK = 512
MAX_SOURCE_SIDE = 4096
CACHED_BLOCKS = 64
SAMPLE_SIDE = 1024
CLIPPED_PERCENT = 0.5


@dataclass(frozen=True)
class Stretch:
    """How values become 8 bits: `low` and below to 0, `high` and above to 255; one per mosaic."""

    low: float = 0.0
    high: float = 255.0

    def to_dict(self) -> dict[str, float]:
        """The stretch as a table."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: dict[str, float]) -> Stretch:
        """The stretch that `to_dict` wrote."""
        return cls(float(table["low"]), float(table["high"]))

    def __call__(self, values: NDArray[np.floating]) -> Pixels:
        """Values of any shape as 8 bits; halves are rounded up, within float noise."""
        scaled = (values - self.low) * (255.0 / (self.high - self.low))
        rounded: Pixels = np.floor(np.clip(scaled, 0, 255) + 0.501).astype(np.uint8)
        return rounded


class _Source(NamedTuple):
    """What the file says of itself, at the overview that is read."""

    bands: tuple[int, ...]  # red, green, blue; from 1
    grid: Grid
    overview: int | None
    native_gsd: float  # of the full resolution, in ground metres
    outline: NDArray[np.float64]  # (N, 2) points around it, in the working CRS


class Mosaic:
    """A mosaic on a metric grid. Reads windows; pickles by opening the file again.

    Attributes:
        path: the file or URL.
        grid: the working grid: north-up, in metres, its origin a multiple of `step * gsd`.
        source_crs: the CRS of the file, as an authority code or WKT.
        stretch: how its values become 8 bits.
        native_gsd: side of a pixel of the file in ground metres.
        outline: (N, 2) points around the mosaic, in the CRS of the grid.
    """

    def __init__(self, path: str, grid: Grid, source: _Source, stretch: Stretch) -> None:
        self.path = path
        self.grid = grid
        self.source_crs = source.grid.crs
        self.stretch = stretch
        self.native_gsd = source.native_gsd
        self.outline = source.outline
        self._source = source
        self._dataset: Any = None
        self._blocks: OrderedDict[tuple[int, int], tuple[Pixels, Mask] | None] = OrderedDict()
        side = source.grid.gsd * _unit(source.grid, grid)
        fit = MAX_SOURCE_SIDE * side / grid.gsd
        self._block = max(16, min(BLOCK, 2 ** int(math.log2(max(fit, 16)))))
        self._finer = side < grid.gsd * 0.999

    @classmethod
    def open(
        cls, path: str | Path, *, gsd: float = 0.10, crs: str | None = None, step: int = 1
    ) -> Mosaic:
        """Open a raster as RGB of a ground sample distance.

        Args:
            path: a file, a `/vsi` path or a URL.
            gsd: side of a pixel of the grid in ground metres.
            crs: the CRS of a file that names none.
            step: the grid is snapped to multiples of so many pixels.

        Raises:
            RasterError: if it is missing, no raster, empty, not georeferenced, or not RGB.
            CrsError: if it has no CRS that ties it to the Earth.
        """
        name = str(path)
        with _opened(name) as dataset:
            source, target = _described(dataset, name, crs, gsd)
            low, high = source.outline.min(axis=0), source.outline.max(axis=0)
            bounds = float(low[0]), float(low[1]), float(high[0]), float(high[1])
            stretch = _estimated(dataset, source.bands, name)
        return cls(name, snapped_grid(target, bounds, gsd, step), source, stretch)

    def __reduce__(self) -> tuple[Any, ...]:
        return Mosaic, (self.path, self.grid, self._source, self.stretch)

    def close(self) -> None:
        """Close the file; a later read opens it again."""
        if self._dataset is not None:
            self._dataset.close()
        self._dataset = None
        self._blocks.clear()

    def __enter__(self) -> Mosaic:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def read(self, box: PixelBox) -> tuple[Pixels, Mask]:
        """The pixels of any box of the grid; it may reach beyond the mosaic.

        Returns:
            uint8 (h, w, 3), and bool (h, w); a pixel that is not valid is 0.

        Raises:
            RasterError: if the file is damaged.
        """
        image = np.zeros((box.height, box.width, 3), dtype=np.uint8)
        valid = np.zeros((box.height, box.width), dtype=bool)
        left, top = self._origin()
        side = self._block
        for row in range((box.y0 + top) // side, (box.y1 - 1 + top) // side + 1):
            for col in range((box.x0 + left) // side, (box.x1 - 1 + left) // side + 1):
                x, y = col * side - left, row * side - top
                place = PixelBox(x, y, x + side, y + side)
                common = place.intersection(box)
                block = self._cached(row, col, place)
                if block is None or common is None:
                    continue
                here, there = common.shift(-box.x0, -box.y0), common.shift(-x, -y)
                image[here.slices] = block[0][there.slices]
                valid[here.slices] = block[1][there.slices]
        return image, valid

    def _origin(self) -> tuple[int, int]:
        """The grid's origin in pixels from the CRS's, modulo the side of a block."""
        t = self.grid.transform
        return round(t.c / t.a) % self._block, round(t.f / t.e) % self._block

    def _cached(self, row: int, col: int, place: PixelBox) -> tuple[Pixels, Mask] | None:
        key = row, col
        if key not in self._blocks:
            self._blocks[key] = self._resampled(self.grid.crop(place))
            if len(self._blocks) > CACHED_BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(key)
        return self._blocks[key]

    def _resampled(self, target: Grid) -> tuple[Pixels, Mask] | None:
        """Pixels of a block and which are valid; None where the mosaic does not reach."""
        window = _window(self._source.grid, target)
        if window is None:
            return None
        values, known = self._values(window)
        if not known.any():
            return None
        source = self._source.grid.crop(window)
        weighted = np.concatenate([values * known, known[None].astype(np.float32)])
        how = Resampling.average if self._finer else Resampling.cubic
        warped = _warped(weighted, source, target, how)
        valid = _warped(known[None].astype(np.uint8), source, target, Resampling.nearest)[0] > 0
        colours = warped[:3] / np.maximum(warped[3:], 1e-3)
        image = np.moveaxis(self.stretch(colours), 0, 2) * valid[..., None]
        return np.ascontiguousarray(image), valid

    def _values(self, box: PixelBox) -> tuple[NDArray[np.float32], Mask]:
        """Source values (3, h, w), 0 where not known, and which pixels are known (h, w)."""
        if self._dataset is None:
            self._dataset = _opened(self.path, self._source.overview)
        window = Window(box.x0, box.y0, box.width, box.height)
        try:
            values = self._dataset.read(self._source.bands, window=window).astype(np.float32)
            known = self._dataset.dataset_mask(window=window) > 0
        except RasterioError:
            raise _damaged(self.path) from None
        finite = np.isfinite(values).all(axis=0)
        return np.where(finite, values, np.float32(0)), known & finite


def write_mosaic(path: str | Path, image: Pixels, grid: Grid, valid: Mask | None = None) -> None:
    """Write RGB pixels as a tiled, losslessly compressed GeoTIFF; written beside and renamed.

    Args:
        path: where to; an older file is replaced.
        image: uint8 (H, W, 3).
        grid: its place; H rows, W columns.
        valid: bool (H, W), kept as the file's mask; None where every pixel is valid.
    """
    with output.beside(Path(path)) as place:
        place.write_bytes(encoded(image, grid, valid))


def encoded(image: Pixels, grid: Grid, valid: Mask | None = None) -> bytes:
    """The bytes of the GeoTIFF that `write_mosaic` writes."""
    options = {
        "driver": "GTiff",
        "width": grid.width,
        "height": grid.height,
        "count": 3,
        "dtype": "uint8",
        "crs": grid.crs,
        "transform": grid.transform,
        "photometric": "RGB",
        "compress": "deflate",
        "predictor": 2,
        "BIGTIFF": "IF_SAFER",
    }
    if min(grid.width, grid.height) >= 256:
        options |= {"tiled": True, "blockxsize": 256, "blockysize": 256}
    with MemoryFile() as memory, rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        with memory.open(**options) as file:
            file.write(np.moveaxis(image, 2, 0))
            if valid is not None:
                file.write_mask(valid)
        return bytes(memory.read())


def _opened(path: str, overview: int | None = None) -> Any:
    local = not path.startswith("/vsi") and "://" not in path
    if local and not Path(path).is_file():
        raise RasterError(f"no file `{path}`", hint="check the path of the mosaic")
    if local and os.path.getsize(path) == 0:
        raise RasterError(f"`{path}` is empty: 0 bytes", hint="copy or download it again")
    options = {} if overview is None else {"overview_level": overview}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(path, **options)
    except RasterioError:
        raise RasterError(
            f"`{path}` is not a raster that GDAL can open, or is cut short",
            hint="check it with `gdalinfo`, or copy it again",
        ) from None


def _described(dataset: Any, path: str, crs: str | None, gsd: float) -> tuple[_Source, str]:
    """What the file holds, and the working CRS."""
    bands = _rgb_bands(dataset, path)
    if dataset.transform.is_identity or dataset.transform.is_degenerate:
        raise RasterError(
            f"`{path}` is not georeferenced: it has no geotransform",
            hint="place it on the ground with `gdal_translate -a_ullr` or export it as a GeoTIFF",
        )
    if dataset.crs is None and crs is None:
        raise CrsError(
            f"`{path}` has no coordinate reference system",
            hint="name it with `--crs EPSG:CODE`",
        )
    where = "`--crs`" if dataset.crs is None else f"`{path}`"
    wkt = crs if dataset.crs is None else dataset.crs.to_wkt()
    full = Grid(
        systems.named(systems.parsed(str(wkt), where)),
        dataset.transform,
        dataset.width,
        dataset.height,
    )
    outline = full.to_ground(_border(full.box))
    center = outline.mean(axis=0)
    target = systems.metric(full.crs, (float(center[0]), float(center[1])))
    native = full.gsd * _unit(full, Grid(target, Affine.identity(), 1, 1))
    overview, grid = _overview(dataset, full, gsd / native)
    outline = systems.reprojected(outline, full.crs, target)
    return _Source(bands, grid, overview, native, outline), target


def _rgb_bands(dataset: Any, path: str) -> tuple[int, ...]:
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
    factors = dataset.overviews(1)
    fitting = [i for i, factor in enumerate(factors) if factor * 2 <= ratio]
    if not fitting:
        return None, full
    with _opened(dataset.name, fitting[-1]) as coarse:
        width, height = coarse.width, coarse.height
    scale = Affine.scale(full.width / width, full.height / height)
    return fitting[-1], Grid(full.crs, full.transform @ scale, width, height)


def _estimated(dataset: Any, bands: tuple[int, ...], path: str) -> Stretch:
    """8-bit values stay; others are stretched between two percentiles of all three bands."""
    if all(dataset.dtypes[band - 1] == "uint8" for band in bands):
        return Stretch()
    scale = max(1.0, max(dataset.width, dataset.height) / SAMPLE_SIDE)
    shape = max(1, round(dataset.height / scale)), max(1, round(dataset.width / scale))
    try:
        values = dataset.read(bands, out_shape=(3, *shape)).astype(np.float64)
        known = dataset.dataset_mask(out_shape=shape) > 0
    except RasterioError:
        raise _damaged(path) from None
    sample = values[:, known & np.isfinite(values).all(axis=0)]
    if sample.size == 0:
        return Stretch()
    low, high = np.percentile(sample, [CLIPPED_PERCENT, 100 - CLIPPED_PERCENT])
    return Stretch(float(low), float(high if high > low else low + 1))


def _damaged(path: str) -> RasterError:
    return RasterError(
        f"`{path}` cannot be read: it is damaged or cut short",
        hint="check it with `gdalinfo -checksum`, or copy it again",
    )


def _border(box: PixelBox, count: int = 16) -> NDArray[np.float64]:
    """Points (4 count, 2) along the border of a box."""
    t = np.arange(count) / count
    zero, one = np.zeros(count), np.ones(count)
    x = np.concatenate([t, one, 1 - t, zero])
    y = np.concatenate([zero, t, one, 1 - t])
    return np.stack([box.x0 + x * box.width, box.y0 + y * box.height], axis=1)


def _unit(grid: Grid, metric: Grid) -> float:
    """Ground metres per unit of a grid's CRS at its centre: the root of an area's ratio."""
    x, y = grid.width / 2, grid.height / 2
    square = grid.to_ground(np.array([[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]]))
    ground = systems.reprojected(square, grid.crs, metric.crs)
    ground = ground - ground[0]
    u, v = ground[1], ground[3]
    return math.sqrt(abs(float(u[0] * v[1] - u[1] * v[0]))) / grid.gsd


def _window(source: Grid, target: Grid) -> PixelBox | None:
    """The source pixels that a block needs; None where the mosaic does not reach."""
    ground = target.to_ground(_border(target.box))
    pixels = source.to_pixel(systems.reprojected(ground, target.crs, source.crs))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    margin = 4 + int((high - low).max() / target.width)
    x0, y0 = (math.floor(v) - margin for v in low)
    x1, y1 = (math.ceil(v) + margin for v in high)
    return PixelBox(x0, y0, x1, y1).intersection(source.box)


def _warped(values: NDArray[Any], source: Grid, target: Grid, how: Resampling) -> NDArray[Any]:
    result = np.zeros((len(values), target.height, target.width), dtype=values.dtype)
    reproject(
        values,
        result,
        src_transform=source.transform,
        src_crs=source.crs,
        dst_transform=target.transform,
        dst_crs=target.crs,
        resampling=how,
        tolerance=0.01,
    )
    return result

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
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.env
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.windows import Window

from buildex.errors import RasterError
from buildex.geo.boxes import PixelBox
from buildex.geo.grid import Grid, snapped_grid
from buildex.io import output
from buildex.io.ground import GroundMap
from buildex.io.levels import damaged, known, opened
from buildex.io.source import Source, Stretch, describe
from buildex.io.warp import flattened, ground_unit, source_box, warped

__all__ = ["Mosaic", "Stretch", "encoded", "write_mosaic"]

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

BLOCK, SMALLEST_BLOCK = 512, 16  # pixels of the grid
MAX_SOURCE_SIDE = 2048  # source pixels that one block may need along a side
MAX_BEND = 0.02  # pixels by which a block may miss its place
CACHED_BLOCKS = 64
CACHE_MB = 256
STRIPS_MB = 2048  # that GDAL may keep of a mosaic in strips, of which a tile needs whole rows
COUNTED = 1.7  # bytes that GDAL's cache counts for each of a strip's, as measured
PASSING = (".aux.xml", ".ovr")  # files beside a mosaic that programs make as they please
_in_strips: dict[int, int] = {}  # MiB for the rows of each open mosaic in strips, by its `id`
_small: list[None] = []  # one for each `small_cache` that holds, in whatever thread
FINEST = 64  # times as fine as its own pixels a mosaic is read, at most


@contextmanager
def small_cache() -> Iterator[None]:
    """GDAL keeps no more than `CACHE_MB` of decoded blocks, unless `GDAL_CACHEMAX` is set.

    Its own rule is 5 % of the machine's memory, which is much, and on a large machine more
    than all the rest. Mosaics in strips that are being read have more, see `Mosaic`.
    """
    if "GDAL_CACHEMAX" in os.environ:
        yield
        return
    kept = max([CACHE_MB, *_in_strips.values()])
    with rasterio.Env(GDAL_CACHEMAX=kept * 2**20):  # rasterio takes bytes
        _small.append(None)
        try:
            yield
        finally:
            _small.pop()


def _keep(megabytes: int) -> None:
    """Let GDAL keep so much from now on, in all threads: a thread that only reads has no `Env`."""
    if rasterio.env.hasenv():
        rasterio.env.setenv(GDAL_CACHEMAX=megabytes * 2**20)
    else:
        rasterio.env.set_gdal_config("GDAL_CACHEMAX", megabytes * 2**20)


class Mosaic:
    """A mosaic on a metric grid. Reads windows; pickles by opening the file again.

    Attributes:
        path: the file or URL.
        grid: the working grid: north-up, in metres, its origin a multiple of `step * gsd`.
        source_crs: the CRS of the file, as an authority code or WKT.
        native_gsd: side of a pixel of the file in ground metres.
        outline: (N, 2) points around the mosaic, in the CRS of the grid.
    """

    def __init__(self, source: Source, grid: Grid) -> None:
        self.path = source.path
        self.grid = grid
        self.source_crs = source.grid.crs
        self.native_gsd = source.native_gsd
        self.outline = source.outline
        self._source = source
        side = source.grid.gsd * ground_unit(source.grid, grid.crs)
        self._finer = side < grid.gsd * 0.999
        fit = max(SMALLEST_BLOCK, MAX_SOURCE_SIDE * side / grid.gsd)
        self._block = self._flat(min(BLOCK, 2 ** int(math.log2(fit))))
        self._dataset: Any = None
        self._blocks: OrderedDict[tuple[int, int], tuple[Pixels, Mask] | None] = OrderedDict()

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        gsd: float = 0.10,
        crs: str | None = None,
        step: int = 1,
        share: float = 0.0,
        coarsest: float = math.inf,
    ) -> Mosaic:
        """Open a raster as RGB of a ground sample distance.

        Args:
            path: a file, a `/vsi` path or a URL.
            gsd: side of a pixel of the grid in ground metres.
            crs: the CRS of a file that names none.
            step: the grid is snapped to multiples of so many pixels.
            share: of the side of the mosaic's own pixels that those of the grid have at
                least, whatever `gsd` is: a coarse mosaic is blown up no further ...
            coarsest: ... than to pixels of so many metres.

        Raises:
            RasterError: if it is missing, no raster, empty, not georeferenced, or not RGB, or
                far coarser than what is asked for.
            CrsError: if it has no CRS that ties it to the Earth.
        """
        source = describe(str(path), gsd, crs)
        # To a millimetre: crops of one mosaic must not differ in the last digits.
        gsd = max(gsd, round(min(share * source.native_gsd, coarsest), 3))
        if gsd * FINEST < source.native_gsd:
            raise RasterError(
                f"`{path}` has pixels of {source.native_gsd:.2g} m, and is asked for {gsd:g} m",
                hint="give finer pixels, or a coarser `--gsd`, which `predict` and `tile` have",
            )
        low, high = source.outline.min(axis=0), source.outline.max(axis=0)
        bounds = float(low[0]), float(low[1]), float(high[0]), float(high[1])
        return cls(source, snapped_grid(source.metric_crs, bounds, gsd, step))

    def __reduce__(self) -> tuple[Any, ...]:
        return Mosaic, (self._source, self.grid)

    @property
    def stretch(self) -> Stretch:
        """How its values become 8 bits: one for the whole mosaic, found when first needed."""
        return self._source.stretch

    def close(self) -> None:
        """Close the file; a later read opens it again."""
        if self._dataset is not None:
            self._dataset.close()
        self._dataset = None
        _in_strips.pop(id(self), None)
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

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this mosaic from another, without reading it: for a run that goes on."""
        own = self._source.grid
        about = os.stat(self.path) if os.path.exists(self.path) else None
        return {
            "name": Path(self.path).name,
            "bytes": None if about is None else about.st_size,
            "time": None if about is None else about.st_mtime_ns,
            "parts": self._parts(),
            "crs": own.crs,
            "transform": list(own.transform)[:6],
            "size": [own.width, own.height],
        }

    def _parts(self) -> list[list[Any]]:
        """Name, size and time of the other local files that it is made of: a VRT's, a mask."""
        with opened(self.path) as dataset:
            names = sorted(set(dataset.files) - {self.path})
        files = [Path(name) for name in names if not name.endswith(PASSING)]
        states = [(file, file.stat()) for file in files if file.is_file()]
        return [[file.name, state.st_size, state.st_mtime_ns] for file, state in states]

    def ground_map(self) -> GroundMap | None:
        """Where there may be ground, if a coarse overview tells it."""
        return GroundMap.of(self._source, self.grid)

    @property
    def _middle(self) -> float:
        """The file's own x in its middle."""
        west, _, east, _ = self._source.grid.bounds
        return (west + east) / 2

    def _origin(self) -> tuple[int, int]:
        """The grid's origin in pixels from the CRS's, modulo the side of a block."""
        t = self.grid.transform
        return round(t.c / t.a) % self._block, round(t.f / t.e) % self._block

    def _flat(self, side: int) -> int:
        """The side of a block, halved until blocks are flat in the file's CRS."""
        x, y = self.grid.width // 2, self.grid.height // 2
        block = self.grid.crop(PixelBox(x, y, x + side, y + side))
        bend = flattened(block, self.source_crs, self._middle)[1]
        if side == SMALLEST_BLOCK or bend <= MAX_BEND:
            return side
        return self._flat(side // 2)

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
        own = self._source.grid
        target, _ = flattened(target, own.crs, self._middle)
        wanted = source_box(own, target)
        window = wanted.intersection(own.box)
        if window is None:
            return None
        values, shown = self._values(window)
        if not shown.any():
            return None
        how = Resampling.average if self._finer else Resampling.cubic
        source = own.crop(window)
        if window == wanted and shown.all():
            colours = warped(values, source, target, how)
            valid = np.ones((target.height, target.width), dtype=bool)
        else:
            weight = shown[None].astype(np.float32)
            weighted = warped(np.concatenate([values, weight]), source, target, how)
            colours = weighted[:3] / np.maximum(weighted[3:], 1e-3)
            nearest = warped(shown[None].astype(np.uint8), source, target, Resampling.nearest)
            valid = nearest[0] > 0
        image = np.moveaxis(self.stretch(colours), 0, 2) * valid[..., None]
        return np.ascontiguousarray(image), valid

    def _make_room(self) -> None:
        """Let GDAL keep the rows of strips that the next tile needs again, where they fit.

        With less room the strips of one tile push out each other's, and all are decoded anew for
        every tile, at many times the cost. What the user has set stays.
        """
        data = self._dataset
        if data.block_shapes[0][1] < data.width:
            return
        own = self._source.grid
        tile = BLOCK + 2 * self._block  # pixels of the blocks that a tile of 512 touches, at most
        rows = tile * self.grid.gsd / (own.gsd * ground_unit(own, self.grid.crs))
        pixel = sum(np.dtype(kind).itemsize for kind in data.dtypes)
        needed = math.ceil(COUNTED * min(rows, data.height) * data.width * pixel / 2**20)
        if CACHE_MB < needed <= STRIPS_MB:
            _in_strips[id(self)] = needed
            if _small:
                _keep(max(_in_strips.values()))

    def _values(self, box: PixelBox) -> tuple[NDArray[np.float32], Mask]:
        """Source values (3, h, w), 0 where not known, and which pixels are known (h, w)."""
        if self._dataset is None:
            self._dataset = opened(self.path, self._source.overview)
            self._make_room()
        window = Window(box.x0, box.y0, box.width, box.height)
        try:
            values = self._dataset.read(self._source.bands, window=window).astype(np.float32)
            shown = known(self._dataset, window)
        except RasterioError:
            raise damaged(self.path) from None
        shown = shown & np.isfinite(values).all(axis=0)
        return np.where(shown, values, np.float32(0)), shown


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

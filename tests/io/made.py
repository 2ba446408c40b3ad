"""Small mosaics and labels for tests, whose colours tell the ground they show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import rasterio
import shapely
from affine import Affine

from buildex.geo.footprints import Footprints
from buildex.io.vector import write_footprints

UTM = "EPSG:32737"
ORIGIN = (530_000.0, 9_320_000.0)  # top-left corner of the mosaics, in UTM metres

HOUSES = (  # metres east and south of the origin
    shapely.box(3, 3, 9, 8),
    shapely.box(14, 4, 24, 12),
    shapely.Polygon([(4, 14), (16, 14), (16, 20), (10, 20), (10, 24), (4, 24)]),
    shapely.Polygon(
        [(20, 16), (29, 16), (29, 25), (20, 25)], [[(23, 19), (26, 19), (26, 22), (23, 22)]]
    ),
    shapely.box(34, 3, 38, 9),
)


def colours(points: np.ndarray) -> np.ndarray:
    """Smooth colours (N, 3), 20 to 220, of ground points (N, 2) in UTM metres."""
    x, y = points[:, 0] - ORIGIN[0], points[:, 1] - ORIGIN[1]
    waves = np.stack([np.sin(x / 3), np.cos(y / 4), np.sin((x + y) / 5)], axis=1)
    return 120 + 100 * waves


def transform_of(gsd: float, rotation: float = 0.0) -> Affine:
    return Affine.translation(*ORIGIN) @ Affine.rotation(rotation) @ Affine.scale(gsd, -gsd)


def picture(transform: Affine, width: int, height: int, crs: str = UTM) -> np.ndarray:
    """The ground as float (3, h, w) on any grid in any CRS."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    east, north = transform @ (x.ravel(), y.ravel())
    if crs != UTM:
        mover = pyproj.Transformer.from_crs(crs, UTM, always_xy=True)
        east, north = mover.transform(east, north)
    return colours(np.stack([east, north], axis=1)).T.reshape(3, height, width)


def write_raster(path: Path, bands: np.ndarray, transform: Affine | None, crs=UTM, **options):
    """Write bands (C, h, w) as they are; `mask` is an extra mask (h, w)."""
    mask = options.pop("mask", None)
    count, height, width = bands.shape
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=width,
            height=height,
            count=count,
            dtype=bands.dtype,
            crs=crs,
            **({} if transform is None else {"transform": transform}),
            **options,
        ) as file,
    ):
        file.write(bands)
        if mask is not None:
            file.write_mask(mask)
    return path


def write_scene(folder: Path, *, gsd: float = 0.1, metres: tuple[float, float] = (40, 27)) -> Path:
    """A folder with `mosaic.tif` and `buildings.gpkg`."""
    folder.mkdir(parents=True, exist_ok=True)
    transform = transform_of(gsd)
    width, height = (round(side / gsd) for side in metres)
    bands = np.rint(picture(transform, width, height)).astype(np.uint8)
    write_raster(folder / "mosaic.tif", bands, transform)
    write_footprints(folder / "buildings.gpkg", houses())
    return folder / "mosaic.tif"


def houses(polygons=HOUSES, crs: str = UTM) -> Footprints:
    """The houses on the ground."""
    moved = [shapely.transform(p, lambda c: np.array(ORIGIN) + c * [1.0, -1.0]) for p in polygons]
    placed = np.empty(len(moved), dtype=object)
    placed[:] = moved
    return Footprints(placed, crs, {"number": np.arange(len(moved))})

"""A raster file's levels, its full resolution and its overviews, and what they show ground at."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from buildex.errors import RasterError

COMPARED = 1024  # pixels along a side at which the masks of two levels are compared, at most


def opened(path: str, overview: int | None = None) -> Any:
    """A rasterio dataset, at full resolution or at an overview.

    Raises:
        RasterError: if the file is missing, empty or no raster.
    """
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


def damaged(path: str) -> RasterError:
    """The error for a file whose pixels cannot be read."""
    if "://" in path or path.startswith("/vsi"):
        return RasterError(
            f"`{path}` cannot be read: the connection broke, or the file is damaged",
            hint="run the same command again: what it has done is kept where it can be",
        )
    return RasterError(
        f"`{path}` cannot be read: it is damaged or cut short",
        hint="check it with `gdalinfo -checksum`, or copy it again",
    )


def known(
    dataset: Any, window: Window | None = None, shape: tuple[int, int] | None = None
) -> NDArray[np.bool_]:
    """Which pixels (h, w) of a window, or of all, show ground, at their own or another shape.

    An alpha band and a nodata value may both hide pixels. GDAL asks an alpha band for the
    nodata value, too, and nothing else of it where there is one, so it is read here.
    """
    meaning = dataset.colorinterp
    if ColorInterp.alpha not in meaning:
        found: NDArray[np.bool_] = dataset.dataset_mask(window=window, out_shape=shape) > 0
        return found
    alpha = meaning.index(ColorInterp.alpha)
    colours = [band for band in range(len(meaning)) if band != alpha]
    found = dataset.read(alpha + 1, window=window, out_shape=shape) > 0
    if any(MaskFlags.alpha not in dataset.mask_flag_enums[band] for band in colours):
        inner = None if shape is None else (len(colours), *shape)
        masks = dataset.read_masks([b + 1 for b in colours], window=window, out_shape=inner)
        found = found & masks.any(axis=0)
    return found


def coarsest(dataset: Any, least: float, most: float) -> int | None:
    """The index of the coarsest overview, by a factor of `least` to `most`, that may be read.

    None where there is none, or where the mask of the file is not in it: it was made before the
    mask, or lies in a file beside that has no room for one.
    """
    fitting = [k for k, factor in enumerate(dataset.overviews(1)) if least <= factor <= most]
    return fitting[-1] if fitting and _has_mask(dataset, fitting[-1]) else None


def _has_mask(dataset: Any, overview: int) -> bool:
    """Whether an overview hides pixels, too, where a mask of the file hides some.

    Alpha bands and nodata values are in the bands, and so in their overviews.
    """
    flags = dataset.mask_flag_enums[0]
    if MaskFlags.per_dataset not in flags or MaskFlags.alpha in flags:
        return True
    try:
        with opened(dataset.name, overview) as level:
            shape = min(level.height, COMPARED), min(level.width, COMPARED)
            return not known(level, shape=shape).all() or bool(known(dataset, shape=shape).all())
    except RasterioError:
        return False  # the full resolution will tell what is wrong

"""A mosaic on the grid on which a model is shown it."""

from __future__ import annotations

from buildex.io.raster import Mosaic
from buildex.predicting.settings import COARSEST, OWN_SHARE, PredictConfig


def opened(path: str, config: PredictConfig, taught: float) -> Mosaic:
    """Open a mosaic for a model that was taught on pixels of `taught` metres.

    Raises:
        RasterError: if it is missing, no raster, empty, not georeferenced, or not RGB.
        CrsError: if it has no CRS that ties it to the Earth.
    """
    if config.gsd is not None:
        return Mosaic.open(path, gsd=config.gsd, crs=config.crs)
    return Mosaic.open(
        path, gsd=taught, crs=config.crs, share=OWN_SHARE, coarsest=COARSEST * taught
    )

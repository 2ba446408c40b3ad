"""What a comparison of two layers found, kept per block of ground as sums.

Every figure but average precision is a ratio of sums over blocks (`geo.figures`). So the
figures of several scenes are those of their blocks together, and a bootstrap only counts
blocks anew: nothing is compared twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo import precision
from buildex.geo.footprints import Polygons
from buildex.geo.precision import Detections

Floats = NDArray[np.float64]


class Scene(NamedTuple):
    """Two layers and the area in which they are compared, in metres of one metric CRS.

    Attributes:
        predictions: (P,) valid polygons.
        truth: (T,) valid polygons.
        area: in which every true building is drawn.
        crs: of all of them.
        scores: (P,) what ranks the predictions, -inf for one without; None where nothing does.
        invalid: (N, 2) where features of the predictions lie that were invalid or without area.
        name: what the scene is called.
    """

    predictions: Polygons
    truth: Polygons
    area: shapely.Geometry
    crs: str
    scores: Floats | None = None
    invalid: Floats = np.empty((0, 2))
    name: str = ""

    def scores_of(self, index: NDArray[np.int64]) -> Floats:
        """Scores (N,) of predictions (N,) as they are shown; NaN where there is none."""
        if self.scores is None:
            return np.full(len(index), np.nan)
        own = self.scores[index]
        return np.where(np.isfinite(own), own, np.nan)


@dataclass(frozen=True)
class Rules:
    """How to compare: see `scoring.ScoreConfig`, which makes them.

    Attributes:
        ious: at which buildings are paired, the first for outlines.
        gsd: metres per pixel.
        tile: pixels of a tile's side.
        band: width in metres of the band of boundary IoU.
        sizes: two areas in m2 that part small, medium and large buildings.
        published: also measure as published code does.
    """

    ious: tuple[float, ...]
    gsd: float
    tile: int
    band: float
    sizes: tuple[float, float]
    published: bool = False

    @property
    def spacing(self) -> float:
        """Distance in metres of the points of the tangent angle error: two pixels."""
        return 2 * self.gsd


@dataclass(frozen=True)
class Evidence:
    """Sums over the blocks of one or several scenes.

    Attributes:
        sums: name to (B,).
        detections: name to what average precision needs.
    """

    sums: Mapping[str, Floats]
    detections: Mapping[str, Detections]

    def __len__(self) -> int:
        return len(next(iter(self.sums.values())))


def together(parts: Sequence[Evidence]) -> Evidence:
    """The evidence of several scenes as that of one."""
    first = parts[0]
    return Evidence(
        {name: np.concatenate([part.sums[name] for part in parts]) for name in first.sums},
        {
            name: precision.pooled([part.detections[name] for part in parts])
            for name in first.detections
        },
    )

"""Which predicted building is which true one, and which of them count inside an area.

Exact polygons on the ground, found by an index: n log n, not n squared. An area of interest
cuts buildings; what a model could not see must neither help nor harm it:

* both sides are clipped to the area, and IoU is that of the clipped polygons;
* a true building counts where at least half of it lies inside; a lesser fragment is ignored;
* a prediction that found no true building is false, unless most of it lies outside (it is
  the neighbouring area's to judge) or most of what is inside lies on ignored fragments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.footprints import Polygons
from buildex.geo.measures import InstanceCounts, match

HALF = 0.5  # of a building's area


class Overlaps(NamedTuple):
    """Pairs of polygons with common area; K pairs."""

    i: NDArray[np.int64]  # (K,) index among the first polygons
    j: NDArray[np.int64]  # (K,) index among the second
    area: NDArray[np.float64]  # (K,) of the intersection
    iou: NDArray[np.float64]  # (K,) exact intersection over union


def overlaps(first: Polygons, second: Polygons) -> Overlaps:
    """All pairs of polygons that share area, in order of i, then j; touching is not sharing."""
    if len(first) == 0 or len(second) == 0:
        none = np.empty(0, dtype=np.int64)
        return Overlaps(none, none, np.empty(0), np.empty(0))
    i, j = shapely.STRtree(second).query(first, predicate="intersects")
    area = shapely.area(shapely.intersection(first[i], second[j]))
    order = np.lexsort((j, i))
    order = order[area[order] > 0]
    i, j, area = i[order], j[order], area[order]
    union = shapely.area(first)[i] + shapely.area(second)[j] - area
    return Overlaps(i, j, area, area / union)


def overlap_area(polygons: Polygons) -> float:
    """Area that polygons of one layer share, summed over pairs, in square units of their CRS."""
    found = overlaps(polygons, polygons)
    return float(found.area[found.i < found.j].sum())


class Inside(NamedTuple):
    """Polygons (N,) as an area sees them."""

    polygons: Polygons  # (N,) clipped to the area; may be empty or fall into parts
    share: NDArray[np.float64]  # (N,) of each polygon's area that lies inside, 0..1

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Which polygons (N,) the area's edge does not cut."""
        return np.asarray(self.share == 1.0)


def inside(polygons: Polygons, area: shapely.Geometry) -> Inside:
    """Clip polygons to an area; those that it covers stay as they are."""
    shapely.prepare(area)
    share = np.ones(len(polygons))
    clipped = polygons.copy()
    cut = np.flatnonzero(~shapely.covers(area, polygons))
    clipped[cut] = shapely.intersection(polygons[cut], area)
    kept = shapely.area(clipped[cut]) / shapely.area(polygons[cut])
    share[cut] = np.minimum(kept, np.nextafter(1.0, 0.0))
    return Inside(clipped, share)


@dataclass(frozen=True)
class Pairing:
    """Who found whom inside an area; indices into the layers that were compared.

    Attributes:
        predictions: (M,) prediction of each pair, best first.
        truths: (M,) its true building.
        ious: (M,) its IoU inside the area.
        false: (F,) predictions that count and found no true building.
        missed: (N,) true buildings that count and were not found.
    """

    predictions: NDArray[np.int64]
    truths: NDArray[np.int64]
    ious: NDArray[np.float64]
    false: NDArray[np.int64]
    missed: NDArray[np.int64]

    @property
    def counts(self) -> InstanceCounts:
        """True positives, false positives, false negatives."""
        return InstanceCounts(
            tp=len(self.ious),
            fp=len(self.false),
            fn=len(self.missed),
            iou_sum=float(self.ious.sum()),
        )


def pair(predictions: Inside, truth: Inside, threshold: float = 0.5) -> Pairing:
    """Pair two layers inside an area, one to one, best first (see the module's rule).

    Args:
        predictions: P predicted buildings.
        truth: T true buildings.
        threshold: least IoU of a pair.
    """
    i, j, common, iou = overlaps(predictions.polygons, truth.polygons)
    counted = truth.share >= HALF
    real = counted[j]
    sizes = len(predictions.share), len(truth.share)
    found = match((i[real], j[real], iou[real]), *sizes, threshold)

    area_p = shapely.area(predictions.polygons)
    on_fragments = np.zeros(len(area_p))
    np.add.at(on_fragments, i[~real], common[~real])
    false = (predictions.share >= HALF) & (on_fragments <= HALF * area_p)
    false[found.predictions] = False
    counted[found.truths] = False
    return Pairing(
        found.predictions,
        found.truths,
        found.ious,
        np.flatnonzero(false),
        np.flatnonzero(counted),
    )

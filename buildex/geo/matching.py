"""Which predicted building is which true one, and which of them count inside an area.

Exact polygons on the ground, found by an index: n log n, not n squared. An area of interest
cuts buildings; what a model could not see must neither help nor harm it:

* both sides are clipped to the area, and IoU is that of the clipped polygons;
* a true building counts where at least half of it lies inside; a lesser fragment is ignored;
* a prediction that found no true building is false, unless most of it lies outside (it is
  the neighbouring area's to judge) or most of what is inside lies on ignored fragments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.footprints import Polygons
from buildex.geo.measures import InstanceCounts, match
from buildex.geo.sharing import Layer, shared_areas

HALF = 0.5  # of a building's area
IOU_DIGITS = 12  # to which rounding errors of areas do not reach: what is equal is equal


class Overlaps(NamedTuple):
    """Pairs of polygons with common area; K pairs."""

    i: NDArray[np.int64]  # (K,) index among the first polygons
    j: NDArray[np.int64]  # (K,) index among the second
    area: NDArray[np.float64]  # (K,) of the intersection
    iou: NDArray[np.float64]  # (K,) intersection over union of the polygons, to 1e-12


def overlaps(first: Polygons, second: Polygons) -> Overlaps:
    """All pairs of polygons that share area, in order of i, then j; touching is not sharing."""
    if len(first) == 0 or len(second) == 0:
        none = np.empty(0, dtype=np.int64)
        return Overlaps(none, none, np.empty(0), np.empty(0))
    i, j = shapely.STRtree(second).query(first)
    order = np.lexsort((j, i))
    return _sharing(Layer.of(first), Layer.of(second), i[order], j[order])


def _sharing(first: Layer, second: Layer, i: NDArray[np.int64], j: NDArray[np.int64]) -> Overlaps:
    """Those of some pairs that share area."""
    area = shared_areas(first, second, i, j)
    some = area > 0
    i, j, area = i[some], j[some], area[some]
    iou = area / (first.area[i] + second.area[j] - area)
    return Overlaps(i, j, area, np.round(iou, IOU_DIGITS))


def own_overlaps(polygons: Polygons) -> Overlaps:
    """Pairs of polygons of one layer that share area, each pair once: i before j."""
    i, j = shapely.STRtree(polygons).query(polygons)
    layer = Layer.of(polygons)
    return _sharing(layer, layer, i[i < j], j[i < j])


def pair_overlaps(first: Polygons, second: Polygons) -> Overlaps:
    """Overlaps of N pairs that are known to share area, one after the other."""
    each = np.arange(len(first))
    return _sharing(Layer.of(first), Layer.of(second), each, each)


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
        judged: (P,) predictions that count as false where they find nothing.
        counted: (T,) true buildings that count as missed where nothing finds them.
    """

    predictions: NDArray[np.int64]
    truths: NDArray[np.int64]
    ious: NDArray[np.float64]
    judged: NDArray[np.bool_]
    counted: NDArray[np.bool_]

    def at(self, threshold: float) -> Pairing:
        """The pairing at a higher threshold: best first, so it is the first of these pairs."""
        enough = self.ious >= threshold
        return replace(
            self,
            predictions=self.predictions[enough],
            truths=self.truths[enough],
            ious=self.ious[enough],
        )

    @property
    def false(self) -> NDArray[np.int64]:
        """(F,) predictions that count and found no true building."""
        return _others(self.judged, self.predictions)

    @property
    def missed(self) -> NDArray[np.int64]:
        """(N,) true buildings that count and were not found."""
        return _others(self.counted, self.truths)

    @property
    def counts(self) -> InstanceCounts:
        """True positives, false positives, false negatives."""
        return InstanceCounts(
            tp=len(self.ious),
            fp=len(self.false),
            fn=len(self.missed),
            iou_sum=float(self.ious.sum()),
        )


def _others(counted: NDArray[np.bool_], paired: NDArray[np.int64]) -> NDArray[np.int64]:
    rest = counted.copy()
    rest[paired] = False
    return np.flatnonzero(rest)


def pair(
    predictions: Inside, truth: Inside, threshold: float = 0.5, found: Overlaps | None = None
) -> Pairing:
    """Pair two layers inside an area, one to one, best first (see the module's rule).

    Args:
        predictions: P predicted buildings.
        truth: T true buildings.
        threshold: least IoU of a pair.
        found: their overlaps, where they are known.
    """
    known = overlaps(predictions.polygons, truth.polygons) if found is None else found
    counted = truth.share >= HALF
    real = counted[known.j]
    sizes = len(predictions.share), len(truth.share)
    best = match((known.i[real], known.j[real], known.iou[real]), *sizes, threshold)
    judged = (predictions.share >= HALF) & ~_on_fragments(predictions, known, real)
    return Pairing(best.predictions, best.truths, best.ious, judged, counted)


def _on_fragments(
    predictions: Inside, found: Overlaps, real: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Predictions (P,) of which more than half lies on true fragments that do not count."""
    covered = np.zeros(len(predictions.share))
    np.add.at(covered, found.i[~real], found.area[~real])
    return np.asarray(covered > HALF * shapely.area(predictions.polygons))

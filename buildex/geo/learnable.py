"""What of a model's own drawing can be learnt from: the sure is a label, the doubtful is left open.

A model that goes on with what it is sure of in a town that it does not know becomes surer of the
rest (self-training; Sirko et al. 2021). Nothing learns what it doubts, neither as a building nor as
ground: such places leave the area in which every building is drawn.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.axes import squareness
from buildex.geo.finishing import vertex_counts
from buildex.geo.footprints import Polygons

Flags = NDArray[np.bool_]

VERTICES = 12  # most vertices ...
SQUARE = 0.75  # ... and least squareness of a label: what is ragged was not seen well
AROUND = 0.6  # metres round what is doubtful that leave the area ...
BETWEEN = 0.4  # ... and round labels that stay, all the same


def learnable(polygons: Polygons, scores: NDArray[np.float64], sure: float) -> Flags:
    """Which buildings (N,) are labels: scored `sure` or more and shaped like a building.

    Args:
        polygons: (N,) in any unit of length.
        scores: (N,) what the model gave them; NaN for what somebody drew by hand, always a label.
        sure: the score from which one counts.
    """
    shaped = (vertex_counts(polygons) <= VERTICES) & (squareness(polygons) >= SQUARE)
    return np.asarray(np.isnan(scores) | ((scores >= sure) & shaped))


def certain(
    area: shapely.Geometry, labels: Polygons, doubtful: Polygons, metre: float = 1.0
) -> shapely.Geometry:
    """The part of an area in which every building is a label: without what is doubtful.

    `BETWEEN` of it round a label stays, also where that is a doubtful neighbour's rim.

    Args:
        area: in which the model drew.
        labels: (N,) the buildings that are learnt; they stay whole.
        doubtful: (M,) those that are not.
        metre: units of length to a metre.
    """
    kept = shapely.union_all(shapely.buffer(labels, BETWEEN * metre))
    cut = shapely.union_all(shapely.buffer(doubtful, AROUND * metre)).difference(kept)
    return area.difference(cut)

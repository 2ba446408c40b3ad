"""Boundary IoU: how well outlines agree, whatever the size of the building.

IoU forgives a large building a ragged outline: its middle is most of it. Boundary IoU
(Cheng et al. 2021) looks only at the bands of width d inside both outlines. Here they are
exact polygons on the ground, not pixels, so d is metres and erosion is round.
"""

from __future__ import annotations

import math

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.footprints import Polygons
from buildex.geo.matching import Overlaps
from buildex.geo.sharing import Layer, shared_areas

DIAGONAL_SHARE = 0.02  # of the image's diagonal (Cheng et al. 2021, section 4)


def band_width(side: float, gsd: float) -> float:
    """Width of the band in metres: 2 % of a tile's diagonal, at least a pixel.

    Args:
        side: side of a square tile in metres.
        gsd: side of a pixel in metres.
    """
    return max(DIAGONAL_SHARE * math.sqrt(2) * side, gsd)


def eroded(polygons: Polygons, width: float) -> Polygons:
    """What is left of polygons (N,) without the band along their outlines; may be empty."""
    inner: Polygons = shapely.buffer(polygons, -width)
    return inner


def band_ious(
    first: Polygons, second: Polygons, found: Overlaps, width: float, least: float = 0.0
) -> NDArray[np.float64]:
    """Boundary IoU of overlapping polygons (Cheng et al. 2021, eq. 2).

    |A n B| / |A u B| of the bands A and B. A band is the polygon less what erosion leaves
    of it, so areas of bands are sums and differences of areas of polygons.

    Args:
        first: (N,) polygons; `found.i` are indices of these.
        second: (M,) polygons; `found.j` are indices of these.
        found: K pairs.
        width: of the band, in units of the polygons.
        least: pairs of a lower IoU are not measured: 0 for them.

    Returns:
        (K,) 0 to 1.
    """
    chosen = found.iou >= least
    i, j = found.i[chosen], found.j[chosen]
    one, other = Layer.of(first), Layer.of(second)
    one_in, other_in = (
        Layer.of(_eroded_once(p, index, width)) for p, index in ((first, i), (second, j))
    )
    common = found.area[chosen] - shared_areas(one, other_in, i, j)
    common += shared_areas(one_in, other_in, i, j) - shared_areas(one_in, other, i, j)
    common = np.maximum(common, 0.0)
    both = one.area[i] - one_in.area[i] + other.area[j] - other_in.area[j]
    ious = np.zeros(len(found.i))
    ious[chosen] = np.minimum(common / (both - common), 1.0)
    return ious


def _eroded_once(polygons: Polygons, index: NDArray[np.int64], width: float) -> Polygons:
    """Polygons (N,), those at `index` eroded, each only once; the others are missing."""
    out: Polygons = np.empty(len(polygons), dtype=object)
    used = np.unique(index)
    out[used] = eroded(polygons[used], width)
    return out

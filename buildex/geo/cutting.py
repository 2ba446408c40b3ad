"""What a tile sees of a building: its parts, and which of their points are corners."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.boxes import PixelBox
from buildex.geo.footprints import repaired, to_rings
from buildex.geo.rings import Rings, fill

SMALLEST_PART = 16.0  # pixels; less is a sliver of the cut


@dataclass(frozen=True)
class Part:
    """A piece of a building inside a tile.

    Attributes:
        rings: outline and holes in tile pixels.
        corners: for each ring a flag (V,) per point: a corner of the building itself, and
            no point that the cut has made.
        kept: share of the building's area, 0 to 1.
    """

    rings: Rings
    corners: tuple[NDArray[np.bool_], ...]
    kept: float

    def seen(self, share: float) -> Part:
        """The same part, of whose pixels only a share shows the ground."""
        return replace(self, kept=self.kept * share)


def parts(building: shapely.Polygon, box: PixelBox, area: shapely.Geometry) -> list[Part]:
    """The pieces of a building that lie inside a tile, largest first.

    Args:
        building: in scene pixels.
        box: the tile's pixels in the scene.
        area: in scene pixels; what lies outside is cut away too.
    """
    frame = shapely.box(box.x0, box.y0, box.x1, box.y1)
    visible = building.intersection(frame).intersection(area)
    own = shapely.get_coordinates(building)
    return [
        _part(piece, own, box, piece.area / building.area)
        for piece in repaired(visible)
        if piece.area >= SMALLEST_PART
    ]


def mask(area: shapely.Geometry, box: PixelBox) -> NDArray[np.bool_]:
    """Pixels (h, w) of a box whose centre lies inside an area, both in scene pixels."""
    inside = np.zeros((box.height, box.width), dtype=bool)
    near = area.intersection(shapely.box(box.x0, box.y0, box.x1, box.y1))
    origin = np.array([box.x0, box.y0], dtype=float)
    for piece in repaired(near):
        rings = tuple(ring - origin for ring in to_rings(piece))
        inside |= fill(rings, box.height, box.width)
    return inside


def _part(piece: shapely.Polygon, own: NDArray[np.float64], box: PixelBox, kept: float) -> Part:
    origin = np.array([box.x0, box.y0], dtype=float)
    rings = to_rings(piece)
    return Part(
        rings=tuple(ring - origin for ring in rings),
        corners=tuple(
            (np.abs(ring[:, None] - own[None]).max(axis=2) < 1e-6).any(axis=1) for ring in rings
        ),
        kept=min(1.0, float(kept)),
    )

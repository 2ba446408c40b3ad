"""What a segmenter says of one tile: the only shape in which a network's answer leaves it.

Shapes: N instances, M cells along each side of an RoI frame (see `geo.keypoints`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from buildex.geo.boxes import PixelBox

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Tile:
    """A part of a mosaic as a segmenter gets it.

    Attributes:
        image: (size, size, 3) uint8 RGB; 0 where not valid.
        valid: (size, size) whether the pixel shows ground.
        box: its pixels in the mosaic's working grid; may reach beyond the grid.
    """

    image: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    box: PixelBox


class Found(NamedTuple):
    """Boxes with their scores, best first."""

    boxes: NDArray[np.floating]  # (N, 4) x0, y0, x1, y1
    scores: NDArray[np.floating]  # (N,) 0..1


class RoiMaps(NamedTuple):
    """The instances of one tile, before thresholds and decoding.

    A network that knows no corners says so by heatmaps (N, 0, 0) and offsets (N, 2, 0, 0):
    polygons come from its masks alone.
    """

    frames: Floats  # (N, 4) x0, y0, x1, y1 in tile pixels: the part that the maps cover
    scores: Floats  # (N,) 0..1, falling
    masks: Floats  # (N, M, M) probability of being this building; row 0 is the top
    heatmaps: Floats  # (N, M, M) probability of a corner of this building in the cell
    offsets: Floats  # (N, 2, M, M) place of the corner in its cell, 0..1, x then y


def no_instances(cells: int) -> RoiMaps:
    """The answer for a tile without buildings."""
    f32 = np.float32
    return RoiMaps(
        np.zeros((0, 4), f32),
        np.zeros(0, f32),
        np.zeros((0, cells, cells), f32),
        np.zeros((0, cells, cells), f32),
        np.zeros((0, 2, cells, cells), f32),
    )

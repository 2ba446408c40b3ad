"""From what is said of every pixel to instances: touching buildings are told apart.

A building's boundary is a band inside its outline, so the bands of two that touch keep
their cores apart; from the cores the buildings grow again (see `geo.watershed`). What comes
out has the same form as the answer of a network that draws each building in its own frame.
Pixel (row, col) has its centre at (col + 0.5, row + 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from buildex.geo.instances import RoiMaps, no_instances
from buildex.geo.keypoints import RoiCodec
from buildex.geo.rings import Rings, bounds, fill
from buildex.geo.watershed import Labels, components, watershed

BAND = 3  # pixels that a boundary is wide
SMALLEST_CORE = 12  # pixels; a smaller patch between boundaries is no building's core
SMALLEST = 16  # pixels of a building
Floats = NDArray[np.float32]


def drawn(buildings: Sequence[Rings], height: int, width: int) -> tuple[Floats, Floats]:
    """What a perfect network would say of every pixel: building and boundary, 0 or 1.

    Args:
        buildings: in pixels of the tile; what the tile's edge cut has no boundary there.
        height: of the tile.
        width: of the tile.

    Returns:
        Two maps (height, width).
    """
    owner = np.zeros((height, width), dtype=np.int32)
    for number, rings in enumerate(buildings, start=1):
        x0, y0, x1, y1 = bounds(rings)
        left, top = max(int(x0), 0), max(int(y0), 0)
        window = owner[top : int(np.ceil(y1)), left : int(np.ceil(x1))]
        window[fill([ring - (left, top) for ring in rings], *window.shape)] = number
    differs = np.zeros((height, width), dtype=bool)
    for step in range(1, BAND + 1):
        across, down = owner[:, step:] != owner[:, :-step], owner[step:] != owner[:-step]
        differs[:, step:] |= across
        differs[:, :-step] |= across
        differs[step:] |= down
        differs[:-step] |= down
    building = owner > 0
    return building.astype(np.float32), (building & differs).astype(np.float32)


def separated(building: Floats, boundary: Floats) -> Labels:
    """The building that each pixel is of, 0 for none.

    Args:
        building: (H, W) probability of a building.
        boundary: (H, W) probability of lying in one near its outline.
    """
    inside = building >= 0.5
    cores = components(inside & (boundary < 0.5))
    sizes = np.bincount(cores.ravel())
    kept = np.flatnonzero(sizes >= SMALLEST_CORE)
    kept = kept[kept > 0]
    number = np.zeros(len(sizes), dtype=np.int64)
    number[kept] = np.arange(1, len(kept) + 1)
    grown = watershed(boundary, number[cores], inside)
    left = components(inside & (grown == 0))  # buildings too slim to have a core
    return np.where(left > 0, left + len(kept), grown)


def instances(building: Floats, boundary: Floats, codec: RoiCodec, most: int) -> RoiMaps:
    """The buildings of one tile, each in its frame.

    Args:
        building: (H, W) probability of a building.
        boundary: (H, W) probability of lying in one near its outline.
        codec: makes frames of boxes.
        most: as many buildings, the best.

    Returns:
        Maps without heatmaps: polygons come from the masks. A score is the mean probability
        of the building's pixels.
    """
    owner = separated(building, boundary)
    rows, cols = np.nonzero(owner)
    if len(rows) == 0:
        return no_instances(codec.cells)
    number = owner[rows, cols]
    size = np.bincount(number)
    score = np.bincount(number, building[rows, cols]) / np.maximum(size, 1)
    order = np.argsort(-score, kind="stable")
    order = order[(size[order] >= SMALLEST) & (order > 0)][:most]
    frames = codec.frames(_boxes(number, rows, cols)[order])
    masks = np.zeros((len(order), codec.cells, codec.cells), np.float32)
    for k, which in enumerate(order.tolist()):
        masks[k] = _cut(building, owner, which, frames[k], codec.cells)
    none = np.zeros((len(order), 3, 0, 0), np.float32)
    scores = score[order].astype(np.float32)
    return RoiMaps(frames.astype(np.float32), scores, masks, none[:, 0], none[:, 1:])


def _boxes(number: Labels, rows: Labels, cols: Labels) -> NDArray[np.float64]:
    """Boxes (K + 1, 4) around the pixels of each number 0 .. K; nonsense where it has none."""
    boxes = np.tile([np.inf, np.inf, 0.0, 0.0], (int(number.max()) + 1, 1))
    np.minimum.at(boxes[:, 0], number, cols)
    np.minimum.at(boxes[:, 1], number, rows)
    np.maximum.at(boxes[:, 2], number, cols + 1)
    np.maximum.at(boxes[:, 3], number, rows + 1)
    return boxes


def _cut(
    building: Floats, owner: Labels, which: int, frame: NDArray[np.float64], cells: int
) -> Floats:
    """The mask (M, M) of one building in its frame; others' pixels and those outside are 0."""
    height, width = building.shape
    x0, y0 = np.clip(np.floor(frame[:2]).astype(int) - 1, 0, (width - 1, height - 1))
    x1, y1 = np.clip(np.ceil(frame[2:]).astype(int) + 1, 1, (width, height))
    window = np.s_[y0:y1, x0:x1]
    mine = np.where((owner[window] == which) | (owner[window] == 0), building[window], 0.0)
    down = _weights(frame[1] - y0, frame[3] - y0, y1 - y0, cells)
    across = _weights(frame[0] - x0, frame[2] - x0, x1 - x0, cells)
    return np.asarray(down @ mine @ across.T, dtype=np.float32)


def _weights(start: float, end: float, pixels: int, cells: int) -> NDArray[np.float64]:
    """How much each of a row's pixels counts in each cell (M, pixels).

    Bilinear, averaged over as many points of a cell as it has pixels (at most four).
    """
    points = int(np.clip(np.ceil((end - start) / cells), 1, 4))
    place = start + (np.arange(cells * points) + 0.5) * (end - start) / (cells * points) - 0.5
    weights = np.clip(1 - np.abs(place[:, None] - np.arange(pixels)), 0, None)
    return np.asarray(weights.reshape(cells, points, pixels).mean(axis=1))

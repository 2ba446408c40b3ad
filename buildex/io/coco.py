"""COCO annotations of tiles: true polygons, corners as keypoints, holes as run lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from buildex.geo import rings as shapes
from buildex.geo.cutting import Part

CATEGORY = {"id": 1, "name": "building", "supercategory": "structure"}
CORNER, CUT = 2, 1  # visibility of a keypoint: a building's corner, a point the tile made
DIGITS = 3  # of a coordinate, in pixels


def annotation(part: Part, building_id: int, height: int, width: int) -> dict[str, Any]:
    """A piece of a building as a COCO annotation, without `id` and `image_id`.

    Args:
        part: in tile pixels.
        building_id: of the uncut building, unique in its scene.
        height: rows of the tile.
        width: columns of the tile.
    """
    rings = tuple(np.round(ring, DIGITS) for ring in part.rings)
    x0, y0, x1, y1 = shapes.bounds(rings)
    keypoints: list[float] = []
    for ring, corners in zip(rings, part.corners, strict=True):
        for (x, y), corner in zip(ring.tolist(), corners.tolist(), strict=True):
            keypoints += [x, y, CORNER if corner else CUT]
    return {
        "category_id": CATEGORY["id"],
        "building_id": building_id,
        "segmentation": _segmentation(rings, height, width),
        "area": round(shapes.area(rings), DIGITS),
        "bbox": [x0, y0, round(x1 - x0, DIGITS), round(y1 - y0, DIGITS)],
        "iscrowd": 0,
        "kept": round(part.kept, 4),
        "keypoints": keypoints,
        "num_keypoints": len(keypoints) // 3,
        "num_corners": int(sum(flags.sum() for flags in part.corners)),
    }


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's uncompressed counts of a mask (h, w): runs of 0 and 1 in turn, column by column."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    edges = np.concatenate([[0], changes, [mask.size]])
    return [int(run) for run in np.diff(edges)]


def compressed(counts: Sequence[int]) -> str:
    """COCO's text of run lengths: from the third on, the difference to the one before last.

    Each number is cut into groups of five bits, lowest first; the sixth bit says that more
    follow, and 48 is added to make it a printable character.
    """
    text: list[str] = []
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            group = value & 0x1F
            value >>= 5
            more = value != (-1 if group & 0x10 else 0)
            text.append(chr((group | 0x20 if more else group) + 48))
    return "".join(text)


def _segmentation(rings: shapes.Rings, height: int, width: int) -> Any:
    if len(rings) == 1:
        return [rings[0].ravel().tolist()]
    counts = run_lengths(shapes.fill(rings, height, width))
    return {"size": [height, width], "counts": compressed(counts)}

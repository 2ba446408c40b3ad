"""From scored boxes to the buildings of a tile: thresholds and non-maximum suppression.

What `nn.detectors` and `nn.rcnn` leave to torchvision, once more in numpy and with the same
outcome. Boxes are x0, y0, x1, y1 in pixels of the tile. Shapes: A anchors over all levels of
the pyramid, N boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from buildex.geo.instances import Found
from buildex.geo.suppression import suppress

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

SMALLEST_PROPOSAL, SMALLEST_BOX = 1e-3, 1e-2  # pixels along a side, in Mask R-CNN
FINEST = 4  # stride of the finest level that is cut from
CUT_LEVELS = 4


def detections(
    boxes: Floats, scores: Floats, counts: Sequence[int], size: int, score: float,
    overlap: float, most: int, candidates: int,
) -> Found:  # fmt: skip
    """FCOS: the buildings among the boxes of all anchor points.

    Args:
        boxes: (A, 4), may reach beyond the tile.
        scores: (A,) 0..1.
        counts: anchor points of each level.
        size: side of the tile.
        score: boxes that have less are dropped.
        overlap: box IoU above which the weaker of two is dropped.
        most: kept at most.
        candidates: points of a level, the best, that they are chosen from.
    """
    taken = [start + best(scores[start:end], candidates, score) for start, end in _spans(counts)]
    chosen = np.concatenate(taken)
    return _suppressed(clipped(boxes[chosen], size), scores[chosen], overlap, most)


def proposals(
    boxes: Floats, logits: Floats, counts: Sequence[int], size: int, overlap: float, most: int,
    candidates: int,
) -> Floats:  # fmt: skip
    """Mask R-CNN: the boxes (N, 4) that are worth a closer look; levels do not compete.

    Args:
        boxes: (A, 4), may reach beyond the tile.
        logits: (A,).
        counts: anchors of each level.
        size: side of the tile.
        overlap: box IoU above which the weaker of two of one level is dropped.
        most: kept at most.
        candidates: anchors of a level, the best, that they are chosen from.
    """
    parts = []
    for start, end in _spans(counts):
        chosen = start + best(logits[start:end], candidates)
        inside = clipped(boxes[chosen], size)
        large = _at_least(inside, SMALLEST_PROPOSAL)
        parts.append(_suppressed(inside[large], logits[chosen][large], overlap, most))
    scores = np.concatenate([part.scores for part in parts])
    order = np.argsort(-scores, kind="stable")[:most]
    return np.asarray(np.concatenate([part.boxes for part in parts])[order])


def looked_at(
    boxes: Floats, scores: Floats, size: int, score: float, overlap: float, most: int
) -> Found:
    """Mask R-CNN: the buildings among the boxes (N, 4) that a closer look gave."""
    inside = clipped(boxes, size)
    kept = (scores >= score) & _at_least(inside, SMALLEST_BOX)
    return _suppressed(inside[kept], scores[kept], overlap, most)


def best(scores: Floats, most: int, least: float = -np.inf) -> Indices:
    """Indices of the best scores, best first; of those that are at least `least`."""
    candidates = np.flatnonzero(scores >= least)
    if len(candidates) > most:
        weakest = np.argpartition(-scores[candidates], most - 1)[:most]
        candidates = candidates[np.sort(weakest)]
    return candidates[np.argsort(-scores[candidates], kind="stable")]


def clipped(boxes: Floats, size: int) -> Floats:
    """Boxes (N, 4) cut off at the edges of a tile."""
    return np.clip(boxes, np.float32(0), np.float32(size))


def levels_of(frames: NDArray[np.floating], cells: int, span: int = 1) -> Indices:
    """Which level each frame (N, 4) is cut from, 0 for P2: as `nn.heads.RoiFeatures.levels`.

    Args:
        frames: boxes in pixels.
        cells: along the side of what is cut.
        span: pixels of its level that a cell is to span, at least, where levels allow it.
    """
    frames = frames.astype(np.float32)
    side = np.sqrt(np.maximum(frames[:, 2:] - frames[:, :2], np.float32(1)).prod(axis=1))
    level = np.floor(np.log2(side / np.float32(FINEST * cells * span)) + np.float32(1e-6))
    return np.asarray(np.clip(level, 0, CUT_LEVELS - 1), dtype=np.int64)


def _suppressed(boxes: Floats, scores: Floats, overlap: float, most: int) -> Found:
    kept = suppress(boxes, scores, overlap, most)
    return Found(boxes[kept], scores[kept])


def _at_least(boxes: Floats, side: float) -> NDArray[np.bool_]:
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.asarray((sides >= np.float32(side)).all(axis=1))


def _spans(counts: Sequence[int]) -> list[tuple[int, int]]:
    """Where the anchors of each level begin and end."""
    ends = np.cumsum([0, *counts]).tolist()
    return list(pairwise(ends))

"""Non-maximum suppression: of boxes x0, y0, x1, y1 that overlap, the best stays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
BLOCK = 256  # boxes that are looked at together


def suppress(
    boxes: NDArray[np.floating], scores: NDArray[np.floating], overlap: float, most: int
) -> Indices:
    """Greedy non-maximum suppression: indices of boxes that no better one overlaps too much.

    Args:
        boxes: (N, 4).
        scores: (N,).
        overlap: IoU above which the weaker of two is dropped.
        most: as many, the best.
    """
    order = np.argsort(-scores, kind="stable")
    kept = order[:0]
    for start in range(0, len(order), BLOCK):
        if len(kept) >= most:
            break
        block = order[start : start + BLOCK]
        block = block[~_clashes(boxes[kept], boxes[block], overlap).any(axis=0)]
        clashes = np.triu(_clashes(boxes[block], boxes[block], overlap), 1)
        stays = np.ones(len(block), dtype=bool)
        for better in np.flatnonzero(clashes.any(axis=1)):
            if stays[better]:
                stays &= ~clashes[better]
        kept = np.concatenate([kept, block[stays]])
    return kept[:most].astype(np.int64)


def _clashes(a: NDArray[np.floating], b: NDArray[np.floating], overlap: float) -> NDArray[np.bool_]:
    """Whether each of some boxes (N, 4) overlaps each of others (K, 4) too much: (N, K)."""
    common, union = common_and_union(a, b)
    return np.asarray(common > np.float32(overlap) * union)


def common_and_union(
    a: NDArray[np.floating], b: NDArray[np.floating]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """What each of some boxes (N, 4) shares with each of others (K, 4), and what both cover.

    Returns:
        Two arrays (N, K) of areas, in the precision of the boxes.
    """
    low = [np.maximum(a[:, None, axis], b[:, axis]) for axis in (0, 1)]
    high = [np.minimum(a[:, None, axis], b[:, axis]) for axis in (2, 3)]
    width, height = (np.maximum(far - near, 0) for near, far in zip(low, high, strict=True))
    common = width * height
    areas = [(some[:, 2] - some[:, 0]) * (some[:, 3] - some[:, 1]) for some in (a, b)]
    return common, areas[0][:, None] + areas[1] - common

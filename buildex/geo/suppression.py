"""Non-maximum suppression: of boxes x0, y0, x1, y1 that overlap, the best stays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


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
    left = np.argsort(-scores, kind="stable")
    x0, y0, x1, y1 = boxes.T
    area = (x1 - x0) * (y1 - y0)
    kept: list[int] = []
    while len(left) and len(kept) < most:
        first, left = left[0], left[1:]
        kept.append(int(first))
        width = np.minimum(x1[first], x1[left]) - np.maximum(x0[first], x0[left])
        height = np.minimum(y1[first], y1[left]) - np.maximum(y0[first], y0[left])
        common = np.maximum(width, 0) * np.maximum(height, 0)
        left = left[~(common > np.float32(overlap) * (area[first] + area[left] - common))]
    return np.array(kept, dtype=np.int64)

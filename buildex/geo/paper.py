"""Grouping of keypoints as the paper has it (section 2.2, figure 5), for comparison.

The mask plays no part: keypoints are joined by distance alone. The text leaves two things
open; they are read so: the walk starts at the point that lies nearest to an extreme point,
and goes first to that extreme point; and an edge never leads back to a point that is
already joined, but for the one that closes the polygon.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from buildex.geo.rings import Ring


def extremes(points: Ring) -> list[int]:
    """Indices of the points farthest left, right, up and down, each once, in that order."""
    x, y = points[:, 0], points[:, 1]
    found = [int(np.argmin(x)), int(np.argmax(x)), int(np.argmin(y)), int(np.argmax(y))]
    return list(dict.fromkeys(found))


def distance_matrix(points: Ring) -> NDArray[np.float64]:
    """Euclidean distances (K, K) between all points; infinite from a point to itself."""
    gap = points[:, None] - points[None]
    matrix: NDArray[np.float64] = np.hypot(gap[..., 0], gap[..., 1])
    np.fill_diagonal(matrix, np.inf)
    return matrix


def group_by_distance(points: Ring) -> Ring:
    """Join keypoints to a ring, each to its nearest neighbour.

    Where the walk would close before all points are used, as it does on concave shapes, it
    goes on to the next closest point instead (the paper's stated repair).

    Args:
        points: (K, 2) keypoints of one instance, in any order.

    Returns:
        Ring (K, 2); empty for fewer than three points. The ring may cross itself: the method
        does not look.
    """
    if len(points) < 3:
        return np.zeros((0, 2))
    matrix = distance_matrix(points)
    starts = extremes(points)
    extreme = min(starts, key=lambda k: float(matrix[k].min()))
    initial = int(matrix[extreme].argmin())
    chain = [initial, extreme]
    left = set(range(len(points))) - set(chain)
    while left:
        here = chain[-1]
        following = min(sorted(left), key=lambda k: float(matrix[here, k]))
        chain.append(following)
        left.remove(following)
    return points[chain]

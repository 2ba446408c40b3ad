"""Rings of points and what can be done to one without any library but numpy.

A ring is an array (V, 2) of (x, y) points in pixels or metres, open: the last point does
not repeat the first. A polygon is a tuple of rings: the outline first, then its holes.
In pixel coordinates y runs down, so a ring with positive area runs clockwise on screen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.float64]
Rings = tuple[Ring, ...]
Box = tuple[float, float, float, float]
Columns = NDArray[np.int64]


def opened(ring: NDArray[np.floating] | Sequence[Sequence[float]]) -> Ring:
    """A ring (V, 2) without its closing point and without points that repeat the one before."""
    points = np.asarray(ring, dtype=np.float64).reshape(-1, 2)
    if len(points) == 0:
        return points
    keep = np.any(points != np.roll(points, 1, axis=0), axis=1)
    return points[keep] if keep.any() else points[:1]


def signed_area(ring: Ring) -> float:
    """Area by the shoelace formula; positive where the ring runs from the x axis to the y axis."""
    if len(ring) < 3:
        return 0.0
    points = ring - ring[0]
    x, y = points.T
    next_x, next_y = np.concatenate((points[1:], points[:1])).T  # np.roll takes five times as long
    return float(0.5 * np.sum(x * next_y - y * next_x))


def area(rings: Sequence[Ring]) -> float:
    """Area of a polygon: its outline's less its holes'."""
    if not rings:
        return 0.0
    return abs(signed_area(rings[0])) - sum(abs(signed_area(hole)) for hole in rings[1:])


def oriented(rings: Sequence[Ring]) -> Rings:
    """The polygon with a positive outline and negative holes."""
    return tuple(
        ring if (signed_area(ring) >= 0) == (index == 0) else ring[::-1]
        for index, ring in enumerate(rings)
    )


def bounds(rings: Sequence[Ring]) -> Box:
    """Min x, min y, max x, max y of the outline."""
    low, high = rings[0].min(axis=0), rings[0].max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def transformed(rings: Sequence[Ring], matrix: NDArray[np.float64]) -> Rings:
    """The polygon under a 2 x 3 affine matrix that maps (x, y, 1) to (x, y)."""
    return tuple(ring @ matrix[:, :2].T + matrix[:, 2] for ring in rings)


def centroid(ring: Ring) -> tuple[float, float]:
    """Centre of mass of the outline; the mean of its points where it has no area."""
    shifted = ring - ring[0]
    x, y = shifted.T
    cross = x * np.roll(y, -1) - y * np.roll(x, -1)
    total = cross.sum()
    if abs(total) < 1e-12:
        mean = ring.mean(axis=0)
        return float(mean[0]), float(mean[1])
    cx = float(((x + np.roll(x, -1)) * cross).sum() / (3 * total))
    cy = float(((y + np.roll(y, -1)) * cross).sum() / (3 * total))
    return float(ring[0, 0]) + cx, float(ring[0, 1]) + cy


def fill(rings: Sequence[Ring], height: int, width: int) -> NDArray[np.bool_]:
    """Pixels (height, width) whose centre lies inside the polygon, by the even-odd rule.

    Every edge flips all pixels to its right in the rows whose centre line it crosses; a
    pixel flipped an odd number of times is inside. Exact for holes and for edges that run
    along one another.
    """
    flips = np.zeros((height, width + 1), dtype=np.int32)
    for ring in rings:
        if len(ring) >= 3:
            _, row, column = _crossings(ring, np.concatenate((ring[1:], ring[:1])), height, width)
            np.add.at(flips, (row, column), 1)
    inside: NDArray[np.bool_] = (np.cumsum(flips[:, :width], axis=1) & 1).astype(bool)
    return inside


def fill_of_points(ring: Ring, height: int, width: int) -> tuple[Columns, Columns]:
    """The pixels that each point of a ring adds to its fill or takes from it.

    They are those of the triangle of the point and its two neighbours: without the point,
    `fill` says the opposite of them and the same of all others. A row crosses two of a
    triangle's edges or none, so it has one stretch of them. Exact, as every edge runs the
    way in which `fill` sees it, with the point and without: the other way round, its columns
    could differ by the last digit of a product.

    Args:
        ring: (V, 2), V > 3, of any shape.
        height: rows.
        width: columns.

    Returns:
        First column (V, height) of the stretch, and the one after its last: the same where
        there is none.
    """
    before = np.concatenate((ring[-1:], ring[:-1]))
    after = np.concatenate((ring[1:], ring[:1]))
    start, end = np.concatenate((before, ring, before)), np.concatenate((ring, after, after))
    edge, row, column = _crossings(start, end, height, width)
    first = np.full((len(start), height), width)
    last = np.zeros((len(start), height), dtype=np.int64)
    first[edge, row] = last[edge, row] = column
    last = last.reshape(3, len(ring), height).max(axis=0)
    return np.minimum(first.reshape(3, len(ring), height).min(axis=0), last), last


def _crossings(start: Ring, end: Ring, height: int, width: int) -> tuple[Columns, Columns, Columns]:
    """Where edges (E, 2) cross the centre lines of rows: edge, row, first column to the right."""
    low = np.minimum(start[:, 1], end[:, 1])
    high = np.maximum(start[:, 1], end[:, 1])
    # Row r is crossed when low <= r + 0.5 < high.
    first = np.clip(np.ceil(low - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(high - 0.5), 0, height).astype(np.int64)
    count = last - first
    edge = np.repeat(np.arange(len(start)), count)
    offset = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    row = first[edge] + offset
    dy = end[edge, 1] - start[edge, 1]
    t = (row + 0.5 - start[edge, 1]) / dy
    x = start[edge, 0] + t * (end[edge, 0] - start[edge, 0])
    return edge, row, np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)


def clip(ring: Ring, box: Box) -> tuple[Ring, NDArray[np.bool_]]:
    """The part of a ring inside a box (Sutherland and Hodgman 1974).

    Args:
        ring: (V, 2), of any shape; a concave ring that falls apart stays one ring whose
            parts are joined by edges along the box.
        box: min x, min y, max x, max y.

    Returns:
        The ring (W, 2), empty where nothing is left, and a flag (W,) for every point that
        the box made: such a point is no corner.
    """
    points, made = ring, np.zeros(len(ring), dtype=bool)
    for axis, limit, sign in ((0, box[0], 1.0), (1, box[1], 1.0), (0, box[2], -1.0),
                              (1, box[3], -1.0)):  # fmt: skip
        if len(points) == 0:
            break
        points, made = _clip_half_plane(points, made, axis, limit, sign)
    if len(points) < 3 or signed_area(points) == 0:
        return np.empty((0, 2)), np.empty(0, dtype=bool)
    return points, made


def _clip_half_plane(
    points: Ring, made: NDArray[np.bool_], axis: int, limit: float, sign: float
) -> tuple[Ring, NDArray[np.bool_]]:
    distance = sign * (points[:, axis] - limit)
    inside = distance >= 0
    if inside.all():
        return points, made
    out: list[NDArray[np.float64]] = []
    flags: list[bool] = []
    for i in range(len(points)):
        j = (i + 1) % len(points)
        if inside[i]:
            out.append(points[i])
            flags.append(bool(made[i]))
        if inside[i] != inside[j] and distance[i] != 0 and distance[j] != 0:
            t = distance[i] / (distance[i] - distance[j])
            crossing = points[i] + t * (points[j] - points[i])
            crossing[axis] = limit
            out.append(crossing)
            flags.append(True)
    return np.array(out).reshape(-1, 2), np.array(flags, dtype=bool)


def simplify(ring: Ring, tolerance: float) -> Ring:
    """A closed ring with fewer points, none of the dropped ones farther than `tolerance` away.

    Douglas and Peucker (1973) on the two halves between the point farthest from the
    centre and the point farthest from that one. Never fewer than three points.
    """
    if len(ring) <= 3:
        return ring
    start = int(np.argmax(np.sum((ring - ring.mean(axis=0)) ** 2, axis=1)))
    rolled = np.roll(ring, -start, axis=0)
    split = int(np.argmax(np.sum((rolled - rolled[0]) ** 2, axis=1)))
    closed = np.vstack([rolled, rolled[:1]])
    keep = np.zeros(len(closed), dtype=bool)
    keep[[0, split]] = True
    stack = [(0, split), (split, len(closed) - 1)]
    while stack:
        i, j = stack.pop()
        if j - i < 2:
            continue
        distances = segment_distances(closed[i + 1 : j], closed[i], closed[j])
        worst = int(np.argmax(distances))
        if distances[worst] > tolerance:
            middle = i + 1 + worst
            keep[middle] = True
            stack += [(i, middle), (middle, j)]
    if keep.sum() < 3:
        base = segment_distances(rolled, rolled[0], rolled[split])
        keep[int(np.argmax(base))] = True
    return rolled[keep[:-1]]


def segment_distances(points: Ring, a: NDArray[np.float64], b: NDArray[np.float64]) -> Ring:
    """Distances (N,) from points (N, 2) to the segment from a to b."""
    direction = b - a
    length2 = float(direction @ direction)
    if length2 == 0:
        return np.asarray(np.hypot(*(points - a).T))
    t = np.clip((points - a) @ direction / length2, 0.0, 1.0)
    return np.asarray(np.hypot(*(points - a - t[:, None] * direction).T))


def boundary_distances(points: Ring, rings: Sequence[Ring]) -> NDArray[np.float64]:
    """Distances (N,) from points (N, 2) to the nearest edge of a polygon's rings."""
    best = np.full(len(points), np.inf)
    for ring in rings:
        start, end = ring, np.roll(ring, -1, axis=0)
        direction = end - start
        length2 = np.maximum((direction**2).sum(axis=1), 1e-300)
        relative = points[:, None, :] - start[None]
        t = np.clip((relative * direction[None]).sum(axis=2) / length2, 0.0, 1.0)
        gap = relative - t[:, :, None] * direction[None]
        best = np.minimum(best, np.sqrt((gap**2).sum(axis=2)).min(axis=1))
    return best


def turning_angles(ring: Ring) -> NDArray[np.float64]:
    """How many degrees (V,) the ring turns at each point; 0 is straight on, 180 is back."""
    before = ring - np.roll(ring, 1, axis=0)
    after = np.roll(ring, -1, axis=0) - ring
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    angles: NDArray[np.float64] = np.abs(
        np.degrees(np.arctan2(cross, (before * after).sum(axis=1)))
    )
    return angles


def is_simple(ring: Ring) -> bool:
    """Whether no two edges of a ring touch, but neighbours at their common point."""
    n = len(ring)
    if n < 3 or signed_area(ring) == 0:
        return False
    a, b = ring, np.roll(ring, -1, axis=0)
    if n == 3:
        return True
    turn = turning_angles(ring)
    if np.any(turn > 179.9):
        return False
    side_a = _cross(a[:, None], b[:, None], a[None])  # of a_j seen from edge i
    side_b = _cross(a[:, None], b[:, None], b[None])
    apart = (side_a * side_b > 0) | (side_a.T * side_b.T > 0)
    i, j = np.triu_indices(n, 2)
    apart_pairs = apart[i, j]
    wraps = (i == 0) & (j == n - 1)
    doubtful = ~apart_pairs & ~wraps
    if not doubtful.any():
        return True
    # Parallel edges on one line do not touch where their boxes do not.
    low, high = np.minimum(a, b), np.maximum(a, b)
    i, j = i[doubtful], j[doubtful]
    boxes_meet = ((low[i] <= high[j]) & (low[j] <= high[i])).all(axis=1)
    return not bool(boxes_meet.any())


def _cross(
    a: NDArray[np.float64], b: NDArray[np.float64], p: NDArray[np.float64]
) -> NDArray[np.float64]:
    result: NDArray[np.float64] = (b[..., 0] - a[..., 0]) * (p[..., 1] - a[..., 1]) - (
        b[..., 1] - a[..., 1]
    ) * (p[..., 0] - a[..., 0])
    return result

"""Outlines of a probability map: marching squares with linear interpolation.

The map's values stand at cell centres: value [row, col] at (col + 0.5, row + 0.5).
Outside the map the probability is 0, so every outline closes. Outlines run with the
inside on their right as seen on screen (positive area), holes the other way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from buildex.geo.rings import Ring, signed_area

TOP, RIGHT, BOTTOM, LEFT = range(4)

# Which side of a square a piece of outline enters and leaves by, for each pattern of
# corners inside (1 top left, 2 top right, 4 bottom right, 8 bottom left). The two saddles
# (5, 10) are here in their parted form; `_JOINED` has the one whose centre is inside.
_PARTED: dict[int, tuple[tuple[int, int], ...]] = {
    1: ((TOP, LEFT),),
    2: ((RIGHT, TOP),),
    3: ((RIGHT, LEFT),),
    4: ((BOTTOM, RIGHT),),
    5: ((TOP, LEFT), (BOTTOM, RIGHT)),
    6: ((BOTTOM, TOP),),
    7: ((BOTTOM, LEFT),),
    8: ((LEFT, BOTTOM),),
    9: ((TOP, BOTTOM),),
    10: ((RIGHT, TOP), (LEFT, BOTTOM)),
    11: ((RIGHT, BOTTOM),),
    12: ((LEFT, RIGHT),),
    13: ((TOP, RIGHT),),
    14: ((LEFT, TOP),),
}
_JOINED: dict[int, tuple[tuple[int, int], ...]] = {
    5: ((TOP, RIGHT), (BOTTOM, LEFT)),
    10: ((LEFT, TOP), (RIGHT, BOTTOM)),
}


def contours(field: NDArray[np.floating], level: float = 0.5) -> list[Ring]:
    """All closed outlines of a map at a level.

    Args:
        field: (H, W) values.
        level: cells above it are inside.

    Returns:
        Rings (V, 2) in cell coordinates, outlines with positive and holes with negative
        area, the largest first; empty where nothing is above the level.
    """
    values = np.pad(np.asarray(field, dtype=np.float64), 1, constant_values=min(0.0, level - 1e-9))
    inside = (values > level).astype(np.int64)
    pattern = inside[:-1, :-1] + 2 * inside[:-1, 1:] + 4 * inside[1:, 1:] + 8 * inside[1:, :-1]
    rows, cols = np.nonzero((pattern > 0) & (pattern < 15))
    following: dict[tuple[int, int, bool], tuple[int, int, bool]] = {}
    for row, col in zip(rows.tolist(), cols.tolist(), strict=True):
        kind = int(pattern[row, col])
        table = _PARTED
        if kind in _JOINED and values[row : row + 2, col : col + 2].mean() > level:
            table = _JOINED
        for start, end in table[kind]:
            following[_crossing(row, col, start)] = _crossing(row, col, end)
    rings = [_points(chain, values, level) for chain in _chains(following)]
    return sorted(rings, key=lambda ring: -abs(signed_area(ring)))


def outline_and_holes(
    field: NDArray[np.floating], level: float = 0.5, smallest_hole: float = 0.0
) -> tuple[Ring, ...]:
    """The largest outline of a map and the holes in it of at least `smallest_hole` cells."""
    rings = contours(field, level)
    outlines = [ring for ring in rings if signed_area(ring) > 0]
    if not outlines:
        return ()
    outline = outlines[0]
    holes = [
        ring
        for ring in rings
        if signed_area(ring) <= -max(smallest_hole, 1e-9) and contains(outline, ring[0])
    ]
    return (outline, *holes)


def contains(ring: Ring, point: NDArray[np.floating]) -> bool:
    """Whether a point lies inside a ring, by the even-odd rule."""
    x, y = float(point[0]), float(point[1])
    end = np.roll(ring, -1, axis=0)
    crosses = (ring[:, 1] > y) != (end[:, 1] > y)
    start, end = ring[crosses], end[crosses]
    at = start[:, 0] + (y - start[:, 1]) / (end[:, 1] - start[:, 1]) * (end[:, 0] - start[:, 0])
    return bool((at > x).sum() % 2)


def _crossing(row: int, col: int, side: int) -> tuple[int, int, bool]:
    """Name of a side of square (row, col): its first lattice point and whether it runs down."""
    if side == TOP:
        return row, col, False
    if side == BOTTOM:
        return row + 1, col, False
    return (row, col, True) if side == LEFT else (row, col + 1, True)


def _chains(
    following: dict[tuple[int, int, bool], tuple[int, int, bool]],
) -> list[list[tuple[int, int, bool]]]:
    chains = []
    while following:
        start, here = following.popitem()
        chain = [start]
        while here != start:
            chain.append(here)
            here = following.pop(here)
        chains.append(chain)
    return chains


def _points(chain: list[tuple[int, int, bool]], values: NDArray[np.float64], level: float) -> Ring:
    index = np.array(chain, dtype=np.int64)
    row, col, down = index[:, 0], index[:, 1], index[:, 2]
    first, second = values[row, col], values[row + down, col + 1 - down]
    t = np.clip((level - first) / (second - first), 1e-6, 1 - 1e-6)
    # The padding shifts the lattice by one cell; values stand at cell centres.
    return np.stack([col - 0.5 + t * (1 - down), row - 0.5 + t * down], axis=1)

"""Polygons for tests: random simple ones, and a few by name."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from buildex.geo.rings import Ring

SQUARE = np.array([[10.0, 10], [50, 10], [50, 50], [10, 50]])
L_SHAPE = np.array([[10.0, 10], [90, 10], [90, 40], [50, 40], [50, 90], [10, 90]])
HOLE = np.array([[22.0, 22], [38, 22], [38, 38], [22, 38]])


@st.composite
def buildings(draw: st.DrawFn) -> Ring:
    """A simple polygon as buildings are: rectangles, L-, T- and U-shapes, turned and scaled."""
    wide, deep = draw(st.floats(30, 90)), draw(st.floats(30, 90))
    a, b = draw(st.floats(0.3, 0.7)), draw(st.floats(0.3, 0.7))
    kind = draw(st.sampled_from(["rectangle", "l", "t", "u", "kite"]))
    unit = {
        "rectangle": [[0, 0], [1, 0], [1, 1], [0, 1]],
        "l": [[0, 0], [1, 0], [1, b], [a, b], [a, 1], [0, 1]],
        "t": [[0, 0], [1, 0], [1, b], [0.7, b], [0.7, 1], [0.3, 1], [0.3, b], [0, b]],
        "u": [[0, 0], [1, 0], [1, 1], [0.7, 1], [0.7, b], [0.3, b], [0.3, 1], [0, 1]],
        "kite": [[0, 0], [0.9, a / 2], [1, 1], [0.2, 0.8]],
    }[kind]
    angle = np.radians(draw(st.floats(0, 360)))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    ring = (np.array(unit, dtype=float) * [wide, deep]) @ turn
    return ring - ring.min(axis=0) + 5.0


def same_polygon(a: Ring, b: Ring, tolerance: float) -> bool:
    """Whether two rings are the same points in the same cyclic order, either way round."""
    if len(a) != len(b):
        return False
    for ring in (b, b[::-1]):
        for shift in range(len(b)):
            if np.abs(a - np.roll(ring, shift, axis=0)).max() <= tolerance:
                return True
    return False

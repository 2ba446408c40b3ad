from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from buildex.geo.assembly import area, is_ring, joined, lone_parts
from buildex.geo.footprints import object_array


def line(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, dtype=np.float64)


def ring(x: float, y: float, side: float) -> np.ndarray:
    return line((x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y))


CIRCLE = [(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 13)[:-1]]


@given(
    st.sets(st.integers(0, 11), min_size=1),
    st.randoms(use_true_random=False),
    st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_a_ring_cut_anywhere_is_joined_again(cuts, random, turned):
    ends = sorted(cuts)
    pieces = []
    for start, end in zip(ends, [*ends[1:], ends[0] + 12], strict=True):
        piece = line(*(CIRCLE[i % 12] for i in range(start, end + 1)))
        pieces.append(piece[::-1] if turned[start] else piece)
    random.shuffle(pieces)
    rings, whole = joined(pieces)
    assert whole
    assert len(rings) == 1
    assert shapely.Polygon(rings[0]).area == pytest.approx(3.0)


def test_a_ring_with_a_gap_is_none():
    rings, whole = joined([line((0, 0), (1, 0), (1, 1)), line((1, 1), (0, 1))])
    assert (rings, whole) == ([], False)
    assert area([line((0, 0), (1, 0), (1, 1))], []) is None
    assert area([], []) is None


def test_flat_and_open_lines_are_no_rings():
    assert is_ring(ring(0, 0, 1))
    assert not is_ring(line((0, 0), (1, 0), (0, 0)))
    assert not is_ring(line((0, 0), (1, 0), (1, 1), (0, 1)))


def test_holes_go_to_the_smallest_outline_around_them():
    # An island in a courtyard: 10 x 10, less 8 x 8, and 4 x 4 in it, less 1 x 1.
    shape = area([ring(0, 0, 10), ring(3, 3, 4)], [ring(1, 1, 8), ring(4, 4, 1)])
    parts = sorted((part.area for part in shapely.get_parts(shape)), reverse=True)
    assert parts == [100 - 64, 16 - 1]


def test_a_hole_outside_every_outline_is_left_out():
    assert area([ring(0, 0, 10)], [ring(20, 20, 1)]).area == 100


def test_an_outline_that_crosses_itself_comes_back_as_it_is():
    bow_tie = line((0, 0), (10, 10), (10, 0), (0, 10), (0, 0))
    shape = area([bow_tie], [])
    assert not shape.is_valid


def parts(*corners: tuple[float, float, float, float]) -> np.ndarray:
    return object_array([shapely.box(*corner) for corner in corners])


def test_parts_under_an_outline_are_not_alone():
    outlines = parts((0, 0, 10, 10))
    pieces = parts((1, 1, 4, 4), (8, 0, 14, 10), (20, 0, 24, 4))
    # The second lies by a third under the outline.
    assert lone_parts(pieces, outlines).tolist() == [False, True, True]


def test_a_tower_on_its_base_is_one_building():
    pieces = parts((2, 2, 4, 4), (0, 0, 10, 10), (10, 0, 20, 10))
    assert lone_parts(pieces, parts()).tolist() == [False, True, True]


def test_a_part_over_two_outlines_is_not_alone():
    outlines = parts((0, 0, 10, 10), (10, 0, 20, 10))
    assert lone_parts(parts((7, 0, 13, 10)), outlines).tolist() == [False]
    assert lone_parts(parts(), outlines).tolist() == []

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildex.geo.contours import contains, contours, outline_and_holes
from buildex.geo.rings import area, fill, is_simple, signed_area


def test_one_cell_gives_a_diamond_around_its_centre():
    field = np.zeros((3, 3))
    field[1, 1] = 1
    (ring,) = contours(field)
    assert sorted(map(tuple, ring.tolist())) == [(1, 1.5), (1.5, 1), (1.5, 2), (2, 1.5)]
    assert signed_area(ring) == 0.5


def test_a_full_map_closes_at_its_border():
    (ring,) = contours(np.ones((4, 6)))
    assert ring.min(axis=0).tolist() == [0, 0]
    assert ring.max(axis=0).tolist() == [6, 4]


def test_a_straight_edge_is_interpolated():
    field = np.tile([1.0, 1.0, 0.75, 0.0], (5, 1))
    ring = contours(field)[0]
    middle = ring[(ring[:, 1] > 1) & (ring[:, 1] < 4) & (ring[:, 0] > 1)]
    # Values .75 at x = 2.5 and 0 at x = 3.5 cross a half a third of the way on.
    assert np.allclose(middle[:, 0], 2.5 + 1 / 3)


def test_a_hole_runs_the_other_way():
    field = np.ones((9, 9))
    field[3:6, 3:6] = 0
    outline, hole = contours(field)
    assert signed_area(outline) > 0 > signed_area(hole)
    assert len(outline_and_holes(field, smallest_hole=4)) == 2
    assert len(outline_and_holes(field, smallest_hole=20)) == 1


def test_an_empty_map_has_no_outline():
    assert contours(np.zeros((5, 5))) == []
    assert outline_and_holes(np.zeros((5, 5))) == ()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000))
def test_outlines_are_simple_and_hold_what_is_inside(seed):
    rng = np.random.default_rng(seed)
    field = rng.random((8, 9))
    rings = contours(field)
    assert all(is_simple(ring) for ring in rings)
    inside = np.zeros((8, 9), dtype=bool)
    for ring in rings:
        inside ^= fill([ring], 8, 9)
    assert (inside == (field > 0.5)).all()


def test_the_area_of_a_disc_is_found():
    y, x = np.mgrid[0:60, 0:60] + 0.5
    field = np.clip(20.5 - np.hypot(x - 30, y - 30), 0, 1)
    assert area(outline_and_holes(field)) == pytest.approx(np.pi * 400, rel=0.002)


def test_contains_knows_inside_from_outside():
    ring = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]])
    assert contains(ring, np.array([2, 2]))
    assert not contains(ring, np.array([5, 2]))

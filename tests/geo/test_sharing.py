from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from buildex.geo.edges import edges_of, nearest, within_reach
from buildex.geo.footprints import object_array
from buildex.geo.sharing import MANY, Layer, shared_areas
from tests.geo.shapes import HOLE, SQUARE, buildings

FAR = np.array([521_340.25, 9_310_877.5])  # where UTM coordinates are
HOLED = shapely.Polygon(SQUARE, [HOLE])


def shared(a: shapely.Geometry | None, b: shapely.Geometry | None) -> float:
    first, second = Layer.of(object_array([a])), Layer.of(object_array([b]))
    return float(shared_areas(first, second, np.array([0]), np.array([0]))[0])


def test_shared_area_by_hand():
    assert shared(shapely.box(0, 0, 10, 10), shapely.box(5, 2, 20, 6)) == 20
    diamond = shapely.Polygon([(0, -2), (2, 0), (0, 2), (-2, 0)])
    assert shared(diamond, shapely.box(-1, -1, 1, 1)) == pytest.approx(4)  # the box fits in
    assert shared(diamond, shapely.box(0, 0, 5, 5)) == pytest.approx(2)


def test_touching_is_not_sharing():
    square = shapely.box(0, 0, 10, 10)
    for beside in ((10, 0, 20, 10), (0, 10, 10, 20), (0, -5, 10, 0), (-5, 3, 0, 20)):
        assert shared(square, shapely.box(*beside)) == 0
    leaning = shapely.Polygon([(0, 0), (10, 3.3), (7, 12.1)])
    other = shapely.Polygon([(0, 0), (4, -9.7), (10, 3.3)])  # they have an edge in common
    assert shared(leaning, other) == 0


def test_a_polygon_shares_all_of_itself_and_nothing_with_none():
    assert shared(HOLED, HOLED) == HOLED.area
    assert shared(HOLED, None) == shared(shapely.Polygon(), HOLED) == 0


@given(buildings(), buildings(), st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_shared_area_is_that_of_an_overlay(one, other, backwards, far):
    a, b = shapely.Polygon(one), shapely.Polygon(other)
    known = a.intersection(b).area
    if backwards:
        a = shapely.reverse(a)
    if far:
        a, b = (shapely.transform(p, lambda points: points + FAR) for p in (a, b))
    assert shared(a, b) == pytest.approx(known, abs=1e-6 if far else 1e-9)
    assert shared(b, a) == pytest.approx(shared(a, b), abs=1e-9)


@given(buildings(), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_holes_and_parts_share_what_they_cover(ring, backwards, many):
    solid = shapely.Polygon(ring)
    parts = shapely.MultiPolygon([shapely.reverse(HOLED), shapely.box(500, 0, 510, 10)])
    holed = shapely.Polygon(SQUARE[::-1] if backwards else SQUARE, [HOLE])
    for mixed in (holed, parts, shapely.GeometryCollection([HOLED, shapely.Point(3, 3)])):
        assert shared(solid, mixed) == pytest.approx(solid.intersection(mixed).area, abs=1e-9)
        assert shared(mixed, solid) == pytest.approx(solid.intersection(mixed).area, abs=1e-9)


def test_outlines_of_many_vertices_go_the_other_way_and_share_the_same():
    few = shapely.Point(0, 0).buffer(10, quad_segs=2)
    for segments in (3, 40):
        other = shapely.Point(6, 1).buffer(9, quad_segs=segments)
        assert (8 * 4 * segments > MANY) == (segments == 40)
        assert shared(few, other) == pytest.approx(few.intersection(other).area, abs=1e-9)


@given(buildings(), buildings(), st.floats(0.1, 8))
@settings(max_examples=60, deadline=None)
def test_the_nearest_edge_to_a_disc_is_within_reach(one, other, reach):
    edges = edges_of(object_array([shapely.Polygon(one), shapely.Polygon(other)]))
    rng = np.random.default_rng(3)
    middle, owner = rng.uniform(-10, 60, (40, 2)), rng.integers(0, 2, 40)
    near = within_reach(middle, np.full(40, reach), owner, edges)
    turn, far = rng.uniform(0, 7, 40), reach * rng.random(40)
    points = middle + np.stack([np.cos(turn), np.sin(turn)], axis=1) * far[:, None]
    for known, found in zip(nearest(points, owner, edges),
                            nearest(points, np.arange(40), near), strict=True):  # fmt: skip
        assert np.array_equal(known, found)
    assert np.all(near.counts <= edges.counts[owner])

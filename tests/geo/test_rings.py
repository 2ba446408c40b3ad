from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.features import rasterize

from buildex.geo.rings import (
    area,
    boundary_distances,
    bounds,
    centroid,
    clip,
    fill,
    fill_of_points,
    opened,
    oriented,
    segment_distances,
    signed_area,
    simplify,
    transformed,
)
from tests.geo.shapes import HOLE, L_SHAPE, SQUARE, buildings, same_polygon

COORDINATES = st.floats(-20, 120, allow_subnormal=False).map(lambda v: round(v, 3))
POINTS = arrays(float, st.tuples(st.integers(3, 9), st.just(2)), elements=COORDINATES)
CENTRES = arrays(
    float,
    st.tuples(st.integers(4, 9), st.just(2)),
    elements=st.integers(-3, 12).map(lambda v: v + 0.5),
)


def far_from_edges(rings: tuple[np.ndarray, ...], size: int) -> np.ndarray:
    """Pixels (size, size) whose centre is not on an outline, where the rule could differ."""
    y, x = np.mgrid[:size, :size] + 0.5
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    return (boundary_distances(points, rings) > 1e-6).reshape(size, size)


def test_opened_drops_the_closing_point_and_repeats():
    closed = [[0, 0], [0, 0], [4, 0], [4, 4], [0, 0]]
    assert same_polygon(opened(closed), np.array([[0.0, 0], [4, 0], [4, 4]]), 0)
    assert len(opened([])) == 0
    assert opened([[1, 1], [1, 1]]).tolist() == [[1, 1]]


def test_areas_by_hand():
    assert signed_area(SQUARE) == 1600
    assert signed_area(SQUARE[::-1]) == -1600
    assert area((SQUARE, HOLE)) == 1600 - 256
    assert area(()) == 0
    assert signed_area(SQUARE[:2]) == 0


@given(POINTS)
def test_a_point_far_away_does_not_change_an_area(ring):
    assert signed_area(ring + 1e6) == pytest.approx(signed_area(ring), abs=1e-3)
    assert signed_area(np.roll(ring, 2, axis=0)) == pytest.approx(signed_area(ring), abs=1e-6)


def test_oriented_turns_outline_and_holes_against_each_other():
    for rings in ((SQUARE, HOLE), (SQUARE[::-1], HOLE), (SQUARE, HOLE[::-1])):
        outline, hole = oriented(rings)
        assert signed_area(outline) > 0 > signed_area(hole)


@given(buildings())
def test_centroid_and_bounds_are_those_of_shapely(ring):
    polygon = shapely.Polygon(ring)
    assert centroid(ring) == pytest.approx((polygon.centroid.x, polygon.centroid.y))
    assert bounds((ring,)) == pytest.approx(polygon.bounds)


def test_the_centroid_of_a_line_is_the_mean_of_its_points():
    assert centroid(np.array([[0.0, 0], [2, 0], [4, 0]])) == (2, 0)


@given(buildings())
def test_a_transform_scales_the_area_by_its_determinant(ring):
    matrix = np.array([[2.0, 0.5, 7], [0.25, -3, 9]])
    determinant = 2 * -3 - 0.5 * 0.25
    (moved,) = transformed((ring,), matrix)
    assert signed_area(moved) == pytest.approx(determinant * signed_area(ring))


def test_fill_takes_pixels_whose_centre_lies_inside():
    ring = np.array([[0.6, 0.4], [3.4, 0.4], [3.4, 1.6], [0.6, 1.6]])
    assert fill((ring,), 3, 4).astype(int).tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]


def test_neighbours_with_a_shared_wall_share_no_pixel_and_leave_none():
    left = np.array([[0.0, 0], [3.5, 0], [4.5, 8], [0, 8]])
    right = np.array([[3.5, 0], [8.0, 0], [8, 8], [4.5, 8]])
    a, b = fill((left,), 8, 8), fill((right,), 8, 8)
    assert not (a & b).any()
    assert (a | b).all()


@given(buildings(), st.booleans())
@settings(max_examples=50)
def test_fill_is_what_gdal_rasterizes(ring, holed):
    rings = (ring, ring.mean(axis=0) + (ring - ring.mean(axis=0)) * 0.3) if holed else (ring,)
    shape = shapely.Polygon(rings[0])
    if holed:
        shape = shape.symmetric_difference(shapely.Polygon(rings[1]))  # even-odd, as `fill`
    known = rasterize([shape], out_shape=(140, 140)).astype(bool)
    same = fill(rings, 140, 140) == known
    assert same[far_from_edges(rings, 140)].all()


@given(POINTS)
@settings(max_examples=50)
def test_fill_of_a_ring_that_crosses_itself_is_even_odd(ring):
    mask = fill((ring,), 100, 100)
    inverse = fill((np.array([[0.0, 0], [100, 0], [100, 100], [0, 100]]), ring), 100, 100)
    assert (mask ^ inverse).all()


@given(buildings())
def test_fill_covers_about_the_area(ring):
    # A boundary of length p passes through at most about p pixels in each direction.
    perimeter = shapely.Polygon(ring).length
    assert abs(fill((ring,), 140, 140).sum() - area((ring,))) <= perimeter


def test_fill_of_what_lies_outside_or_is_no_polygon_is_empty():
    assert not fill((SQUARE + 500,), 60, 60).any()
    assert not fill((SQUARE - 500,), 60, 60).any()
    assert not fill((SQUARE[:2],), 60, 60).any()
    assert not fill((), 5, 5).any()


@given(st.one_of(buildings(), POINTS.filter(lambda ring: len(ring) > 3), CENTRES))
@settings(max_examples=200)
def test_a_point_adds_to_the_fill_what_is_gone_without_it(ring):
    whole, column = fill((ring,), 90, 80), np.arange(80)
    for k, (first, last) in enumerate(zip(*fill_of_points(ring, 90, 80), strict=True)):
        turned = (first[:, None] <= column) & (column < last[:, None])
        assert np.array_equal(whole ^ turned, fill((np.delete(ring, k, axis=0),), 90, 80))


def test_without_a_corner_the_half_of_a_square_on_its_side_of_the_diagonal_is_gone():
    first, last = fill_of_points(np.array([[0.0, 0], [3, 0], [3, 3], [0, 3]]), 3, 4)
    assert (last - first).tolist() == [[2, 1, 0], [3, 2, 1], [1, 2, 3], [0, 1, 2]]
    assert first[1].tolist() == [0, 1, 2]


@given(buildings(), COORDINATES, COORDINATES, st.floats(5, 80), st.floats(5, 80))
def test_clip_keeps_the_area_that_shapely_keeps(ring, x, y, width, height):
    kept, made = clip(ring, (x, y, x + width, y + height))
    known = shapely.Polygon(ring).intersection(shapely.box(x, y, x + width, y + height))
    assert abs(signed_area(kept)) == pytest.approx(known.area, abs=1e-6)
    assert len(made) == len(kept)


@given(buildings(), COORDINATES, COORDINATES)
def test_clip_says_which_points_the_box_made(ring, x, y):
    box = (x, y, x + 50, y + 50)
    kept, made = clip(ring, box)
    corners = {tuple(point) for point in ring.tolist()}
    for point, new in zip(kept, made, strict=True):
        assert new or tuple(point.tolist()) in corners
        on_edge = np.isclose(point, box[:2]).any() or np.isclose(point, box[2:]).any()
        assert on_edge or not new
        assert (point >= np.array(box[:2]) - 1e-9).all()
        assert (point <= np.array(box[2:]) + 1e-9).all()


def test_clip_leaves_a_ring_inside_alone_and_nothing_of_one_outside():
    kept, made = clip(SQUARE, (0, 0, 60, 60))
    assert kept.tolist() == SQUARE.tolist()
    assert not made.any()
    assert len(clip(SQUARE, (60, 60, 90, 90))[0]) == 0
    assert len(clip(SQUARE, (50, 10, 90, 50))[0]) == 0  # only a wall in common


@given(POINTS, st.floats(0.1, 20))
def test_simplify_stays_within_its_tolerance(ring, tolerance):
    ring = opened(ring)
    simple = simplify(ring, tolerance)
    assert len(simple) <= len(ring)
    if shapely.MultiPoint(ring).convex_hull.area > 1e-6:  # points on one line may leave two
        assert len(simple) >= 3
    assert {tuple(p) for p in simple.tolist()} <= {tuple(p) for p in ring.tolist()}
    if len(simple) > 1:
        assert boundary_distances(ring, (simple,)).max() <= tolerance + 1e-9


def test_simplify_drops_points_on_straight_walls_and_keeps_corners():
    halfway = (L_SHAPE + np.roll(L_SHAPE, -1, axis=0)) / 2
    dense = np.stack([L_SHAPE, halfway], axis=1).reshape(-1, 2)
    simple = simplify(dense, 0.01)
    assert sorted(map(tuple, simple.tolist())) == sorted(map(tuple, L_SHAPE.tolist()))


@given(POINTS, buildings())
def test_distances_are_those_of_shapely(points, ring):
    edge, segment = shapely.LinearRing(ring), shapely.LineString(ring[:2])
    known = shapely.distance(shapely.points(points), edge)
    assert boundary_distances(points, (ring,)) == pytest.approx(known, abs=1e-9)
    known = shapely.distance(shapely.points(points), segment)
    assert segment_distances(points, ring[0], ring[1]) == pytest.approx(known, abs=1e-9)


def test_the_distance_to_a_segment_without_length_is_that_to_its_point():
    point = np.array([3.0, 4.0])
    assert segment_distances(np.zeros((1, 2)), point, point).tolist() == [5]

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from buildex.geo import measures
from buildex.geo.edges import edges_of, nearest
from buildex.geo.footprints import object_array, to_rings
from buildex.geo.shape_measures import (
    centroid_offsets,
    max_tangent_angles,
    outline_distances,
    polis_as_published,
    polis_distances,
)
from tests.geo import references
from tests.geo.shapes import HOLE, SQUARE, buildings

SHAPES = st.lists(buildings().map(shapely.Polygon), min_size=1, max_size=5)
TEN = shapely.box(0, 0, 10, 10)
HOLED = shapely.Polygon(SQUARE, [HOLE])


def array(*polygons: shapely.Geometry) -> np.ndarray:
    return object_array(list(polygons))


def hausdorff(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return outline_distances(edges_of(a), edges_of(b))[1]


def turned(polygon: shapely.Polygon, shift: int, backwards: bool) -> shapely.Polygon:
    """The same polygon, begun elsewhere or drawn the other way round."""
    ring = np.roll(shapely.get_coordinates(polygon)[:-1], shift, axis=0)
    return shapely.Polygon(ring[::-1] if backwards else ring)


def test_edges_leave_out_what_has_no_length():
    repeated = shapely.Polygon([(0, 0), (4, 0), (4, 0), (4, 3), (0, 0)])
    edges = edges_of(array(repeated, HOLED, shapely.Polygon()))
    assert edges.counts.tolist() == [3, 8, 0]
    assert edges.length[:3].tolist() == [4, 3, 5]
    assert edges_of(array(HOLED), outlines_only=True).counts.tolist() == [4]


def test_edges_of_groups_are_those_of_their_members():
    edges = edges_of(array(TEN, HOLED, TEN)).grouped(np.array([0, 0, 2]), 3)
    assert edges.counts.tolist() == [12, 0, 4]
    assert edges_of(array(TEN, HOLED)).take(np.array([1, 0])).counts.tolist() == [8, 4]


def test_the_nearest_place_by_hand():
    points = np.array([[5.0, -2], [13, 14], [5, 4]])
    gaps, feet = nearest(points, np.zeros(3, dtype=int), edges_of(array(TEN)))
    assert gaps.tolist() == [2, 5, 4]
    assert feet.tolist() == [[5, 0], [10, 10], [5, 0]]


@given(SHAPES, SHAPES)
@settings(max_examples=30, deadline=None)
def test_polis_of_many_is_polis_of_each(first, second):
    pairs = list(zip(first, second, strict=False))
    a, b = (array(*side) for side in zip(*pairs, strict=True))
    for many, one in (
        (polis_distances, measures.polis),
        (polis_as_published, references.polis_as_published),
    ):
        known = [one(to_rings(p), to_rings(q)) for p, q in pairs]
        assert many(a, b) == pytest.approx(known, abs=1e-9)
    at_once = outline_distances(edges_of(a), edges_of(b))[0]
    assert at_once == pytest.approx(polis_distances(a, b), abs=1e-12)


def test_polis_sees_holes_and_published_code_does_not():
    assert polis_distances(array(HOLED), array(HOLED)).tolist() == [0]
    assert polis_distances(array(HOLED), array(shapely.Polygon(SQUARE)))[0] > 0
    assert polis_as_published(array(HOLED), array(shapely.Polygon(SQUARE)))[0] == 0


def test_polis_of_published_code_is_a_fifth_too_small_for_squares():
    moved = array(shapely.box(1, 0, 11, 10))
    assert polis_distances(array(TEN), moved).tolist() == pytest.approx([0.5])
    assert polis_as_published(array(TEN), moved).tolist() == pytest.approx([0.4])


def test_no_pairs_have_no_shape():
    none = array()
    for measure in (polis_distances, polis_as_published, hausdorff):
        assert len(measure(none, none)) == 0
    assert max_tangent_angles(none, edges_of(none), 0.2).tolist() == []
    assert centroid_offsets(none, none).shape == (0, 2)


def test_hausdorff_sees_what_lies_between_vertices():
    # The wall's middle dents inwards by 3 m; the square has no vertex there.
    dented = shapely.Polygon([(0, 0), (5, 3), (10, 0), (10, 10), (0, 10)])
    assert hausdorff(array(TEN), array(dented))[0] == pytest.approx(3, abs=1e-3)
    # Middles of the long sides lie 2 m from a spike's slopes at most, vertices touch.
    bridge = shapely.Polygon([(0, 0), (10, 0), (10, 10), (5, 1), (0, 10)])
    gap = hausdorff(array(TEN), array(bridge))[0]
    dense = shapely.hausdorff_distance(TEN.boundary, bridge.boundary, densify=0.001)
    assert gap == pytest.approx(dense, abs=2e-2)
    assert gap > shapely.hausdorff_distance(TEN, bridge) - 1e-9


@given(SHAPES, SHAPES)
@settings(max_examples=30, deadline=None)
def test_hausdorff_is_that_of_dense_outlines(first, second):
    pairs = list(zip(first, second, strict=False))
    a, b = (array(*side) for side in zip(*pairs, strict=True))
    step = 0.05
    dense = [shapely.segmentize(shapely.boundary(p), step) for p in (a, b)]
    known = shapely.hausdorff_distance(*dense)
    found = hausdorff(a, b)
    assert np.all(found >= known - 1e-3 - 1e-9)
    assert np.all(found <= known + step)
    assert hausdorff(b, a) == pytest.approx(found, abs=2e-3)
    assert hausdorff(a, a) == pytest.approx(np.zeros(len(a)), abs=1e-3)


def test_the_tangent_angle_of_a_turned_wall_is_its_turn():
    # One wall of the prediction leans by atan(1 / 10).
    leaning = shapely.Polygon([(0, 0), (10, 0), (11, 10), (0, 10)])
    angle = max_tangent_angles(array(leaning), edges_of(array(TEN)), 0.2)
    assert angle[0] == pytest.approx(math.degrees(math.atan(0.1)), abs=1e-6)


def test_equal_outlines_have_no_tangent_error():
    both = array(TEN, HOLED)
    assert max_tangent_angles(both, edges_of(both), 0.2) == pytest.approx([0, 0], abs=1e-5)


def test_stretches_that_collapse_are_left_out():
    # Every point of the far box projects to one corner: nothing is left to measure.
    far = shapely.box(50, 50, 60, 60)
    assert np.isnan(max_tangent_angles(array(far), edges_of(array(TEN)), 0.2)[0])


@given(buildings().map(shapely.Polygon), buildings().map(shapely.Polygon), st.integers(0, 7),
       st.booleans())  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_shapes_do_not_depend_on_start_or_direction(a, b, shift, backwards):
    one, same, other = array(a), array(turned(a, shift, backwards)), array(b)
    for measure in (polis_distances, polis_as_published, hausdorff):
        assert measure(same, other) == pytest.approx(measure(one, other), abs=2e-3)
        assert measure(other, same) == pytest.approx(measure(other, one), abs=2e-3)
    assert centroid_offsets(same, other) == pytest.approx(centroid_offsets(one, other))
    angles = max_tangent_angles(array(a), edges_of(other), 0.5)
    again = max_tangent_angles(array(a), edges_of(array(turned(b, shift, backwards))), 0.5)
    assert again == pytest.approx(angles, abs=1e-4, nan_ok=True)
    assert np.all(np.isnan(angles) | ((angles >= 0) & (angles <= 90)))


def test_offsets_run_from_truth_to_prediction():
    moved = shapely.box(3, -4, 13, 6)
    assert centroid_offsets(array(moved), array(TEN)).tolist() == [[3, -4]]


def max_tangent_angle_point_by_point(p: shapely.Polygon, t: shapely.Polygon, step: float) -> float:
    """The definition of docs/metrics.md, one point after the other."""
    angles, wall = [], t.boundary
    corners = shapely.get_coordinates(p)
    for a, b in itertools.pairwise(corners):
        pieces = math.ceil(math.dist(a, b) / step)
        points = [a + (b - a) * k / pieces for k in range(pieces + 1)]
        feet = [wall.interpolate(wall.project(shapely.Point(*q))).coords[0] for q in points]
        for k in range(pieces):
            was, became = points[k + 1] - points[k], np.subtract(feet[k + 1], feet[k])
            if np.hypot(*was) / 2 < np.hypot(*became) < np.hypot(*was) * 2:
                turn = np.arctan2(*became[::-1]) - np.arctan2(*was[::-1])
                angles.append(abs((math.degrees(turn) + 180) % 360 - 180))
    return max(angles, default=math.nan)


@pytest.mark.parametrize("seed", range(12))
def test_the_tangent_angle_is_that_of_each_point(seed):
    rng = np.random.default_rng(seed)
    ring = np.array([[0, 0], [14, 1], [13, 6], [7, 5], [8, 11], [1, 12.0]])
    truth = shapely.Polygon(ring + rng.normal(0, 0.7, ring.shape))
    prediction = shapely.Polygon(ring + rng.normal(0, 0.7, ring.shape))
    angle = max_tangent_angles(array(prediction), edges_of(array(truth)), 0.23)[0]
    known = max_tangent_angle_point_by_point(prediction, truth, 0.23)
    assert angle == pytest.approx(known, abs=1e-6)

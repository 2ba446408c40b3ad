from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from buildex.geo import axes
from buildex.geo.footprints import to_polygon, to_rings
from tests.geo import references
from tests.geo.shapes import HOLE, L_SHAPE, SQUARE, buildings

CHAMFERED = np.array([[0.0, 0], [10, 0], [10, 9], [9, 10], [0, 10]])


def objects(polygons):
    out = np.empty(len(polygons), dtype=object)
    out[:] = polygons
    return out


def turned(polygon, degrees):
    return shapely.affinity.rotate(polygon, degrees, origin=(0, 0))


def test_a_house_has_the_bearing_of_its_walls_clockwise_from_north():
    house = shapely.box(0, 0, 20, 10)
    bearings = axes.orientations(objects([turned(house, a) for a in (0, -10, 10, -80, -90)]))
    assert bearings % 90 == pytest.approx([0, 10, 80, 80, 0], abs=1e-9)


def test_a_bearing_a_hair_below_0_is_0_and_not_90():
    gable = shapely.Polygon([(0, 0), (20, 1e-15), (10, -1)])
    assert axes.orientations(objects([gable])).tolist() == [0.0]


def test_the_greatest_length_of_edges_names_the_axes_not_the_longest_edge():
    # Three walls of 10 along the axes, and one oblique wall of 14.
    ring = np.array([[0.0, 0], [10, 0], [10, 10], [5, 15], [0, 10]])
    assert axes.orientations(objects([to_polygon((ring,))]))[0] % 90 == pytest.approx(0, abs=1e-9)


def test_one_skew_wall_turns_the_axes_no_more_than_it_must():
    ring = np.array([[0.0, 0], [20, 0], [20, 9.5], [0, 10]])  # one wall leans by 1.4 degrees
    assert abs(axes.off_axis(axes.orientations(objects([to_polygon((ring,))])), 0.0)[0]) < 0.7


@settings(max_examples=60)
@given(st.lists(buildings(), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_squareness_is_that_of_the_formula_for_each_building(rings, seed):
    rng = np.random.default_rng(seed)
    polygons = objects([to_polygon((r + rng.normal(0, 1.5, r.shape),)) for r in rings])
    expected = [s / n for s, n in (references.square_edges(to_rings(p)) for p in polygons)]
    assert axes.squareness(polygons) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rings", "square", "edges"),
    [((SQUARE,), 4, 4), ((L_SHAPE, HOLE), 10, 10), ((CHAMFERED,), 4, 5)],
)
def test_square_edges_by_hand(rings, square, edges):
    assert axes.squareness(objects([to_polygon(rings)])).tolist() == [square / edges]
    assert references.square_edges(rings) == (square, edges)


@pytest.mark.parametrize(("degrees", "share"), [(4.9, 1.0), (5.1, 0.75)])
def test_an_edge_is_square_up_to_five_degrees(degrees, share):
    rise = 10 * math.tan(math.radians(degrees))
    leaning = shapely.Polygon([(0, 0), (10, 0), (10, 10 + rise), (0, 10)])
    assert axes.squareness(objects([leaning])).tolist() == [share]


@given(buildings(), st.floats(0, 360))
def test_squareness_does_not_depend_on_the_compass(ring, degrees):
    # To a hundredth of a degree of the tolerance, for turning rounds.
    house = to_polygon((ring,))
    here, there = objects([house]), objects([turned(house, degrees)])
    assert axes.squareness(there, 4.99)[0] <= axes.squareness(here, 5.0)[0]
    assert axes.squareness(here, 5.0)[0] <= axes.squareness(there, 5.01)[0]


def test_edges_of_holes_count():
    hole = HOLE @ np.array([[np.cos(0.4), np.sin(0.4)], [-np.sin(0.4), np.cos(0.4)]]) + [10, -8]
    polygon = to_polygon((SQUARE, hole))
    assert polygon.is_valid
    assert axes.squareness(objects([polygon]))[0] == pytest.approx(0.5)


def test_nothing_has_no_axes():
    nothing = objects([shapely.Polygon(), to_polygon((L_SHAPE,))])
    assert np.isnan(axes.squareness(nothing)).tolist() == [True, False]
    assert np.isnan(axes.orientations(nothing)).tolist() == [True, False]
    assert axes.squareness(objects([])).shape == (0,)

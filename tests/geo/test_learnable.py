from __future__ import annotations

import numpy as np
import pytest
import shapely

from buildex.geo.footprints import object_array
from buildex.geo.learnable import AROUND, certain, learnable

HOUSE = shapely.box(10, 10, 20, 20)
BLOB = shapely.Point(15, 15).buffer(5, quad_segs=5)  # 20 vertices
KITE = shapely.Polygon([(0, 0), (10, 3), (8, 11), (1, 6)])


def test_the_sure_with_the_shape_of_a_building_are_labels():
    shapes = object_array([HOUSE, HOUSE, BLOB, KITE])
    found = learnable(shapes, np.array([0.6, 0.59, 0.95, 0.95]), 0.6)
    assert found.tolist() == [True, False, False, False]


def test_what_a_mapper_drew_has_no_score_and_is_a_label_of_any_shape():
    found = learnable(object_array([HOUSE, BLOB]), np.array([np.nan, np.nan]), 0.6)
    assert found.tolist() == [True, True]


@pytest.mark.parametrize("metre", [1.0, 10.0])
def test_the_doubtful_leaves_the_area_with_a_margin_in_metres(metre):
    frame = shapely.box(0, 0, 400, 400)
    area = certain(frame, object_array([]), object_array([HOUSE]), metre)
    assert not area.intersects(shapely.Point(15, 20 + 0.9 * AROUND * metre))
    assert area.covers(shapely.Point(15, 20 + 1.1 * AROUND * metre))


def test_a_label_beside_something_doubtful_stays_whole():
    beside = shapely.box(20, 10, 30, 20)
    area = certain(shapely.box(0, 0, 100, 100), object_array([HOUSE]), object_array([beside]))
    assert area.covers(HOUSE)
    assert not area.intersects(shapely.box(20.5, 10, 30, 20))


def test_without_anything_doubtful_the_area_stays_as_it_is():
    frame = shapely.box(0, 0, 100, 100)
    assert certain(frame, object_array([HOUSE]), object_array([])).equals(frame)

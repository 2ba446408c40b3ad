from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildex.geo.grouping import Grouping, group
from buildex.geo.paper import distance_matrix, extremes, group_by_distance
from tests.geo.shapes import L_SHAPE, SQUARE, same_polygon


def test_extremes_are_left_right_up_and_down_each_once():
    points = np.array([[5.0, 5], [0, 4], [9, 6], [4, 0], [6, 9]])
    assert extremes(points) == [1, 2, 3, 4]
    assert extremes(SQUARE) == [0, 1, 2]


def test_the_matrix_holds_distances():
    matrix = distance_matrix(np.array([[0.0, 0], [3, 4]]))
    assert matrix[0, 1] == 5
    assert np.isinf(matrix[0, 0])


def test_the_walk_starts_beside_an_extreme_point_and_goes_there_first():
    points = np.array([[10.0, 5], [1, 5.2], [0, 5], [5, 0], [5, 10]])
    assert group_by_distance(points)[:2].tolist() == [[1, 5.2], [0, 5]]


@given(st.permutations(range(4)))
def test_a_rectangle_comes_back_in_any_order(order):
    rectangle = np.array([[0.0, 0], [9, 0], [9, 4], [0, 4]])
    # Nearest neighbour: a short side, a long one, a short one.
    assert same_polygon(group_by_distance(rectangle[list(order)]), rectangle, 0)


def test_a_long_concave_shape_is_what_the_method_fails_on():
    u_shape = np.array([[0.0, 0], [30, 0], [30, 20], [20, 20], [20, 4], [10, 4], [10, 20], [0, 20]])
    assert not same_polygon(group_by_distance(u_shape), u_shape, 0)


def test_the_walk_goes_on_where_it_could_close_before_all_points_are_used():
    points = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2.2], [10, 1], [10, 3]])
    assert len(group_by_distance(points)) == 6


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_points_are_no_polygon(count):
    assert group_by_distance(np.zeros((count, 2))).shape == (0, 2)


def test_the_grouping_is_selectable():
    mask = np.zeros((56, 56), np.float32)
    mask[10:40, 10:40] = 1
    points = L_SHAPE / 2
    (ring,) = group(mask, points, np.ones(6), Grouping(method="paper"))
    assert {tuple(p) for p in ring} == {tuple(p) for p in points}
    (outline,) = group(mask, points, np.ones(6), Grouping(method="mask"))
    assert len(outline) == 4

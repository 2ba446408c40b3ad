from __future__ import annotations

import numpy as np
import shapely

from buildex.geo.finishing import Finishing, finish, without_holes, without_spurs
from buildex.geo.footprints import object_array
from buildex.geo.regularize import Regularizing

STEPPED = shapely.Polygon([(0, 0), (10, 0), (10, 8), (5, 8), (5, 8.4), (0, 8.4)])
SETTINGS = Finishing(Regularizing(tolerance=0.6), surest=0.1)


def corners(sure):
    done = finish(object_array([STEPPED]), np.ones(1), SETTINGS, np.array([sure]))
    return int(done.columns["n_vertices"][0])


def test_a_small_step_stays_where_its_corners_were_surely_seen():
    assert corners(1.0) == 6


def test_a_small_step_goes_where_they_were_not():
    assert corners(0.2) == 4


def test_each_outline_is_squared_once_as_its_own_corners_want():
    two = object_array([STEPPED, shapely.affinity.translate(STEPPED, 50)])
    for sure, counts in (((1.0, 0.2), [6, 4]), ((0.2, 1.0), [4, 6])):
        done = finish(two, np.ones(2), SETTINGS, np.array(sure))
        assert done.columns["n_vertices"].tolist() == counts


def test_without_a_word_on_sureness_outlines_are_squared_as_usual():
    done = finish(object_array([STEPPED]), np.ones(1), SETTINGS)
    assert done.columns["n_vertices"].tolist() == [4]


def test_dark_spots_are_filled_and_courtyards_stay():
    spot, court = shapely.box(1, 1, 3, 3), shapely.box(10, 10, 20, 20)
    house = shapely.box(0, 0, 30, 30)
    holed = house.difference(spot).difference(court)
    plain, filled = without_holes(object_array([house, holed]), 10.0)
    assert plain is house
    assert filled.equals(house.difference(court))
    done = finish(object_array([holed]), np.ones(1), SETTINGS)
    assert len(done.polygons[0].interiors) == 1


def test_a_spur_goes_and_a_house_without_one_stays_as_it_is():
    house = shapely.box(0, 0, 10, 8)
    spurred = house.union(shapely.box(10, 4, 14, 4.2))
    out, origin = without_spurs(object_array([house, spurred]), 0.5, 10.0)
    assert out[0] is house
    assert out[1].symmetric_difference(house).area < 0.1
    assert origin.tolist() == [0, 1]


def test_two_roofs_that_a_neck_holds_together_are_two_buildings_and_a_porch_is_none():
    roof, other, porch = (0, 0, 10, 8), (12, 3, 16, 6), (4, 9, 6, 11)
    necks = (10, 4, 12, 4.3), (4.2, 8, 4.4, 9)
    one = shapely.union_all([shapely.box(*box) for box in (roof, other, porch, *necks)])
    done = finish(object_array([shapely.box(50, 0, 60, 9), one]), np.array([0.6, 0.9]), SETTINGS)
    assert done.kept.tolist() == [0, 1, 1]
    assert done.columns["area_m2"].tolist() == [90, 80, 12]


def test_outlines_that_rounding_has_crossed_are_mended_before_anything_is_cut():
    # A wall that crosses itself, as moving a hair-thin neck to the ground may leave it.
    crossed = shapely.Polygon([(0, 0), (10, 0), (10, 8), (12, 9), (12, 8), (10, 9), (0, 9)])
    nothing = shapely.Polygon([(20, 0), (30, 0), (20, 0)])
    given = object_array([crossed, nothing])
    assert not shapely.is_valid(given).any()
    done = finish(given, np.array([0.9, 0.8]), SETTINGS)
    assert shapely.is_valid(done.polygons).all()
    assert done.kept.tolist() == [0]
    assert abs(done.polygons[0].area - 90) < 1


def test_one_direction_has_one_orientation():
    house, place = shapely.box(0, 0, 10, 8), (0, 0)
    turned = [shapely.affinity.rotate(house, a, place) for a in (0, -0.04, 0.04, 90, 179.98)]
    done = finish(
        object_array([shapely.affinity.translate(t, 50 * k) for k, t in enumerate(turned)]),
        np.ones(5),
        SETTINGS,
    )
    assert done.columns["orientation"].tolist() == [0.0] * 5

import numpy as np
import shapely

from buildex.geo.boxes import PixelBox
from buildex.geo.cutting import mask, parts
from buildex.geo.rings import area

EVERYWHERE = shapely.box(-1000, -1000, 1000, 1000)
TILE = PixelBox(0, 0, 50, 50)


def test_a_building_inside_is_kept_whole_with_all_its_corners():
    house = shapely.Polygon([(10, 10), (30, 10), (30, 20), (10, 20)])
    (part,) = parts(house, TILE, EVERYWHERE)
    assert part.kept == 1
    assert area(part.rings) == 200
    assert part.corners[0].all()


def test_points_that_the_cut_makes_are_no_corners():
    house = shapely.Polygon([(40, 10), (60, 10), (60, 20), (40, 20)])
    (part,) = parts(house, TILE, EVERYWHERE)
    assert part.kept == 0.5
    points = {tuple(p): bool(c) for p, c in zip(part.rings[0], part.corners[0], strict=True)}
    assert points == {(40, 10): True, (40, 20): True, (50, 10): False, (50, 20): False}


def test_coordinates_are_those_of_the_tile():
    house = shapely.box(110, 210, 130, 220)
    (part,) = parts(house, PixelBox(100, 200, 150, 250), EVERYWHERE)
    assert part.rings[0].min(axis=0).tolist() == [10, 10]


def test_a_building_may_fall_into_parts():
    horseshoe = shapely.Polygon(
        [(30, 5), (70, 5), (70, 40), (30, 40), (30, 30), (60, 30), (60, 15), (30, 15)]
    )
    found = parts(horseshoe, TILE, EVERYWHERE)
    assert [round(part.kept * horseshoe.area) for part in found] == [200, 200]


def test_holes_stay_holes():
    court = shapely.Polygon(
        [(5, 5), (45, 5), (45, 45), (5, 45)], [[(20, 20), (30, 20), (30, 30), (20, 30)]]
    )
    (part,) = parts(court, TILE, EVERYWHERE)
    assert len(part.rings) == 2
    assert area(part.rings) == 1500
    assert all(flags.all() for flags in part.corners)


def test_slivers_are_dropped():
    assert parts(shapely.box(49.9, 0, 80, 50), TILE, EVERYWHERE) == []


def test_what_lies_outside_the_area_is_cut_away():
    (part,) = parts(shapely.box(10, 10, 30, 20), TILE, shapely.box(0, 0, 20, 50))
    assert part.kept == 0.5


def test_the_mask_holds_the_pixels_whose_centre_is_inside():
    inside = mask(shapely.box(12.4, 3, 30, 40), PixelBox(10, 0, 20, 10))
    assert np.flatnonzero(inside[5]).tolist() == [2, 3, 4, 5, 6, 7, 8, 9]
    assert inside.sum() == 8 * 7


def test_the_mask_respects_holes_and_parts():
    ring = shapely.box(0, 0, 10, 10).difference(shapely.box(2, 2, 4, 4))
    both = shapely.union(ring, shapely.box(15, 0, 16, 1))
    assert mask(both, PixelBox(0, 0, 20, 10)).sum() == 96 + 1

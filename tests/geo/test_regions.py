from __future__ import annotations

import numpy as np
import pytest

from buildex.geo.grouping import polygons_of
from buildex.geo.keypoints import RoiCodec
from buildex.geo.measures import polis
from buildex.geo.regions import BAND, drawn, instances, separated
from buildex.geo.rings import area, fill

SIDE = 96
CODEC = RoiCodec()


def rings(points):
    return (np.array(points, dtype=float),)


ALONE = rings([[8, 10], [40, 10], [40, 34], [8, 34]])
LEFT = rings([[10, 50], [45, 50], [45, 80], [10, 80]])
RIGHT = rings([[45, 50], [80, 50], [80, 72], [45, 72]])  # shares a wall with LEFT
CUT = rings([[70, 8], [110, 8], [110, 30], [70, 30]])  # by the tile's right edge


def sure(buildings, side=SIDE):
    return drawn(buildings, side, side)


def test_a_boundary_is_a_band_inside_the_outline():
    building, boundary = sure([ALONE])
    assert building.sum() == 32 * 24
    assert boundary.sum() == 32 * 24 - (32 - 2 * BAND) * (24 - 2 * BAND)
    assert (boundary <= building).all()


def test_touching_buildings_have_a_boundary_between_them_and_a_cut_one_none_at_the_edge():
    building, boundary = sure([LEFT, RIGHT, CUT])
    assert building[60, 40:50].all()
    assert boundary[60, 45 - BAND : 45 + BAND].all()
    assert not boundary[19, 75:].any()


def test_a_courtyard_is_no_building_and_has_a_boundary_around_it():
    yard = (ALONE[0], np.array([[18.0, 18], [18, 26], [30, 26], [30, 18]]))
    building, boundary = sure([yard])
    assert not building[20, 20]
    assert boundary[20, 17]


def test_touching_buildings_are_told_apart_and_each_pixel_finds_its_own():
    owner = separated(*sure([ALONE, LEFT, RIGHT]))
    assert owner.max() == 3
    for building in (ALONE, LEFT, RIGHT):
        inside = fill(building, SIDE, SIDE)
        assert (owner[inside] == np.bincount(owner[inside]).argmax()).mean() > 0.98


def test_buildings_too_slim_for_a_core_are_not_lost():
    slim = rings([[10, 10], [60, 10], [60, 15], [10, 15]])
    assert separated(*sure([slim, LEFT])).max() == 2


def test_a_speck_between_boundaries_is_no_building_of_its_own():
    building, boundary = sure([LEFT])
    boundary[50:80, 25:28] = 1
    boundary[64:66, 26:27] = 0
    assert separated(building, boundary).max() == 2


@pytest.mark.parametrize("some", [[ALONE], [LEFT, RIGHT], [ALONE, LEFT, RIGHT, CUT]])
def test_what_is_drawn_comes_back_as_polygons(some):
    found = polygons_of(instances(*sure(some), CODEC, 99), CODEC)
    assert len(found) == len(some)
    for building in some:
        shown = (building[0].clip(0, SIDE),)
        nearest = min((polygon for polygon, *_ in found), key=lambda p: polis(p, shown))
        assert polis(nearest, shown) < 0.7
        assert area(nearest) == pytest.approx(area(shown), rel=0.05)


def test_the_surest_come_first_and_no_more_than_asked_for():
    building, boundary = sure([ALONE, LEFT])
    building *= 0.7
    building[45:] += 0.25 * (building[45:] > 0)
    both = instances(building, boundary, CODEC, 99)
    assert both.scores.tolist() == pytest.approx([0.95, 0.7], abs=1e-6)
    assert both.frames[0] == pytest.approx(CODEC.frames(np.array([10, 50, 45, 80]))[0])
    one = instances(building, boundary, CODEC, 1)
    assert np.array_equal(one.masks, both.masks[:1])


def test_nothing_gives_nothing_and_specks_are_nothing():
    blank = np.zeros((SIDE, SIDE), np.float32)
    speck = blank.copy()
    speck[4:7, 4:7] = 1
    for building in (blank, speck):
        maps = instances(building, blank, CODEC, 99)
        assert len(maps.scores) == len(maps.masks) == 0
        assert polygons_of(maps, CODEC) == []


def test_a_mask_is_free_of_its_neighbours():
    maps = instances(*sure([LEFT, RIGHT]), CODEC, 99)
    for mask, frame in zip(maps.masks, maps.frames, strict=True):
        mine = LEFT if frame[0] < 20 else RIGHT
        target = CODEC.encode(mine, frame).mask
        assert np.abs(mask - target).mean() < 0.03
    assert maps.heatmaps.shape == (2, 0, 0)
    assert maps.offsets.shape == (2, 2, 0, 0)

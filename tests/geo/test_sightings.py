"""What a tile saw ends where its ground ends."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine

from buildex.geo.grid import Grid
from buildex.geo.grouping import Grouped
from buildex.geo.sightings import sightings_of
from buildex.geo.tiles import TilePlace, cover

SIDE = 128


def seen(valid, *boxes, side=SIDE):
    """What the first tile of a mosaic of `side` pixels sees of roofs."""
    grid = Grid("EPSG:32737", Affine(0.1, 0, 5e5, 0, -0.1, 9e6), side, side)
    tiles = cover(grid, SIDE, 32)
    rings = [(shapely.get_coordinates(shapely.box(*box).exterior)[:-1],) for box in boxes]
    found = [Grouped(ring, 0.9, 1.0) for ring in rings]
    place = TilePlace(0, 0, tiles.box(0, 0))
    return list(sightings_of(found, valid, place, tiles, smallest=4.0, smallest_part=200.0))


def test_a_roof_ends_with_the_pixels_and_is_known_to():
    valid = np.ones((SIDE, SIDE), bool)
    valid[:, 60:] = False
    beyond, within, black = seen(valid, (40, 20, 90, 50), (5, 70, 30, 90), (58, 100, 90, 120))
    assert beyond.polygon.bounds == pytest.approx((40, 20, 61, 50), abs=1)
    assert beyond.edge
    assert within.polygon.area == 500
    assert not within.edge
    assert black.polygon.bounds[2] == pytest.approx(61, abs=1)


def test_a_roof_under_a_strip_without_ground_is_seen_on_both_sides():
    valid = np.ones((SIDE, SIDE), bool)
    valid[:, 60:70] = False
    large, small = seen(valid, (30, 20, 90, 50))
    assert large.polygon.bounds == pytest.approx((30, 20, 61, 50), abs=1)
    assert small.polygon.bounds == pytest.approx((69, 20, 90, 50), abs=1)
    assert large.edge
    assert small.edge


def test_a_sliver_beyond_a_strip_without_ground_is_no_building_but_a_small_roof_is():
    valid = np.ones((SIDE, SIDE), bool)
    valid[:, 60:70] = False
    roof, hut = seen(valid, (30, 20, 74, 50), (100, 100, 110, 110))
    assert roof.polygon.bounds == pytest.approx((30, 20, 61, 50), abs=1)
    assert hut.polygon.area == 100


def test_what_is_all_in_the_dark_is_no_building():
    valid = np.zeros((SIDE, SIDE), bool)
    valid[:20] = True
    assert seen(valid, (40, 60, 90, 90)) == []


def test_a_speck_without_ground_is_no_end():
    valid = np.ones((SIDE, SIDE), bool)
    valid[30:45, 50:65] = False
    (roof,) = seen(valid, (40, 20, 90, 50))
    assert roof.polygon.area == 1500
    valid[30:90, 50:110] = False
    (roof,) = seen(valid, (40, 20, 90, 50))
    assert roof.polygon.area < 1500 - 40 * 15


@pytest.mark.parametrize(
    "box", [(0, 40, 30, 60), (40, 1, 60, 30), (98, 40, 128, 60), (40, 98, 60, 127)]
)
def test_every_side_of_the_frame_is_an_end(box):
    valid = np.ones((SIDE, SIDE), bool)
    (roof,) = seen(valid, box)
    assert roof.edge
    assert not roof.cut
    (roof,) = seen(valid, box, side=2 * SIDE)
    assert roof.edge == (min(box) < 2)
    assert roof.cut == (max(box) > SIDE - 2)


def test_a_roof_over_a_speck_is_not_at_the_end():
    valid = np.ones((SIDE, SIDE), bool)
    valid[35, 41] = valid[0, 70] = False
    valid[40:55, 85:100] = False
    (roof,) = seen(valid, (40, 20, 90, 50))
    assert not roof.edge
    valid[40:80, 85:125] = False
    (roof,) = seen(valid, (40, 20, 90, 50))
    assert roof.edge


def test_an_island_with_ground_keeps_its_buildings():
    valid = np.ones((SIDE, SIDE), bool)
    valid[10:118, 10:118] = False
    valid[30:98, 30:98] = True
    island, guessed, mainland = seen(valid, (40, 50, 60, 70), (90, 50, 115, 70), (2, 2, 9, 120))
    assert island.polygon.area == 400
    assert not island.edge
    assert guessed.polygon.bounds == pytest.approx((90, 50, 99, 70), abs=1)
    assert guessed.edge
    assert mainland.polygon.area == pytest.approx(7 * 118, abs=9)


def test_a_thin_ring_without_ground_is_as_small_as_what_it_lacks():
    valid = np.ones((SIDE, SIDE), bool)
    valid[30:60, 30:60] = False
    valid[33:57, 33:57] = True
    (roof,) = seen(valid, (20, 20, 70, 70))
    assert roof.polygon.area == 2500
    assert not roof.edge

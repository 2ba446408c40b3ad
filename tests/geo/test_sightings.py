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


def seen(valid, *boxes):
    grid = Grid("EPSG:32737", Affine(0.1, 0, 5e5, 0, -0.1, 9e6), SIDE, SIDE)
    tiles = cover(grid, SIDE, 32)
    rings = [(shapely.get_coordinates(shapely.box(*box).exterior)[:-1],) for box in boxes]
    found = [Grouped(ring, 0.9, 1.0) for ring in rings]
    return list(sightings_of(found, valid, TilePlace(0, 0, tiles.box(0, 0)), tiles, 4.0))


def test_a_roof_ends_with_the_pixels_and_is_known_to():
    valid = np.ones((SIDE, SIDE), bool)
    valid[:, 60:] = False
    beyond, within, black = seen(valid, (40, 20, 90, 50), (5, 70, 30, 90), (58, 100, 90, 120))
    assert beyond.polygon.bounds == pytest.approx((40, 20, 61, 50), abs=1)
    assert beyond.edge
    assert within.polygon.area == 500
    assert not within.edge
    assert black.polygon.bounds[2] == pytest.approx(61, abs=1)


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

from __future__ import annotations

import itertools

import numpy as np
import pytest
import shapely

from buildex.geo.bands import Bands, Frontier
from buildex.geo.finishing import Finishing, finish
from buildex.geo.footprints import object_array
from buildex.geo.regularize import Regularizing
from buildex.geo.stitch import Stitched
from buildex.geo.walls import Walls, share_walls

SETTINGS = Finishing(Regularizing(tolerance=0.3), surest=0.1, walls=Walls(gap=0.3))


def stitched(polygons, scores=None):
    count = len(polygons)
    scores = np.linspace(0.9, 0.6, count) if scores is None else np.asarray(scores, dtype=float)
    flags = np.zeros(count, dtype=bool)
    return Stitched(object_array(list(polygons)), scores, np.zeros(count), flags, flags)


def town(rng, blocks, rows=8):
    """Blocks of touching houses with noise in every corner, 12 m of street between blocks."""
    out = []
    for block in range(blocks):
        for row in range(rows):
            y = 500.0 - block * 30 - (row % 2) * 9
            x = 40.0 * (row // 2)
            for k in range(3):
                house = shapely.box(x + k * 8, y - 9, x + k * 8 + 8, y)
                points = shapely.get_coordinates(house)[:-1] + rng.normal(0, 0.12, (4, 2))
                out.append(shapely.Polygon(points))
    return out


def in_bands(polygons, scores, height, **options):
    """Feed buildings in strips of some height, each when it lies north of the frontier."""
    bands = Bands(SETTINGS, moved=0.4, **options)
    low, high = np.array([p.bounds for p in polygons])[:, [1, 3]].T
    given = np.zeros(len(polygons), dtype=bool)
    out, open_ = [], []
    for south in np.arange(high.max(), low.min() - height, -height):
        new = np.flatnonzero((low > south) & ~given)
        given[new] = True
        part = stitched([polygons[k] for k in new], scores[new])
        crossing = object_array([polygons[k] for k in np.flatnonzero(~given & (high > south))])
        out.append(bands.add(part, Frontier(south, crossing)))
        open_.append(bands.open)
    out.append(bands.add(stitched([], np.zeros(0))))
    return out, open_


def keyed(polygons):
    """Polygons by the place of their centre, to a metre."""
    return {(round(p.centroid.x), round(p.centroid.y)): p for p in polygons}


@pytest.mark.parametrize("height", [7.0, 38.4, 100.0])
def test_bands_give_what_finishing_all_at_once_gives(height):
    rng = np.random.default_rng(4)
    houses = town(rng, 8)
    scores = rng.uniform(0.5, 1, len(houses))
    at_once = keyed(finish(object_array(houses), scores, SETTINGS).polygons)
    bands, _ = in_bands(houses, scores, height)
    found = keyed([p for band in bands for p in band.finished.polygons])
    assert set(found) == set(at_once)
    for place, polygon in found.items():
        assert shapely.equals_exact(polygon, at_once[place], 1e-6), place
    assert sum(len(band) > 0 for band in bands) > 2


def test_what_waits_does_not_grow_with_the_town():
    rng = np.random.default_rng(5)
    houses = town(rng, 16)
    _, open_ = in_bands(houses, np.ones(len(houses)), 30.0)
    assert max(open_) <= 3 * 24


def test_an_endless_street_is_cut_and_neither_overlaps_nor_loses_a_house():
    rng = np.random.default_rng(6)
    street = []
    for k in range(60):
        points = shapely.get_coordinates(shapely.box(0, 600 - k * 8, 9, 608 - k * 8))[:-1]
        street.append(shapely.Polygon(points + rng.normal(0, 0.12, (4, 2))))
    bands, open_ = in_bands(street, np.ones(60), 30.0, longest=60.0)
    assert max(open_) <= 15, "the street is 480 m long, 60 m of it and a strip may wait"
    found = [p for band in bands for p in band.finished.polygons]
    assert len(found) == 60
    assert all(p.is_valid for p in found)
    i, j = shapely.STRtree(found).query(found)
    found = np.array(found)
    once = i < j
    shared = shapely.area(shapely.intersection(found[i[once]], found[j[once]]))
    assert shared.max() < 1e-9
    gaps = [a.distance(b) for a, b in itertools.pairwise(found)]
    assert max(gaps) < 0.02, "walls are shared across the cuts, too"


def test_a_building_waits_while_one_that_is_open_may_reach_it():
    bands = Bands(SETTINGS, moved=0.4)
    house = shapely.box(0, 100, 10, 110)
    hall = shapely.box(10.1, 40, 30, 130)
    assert len(bands.add(stitched([house]), Frontier(50.0, object_array([hall])))) == 0
    assert bands.open == 1
    assert len(bands.add(stitched([hall]), Frontier(0.0))) == 2


def test_a_building_waits_for_what_stitching_may_still_move_towards_it():
    house, far = shapely.box(0, 100, 10, 110), shapely.box(0, 40, 10, 80)
    for moved, gone in ((0.4, 1), (30.0, 0)):
        bands = Bands(SETTINGS, moved=moved)
        frontier = Frontier(50.0, object_array([far]))
        assert len(bands.add(stitched([house]), frontier)) == gone


def test_attributes_stay_with_their_building():
    bands = Bands(SETTINGS, moved=0.4)
    small, large = shapely.box(0, 100, 10, 110), shapely.box(50, 100, 70, 120)
    band = bands.add(stitched([small, large], [0.9, 0.7]))
    assert band.whole.scores.tolist() == [0.9, 0.7]
    assert band.finished.columns["area_m2"].tolist() == [100.0, 400.0]


def test_roofs_that_fall_apart_both_keep_what_is_known_of_their_building():
    roofs = [shapely.box(0, 100, 10, 110), shapely.box(12, 100, 20, 110)]
    one = shapely.union_all([*roofs, shapely.box(10, 104, 12, 104.4)])
    band = Bands(SETTINGS, moved=0.4).add(
        stitched([shapely.box(50, 100, 59, 110), one], [0.9, 0.7])
    )
    assert band.finished.columns["area_m2"].tolist() == [90, 100, 80]
    assert band.whole.scores.tolist() == [0.9, 0.7, 0.7]


def test_held_buildings_stay_bit_for_bit_and_win_against_any_score():
    done, new = shapely.box(0, 0, 10, 10), shapely.box(9.6, 0, 20, 10)
    out = share_walls(
        object_array([done, new]), np.array([0.1, 1.0]), Walls(gap=0.3), np.array([True, False])
    )
    assert out.polygons[0] is done
    assert out.polygons[1].intersection(done).area < 1e-9
    assert out.polygons[1].distance(done) < 0.01
    double = shapely.box(1, 1, 9, 9)
    out = share_walls(
        object_array([double, done]), np.array([1.0, 0.1]), Walls(), np.array([False, True])
    )
    assert out.kept.tolist() == [1]

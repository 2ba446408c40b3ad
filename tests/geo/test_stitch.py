from __future__ import annotations

import numpy as np
import pytest
import shapely

from buildex.geo.sightings import Sightings
from buildex.geo.stitch import Stitching, overlapping_pairs, stitch

LEFT, RIGHT = (0.0, 0, 100, 100), (60.0, 0, 160, 100)
CORES = {LEFT: (0.0, 0, 80, 100), RIGHT: (80.0, 0, 160, 100)}
SMALL = Stitching(smallest=1.0)


def objects(polygons):
    out = np.empty(len(polygons), dtype=object)
    out[:] = polygons
    return out


def seen(*rows):
    """Rows of polygon, score, tile box, cut and, if the tile is not one of the two, its core."""
    return Sightings(
        objects([row[0] for row in rows]),
        np.array([row[1] for row in rows], dtype=float),
        np.array([row[2] for row in rows], dtype=float),
        np.array([row[4] if len(row) > 4 else CORES[row[2]] for row in rows], dtype=float),
        np.array([row[3] for row in rows], dtype=bool),
        np.zeros(len(rows), dtype=bool),
    )


def test_a_building_that_two_tiles_saw_whole_is_kept_once_from_its_owner():
    a = shapely.box(72, 10, 92, 30)
    b = shapely.box(73, 10, 93, 30)
    out = stitch(seen((a, 0.95, LEFT, False), (b, 0.6, RIGHT, False)), SMALL)
    assert len(out.polygons) == 1
    assert out.polygons[0].equals(b)
    assert not out.joined[0]


def test_a_whole_sighting_beats_a_cut_one_of_a_higher_score():
    cut = shapely.box(70, 10, 100, 30)
    whole = shapely.box(70, 10, 130, 30)
    out = stitch(seen((cut, 0.99, LEFT, True), (whole, 0.6, RIGHT, False)), SMALL)
    assert [p.area for p in out.polygons] == [whole.area]


def test_parts_of_a_hall_become_one_without_a_vertex_on_the_seam():
    a, b = shapely.box(20, 10, 100, 40), shapely.box(60, 11, 150, 40.5)
    out = stitch(seen((a, 0.9, LEFT, True), (b, 0.8, RIGHT, True)), SMALL)
    assert len(out.polygons) == 1
    assert out.joined[0]
    assert out.scores[0] == 0.9
    x = shapely.get_coordinates(out.polygons[0])[:, 0]
    assert not np.any(np.abs(x - 80) < 15)
    assert len(x) - 1 == 4
    assert out.polygons[0].area == pytest.approx(130 * 30, rel=0.05)


def test_a_hall_over_four_tiles_comes_back_whole():
    truth = shapely.Polygon([(30, 30), (170, 50), (160, 150), (20, 130)])
    tiles = [(x, y, x + 120, y + 120) for x in (0, 80) for y in (0, 80)]
    cores = [(x, y, x + 100, y + 100) for x in (0, 100) for y in (0, 100)]
    rows = [
        (truth.intersection(shapely.box(*t)), 0.9, t, True, core)
        for t, core in zip(tiles, cores, strict=True)
    ]
    out = stitch(seen(*rows), SMALL)
    assert len(out.polygons) == 1
    whole = out.polygons[0]
    assert whole.intersection(truth).area / whole.union(truth).area > 0.995
    assert len(whole.exterior.coords) - 1 == 4


def test_a_part_that_its_own_tile_missed_is_kept_from_the_one_that_saw_it():
    a, b = shapely.box(20, 10, 100, 40), shapely.box(60, 10, 160, 40)
    # The third tile saw nothing: x = 140..160 lies in no member's core.
    rows = [
        (a, 0.9, LEFT, True),
        (b, 0.8, RIGHT, True, (80.0, 0, 140, 100)),
    ]
    out = stitch(seen(*rows), SMALL)
    assert out.polygons[0].area == pytest.approx(140 * 30)
    assert len(out.polygons[0].exterior.coords) - 1 == 4


def test_two_houses_on_either_side_of_a_seam_stay_two():
    a, b = shapely.box(40, 10, 78, 40), shapely.box(80, 10, 120, 40)
    rows = [
        (a, 0.9, LEFT, False),
        (shapely.box(80, 10, 100, 40), 0.8, LEFT, True),
        (shapely.box(60, 10, 78, 40), 0.7, RIGHT, True),
        (b, 0.9, RIGHT, False),
    ]
    out = stitch(seen(*rows), SMALL)
    assert sorted(p.area for p in out.polygons) == sorted([a.area, b.area])


def test_parts_that_disagree_where_both_tiles_see_are_not_joined():
    a, b = shapely.box(20, 10, 100, 30), shapely.box(60, 28, 150, 60)
    out = stitch(seen((a, 0.9, LEFT, True), (b, 0.8, RIGHT, True)), SMALL)
    assert not out.joined.any()


def test_a_small_polygon_inside_a_larger_one_goes():
    rows = [
        (shapely.box(0, 0, 50, 50), 0.9, LEFT, False),
        (shapely.box(10, 10, 20, 20), 0.8, LEFT, False),
    ]
    assert len(stitch(seen(*rows), SMALL).polygons) == 1


def test_pairs_are_those_that_meet_each_once():
    polygons = objects([shapely.box(x, 0, x + 2, 1) for x in (0, 1, 5)])
    i, j = overlapping_pairs(polygons)
    assert (i.tolist(), j.tolist()) == ([0], [1])


def test_nothing_seen_gives_nothing():
    empty = Sightings(
        objects([]), np.zeros(0), np.zeros((0, 4)), np.zeros((0, 4)), *[np.zeros(0, bool)] * 2
    )
    assert len(stitch(empty).polygons) == 0

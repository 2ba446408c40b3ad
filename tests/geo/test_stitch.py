from __future__ import annotations

import numpy as np
import pytest
import shapely

from buildex.geo.sightings import Sightings
from buildex.geo.stitch import Stitched, Stitcher, Stitching, overlapping_pairs

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
        np.ones(len(rows)),
        np.array([row[2] for row in rows], dtype=float),
        np.array([row[4] if len(row) > 4 else CORES[row[2]] for row in rows], dtype=float),
        np.array([row[3] for row in rows], dtype=bool),
        np.zeros(len(rows), dtype=bool),
    )


def stitch(sightings: Sightings, settings: Stitching) -> Stitched:
    """What all tiles saw, joined in one go."""
    return Stitcher(settings).add(sightings)


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


@pytest.mark.parametrize(("surer", "stands"), [(0.7, "roof"), (0.95, "part")])
def test_a_roof_stands_for_a_part_of_it_that_is_a_little_surer(surer, stands):
    roof, part = shapely.box(5, 10, 45, 40), shapely.box(5, 10, 20, 40)
    out = stitch(seen((roof, 0.6, LEFT, False), (part, surer, LEFT, False)), SMALL)
    assert [p.area for p in out.polygons] == [{"roof": roof, "part": part}[stands].area]


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


@pytest.mark.parametrize("arms", [2, 3, 4])
def test_a_comb_whose_arms_cross_a_seam_comes_back_whole(arms):
    teeth = [shapely.box(40, y, 130, y + 12.5) for y in np.arange(arms) * 24.0 + 4]
    comb = shapely.union_all([shapely.box(20, 4, 40, 4 + 24 * arms), *teeth])
    left = comb.intersection(shapely.box(*LEFT))
    right = [
        (tooth.intersection(shapely.box(60, 1, 160, 100)), 0.8, RIGHT, True) for tooth in teeth
    ]
    out = stitch(seen((left, 0.9, LEFT, True), *right), SMALL)
    assert [p.area for p in out.polygons] == [pytest.approx(comb.area)]


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
    i, j = overlapping_pairs(polygons, np.arange(3))
    assert (i.tolist(), j.tolist()) == ([0], [1])


def test_nothing_seen_gives_nothing():
    empty = Sightings(
        objects([]),
        *[np.zeros(0)] * 2,
        np.zeros((0, 4)),
        np.zeros((0, 4)),
        *[np.zeros(0, bool)] * 2,
    )
    assert len(stitch(empty, Stitching()).polygons) == 0


def town_under_tiles(rows, cols, step=80, size=120):
    """Quads of many sizes, some beyond the overlap, as each tile of a grid sees them, by row."""
    rng = np.random.default_rng(3)
    truth = []
    for y in np.arange(25, rows * step, 60):
        for x in np.arange(25, cols * step, 60):
            w, h = rng.uniform(8, 27, 2)
            truth.append(shapely.box(x - w, y - h, x + w, y + h))
    for row in range(rows):
        seen_rows = []
        for col in range(cols):
            tile = (col * step, row * step, col * step + size, row * step + size)
            core = (
                0 if col == 0 else tile[0] + 20,
                0 if row == 0 else tile[1] + 20,
                tile[2] if col == cols - 1 else tile[2] - 20,
                tile[3] if row == rows - 1 else tile[3] - 20,
            )
            inner = shapely.box(tile[0] + 1, tile[1] + 1, tile[2] - 1, tile[3] - 1)
            for polygon in truth:
                part = polygon.intersection(shapely.box(*tile))
                if part.area > 20 and part.geom_type == "Polygon":
                    cut = not inner.contains(part)
                    seen_rows.append((part, rng.uniform(0.5, 1), tile, cut, core))
        yield seen(*seen_rows)


def wkb(polygons):
    return sorted(shapely.to_wkb(shapely.normalize(polygons)).tolist())


def test_rows_handed_in_one_by_one_give_the_buildings_of_all_at_once():
    parts = list(town_under_tiles(5, 4))
    at_once = stitch(Sightings.concatenate(parts), SMALL)
    stitcher = Stitcher(SMALL)
    one_by_one = [stitcher.add(part, (row + 1) * 80) for row, part in enumerate(parts)]
    one_by_one.append(stitcher.finish())
    assert wkb(Stitched.concatenate(one_by_one).polygons) == wkb(at_once.polygons)
    assert all(len(part) for part in one_by_one[:-1]), "every row settles something"


def test_what_waits_is_what_the_next_row_may_see():
    stitcher = Stitcher(SMALL)
    for row, part in enumerate(town_under_tiles(12, 3)):
        stitcher.add(part, (row + 1) * 80)
        assert stitcher.open <= len(part), "it does not grow with the mosaic"
    stitcher.finish()
    assert stitcher.open == 0


def test_a_part_alone_goes_where_the_tile_that_owns_it_saw_nothing():
    sliver = shapely.box(85, 10, 100, 30)  # at the left tile's edge, in the right one's core
    assert len(stitch(seen((sliver, 0.9, LEFT, True)), SMALL)) == 0
    owned = shapely.box(62, 10, 75, 30)
    assert len(stitch(seen((owned, 0.9, LEFT, True)), SMALL)) == 1


def test_parts_that_one_tile_saw_whole_are_not_put_together():
    whole = shapely.box(62, 10, 98, 30)
    rows = [
        (shapely.box(62, 10, 80, 30.5), 0.9, (0.0, 0, 80, 100), True, (0.0, 0, 70, 100)),
        (whole, 0.5, LEFT, False),
        (shapely.box(70, 10, 98, 29.5), 0.9, (70.0, 0, 160, 100), True, (90.0, 0, 160, 100)),
    ]
    out = stitch(seen(*rows), SMALL)
    assert [p.equals(whole) for p in out.polygons] == [True]

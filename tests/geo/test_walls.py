from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from buildex.geo.footprints import object_array
from buildex.geo.outlines import outlines_of
from buildex.geo.wall_lines import facing_edges, side_by_side
from buildex.geo.walls import Walls, share_walls

REAL = Path(__file__).resolve().parents[3] / "shared/data/train/banepa-centre/buildings.geojson"


def shared(*polygons, scores=None, **lengths):
    """The result for polygons of equal scores, unless others are given."""
    scores = np.ones(len(polygons)) if scores is None else np.array(scores, dtype=float)
    return share_walls(object_array(polygons), scores, Walls(**lengths))


def overlap(polygons):
    """Sum of the areas that pairs share."""
    i, j = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    once = i < j
    return shapely.area(shapely.intersection(polygons[i[once]], polygons[j[once]])).sum()


def vertices(polygons):
    """Number of corners of all polygons."""
    return sum(len(shapely.get_coordinates(p)) - 1 - len(p.interiors) for p in polygons)


def iou(a, b):
    """Intersection over union, pair by pair."""
    return shapely.area(shapely.intersection(a, b)) / shapely.area(shapely.union(a, b))


def slivers(polygons, gap=0.3):
    """Pairs of facing walls that are apart, but by less than `gap`."""
    outlines = outlines_of(polygons)
    pairs = facing_edges(outlines, Walls(gap=gap, shift=0.01))
    _, apart = side_by_side(outlines, pairs.first, pairs.second)
    return int((apart > 1e-4).sum())


def corners(polygon):
    """Corners of the outline as a set of points, to a millimetre."""
    return {tuple(p) for p in np.round(shapely.get_coordinates(polygon), 3).tolist()}


def noisy(polygons, rng, sigma):
    """The polygons with every corner moved, but those that noise would make invalid."""
    out = []
    for polygon in polygons:
        points = shapely.get_coordinates(polygon)
        points = points + rng.normal(0, sigma, points.shape)
        points[-1] = points[0]
        moved = shapely.Polygon(points)
        out.append(moved if moved.is_valid else polygon)
    return object_array(out)


def street(rng, count, sigma):
    """A row of houses of different depths, turned, with noise in every corner."""
    wide, deep = rng.uniform(4, 8, count), rng.uniform(6, 12, count)
    x = np.concatenate([[0.0], np.cumsum(wide)])
    houses = [shapely.box(x[k], 0, x[k + 1], deep[k]) for k in range(count)]
    angle = float(rng.uniform(0, 360))
    turned = [shapely.affinity.rotate(h, angle, origin=(0, 0)) for h in houses]
    return noisy(turned, rng, sigma)


# By hand


def test_two_houses_with_a_narrow_gap_meet_in_its_middle():
    out = shared(shapely.box(0, 0, 5, 8), shapely.box(5.2, 0, 10, 8)).polygons
    assert corners(out[0]) == {(0, 0), (5.1, 0), (5.1, 8), (0, 8)}
    assert corners(out[1]) == {(5.1, 0), (10, 0), (10, 8), (5.1, 8)}


def test_two_houses_that_overlap_meet_in_its_middle():
    out = shared(shapely.box(0, 0, 5.4, 8), shapely.box(5, 0, 10, 8)).polygons
    assert corners(out[0]) == {(0, 0), (5.2, 0), (5.2, 8), (0, 8)}
    assert overlap(out) == 0


def test_the_common_wall_lies_nearer_to_the_house_of_the_higher_score():
    out = shared(shapely.box(0, 0, 5, 8), shapely.box(5.3, 0, 10, 8), scores=[0.8, 0.4]).polygons
    assert out[0].bounds[2] == pytest.approx(5.1)


def test_houses_farther_apart_than_the_gap_are_untouched():
    given_ones = [shapely.box(0, 0, 5, 8), shapely.box(5.4, 0, 10, 8)]
    out = shared(*given_ones)
    assert all(a is b for a, b in zip(out.polygons, given_ones, strict=True))
    assert not out.moved.any()


def test_a_row_of_five_noisy_houses_becomes_a_clean_row():
    rows = [
        [(0, 0), (5.1, 0.1), (4.9, 8.0), (0.1, 7.9)],
        [(5.0, -0.1), (9.8, 0.0), (10.1, 8.1), (5.2, 8.1)],
        [(10.2, 0.1), (15.1, 0.0), (15.0, 8.0), (10.2, 7.9)],
        [(14.8, 0.0), (20.0, 0.1), (19.9, 7.9), (14.9, 8.1)],
        [(20.1, -0.1), (25.0, 0.0), (25.0, 8.0), (20.2, 8.0)],
    ]
    out = shared(*[shapely.Polygon(row) for row in rows]).polygons
    assert overlap(out) == 0
    assert [len(p.exterior.coords) for p in out] == [5] * 5
    for left, right in itertools.pairwise(out):
        assert len(corners(left) & corners(right)) == 2
    whole = shapely.union_all(out)
    assert whole.area == pytest.approx(whole.convex_hull.area, rel=0.02)


def test_a_house_across_the_end_of_two_makes_a_junction_without_a_vertex():
    top = shapely.box(0, 8.1, 10, 14)
    out = shared(shapely.box(0, 0, 5, 8), shapely.box(5, 0, 10, 8), top).polygons
    assert overlap(out) == 0
    assert vertices(out) == 12
    middle = shapely.Point(5, out[2].bounds[1])
    assert middle.distance(out[0]) < 1e-4
    assert middle.distance(out[1]) < 1e-4


def test_a_courtyard_stays_when_the_row_around_it_moves():
    ring = shapely.box(0, 0, 20, 20).difference(shapely.box(6, 6, 14, 14))
    out = shared(ring, shapely.box(20.2, 0, 28, 20)).polygons
    assert len(out[0].interiors) == 1
    assert shapely.Polygon(out[0].interiors[0]).equals(shapely.box(6, 6, 14, 14))
    assert out[0].bounds[2] == pytest.approx(out[1].bounds[0])


def test_a_house_in_a_courtyard_stays_as_it_is():
    ring = shapely.box(0, 0, 20, 20).difference(shapely.box(6, 6, 14, 14))
    house = shapely.box(8, 8, 12, 12)
    out = shared(ring, house).polygons
    assert out[0] is ring
    assert out[1] is house


def test_a_house_that_nearly_fills_a_courtyard_fills_it():
    ring = shapely.box(0, 0, 20, 20).difference(shapely.box(6, 6, 14, 14))
    out = shared(ring, shapely.box(6.1, 5.9, 13.9, 14.1)).polygons
    assert overlap(out) == 0
    assert vertices(out) == 12
    assert shapely.union_all(out).area == pytest.approx(400, abs=1e-3)


def test_a_double_goes_and_the_better_one_keeps_its_shape():
    one, two = shapely.box(0, 0, 10, 10), shapely.box(1, 1, 11, 10)
    out = shared(one, two, scores=[0.5, 0.9])
    assert out.kept.tolist() == [1]
    assert out.polygons[0] is two


def test_a_hut_that_would_change_too_much_keeps_its_shape_and_the_house_comes_to_it():
    hut, house = shapely.box(0, 0, 1, 4), shapely.box(1.28, 0, 9, 4)
    out = shared(hut, house, scores=[0.5, 1.0], most_change=0.1).polygons
    assert out[0].equals(hut)
    assert out[1].bounds[0] == pytest.approx(1.0, abs=1e-4)


def test_a_corner_that_pokes_into_a_slanting_wall_draws_back_and_stays_one_corner():
    wall = shapely.box(0, 0, 5, 20)
    poking = shapely.affinity.rotate(shapely.box(5, 5, 10, 10), 40).buffer(0)
    poking = shapely.affinity.translate(poking, 4.7 - poking.bounds[0])
    out = shared(wall, poking, scores=[1.0, 0.5]).polygons
    assert out[0].equals(wall)
    assert overlap(out) == 0
    assert vertices(out) == 8


def test_what_is_smaller_than_the_smallest_goes():
    out = shared(shapely.box(0, 0, 1, 1), shapely.box(5, 0, 10, 8), smallest=2.0)
    assert out.kept.tolist() == [1]


def test_nothing_gives_nothing():
    out = shared()
    assert len(out.polygons) == len(out.kept) == len(out.moved) == 0


def test_two_held_houses_whose_corners_nearly_meet_both_stay_and_a_third_comes_to_one():
    one, two, north = shapely.box(0, 0, 8, 10), shapely.box(8.05, 0, 16, 10.2), (2, 10.1, 14, 18)
    houses, held = object_array([one, two, shapely.box(*north)]), np.array([True, True, False])
    out = share_walls(houses, np.ones(3), Walls(), held).polygons
    assert out[0] is one
    assert out[1] is two
    assert overlap(out) < 1e-9


# Laws


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 9), st.floats(0.0, 0.3))
def test_rows_come_back_without_overlap_valid_and_hardly_changed(seed, count, sigma):
    rng = np.random.default_rng(seed)
    houses = street(rng, count, sigma)
    out = share_walls(houses, rng.uniform(0.5, 1, count))
    assert overlap(out.polygons) < 1e-9
    assert shapely.is_valid(out.polygons).all()
    assert {p.geom_type for p in out.polygons} == {"Polygon"}
    change = shapely.area(out.polygons) / shapely.area(houses[out.kept]) - 1
    assert change.max() <= 0.15
    assert len(out.kept) == count


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 5), st.floats(0.0, 0.2))
def test_whichever_are_held_stay_bit_for_bit_and_nothing_overlaps(seed, count, gap):
    rng = np.random.default_rng(seed)
    edge = np.arange(count) * 8
    south = [shapely.box(x, 0, x + 8 - gap, 10 - gap * rng.random()) for x in edge]
    north = [shapely.box(x, 10, x + 8 - gap, 18) for x in edge + rng.uniform(0, 8)]
    houses = object_array([*south, *north])
    held = rng.random(2 * count) < 0.5
    out = share_walls(houses, rng.uniform(0.5, 1, 2 * count), Walls(), held)
    back = dict(zip(out.kept.tolist(), out.polygons, strict=True))
    assert all(back[k] is houses[k] for k in np.flatnonzero(held).tolist())
    assert overlap(out.polygons) < 1e-9


def test_noisy_rows_get_hardly_a_vertex_more():
    rng = np.random.default_rng(0)
    given_ones, got = 0, 0
    for _ in range(20):
        houses = street(rng, 7, 0.2)
        given_ones += vertices(houses)
        got += vertices(share_walls(houses, rng.uniform(0.5, 1, 7)).polygons)
    assert got <= 1.01 * given_ones


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 20))
def test_heaps_come_back_without_overlap_and_nothing_grows_or_loses_too_much(seed, count):
    rng = np.random.default_rng(seed)
    centre, side = rng.uniform(0, 30, (count, 2)), rng.uniform(1, 6, (count, 2))
    heap = object_array(
        [
            shapely.affinity.rotate(shapely.box(*(c - s), *(c + s)), a)
            for c, s, a in zip(centre, side, rng.uniform(0, 90, count), strict=True)
        ]
    )
    out = share_walls(heap, rng.random(count))
    assert overlap(out.polygons) < 1e-9
    assert shapely.is_valid(out.polygons).all()
    share = shapely.area(out.polygons) / shapely.area(heap[out.kept])
    assert share.min() >= 0.5
    assert share.max() <= 1.15


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_a_loner_is_untouched_whatever_its_neighbours_do(seed):
    rng = np.random.default_rng(seed)
    row = street(rng, 5, 0.2)
    clear = shapely.union_all(row).bounds[2] + 0.31
    loner = shapely.box(clear, 0, clear + 6, 8)
    out = share_walls(object_array([*row, loner]), rng.uniform(0.5, 1, 6))
    assert out.polygons[-1] is loner


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.integers(2, 9))
def test_a_row_that_is_clean_comes_back_as_it_was(seed, count):
    houses = street(np.random.default_rng(seed), count, 0.0)
    out = share_walls(houses, np.ones(count))
    assert vertices(out.polygons) == vertices(houses)
    assert iou(out.polygons, houses).min() > 1 - 1e-5


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_the_same_input_gives_the_same_output(seed):
    houses = street(np.random.default_rng(seed), 7, 0.2)
    scores = np.random.default_rng(seed).random(7)
    one, two = share_walls(houses, scores), share_walls(houses, scores)
    assert all(a.wkb == b.wkb for a, b in zip(one.polygons, two.polygons, strict=True))


def bent(points, latitude=45):
    """Points, with straight lines bent as Mercator does near a latitude."""
    x, y = points.T
    steep = np.tan(np.radians(latitude)) / 6.371e6
    return np.stack([x + steep * x * y, y + steep * x**2 / 2], axis=1)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_what_has_been_shared_stays_so_in_another_projection(seed):
    rng = np.random.default_rng(seed)
    out = share_walls(street(rng, 7, 0.2), rng.uniform(0.5, 1, 7)).polygons
    assert overlap(shapely.transform(out, bent)) < 1e-6


@pytest.mark.parametrize("turn", [0, 50, 90, 180])
@pytest.mark.parametrize("latitude", [-53, 20, 53, 65])
def test_houses_along_a_wall_of_200_m_stay_off_it_in_another_projection(turn, latitude):
    houses = [shapely.box(x, 0.1, x + 9.95, 12) for x in np.arange(20) * 10]
    row = object_array([shapely.box(0, -30, 200, 0), *houses])
    row = object_array([shapely.affinity.rotate(p, turn, (100, 0)) for p in row])
    out = share_walls(row, np.linspace(1, 0.5, 21)).polygons
    assert len(out) == 21
    assert vertices(out) == 84
    assert overlap(shapely.transform(out, lambda points: bent(points, latitude))) == 0
    assert max(p.distance(out[0]) for p in out) < 0.005


# Real labels


@pytest.fixture(scope="module")
def banepa():
    """Some of the row houses that mappers drew, in metres."""
    if not REAL.exists():
        pytest.skip("the labels of banepa-centre are not here")
    features = json.loads(REAL.read_text())["features"]
    polygons = np.array([shapely.geometry.shape(f["geometry"]) for f in features], dtype=object)
    low = shapely.total_bounds(polygons)[:2]
    scale = np.array([111_320 * np.cos(np.radians(low[1])), 110_800])
    metres = shapely.transform(polygons, lambda points: (points - low) * scale)
    return metres[:700]


def test_real_rows_with_noise_lose_overlap_and_slivers_but_not_their_shape(banepa):
    rng = np.random.default_rng(0)
    houses = noisy(banepa, rng, 0.2)
    out = share_walls(houses, rng.uniform(0.5, 1, len(houses)))
    assert overlap(houses) > 50
    assert overlap(out.polygons) < 1e-9
    assert slivers(out.polygons) < 0.15 * slivers(houses)
    assert vertices(out.polygons) <= 1.03 * vertices(houses[out.kept])
    before, after = iou(houses, banepa)[out.kept].mean(), iou(out.polygons, banepa[out.kept]).mean()
    assert after > before - 0.005


def test_real_rows_that_were_shared_once_hardly_change_again(banepa):
    once = share_walls(banepa, np.ones(len(banepa))).polygons
    again = share_walls(once, np.ones(len(once)))
    assert len(again.kept) == len(once)
    assert np.median(iou(again.polygons, once)) == 1
    assert iou(again.polygons, once).mean() > 0.999

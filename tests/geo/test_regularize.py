from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from buildex.geo.axes import squareness
from buildex.geo.deviation import deviations
from buildex.geo.footprints import to_polygon, to_rings
from buildex.geo.regularize import Regularizing, regularize
from buildex.geo.rings import area, signed_area
from buildex.geo.runs import OPEN, Corners, Outlines, cut, following, roundness
from tests.geo.shapes import HOLE, L_SHAPE, SQUARE, buildings, same_polygon

METHODS = ("right-angles", "right-angles-and-diagonals", "any-angle")
TOLERANCE = 4.0  # in pixels of 10 cm or so, which `buildings` are drawn in
FAR = np.array([3e5, 4e6])  # where UTM puts a house, in metres
SEEDS = st.integers(0, 2**32 - 1)


def objects(polygons):
    out = np.empty(len(polygons), dtype=object)
    out[:] = polygons
    return out


def one(polygon, method="right-angles", tolerance=TOLERANCE):
    """The polygon that becomes of one, and its status."""
    done = regularize(objects([polygon]), Regularizing(method=method, tolerance=tolerance))
    return done.polygons[0], done.status[0]


def noisy(ring, rng, spacing=4.0, most=2.0):
    """A ring with points every so often, each moved anywhere by at most `most`."""
    points = shapely.get_coordinates(shapely.segmentize(shapely.Polygon(ring).exterior, spacing))
    angle, length = rng.uniform(0, 2 * np.pi, (2, len(points) - 1)) * [[1], [most / 2 / np.pi]]
    return points[:-1] + (length * [np.cos(angle), np.sin(angle)]).T


def turned(points, degrees):
    a = np.radians(degrees)
    return points @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])


def distance(a, b, step=0.02):
    """Hausdorff distance of two outlines, from points on both, so never too large."""
    fine = [shapely.segmentize(shapely.boundary(p), step) for p in (a, b)]
    return shapely.hausdorff_distance(*fine)


@st.composite
def outlines(draw):
    """A valid noisy building, dense or sparse, with a hole now and then."""
    ring, rng = draw(buildings()), np.random.default_rng(draw(SEEDS))
    ring = noisy(ring, rng, draw(st.sampled_from([2.0, 5.0, 200.0])), draw(st.floats(0, 4)))
    rings = (ring,)
    if draw(st.booleans()):
        centre = shapely.Polygon(ring).representative_point()
        rings = (ring, noisy(turned(HOLE - 30.0, 20) / 3 + [centre.x, centre.y], rng, 3.0, 0.5))
    polygon = to_polygon(rings)
    assume(polygon.is_valid and polygon.area > 0)
    return polygon


@settings(max_examples=80, deadline=None)
@given(outlines(), st.sampled_from(METHODS), st.floats(0.5, 8))
def test_no_outline_moves_farther_than_the_tolerance(polygon, method, tolerance):
    out, status = one(polygon, method, tolerance)
    assert distance(polygon, out, 0.2) <= tolerance + 1e-9
    assert (out is polygon) == (status != "regularized")


@settings(max_examples=80, deadline=None)
@given(outlines(), st.sampled_from(METHODS))
def test_what_comes_out_is_a_polygon_of_the_same_kind(polygon, method):
    out, _ = one(polygon, method)
    assert out.is_valid
    assert out.geom_type == "Polygon"
    assert len(out.interiors) == len(polygon.interiors)
    for old, new in zip(to_rings(polygon), to_rings(out), strict=True):
        assert 3 <= len(new) <= len(old)
        assert np.sign(signed_area(new)) == np.sign(signed_area(old))
        assert area([new]) == pytest.approx(area([old]), rel=0.2 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(outlines(), st.sampled_from(METHODS))
def test_done_again_it_stays_within_the_tolerance_of_what_it_was(polygon, method):
    once, _ = one(polygon, method)
    twice, _ = one(once, method)
    assert distance(once, twice, 0.2) <= TOLERANCE + 1e-9
    assert shapely.get_num_coordinates(twice) <= shapely.get_num_coordinates(once)


@settings(max_examples=60, deadline=None)
@given(buildings(), SEEDS, st.floats(0, 360), st.sampled_from(METHODS))
def test_a_turned_building_becomes_the_turned_result(ring, seed, angle, method):
    ring = noisy(ring, np.random.default_rng(seed))
    assume(shapely.Polygon(ring).is_valid)
    straight, _ = one(to_polygon((ring,)), method)
    away, _ = one(to_polygon((turned(ring, angle) + FAR,)), method)
    back = turned(to_rings(away)[0] - FAR, -angle)
    assert same_polygon(to_rings(straight)[0], back, 1e-5)


@settings(max_examples=60, deadline=None)
@given(buildings(), SEEDS, st.integers(0, 50))
def test_it_does_not_matter_where_a_ring_starts(ring, seed, shift):
    ring = noisy(ring, np.random.default_rng(seed))
    assume(shapely.Polygon(ring).is_valid)
    a, _ = one(to_polygon((ring,)))
    b, _ = one(to_polygon((np.roll(ring, shift, axis=0),)))
    assert same_polygon(to_rings(a)[0], to_rings(b)[0], 1e-7)


@settings(max_examples=40, deadline=None)
@given(buildings(), SEEDS)
def test_the_bound_is_never_less_than_the_distance(ring, seed):
    # Walls that have little to do with the runs: the bound has to hold all the same.
    rng = np.random.default_rng(seed)
    dense = noisy(ring, rng, 3.0, 1.0)
    place = np.zeros(len(dense), dtype=np.int64)
    old = Outlines(dense, place, np.zeros(1, int), np.zeros(1, int), np.full(len(dense), OPEN))
    runs = cut(old, np.sort(rng.choice(len(dense), 5, replace=False)))
    corner = dense[runs.at] + rng.normal(0, 5, (5, 2))
    step = np.where(rng.random((5, 1)) < 0.3, rng.normal(0, 3, (5, 2)), 0.0)
    bound = deviations(old, runs, Corners(corner, corner + step)).max()
    new = np.stack([corner, corner + step], axis=1).reshape(-1, 2)
    fine = [shapely.segmentize(shapely.LinearRing(points), 0.3) for points in (dense, new)]
    assert shapely.hausdorff_distance(*fine) <= bound + 1e-9


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ring", [SQUARE, L_SHAPE], ids=["square", "L"])
@pytest.mark.parametrize("angle", [0, 17.3, 45, 80])
def test_a_noisy_house_gets_its_corners_back(method, ring, angle):
    ring = turned(ring, angle)
    out, status = one(to_polygon((noisy(ring, np.random.default_rng(1)),)), method)
    assert status == "regularized"
    assert same_polygon(to_rings(out)[0], ring, 1.5)
    assert squareness(objects([out]))[0] == 1.0


@pytest.mark.parametrize("method", METHODS)
def test_a_square_house_stays_the_object_that_it_is(method):
    for ring in (SQUARE, turned(L_SHAPE, 33), turned(SQUARE, 12) + FAR):
        house = to_polygon((ring,))
        assert one(house, method) == (house, "unchanged")
        assert one(house, method)[0] is house


def test_a_stair_stepped_outline_becomes_a_rectangle():
    house = shapely.affinity.rotate(shapely.box(20, 20, 80, 60), 25)
    ys, xs = np.mgrid[0:100, 0:100]
    inside = shapely.contains_xy(house, xs + 0.5, ys + 0.5)
    stairs = shapely.union_all(shapely.box(*np.array([xs, ys, xs + 1, ys + 1])[:, inside]))
    out, _ = one(stairs, tolerance=2.0)
    assert len(to_rings(out)[0]) == 4
    assert shapely.intersection(out, house).area / shapely.union(out, house).area > 0.98


def test_walls_meet_at_right_angles_to_the_last_digit():
    ring = np.array([[0.0, 0], [60, 1], [61, 39], [1, 41]])
    corners = to_rings(one(to_polygon((ring,)))[0])[0]
    edges = np.roll(corners, -1, axis=0) - corners
    assert np.abs((edges * np.roll(edges, -1, axis=0)).sum(axis=1)).max() < 1e-9


def test_the_axes_are_those_that_fit_all_walls_best():
    # Two long walls lean by one degree to either side: the axes lie between them.
    lean = 60 * np.tan(np.radians(1.0))
    ring = np.array([[0.0, -lean], [60, 0], [60, 40], [0, 40 + lean]])
    out = to_rings(one(to_polygon((ring,)))[0])[0]
    edges = np.abs(np.roll(out, -1, axis=0) - out)
    assert edges.min(axis=1) == pytest.approx(np.zeros(4), abs=1e-9)


def test_an_oblique_wall_survives_among_square_ones():
    ring = np.array([[0.0, 0], [60, 0.8], [60.5, 25], [30, 45], [-0.6, 44]])
    out = to_rings(one(to_polygon((ring,)))[0])[0]
    assert len(out) == 5
    edges = np.roll(out, -1, axis=0) - out
    angle = np.degrees(np.arctan2(edges[:, 1], edges[:, 0])) % 90
    off = np.minimum(angle, 90 - angle)
    assert np.sort(off - off.min())[:4] == pytest.approx(np.zeros(4), abs=1e-6)
    assert off.max() == pytest.approx(33.3, abs=2.0)


def test_diagonals_are_made_exact_only_where_they_are_asked_for():
    ring = np.array([[0.0, 0], [60, 0], [60, 30], [41, 50], [0, 50]])  # 46.5 degrees
    bends = []
    for method in METHODS[:2]:
        out = to_rings(one(to_polygon((ring,)), method)[0])[0]
        edges = np.roll(out, -1, axis=0) - out
        off = (np.degrees(np.arctan2(edges[:, 1], edges[:, 0])) % 90.0 + 5.0) % 90.0
        bends.append(np.ptp(off))
    assert bends[0] == pytest.approx(90 - 46.47, abs=0.5)
    assert bends[1] == pytest.approx(45.0, abs=1e-9)


def test_wings_at_an_angle_are_squared_each_by_itself():
    a, b = shapely.box(0, 0, 80, 20), shapely.affinity.rotate(shapely.box(0, 0, 20, 80), 30, (0, 0))
    ring = to_rings(shapely.union_all([a, b]))[0]
    rough = noisy(ring, np.random.default_rng(2), 4.0, 1.5)
    out = to_rings(one(to_polygon((rough,)), "any-angle")[0])[0]
    assert same_polygon(out, ring, 3.0)


def test_a_hole_goes_along_the_walls_of_its_building():
    rng = np.random.default_rng(4)
    hole = turned(HOLE - 30.0, 6) + np.array([30.0, 30.0])
    house = to_polygon((noisy(SQUARE, rng, most=1.0), noisy(hole, rng, most=0.5)))
    outline, inner = to_rings(one(house)[0])
    assert (len(outline), len(inner)) == (4, 4)
    angles = [np.degrees(np.arctan2(*(r[1] - r[0])[::-1])) % 90 for r in (outline, inner)]
    assert angles[0] == pytest.approx(angles[1], abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sides", [8, 12, 20])
@pytest.mark.parametrize("flat", [1.0, 0.7])
def test_round_huts_are_left_alone(method, sides, flat):
    angle = np.arange(sides) / sides * 2 * np.pi
    for radius in (12.0, 30.0):
        ring = radius * np.column_stack([np.cos(angle), flat * np.sin(angle)])
        hut = to_polygon((turned(ring, 10),))
        assert one(hut, method) == (hut, "kept")


def test_a_jagged_hut_loses_its_jags_and_stays_round():
    hut = shapely.Point(0, 0).buffer(30, quad_segs=40)
    rng = np.random.default_rng(0)
    out, status = one(to_polygon((noisy(to_rings(hut)[0], rng, 2.0, 0.8),)))
    assert status == "regularized"
    assert 7 <= len(to_rings(out)[0]) <= 20
    assert shapely.intersection(out, hut).area / shapely.union(out, hut).area > 0.93


def test_roundness_is_that_of_figures_worked_by_hand():
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    circle = 5 * np.column_stack([np.cos(angle), np.sin(angle)])
    points = np.vstack([circle, turned(SQUARE, 20), turned(SQUARE * [2, 1], 50)])
    ring = np.repeat([0, 1, 2], [200, 4, 4])
    old = Outlines(points, ring, np.arange(3), np.arange(3), np.full(208, OPEN))
    # A square of side 1 has radius 1 / sqrt(3); its wall is sqrt(1/4 + t^2) away.
    t = (np.arange(4000) + 0.5) / 4000 - 0.5
    square = np.sqrt(np.mean((np.sqrt(3 * (0.25 + t**2)) - 1) ** 2))
    assert roundness(old)[0] < 1e-3
    assert roundness(old)[1] == pytest.approx(square, rel=0.05)
    assert roundness(old)[2] > roundness(old)[1]


def test_what_cannot_be_done_is_kept_and_does_not_stop_the_others():
    empty, bow_tie = shapely.Polygon(), shapely.Polygon([(0, 0), (40, 40), (40, 0), (0, 40)])
    house = to_polygon((noisy(SQUARE, np.random.default_rng(0)),))
    done = regularize(objects([empty, house, bow_tie]), Regularizing(tolerance=TOLERANCE))
    assert done.status.tolist() == ["kept", "regularized", "kept"]
    assert done.polygons[0] is empty
    assert done.polygons[2] is bow_tie


def test_a_needle_whose_squared_walls_would_cross_is_left_out():
    # Keypoints in the wrong order leave needles; squared, this one is a loop at the corner.
    needle = [(14.6, 7.8), (14.3, 6.5), (13.2, 8.6)]
    house = shapely.Polygon([(0, 0), (14, 0), *needle, (0, 8)])
    done = regularize(objects([house]), Regularizing(tolerance=1.2, step=0.5))
    assert done.status[0] == "regularized"
    assert shapely.get_num_coordinates(done.polygons[0]) <= shapely.get_num_coordinates(house)
    assert squareness(done.polygons)[0] == 1.0
    assert distance(house, done.polygons[0]) <= 1.2


def test_none_does_nothing_and_nothing_becomes_nothing():
    house = to_polygon((noisy(SQUARE, np.random.default_rng(0)),))
    assert one(house, "none") == (house, "unchanged")
    assert len(regularize(objects([])).polygons) == 0


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="any-angle"):
        Regularizing(method="circles")
    with pytest.raises(ValueError, match="more than 0"):
        Regularizing(tolerance=0.0)


def test_following_goes_round_each_ring():
    assert following(np.array([0, 0, 0, 1, 2, 2])).tolist() == [1, 2, 0, 3, 5, 4]
    assert following(np.array([], dtype=np.int64)).tolist() == []


def test_a_skewed_wall_is_turned_while_a_smaller_step_stays():
    # One wall of 16 m is 4 degrees askew (1.1 m at its end); another has a step of 1 m.
    house = shapely.Polygon([(0, 0), (16, 1.1), (16, 9), (8, 9), (8, 10), (0, 10)])
    apart = Regularizing(tolerance=1.2, step=0.5)
    done = regularize(objects([house]), apart).polygons[0]
    assert squareness(objects([done]))[0] == 1.0
    assert shapely.get_num_coordinates(done) - 1 == 6
    assert distance(house, done) <= 1.2
    coarse = regularize(objects([house]), Regularizing(tolerance=1.2)).polygons[0]
    assert shapely.get_num_coordinates(coarse) - 1 == 4  # one setting for both takes the step


def test_a_step_is_never_more_than_the_tolerance():
    assert Regularizing(tolerance=0.1, step=0.5).detail == 0.1
    with pytest.raises(ValueError, match="step"):
        Regularizing(step=0.0)


def test_an_outline_too_rough_for_the_step_is_tried_again_with_a_larger_one():
    # A sawtooth of 0.9 m along every wall: with half a metre as the step it would stand.
    corners = np.array([[0.0, 0], [12, 0], [12, 9], [0, 9]])
    rough = []
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        out = np.array([b[1] - a[1], a[0] - b[0]]) / np.hypot(*(b - a))
        places = np.linspace(0, 1, 9)[:-1]
        rough += [a + t * (b - a) + 0.45 * (-1) ** k * out for k, t in enumerate(places)]
    house = shapely.Polygon(rough)
    done = regularize(objects([house]), Regularizing(tolerance=1.2, step=0.5))
    assert done.status[0] == "regularized"
    assert squareness(objects([done.polygons[0]]))[0] == 1.0
    assert distance(house, done.polygons[0]) <= 1.2

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from buildex.geo.grouping import Grouping, _agreement, group, polygons_of
from buildex.geo.instances import RoiMaps, no_instances
from buildex.geo.keypoints import RoiCodec
from buildex.geo.rings import bounds, fill, is_simple, turning_angles
from tests.geo.shapes import HOLE, L_SHAPE, SQUARE, buildings, same_polygon

CODEC = RoiCodec()


def drawn(rings, corners=None):
    frame = CODEC.frames(np.array([bounds(rings)]))[0]
    return CODEC.encode(rings, frame, corners), frame


@settings(max_examples=80)
@given(buildings(), st.integers(0, 1000))
def test_a_building_comes_back_as_itself_in_any_order_of_its_corners(ring, seed):
    target, frame = drawn((ring,))
    points = np.random.default_rng(seed).permutation(CODEC.to_cells(ring, frame))
    rings = group(target.mask, points, np.ones(len(points)))
    assert len(rings) == 1
    assert same_polygon(CODEC.to_pixels(rings[0], frame), ring, 1e-6)


def test_a_courtyard_comes_back():
    target, frame = drawn((SQUARE, HOLE))
    points = CODEC.to_cells(np.vstack([SQUARE, HOLE]), frame)
    outline, hole = group(target.mask, points, np.ones(8))
    assert same_polygon(CODEC.to_pixels(outline, frame), SQUARE, 1e-6)
    assert same_polygon(CODEC.to_pixels(hole, frame), HOLE, 1e-6)


@pytest.mark.parametrize("missing", range(6))
def test_a_missing_corner_is_added_where_the_outline_turns(missing):
    target, frame = drawn((L_SHAPE,))
    points = np.delete(CODEC.to_cells(L_SHAPE, frame), missing, axis=0)
    (ring,) = group(target.mask, points, np.ones(5))
    back = shapely.Polygon(CODEC.to_pixels(ring, frame))
    truth = shapely.Polygon(L_SHAPE)
    assert back.intersection(truth).area / back.union(truth).area > 0.97
    assert len(ring) == 6


@pytest.mark.parametrize("corner", range(4))
def test_two_keypoints_at_one_corner_are_one_wherever_the_outline_begins(corner):
    mask = np.zeros((56, 56))
    mask[10:40, 12:44] = 1.0
    box = np.array([[12.0, 10.0], [44.0, 10.0], [44.0, 40.0], [12.0, 40.0]])
    x, y = box[corner]
    inwards = np.sign(box.mean(axis=0) - box[corner])
    twice = np.array([[x + 0.1 * inwards[0], y], [x, y + 0.7 * inwards[1]]])
    points = np.vstack([np.delete(box, corner, axis=0), twice])
    (ring,) = group(mask, points, np.ones(5))
    assert len(ring) == 4


def test_no_keypoints_at_all_still_give_the_shape():
    target, frame = drawn((L_SHAPE,))
    (ring,) = group(target.mask, np.zeros((0, 2)), np.zeros(0))
    back = shapely.Polygon(CODEC.to_pixels(ring, frame))
    truth = shapely.Polygon(L_SHAPE)
    assert back.intersection(truth).area / back.union(truth).area > 0.95


def test_a_weak_keypoint_on_a_straight_wall_is_dropped_and_a_sure_one_kept():
    target, frame = drawn((SQUARE,))
    points = CODEC.to_cells(np.vstack([SQUARE, [[30, 10]]]), frame)
    weak = group(target.mask, points, np.array([1, 1, 1, 1, 0.35]))
    sure = group(target.mask, points, np.array([1, 1, 1, 1, 0.9]))
    assert len(weak[0]) == 4
    assert len(sure[0]) == 5


def test_a_keypoint_of_the_neighbour_is_left_out():
    target, frame = drawn((SQUARE,))
    points = np.vstack([CODEC.to_cells(SQUARE, frame), [[1.0, 1.0]]])
    (ring,) = group(target.mask, points, np.ones(5))
    assert len(ring) == 4


@settings(max_examples=80)
@given(buildings(), st.integers(0, 10_000))
def test_agreement_is_that_of_the_ring_and_of_each_ring_without_a_point(ring, seed):
    rng = np.random.default_rng(seed)
    mask = fill((ring,), 90, 100)
    ring = (
        ring[rng.permutation(len(ring))] if seed % 3 == 0 else ring + rng.normal(0, 5, ring.shape)
    )

    def iou(ring):
        drawn = fill((ring,), *mask.shape)
        return (drawn & mask).sum() / max((drawn | mask).sum(), 1)

    now, without = _agreement(ring, mask)
    assert now == iou(ring)
    assert without.tolist() == [iou(np.delete(ring, k, axis=0)) for k in range(len(ring))]


def test_nothing_does_not_agree_with_nothing():
    now, without = _agreement(SQUARE + 500, np.zeros((20, 20), dtype=bool))
    assert now == 0
    assert without.tolist() == [0] * 4


@settings(max_examples=80)
@given(buildings(), st.integers(0, 10_000))
def test_noise_never_makes_a_polygon_cross_itself(ring, seed):
    rng = np.random.default_rng(seed)
    target, _ = drawn((ring,))
    noisy = np.clip(target.mask + rng.normal(0, 0.35, target.mask.shape), 0, 1)
    points = rng.uniform(0, CODEC.cells, (12, 2))
    for found in group(noisy, points, rng.uniform(0.3, 1, 12)):
        assert shapely.Polygon(found).is_valid


def test_an_empty_mask_gives_nothing():
    assert group(np.zeros((56, 56)), np.ones((3, 2)), np.ones(3)) == ()


def test_instances_below_the_score_are_left_out():
    target, frame = drawn((SQUARE,))
    maps = RoiMaps(
        np.array([frame, frame], np.float32),
        np.array([0.9, 0.4], np.float32),
        np.stack([target.mask] * 2),
        np.stack([target.heatmap] * 2),
        np.stack([target.offset] * 2),
    )
    polygons = polygons_of(maps, CODEC, score=0.5)
    assert len(polygons) == 1
    rings, score, sure = polygons[0]
    assert score == pytest.approx(0.9)
    assert sure == 1.0
    assert same_polygon(rings[0], SQUARE, 0.02)
    assert polygons_of(no_instances(56), CODEC) == []


def test_a_corner_that_the_outline_alone_tells_of_is_not_a_sure_one():
    target, frame = drawn((SQUARE,))
    faint = np.where(np.arange(56)[:, None] < 28, target.heatmap, 0.0)  # the upper corners only
    maps = RoiMaps(
        np.array([frame], np.float32),
        np.ones(1, np.float32),
        target.mask[None],
        faint[None].astype(np.float32),
        target.offset[None],
    )
    (building,) = polygons_of(maps, CODEC)
    assert len(building.rings[0]) == 4
    assert building.sure == 0.5


def test_turning_angles_of_a_square_are_right():
    assert np.allclose(turning_angles(SQUARE), 90)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=7))
def test_is_simple_agrees_with_shapely(points):
    ring = np.array(points, dtype=float)
    valid = shapely.Polygon(ring).is_valid and shapely.LinearRing(ring).is_simple
    if is_simple(ring):
        assert valid
    elif len({tuple(p) for p in points}) == len(points) and valid:
        # What we call crossing though it is valid: straight-back spikes only.
        assert (turning_angles(ring) > 179.9).any()


def outlined(shape, corners, grouping):
    """The outline of a building whose mask is one ring and whose keypoints are another's."""
    frame = CODEC.frames(np.array([bounds((shape,))]))[0]
    mask, seen = CODEC.encode((shape,), frame).mask, CODEC.encode((corners,), frame)
    ones = np.ones(1, np.float32)
    maps = RoiMaps(frame[None], ones, mask[None], seen.heatmap[None], seen.offset[None])
    ((rings, _, _),) = polygons_of(maps, CODEC, grouping=grouping)
    return rings[0]


def cell_of(ring):
    x0, _, x1, _ = CODEC.frames(np.array([bounds((ring,))]))[0]
    return (x1 - x0) / CODEC.cells


@pytest.mark.parametrize("scale", [1, 8])
@pytest.mark.parametrize(("cells", "taken"), [(2.5, True), (3.5, False)])
def test_reach_is_in_cells_however_large_they_are(scale, cells, taken):
    """A keypoint outside a wall, at a reach of three cells."""
    square = SQUARE * scale
    stray = np.array([30.0 * scale, 10.0 * scale - cells * cell_of(square)])
    grouping = Grouping(reach=3.0, spurious=1.0)  # what is within reach is kept
    ring = outlined(square, np.insert(square, 1, stray, axis=0), grouping)
    assert (np.abs(ring - stray).max(axis=1).min() < 0.01 * scale) == taken


@pytest.mark.parametrize("scale", [1, 8])
@pytest.mark.parametrize(("cells", "vertices"), [(0.5, 4), (2.0, 8)])
def test_sag_is_in_cells_however_large_they_are(scale, cells, vertices):
    """A niche in a wall whose corners nobody saw, at a sag of one cell."""
    square = SQUARE * scale
    wall, back = 10.0 * scale, 10.0 * scale + cells * cell_of(square)
    left, right = 22.0 * scale, 38.0 * scale
    niche = [[left, wall], [left, back], [right, back], [right, wall]]
    ring = outlined(np.insert(square, 1, niche, axis=0), square, Grouping(sag=1.0))
    assert len(ring) == vertices


@pytest.mark.parametrize("method", ["contour", "paper", "mask"])
def test_without_heatmaps_polygons_follow_the_masks_whatever_the_method(method):
    target, frame = drawn((L_SHAPE,))
    none = np.zeros((1, 3, 0, 0), np.float32)
    maps = RoiMaps(
        frame[None].astype(np.float32), np.ones(1, np.float32), target.mask[None], none[:, 0],
        none[:, 1:],
    )  # fmt: skip
    ((rings, _, _),) = polygons_of(maps, CODEC, grouping=Grouping(method=method))
    whole = maps._replace(heatmaps=target.heatmap[None], offsets=target.offset[None])
    ((expected, _, _),) = polygons_of(whole, CODEC, grouping=Grouping(method="mask"))
    assert np.array_equal(rings[0], expected[0])

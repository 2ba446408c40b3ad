from __future__ import annotations

import time

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from buildex.geo.matching import inside, overlaps, own_overlaps, pair
from buildex.geo.measures import InstanceCounts
from tests.geo.shapes import buildings

AREA = shapely.box(0, 0, 100, 100)


def layer(*boxes: tuple[float, float, float, float]) -> np.ndarray:
    return np.array([shapely.box(*box) for box in boxes], dtype=object)


def paired(predictions: np.ndarray, truth: np.ndarray, threshold: float = 0.5):
    return pair(inside(predictions, AREA), inside(truth, AREA), threshold)


def test_overlaps_by_hand():
    first, second = layer((0, 0, 10, 10), (50, 50, 60, 60)), layer((5, 0, 15, 10), (10, 0, 20, 10))
    found = overlaps(first, second)
    assert (found.i.tolist(), found.j.tolist()) == ([0], [0])  # touching is not sharing
    assert found.area.tolist() == [50]
    assert found.iou.tolist() == [pytest.approx(50 / 150)]


def test_nothing_overlaps_nothing():
    assert len(overlaps(layer(), layer((0, 0, 1, 1))).i) == 0
    assert len(overlaps(layer((0, 0, 1, 1)), layer()).i) == 0
    assert len(own_overlaps(layer()).i) == 0


@given(st.lists(buildings(), max_size=6), st.lists(buildings(), max_size=6))
@settings(max_examples=40)
def test_overlaps_are_those_of_every_pair(first, second):
    a = np.array([shapely.Polygon(ring) for ring in first] or [], dtype=object)
    b = np.array([shapely.Polygon(ring) for ring in second] or [], dtype=object)
    found = overlaps(a, b)
    dense = np.zeros((len(a), len(b)))
    dense[found.i, found.j] = found.iou
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            assert dense[i, j] == pytest.approx(p.intersection(q).area / p.union(q).area, abs=1e-9)


def test_overlap_of_a_layer_with_itself_counts_each_pair_once():
    found = own_overlaps(layer((0, 0, 10, 10), (8, 0, 18, 10), (18, 0, 28, 10)))
    assert (found.i.tolist(), found.j.tolist(), found.area.tolist()) == ([0], [1], [20])


def test_truth_against_itself_is_perfect():
    truth = layer((5, 5, 15, 15), (15, 5, 25, 15), (95, 95, 120, 120))
    counts = paired(truth, truth).counts
    assert (counts.tp, counts.fp, counts.fn) == (2, 0, 0)  # the third lies mostly outside
    assert counts.mean_iou == pytest.approx(1)


def test_iou_is_measured_inside_the_area():
    # The prediction ends at the area's edge, as the mosaic does; the truth goes on.
    counts = paired(layer((80, 0, 100, 10)), layer((80, 0, 115, 10))).counts
    assert counts == InstanceCounts(tp=1, iou_sum=1.0)


def test_a_fragment_is_neither_a_miss_nor_a_find():
    fragment = layer((95, 0, 120, 10))
    assert paired(layer(), fragment).counts == InstanceCounts()
    assert paired(layer((95, 0, 100, 10)), fragment).counts == InstanceCounts()


def test_a_prediction_off_every_fragment_is_false():
    counts = paired(layer((90, 40, 100, 50)), layer((95, 0, 120, 10))).counts
    assert counts == InstanceCounts(fp=1)


def test_a_prediction_mostly_outside_is_not_false():
    assert paired(layer((95, 0, 120, 10)), layer()).counts == InstanceCounts()
    assert paired(layer((85, 0, 110, 10)), layer()).counts == InstanceCounts(fp=1)


def test_a_prediction_just_outside_still_finds_a_building_just_inside():
    counts = paired(layer((91, 0, 111, 10)), layer((89, 0, 109, 10))).counts
    assert (counts.tp, counts.fp, counts.fn) == (1, 0, 0)


def test_what_lies_outside_does_not_count():
    far = layer((200, 200, 210, 210))
    assert paired(far, far).counts == InstanceCounts()


def test_the_area_leaves_whole_what_it_covers():
    seen = inside(layer((0, 0, 10, 10), (95, 0, 105, 10), (200, 0, 210, 10)), AREA)
    assert seen.whole.tolist() == [True, False, False]
    assert seen.share.tolist() == pytest.approx([1, 0.5, 0])


@given(st.permutations(range(6)), st.permutations(range(5)))
@settings(max_examples=30)
def test_the_order_of_buildings_does_not_matter(p_order, t_order):
    rng = np.random.default_rng(7)
    corners = rng.uniform(0, 95, (11, 2))
    boxes = layer(*[(x, y, x + 30, y + 30) for x, y in corners])
    predictions, truth = boxes[:6], boxes[6:]
    expected = paired(predictions, truth, 0.2).counts
    counts = paired(predictions[p_order], truth[t_order], 0.2).counts
    assert (counts.tp, counts.fp, counts.fn) == (expected.tp, expected.fp, expected.fn)
    assert counts.iou_sum == pytest.approx(expected.iou_sum)


def test_ten_thousand_buildings_pair_within_seconds():
    x, y = np.meshgrid(np.arange(100) * 20.0, np.arange(100) * 20.0)
    truth = shapely.box(x.ravel(), y.ravel(), x.ravel() + 15, y.ravel() + 12)
    moved = shapely.transform(truth, lambda points: points + 1)
    area = shapely.box(-10, -10, 3000, 3000)
    start = time.perf_counter()
    counts = pair(inside(moved, area), inside(truth, area)).counts
    assert counts.tp == 10_000
    assert time.perf_counter() - start < 5

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment
from skimage.metrics import structural_similarity

from buildex.geo.measures import (
    InstanceCounts,
    PixelCounts,
    match,
    pixel_counts,
    polis,
    ssim,
    vertex_count,
)
from tests.geo.shapes import HOLE, SQUARE, buildings

MASKS = arrays(bool, (12, 15))
TEN = np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]])
NO_PAIRS = ([], [], [])
EAST = np.array([1.0, 0])


def test_pixel_measures_by_hand():
    counts = PixelCounts(tp=6, fp=2, fn=4, tn=88)
    assert counts.iou == 6 / 12
    assert counts.precision == 6 / 8
    assert counts.recall == 6 / 10
    assert counts.f1 == pytest.approx(2 * 0.75 * 0.6 / (0.75 + 0.6))


def test_pixel_counts_by_hand():
    prediction = np.array([[1, 1, 0, 0]], dtype=bool)
    truth = np.array([[1, 0, 1, 0]], dtype=bool)
    assert pixel_counts(prediction, truth) == PixelCounts(tp=1, fp=1, fn=1, tn=1)
    valid = np.array([[1, 1, 0, 0]], dtype=bool)
    assert pixel_counts(prediction, truth, valid) == PixelCounts(tp=1, fp=1, fn=0, tn=0)


@given(MASKS, MASKS)
def test_counts_of_parts_add_up_to_counts_of_the_whole(prediction, truth):
    parts = pixel_counts(prediction[:5], truth[:5]) + pixel_counts(prediction[5:], truth[5:])
    assert parts == pixel_counts(prediction, truth)
    assert parts.tp + parts.fp + parts.fn + parts.tn == prediction.size


@given(MASKS, MASKS)
def test_iou_and_f1_are_symmetric_bounded_and_of_one_another(prediction, truth):
    one, other = pixel_counts(prediction, truth), pixel_counts(truth, prediction)
    assume(one.tp + one.fp + one.fn)
    assert one.iou == other.iou
    assert one.precision == other.recall or prediction.sum() == 0
    assert 0 <= one.iou <= one.f1 <= 1
    assert one.f1 == pytest.approx(2 * one.iou / (1 + one.iou))


def test_nothing_to_find_and_nothing_found_is_no_number():
    nothing = PixelCounts(tn=100)
    assert math.isnan(nothing.iou)
    assert math.isnan(nothing.f1)
    assert math.isnan(nothing.precision)
    assert math.isnan(nothing.recall)


def test_a_false_positive_counts_where_there_is_no_truth():
    counts = PixelCounts(fp=5, tn=95)
    assert (counts.iou, counts.f1, counts.precision) == (0, 0, 0)
    assert math.isnan(counts.recall)
    assert match(NO_PAIRS, 3, 0).counts == InstanceCounts(tp=0, fp=3, fn=0)
    assert match(NO_PAIRS, 3, 0).counts.f1 == 0


def test_a_miss_counts_where_nothing_is_predicted():
    counts = match(NO_PAIRS, 0, 4).counts
    assert counts == InstanceCounts(fn=4)
    assert (counts.recall, counts.f1) == (0, 0)
    assert math.isnan(counts.precision)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
@pytest.mark.parametrize("window", [7, 11])
def test_ssim_equals_scikit_image(share, window):
    rng = np.random.default_rng(5)
    truth = rng.random((48, 61)) < share
    prediction = truth ^ (rng.random(truth.shape) < 0.1)
    known = structural_similarity(
        prediction.astype(float),
        truth.astype(float),
        win_size=window,
        data_range=1,
        use_sample_covariance=False,
    )
    assert ssim(prediction, truth, window=window).value == pytest.approx(known, abs=1e-6)


def test_ssim_by_hand():
    # One window, all building against none: means 1 and 0, no variance.
    ones, zeros = np.ones((7, 7), dtype=bool), np.zeros((7, 7), dtype=bool)
    assert ssim(ones, zeros).value == pytest.approx(0.01**2 / (1 + 0.01**2))
    assert ssim(ones, ones).value == 1


@given(MASKS, MASKS)
def test_ssim_is_symmetric_bounded_and_1_for_equal_masks(prediction, truth):
    value = ssim(prediction, truth).value
    assert -1 <= value <= 1
    assert value == pytest.approx(ssim(truth, prediction).value)
    assert ssim(truth, truth).value == pytest.approx(1)


def test_ssim_leaves_out_windows_that_leave_the_valid_area():
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 30, 20)) < 0.5
    valid = np.zeros((30, 20), dtype=bool)
    valid[4:20, 3:15] = True
    within = ssim(a[4:20, 3:15], b[4:20, 3:15])
    assert ssim(a, b, valid).value == pytest.approx(within.value)
    assert ssim(a, b, valid).windows == within.windows == 10 * 6


def test_ssim_of_less_than_a_window_is_no_number():
    small = np.ones((6, 20), dtype=bool)
    assert math.isnan(ssim(small, small).value)


def test_matching_takes_the_best_pair_first():
    # The first prediction fits both buildings, the second only the better one.
    pairs = ([0, 0, 1], [0, 1, 0], [0.6, 0.55, 0.9])
    found = match(pairs, 2, 2)
    assert found.predictions.tolist() == [1, 0]
    assert found.truths.tolist() == [0, 1]
    assert found.counts == InstanceCounts(tp=2, iou_sum=pytest.approx(1.45))


def test_one_building_found_twice_is_one_find_and_one_false_positive():
    assert match(([0, 1], [0, 0], [0.6, 0.7]), 2, 1).counts == InstanceCounts(1, 1, 0, 0.7)


def test_a_pair_may_equal_the_threshold():
    assert len(match(([0], [0], [0.5]), 1, 1, threshold=0.5)) == 1
    assert len(match(([0], [0], [0.499]), 1, 1, threshold=0.5)) == 0


@given(arrays(float, (6, 6), elements=st.floats(0, 1)))
def test_above_a_half_greedy_is_the_best_assignment(iou):
    # IoUs of layers that do not overlap themselves: a row and a column sum to at most 1.
    iou = iou / max(iou.sum(axis=0).max(), iou.sum(axis=1).max(), 1)
    i, j = np.nonzero(iou)
    found = match((i, j, iou[i, j]), 6, 6, threshold=0.5000001)
    rows, columns = linear_sum_assignment(-(iou > 0.5000001).astype(float))
    assert len(found) == (iou[rows, columns] > 0.5000001).sum()


@given(arrays(float, (5, 7), elements=st.floats(0, 1)), st.randoms(use_true_random=False))
def test_matching_does_not_depend_on_the_order_of_pairs(iou, random):
    i, j = np.nonzero(iou)
    order = np.array(random.sample(range(len(i)), len(i)), dtype=int)
    one = match((i, j, iou[i, j]), 5, 7)
    other = match((i[order], j[order], iou[i, j][order]), 5, 7)
    assert one.predictions.tolist() == other.predictions.tolist()
    assert one.truths.tolist() == other.truths.tolist()
    assert len(set(one.truths.tolist())) == len(one)


def test_polis_of_two_squares_a_metre_apart():
    assert polis((TEN,), (TEN + EAST,)) == pytest.approx(0.5)


def test_polis_of_a_square_in_a_square():
    # Inner corners lie 2 m from the outer edges, outer corners sqrt(8) m from inner corners.
    inner = np.array([[2.0, 2], [8, 2], [8, 8], [2, 8]])
    assert polis((inner,), (TEN,)) == pytest.approx((2 + math.sqrt(8)) / 2)


def test_polis_sees_holes():
    holed = (SQUARE, HOLE)
    assert polis(holed, holed) == 0
    assert polis(holed, (SQUARE,)) > 0


@given(buildings(), buildings(), st.integers(0, 7), st.booleans())
def test_polis_does_not_depend_on_start_direction_or_order(a, b, shift, backwards):
    value = polis((a,), (b,))
    turned = np.roll(a, shift, axis=0)[:: -1 if backwards else 1]
    assert polis((turned,), (b,)) == pytest.approx(value)
    assert polis((b,), (a,)) == pytest.approx(value)
    assert polis((a + 3 * EAST,), (b + 3 * EAST,)) == pytest.approx(value)


@given(buildings(), buildings())
def test_polis_is_what_shapely_measures(a, b):
    def one_way(points, ring):
        edge = shapely.LinearRing(ring)
        return float(np.mean(shapely.distance(shapely.points(points), edge)))

    assert polis((a,), (b,)) == pytest.approx((one_way(a, b) + one_way(b, a)) / 2, abs=1e-9)
    assert polis((a,), (a,)) == pytest.approx(0, abs=1e-9)


def test_vertices_of_holes_count():
    assert vertex_count((SQUARE, HOLE)) == 8


def test_training_can_measure_without_any_geographic_library():
    code = "import sys, buildex.geo.measures; print([m for m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("shapely", "scipy", "affine", "rasterio", "pyproj"):
        assert f"'{name}'" not in run.stdout

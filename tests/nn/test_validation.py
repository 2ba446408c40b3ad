from __future__ import annotations

import math

import numpy as np
import pytest

from buildex.geo.measures import polis, ssim
from buildex.geo.rings import fill
from buildex.nn.validation import FEWEST, SUMS, THRESHOLDS, measures, no_sums, tile_sums
from tests.nn.made import rings_of

SIDE, GSD = 40, 0.1
EVERYWHERE = np.ones((SIDE, SIDE), dtype=bool)


def square(x, y, side=10):
    return rings_of([[x, y], [x + side, y], [x + side, y + side], [x, y + side]])


TRUTH = [square(2, 2), square(20, 20)]
FOUND = [(square(2, 2), 0.9), (square(22, 20), 0.55), (square(32, 2, 6), 0.35)]


def at(sums, threshold):
    return dict(zip(SUMS, sums[THRESHOLDS.index(threshold)].tolist(), strict=True))


def test_the_sums_of_a_tile_by_hand():
    row = at(tile_sums(FOUND, TRUTH, EVERYWHERE, GSD), 0.5)
    assert (row["pixel_tp"], row["pixel_fp"], row["pixel_fn"]) == (180, 20, 20)
    assert (row["tp"], row["fp"], row["fn"]) == (2, 0, 0)
    assert row["iou"] == pytest.approx(1 + 80 / 120)
    assert row["polis"] == pytest.approx(1.0 * GSD)  # moved by 2 px: half of the corners
    assert (row["vertices"], row["true_vertices"]) == (8, 8)


def test_what_is_missed_and_what_is_false_lower_their_own_share():
    false = [*TRUTH, square(2, 28, 6)]
    for found, truth, expected in (
        (TRUTH[:1], TRUTH, (1.0, 0.5, 2 / 3)),
        (false, TRUTH, (2 / 3, 1.0, 4 / 5)),
    ):
        sums = tile_sums([(rings, 0.9) for rings in found], truth, EVERYWHERE, GSD)
        known = measures(sums)
        assert (known["precision"], known["recall"], known["instance_f1"]) == expected


def test_a_lower_threshold_counts_more_and_a_higher_one_less():
    sums = tile_sums(FOUND, TRUTH, EVERYWHERE, GSD)
    low, high = at(sums, 0.3), at(sums, 0.6)
    assert (low["tp"], low["fp"], low["fn"], low["pixel_fp"]) == (2, 1, 0, 56)
    assert (high["tp"], high["fp"], high["fn"], high["pixel_fn"]) == (1, 0, 1, 100)


def test_the_measures_of_a_tile():
    found = measures(tile_sums(FOUND, TRUTH, EVERYWHERE, GSD))
    shown = [rings for rings, score in FOUND if score >= found["threshold"]]
    mask, truth = (sum(fill(r, SIDE, SIDE) for r in some) > 0 for some in (shown, TRUTH))
    assert found["iou"] == pytest.approx(180 / 220)
    assert found["f1"] == pytest.approx(360 / 400)
    assert found["ssim"] == pytest.approx(ssim(mask, truth).value)
    distances = [polis(a, b) for a, b in zip(shown, TRUTH, strict=True)]
    assert found["polis"] == pytest.approx(GSD * sum(distances) / 2)
    assert found["precision"] == found["recall"] == found["instance_f1"] == 1
    assert found["vertex_ratio"] == 1
    assert found["matched_iou"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["score"] == pytest.approx((180 / 220 + 1) / 2)


def test_of_equal_thresholds_the_lowest_is_reported():
    assert measures(tile_sums(FOUND[:1], TRUTH[:1], EVERYWHERE, GSD))["threshold"] == 0.3


def test_the_measures_of_two_tiles_are_those_of_their_sum():
    good, bad = (tile_sums(f, TRUTH, EVERYWHERE, GSD) for f in (FOUND[:2], []))
    both = measures(good + bad)
    assert both["recall"] == 0.5
    assert both["iou"] == pytest.approx(180 / (220 + 200))


def test_pixels_that_are_not_valid_count_for_nothing():
    valid = EVERYWHERE.copy()
    valid[18:32, 18:34] = False  # where the second building is not met exactly
    row = at(tile_sums(FOUND, TRUTH, valid, GSD), 0.5)
    assert (row["pixel_tp"], row["pixel_fp"], row["pixel_fn"]) == (100, 0, 0)


def test_polygons_beyond_the_tile_are_cut_at_its_edge():
    outside, across = square(-30, -30), square(-5, 2)
    row = at(tile_sums([(outside, 0.9), (across, 0.8)], [], EVERYWHERE, GSD), 0.5)
    assert row["pixel_fp"] == 50
    assert row["fp"] == 2


def test_where_there_is_nothing_to_measure_there_is_no_number_but_a_score():
    found = measures(tile_sums([], [], EVERYWHERE, GSD))
    assert math.isnan(found["iou"])
    assert math.isnan(found["instance_f1"])
    assert found["score"] == 0
    assert measures(no_sums())["score"] == 0


def test_a_network_that_finds_hundreds_is_looked_at_in_part():
    crowd = [(square(1, 1), 0.9)] * (FEWEST + 50)
    assert at(tile_sums(crowd, TRUTH, EVERYWHERE, GSD), 0.5)["fp"] == FEWEST - 1


def test_of_a_dense_tile_every_building_is_looked_at():
    town = [square(4 * x, 4 * y, 3) for x in range(14) for y in range(14)]
    assert len(town) > FEWEST
    found = [(rings, 0.9) for rings in town]
    row = at(tile_sums(found, town, np.ones((56, 56), bool), GSD), 0.5)
    assert (row["tp"], row["fp"], row["fn"]) == (len(town), 0, 0)

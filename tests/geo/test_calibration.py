from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildex.geo.calibration import RIDGE, Calibration, calibrated


def drawn(true: Calibration, number: int, seed: int = 0):
    """Scores and whether each was right, as often as a calibration says."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.05, 0.95, number)
    return scores, rng.random(number) < true.chances(scores)


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (2.5, 0.8), (0.6, -1.2)])
def test_what_scores_mean_is_found_again(slope, offset):
    true = Calibration(slope, offset)
    found = calibrated(*drawn(true, 20_000))
    assert found.slope == pytest.approx(slope, rel=0.08)
    assert found.offset == pytest.approx(offset, abs=0.08)


def test_of_those_with_chance_a_half_every_second_one_is_right():
    scores, right = drawn(Calibration(3.0, 1.5), 50_000, seed=1)
    chances = calibrated(scores, right).chances(scores)
    near = np.abs(chances - 0.5) < 0.05
    assert near.sum() > 500
    assert right[near].mean() == pytest.approx(0.5, abs=0.03)
    assert right.mean() == pytest.approx(chances.mean(), abs=0.01)


@given(st.floats(0.2, 5), st.floats(-4, 4), st.floats(0.01, 0.99))
def test_chances_and_scores_are_each_other_s_inverse_and_rise(slope, offset, score):
    one = Calibration(slope, offset)
    chance = one.chances(np.array([score, score * 1.001]))
    assert 0 <= chance[0] <= chance[1] <= 1
    if 1e-5 < chance[0] < 1 - 1e-5:
        assert one.scores(chance)[0] == pytest.approx(score, rel=1e-6)


def test_separable_detections_stay_finite():
    found = calibrated(np.array([0.2, 0.3, 0.7, 0.8]), np.array([False, False, True, True]))
    assert np.isfinite([found.slope, found.offset]).all()
    assert found.chances(np.array([0.9]))[0] > 0.7


@pytest.mark.parametrize("right", [[True] * 4, [False] * 4, [True, True, True, False]])
def test_with_nothing_to_learn_from_scores_stay(right):
    assert calibrated(np.array([0.2, 0.3, 0.7, 0.8]), np.array(right)) == Calibration()


def test_scores_that_fall_with_being_right_are_left_alone():
    right = np.array([True] * 50 + [False] * 50)
    assert calibrated(np.linspace(0.05, 0.95, 100), right) == Calibration()


def test_a_slope_is_positive():
    with pytest.raises(ValueError, match="slope"):
        Calibration(slope=0.0)


def penalised(found, scores, right):
    """What is minimised, as Platt (1999) has it, and the ridge."""
    n = int(right.sum())
    target = np.where(right, (n + 1) / (n + 2), 1 / (len(right) - n + 2))
    z = found.slope * np.log(scores / (1 - scores)) + found.offset
    pull = 0.5 * RIDGE * ((found.slope - 1) ** 2 + found.offset**2)
    return (np.logaddexp(0, z) - target * z).sum() + pull


def test_detections_that_are_all_sure_are_fitted_too():
    scores = np.repeat([0.97, 0.95, 0.93], [8, 4, 3])
    right = np.array([True] * 11 + [False, True, False, False])
    found = calibrated(scores, right)
    assert found.slope == pytest.approx(3.03, abs=0.01)
    assert found.offset == pytest.approx(-7.96, abs=0.01)


@given(st.integers(0, 1000), st.floats(0.2, 0.9), st.integers(20, 130))
def test_no_map_nearby_makes_what_happened_likelier(seed, least, number):
    rng = np.random.default_rng(seed)
    scores = rng.uniform(least, 0.99, number)
    right = rng.random(number) < scores
    found = calibrated(scores, right)
    if found == Calibration():
        return
    here = penalised(found, scores, right)
    for slope, offset in ((1e-2, 0), (-1e-2, 0), (0, 1e-2), (0, -1e-2)):
        there = Calibration(max(found.slope + slope, 1e-6), found.offset + offset)
        assert penalised(there, scores, right) >= here - 1e-9

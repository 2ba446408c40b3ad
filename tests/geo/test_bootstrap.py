from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildex.geo.bootstrap import (
    LEAST_BLOCKS,
    Difference,
    Interval,
    differences,
    draws,
    intervals,
)
from buildex.geo.evidence import Evidence, together
from buildex.geo.figures import Figure, figures_for, ratio, values_of

F1 = next(f for f in figures_for((0.5,)) if f.name == "f1_50")


def evidence(tp, fp, fn) -> Evidence:
    sums = {"tp_0.5": tp, "fp_0.5": fp, "fn_0.5": fn}
    return Evidence({name: np.asarray(v, dtype=float) for name, v in sums.items()}, {})


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_figure_and_its_replicates_are_one_calculation():
    some = evidence([3, 0, 5], [1, 0, 0], [0, 2, 1])
    assert values_of([F1], some)["f1_50"] == pytest.approx([16 / (16 + 1 + 3)])
    weights = np.array([[1.0, 1, 1], [0, 0, 2], [0, 3, 0], [0, 0, 0]])
    known = [16 / 20, 20 / 22, 0, np.nan]
    assert values_of([F1], some, weights)["f1_50"] == pytest.approx(known, nan_ok=True)


def test_a_ratio_of_nothing_is_no_number():
    parts, wholes = np.array([1.0, 0.0, 0.0]), np.array([2.0, 0.0, 4.0])
    assert ratio(parts, wholes) == pytest.approx([0.5, np.nan, 0.0], nan_ok=True)


@given(st.lists(st.integers(LEAST_BLOCKS, 30), min_size=1, max_size=4), st.integers(1, 40))
@settings(max_examples=30)
def test_each_scene_is_drawn_from_by_itself(sizes, replicates):
    weights = np.concatenate(list(draws(sizes, replicates, rng())))
    assert weights.shape == (replicates, sum(sizes))
    for low, high in zip(np.cumsum([0, *sizes[:-1]]), np.cumsum(sizes), strict=True):
        assert np.all(weights[:, low:high].sum(axis=1) == high - low)


def test_scenes_of_few_blocks_are_drawn_from_together():
    weights = np.concatenate(list(draws([1, 8, 2, 1], 50, rng())))
    small = [0, 9, 10, 11]
    assert np.all(weights[:, 1:9].sum(axis=1) == 8)
    assert np.all(weights[:, small].sum(axis=1) == len(small))
    assert weights[:, 0].std() > 0


def test_scenes_of_one_block_each_are_not_sure():
    some = evidence([9, 1, 5, 2, 7, 3], [0, 4, 1, 6, 2, 2], [1, 1, 3, 0, 5, 2])
    found = intervals([F1], some, [1] * 6, 200, rng())["f1_50"]
    assert found.low < values_of([F1], some)["f1_50"][0] < found.high
    noisy = evidence([8, 3, 4, 4, 6, 2], [1, 3, 0, 8, 1, 3], [2, 0, 3, 1, 4, 2])
    apart = differences([F1], (some, noisy), [1] * 6, 200, rng())["f1_50"]
    assert apart.interval.low < 0 < apart.interval.high
    assert not apart.real


def test_scenes_together_are_their_blocks_together():
    one, other = evidence([1, 2], [0, 1], [0, 0]), evidence([4], [2], [3])
    both = together([one, other])
    assert len(both) == 3
    assert values_of([F1], both)["f1_50"] == pytest.approx([14 / (14 + 3 + 3)])


def test_equal_blocks_leave_no_doubt():
    same = evidence([5] * 8, [1] * 8, [1] * 8)
    found = intervals([F1], same, [8], 200, rng())["f1_50"]
    assert found.known
    assert found.low == found.high == pytest.approx(10 / 12)


def test_too_few_blocks_or_no_draws_say_nothing():
    few = LEAST_BLOCKS - 1
    some = evidence([1] * few, [1] * few, [1] * few)
    assert not intervals([F1], some, [few], 100, rng())["f1_50"].known
    more = evidence([1] * 9, [1] * 9, [1] * 9)
    assert not intervals([F1], more, [9], 0, rng())["f1_50"].known


def test_the_same_seed_gives_the_same_interval():
    some = evidence(range(10), range(10, 0, -1), [1] * 10)
    first, second = (intervals([F1], some, [10], 100, rng())["f1_50"] for _ in range(2))
    assert first == second


def mean_of(sums: str, count: str) -> Figure:
    return Figure("mean", "mean", "test", 1, of=lambda t: ratio(t[sums], t[count]))


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    # 200 towns of 40 blocks, whose mean is known to be 0; 95 % should hold it.
    chance, held = np.random.default_rng(7), 0
    for _ in range(200):
        values = chance.normal(0, 1, 40)
        some = Evidence({"sums": values, "count": np.ones(40)}, {})
        interval = intervals([mean_of("sums", "count")], some, [40], 300, chance)["mean"]
        held += interval.low <= 0 <= interval.high
    assert 0.89 <= held / 200 <= 0.985


def test_a_model_differs_from_itself_by_nothing():
    some = evidence(range(10), range(10, 0, -1), [1] * 10)
    found = differences([F1], (some, some), [10], 200, rng())["f1_50"]
    assert (found.interval.low, found.interval.high, found.chance) == (0, 0, 1)
    assert not found.real


def test_pairing_sees_a_small_difference_that_intervals_do_not():
    # B finds one building more in every block; blocks differ much more than A and B do.
    chance = np.random.default_rng(2)
    tp = chance.integers(2, 60, 30)
    fn = chance.integers(20, 60, 30)
    zeros = np.zeros(30)
    a, b = evidence(tp, zeros, fn), evidence(tp + 1, zeros, fn - 1)
    first, second = (intervals([F1], e, [30], 500, rng())["f1_50"] for e in (a, b))
    assert second.low < first.high  # apart, they cannot be told
    found = differences([F1], (a, b), [30], 500, rng())["f1_50"]
    assert found.real
    assert found.chance < 0.01
    back = differences([F1], (b, a), [30], 500, rng())["f1_50"]
    assert back.interval.high == pytest.approx(-found.interval.low)


def test_chance_alone_seldom_looks_real():
    # 200 comparisons of two models that are equally good: about 1 in 20 looks real.
    chance, real = np.random.default_rng(11), 0
    figure = mean_of("sums", "count")
    for _ in range(200):
        pair = tuple(
            Evidence({"sums": chance.normal(0, 1, 40), "count": np.ones(40)}, {}) for _ in "ab"
        )
        real += differences([figure], pair, [40], 300, chance)["mean"].real
    assert real / 200 <= 0.11


def test_a_difference_that_rounding_makes_is_none():
    apart = [Difference(0.5, 0.5 + gap, Interval(0.9 * gap, 1.1 * gap), 0.0)
             for gap in (3e-10, -3e-10, 1e-3, -1e-3)]  # fmt: skip
    assert [found.real for found in apart] == [False, False, True, True]

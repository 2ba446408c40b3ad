from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.segmentation import watershed as flooded

from buildex.geo.watershed import components, watershed


@given(st.integers(0, 500), st.integers(1, 24), st.integers(1, 24), st.floats(0, 1))
def test_components_are_scipy_s(seed, height, width, share):
    inside = np.random.default_rng(seed).random((height, width)) < share
    expected, count = ndimage.label(inside)
    found = components(inside)
    assert found.max(initial=0) == count
    assert np.array_equal(found, expected)


def test_components_are_numbered_as_they_are_read_and_corners_do_not_join():
    inside = np.array([[0, 1, 0, 1], [1, 0, 0, 1], [1, 1, 0, 0]], dtype=bool)
    assert components(inside).tolist() == [[0, 1, 0, 2], [3, 0, 0, 2], [3, 3, 0, 0]]


def test_a_spiral_is_one_region():
    inside = np.ones((41, 41), dtype=bool)
    for k in range(1, 20, 2):
        inside[k, k - 1 : 41 - k] = inside[k:-k, 40 - k] = False
        inside[40 - k, k:-k] = inside[k + 2 : 41 - k, k] = False
    expected, count = ndimage.label(inside)
    assert np.array_equal(components(inside), expected)
    assert count < 40


def test_regions_meet_on_the_ridge():
    height = np.array([[0.0, 0.1, 0.2, 0.9, 0.1, 0.0, 0.0]])
    markers = np.array([[1, 0, 0, 0, 0, 0, 2]])
    found = watershed(height, markers, np.ones_like(height, dtype=bool))
    assert found.tolist() == [[1, 1, 1, 2, 2, 2, 2]]  # the ridge goes to the lower ground
    even = np.array([[0.0, 0.1, 0.9, 0.1, 0.0]])
    ends = np.array([[4, 0, 0, 0, 3]])
    assert watershed(even, ends, even >= 0).tolist() == [[4, 4, 3, 3, 3]]  # to the lower number


def test_low_ground_is_flooded_before_high_ground_that_is_nearer():
    height = np.full((3, 7), 0.9)
    height[0] = 0.0  # a valley leads from the second marker around the ridge
    markers = np.zeros((3, 7), dtype=int)
    markers[2, 0], markers[0, 6] = 1, 2
    found = watershed(height, markers, np.ones_like(height, dtype=bool))
    assert found[0].tolist() == [2] * 7
    assert found[2, 0] == 1


def test_what_is_outside_or_out_of_reach_has_no_region():
    inside = np.array([[1, 1, 0, 1, 1]], dtype=bool)
    markers = np.array([[5, 0, 5, 0, 0]])
    assert watershed(np.zeros((1, 5)), markers, inside).tolist() == [[5, 5, 0, 0, 0]]


@pytest.mark.parametrize("seed", range(4))
def test_on_smooth_hills_regions_are_scikit_image_s_but_for_the_ridges(seed):
    rng = np.random.default_rng(seed)
    height = ndimage.gaussian_filter(rng.random((60, 60)), 5)
    height = (height - height.min()) / np.ptp(height)
    markers = components(height == ndimage.minimum_filter(height, 3))
    inside = np.ones_like(height, dtype=bool)
    levels = 100_000
    steps = np.floor(height * levels).clip(0, levels - 1).astype(int)
    expected = flooded(steps, markers, connectivity=1)
    cross = ndimage.generate_binary_structure(2, 1)
    low, high = (f(expected, footprint=cross) for f in (ndimage.minimum_filter,
                 ndimage.maximum_filter))  # fmt: skip
    valleys = low == high
    found = watershed(height, markers, inside, levels)
    assert np.array_equal(found[valleys], expected[valleys])
    assert (found == expected).mean() > 0.9

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from buildex.geo.blocks import Blocks, centres

POINTS = st.lists(
    st.tuples(st.integers(-300, 300), st.integers(-300, 300)), min_size=1, max_size=20
).map(lambda points: np.array(points, dtype=float))


@given(POINTS, st.sampled_from([10.0, 51.2]))
def test_every_point_lies_in_the_square_of_its_block(points, side):
    blocks = Blocks.around(side, points)
    for point, block in zip(points, blocks.of(points), strict=True):
        assert blocks.box(int(block)).buffer(1e-3).covers(shapely.Point(point))


@given(POINTS)
def test_sums_over_blocks_are_sums_over_points(points):
    blocks = Blocks.around(50.0, points)
    place = blocks.of(points)
    assert blocks.total(place).sum() == len(points)
    assert blocks.total(place, points[:, 0]).sum() == pytest.approx(points[:, 0].sum())


def test_a_point_in_no_block_goes_to_the_nearest():
    blocks = Blocks.around(10.0, np.array([[5.0, 5], [95, 5]]))
    assert blocks.of(np.array([[32.0, 4], [70, -8], [5, 5]])).tolist() == [0, 1, 0]


def test_a_million_points_in_no_block_are_no_burden():
    middles = (
        np.stack(np.meshgrid(np.arange(100.0), np.arange(100.0)), axis=-1).reshape(-1, 2) + 0.5
    )
    blocks = Blocks.around(1.0, middles)
    found = blocks.of(np.random.default_rng(0).uniform(200, 1000, (1_000_000, 2)))
    assert set(found.tolist()) <= set(range(len(blocks)))


def test_what_lies_on_a_line_belongs_to_the_block_above_it():
    side = 51.2
    blocks = Blocks.around(side, np.array([[side * 3 + 1, 1.0], [side * 2 + 1, 1.0]]))
    assert blocks.of(np.array([[side * 3, 1.0]])).tolist() == [1]


def test_centres_are_the_middles_of_bounds():
    triangle = shapely.Polygon([(0, 0), (10, 0), (0, 4)])
    assert centres(np.array([triangle], dtype=object)).tolist() == [[5, 2]]
    assert centres(np.empty(0, dtype=object)).shape == (0, 2)

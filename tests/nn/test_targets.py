from __future__ import annotations

import numpy as np
import pytest
import torch

from buildex.geo.keypoints import RoiCodec
from buildex.geo.rings import bounds
from buildex.nn.targets import coverage, draw
from tests.nn.made import rings_of

CODEC = RoiCodec(cells=16, spread=0.1)
COURTYARD = (
    *rings_of([[10, 10], [60, 12], [58, 70], [8, 66]]),
    *rings_of([[25, 25], [25, 50], [40, 50], [40, 25]]),
)
CPU = torch.device("cpu")


def star(rng, points):
    """A ring of any shape; now and then two of its corners share a cell."""
    angle = np.sort(rng.uniform(0, 2 * np.pi, points))
    reach = rng.uniform(5, 40, points)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) * reach[:, None] + rng.uniform(0, 90, 2)


def drawn(buildings, frames, corners):
    return draw(CODEC.sketch(buildings, frames, corners), CODEC, CPU)


@pytest.mark.parametrize("seed", range(20))
def test_many_frames_at_once_are_drawn_as_the_codec_draws_each(seed):
    rng = np.random.default_rng(seed)
    buildings = [(star(rng, int(rng.integers(3, 14))),) for _ in range(6)] + [COURTYARD]
    flags = [tuple(rng.random(len(ring)) < 0.8 for ring in rings) for rings in buildings]
    boxes = np.array([bounds(rings) for rings in buildings]) + rng.normal(0, 4, (7, 4))
    frames = CODEC.frames(boxes)
    maps = drawn(buildings, frames, flags)
    for i, (rings, frame, corners) in enumerate(zip(buildings, frames, flags, strict=True)):
        wanted = CODEC.encode(rings, frame, corners)
        assert np.array_equal(maps.mask[i, 0].numpy(), wanted.mask)
        assert maps.heatmap[i, 0].numpy() == pytest.approx(wanted.heatmap, abs=1e-6)
        assert maps.offset[i].numpy() == pytest.approx(wanted.offset, abs=1e-6)
        assert np.array_equal(maps.at[i, 0].numpy(), wanted.at)


def test_of_two_corners_in_a_cell_the_later_one_s_place_counts():
    ring = np.array([[4.1, 4.1], [12.0, 4.0], [12.0, 12.0], [4.6, 4.7]])
    frame = np.array([[0.0, 0.0, 16.0, 16.0]])
    maps = drawn([(ring,)], frame, [(np.ones(4, bool),)])
    assert maps.offset[0, :, 4, 4].tolist() == pytest.approx([0.6, 0.7])
    assert int(maps.at.sum()) == 3


def test_no_frames_give_maps_of_no_frames():
    maps = drawn([], np.zeros((0, 4)), [])
    assert maps.mask.shape == maps.heatmap.shape == maps.at.shape == (0, 1, 16, 16)
    assert maps.offset.shape == (0, 2, 16, 16)


def test_a_square_over_a_quarter_of_a_cell_covers_a_quarter_of_it():
    corner = [[1, 1, 1.5, 1], [1.5, 1, 1.5, 1.5], [1.5, 1.5, 1, 1.5], [1, 1.5, 1, 1]]
    edges = torch.tensor(corner, dtype=torch.float64)
    share = coverage(edges, torch.zeros(4, dtype=torch.int64), 1, 3, 4)
    assert share[0].tolist() == [[0, 0, 0], [0, 0.25, 0], [0, 0, 0]]

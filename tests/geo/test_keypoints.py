from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildex.geo.keypoints import RoiCodec
from buildex.geo.rings import area, bounds
from tests.geo.shapes import HOLE, SQUARE, buildings

CODEC = RoiCodec()


def test_a_frame_reaches_beyond_its_box_by_the_margin():
    frame = RoiCodec(margin=0.25).frames(np.array([[10, 20, 30, 60]]))[0]
    assert frame.tolist() == [5, 10, 35, 70]


def test_a_tiny_box_gets_a_frame_of_four_pixels():
    frame = CODEC.frames(np.array([[10.0, 10, 10, 10]]))[0]
    assert (frame[2:] - frame[:2]).tolist() == [4, 4]


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(5, 300), st.floats(5, 300))
def test_cells_and_pixels_go_there_and_back(x, y, width, height):
    frame = np.array([x, y, x + width, y + height])
    points = np.array([[x, y], [x + width / 3, y + height], [0, 0]])
    back = CODEC.to_pixels(CODEC.to_cells(points, frame), frame)
    assert np.allclose(back, points, atol=1e-9)


def test_a_point_lies_in_the_cell_that_the_convention_says():
    codec = RoiCodec(cells=4)
    frame = np.array([0, 0, 8, 8])
    ring = np.array([[1.0, 5.0], [7.5, 5.0], [7.5, 7.0]])
    target = codec.encode((ring,), frame)
    assert target.at[2, 0]
    assert target.at[2, 3]
    assert target.offset[:, 2, 0].tolist() == pytest.approx([0.5, 0.5])
    assert target.offset[:, 2, 3].tolist() == pytest.approx([0.75, 0.5])
    assert target.heatmap[2, 0] == 1


@settings(deadline=None, max_examples=60)
@given(buildings())
def test_corners_come_back_from_their_maps(ring):
    frame = CODEC.frames(np.array([bounds((ring,))]))[0]
    target = CODEC.encode((ring,), frame)
    points, scores = CODEC.decode(target.heatmap, target.offset, frame)
    in_cells = CODEC.to_cells(ring, frame)
    gaps = np.abs(in_cells[:, None] - in_cells[None]).max(axis=2) + 9 * np.eye(len(ring))
    if gaps.min() < 3:
        return  # corners in one peak cannot be told apart
    assert len(points) == len(ring)
    distance = np.abs(points[:, None] - ring[None]).max(axis=2)
    assert distance.min(axis=1).max() < 1e-4
    assert np.all(scores == 1)


@settings(deadline=None, max_examples=60)
@given(buildings())
def test_the_mask_keeps_the_area(ring):
    frame = CODEC.frames(np.array([bounds((ring,))]))[0]
    cell = (frame[2:] - frame[:2]) / CODEC.cells
    # Points stand one in a subcell: walls along the axes may miss or gain a row of them, the
    # frame moved by eighths of a subcell does so by an eighth, in the mean.
    step = cell / CODEC.subcells / 8
    moves = [step * (i, j) for i in range(8) for j in range(8)]
    masks = [CODEC.encode((ring,), frame + np.tile(move, 2)).mask for move in moves]
    length = np.hypot(*(np.roll(ring, -1, axis=0) - ring).T).sum()
    slack = length * step.max() / 2 + len(ring) * step.max() ** 2
    assert np.mean([m.sum() for m in masks]) * cell.prod() == pytest.approx(
        area((ring,)), abs=min(slack, 0.01 * area((ring,)))
    )


def test_a_hole_is_not_in_the_mask_but_its_corners_are():
    frame = np.array([0.0, 0, 56, 56])
    target = CODEC.encode((SQUARE, HOLE), frame)
    assert target.mask[30, 30] == 0
    assert target.mask[15, 15] == 1
    assert target.at.sum() == 8


def test_points_that_an_edge_made_are_no_corners():
    frame = np.array([0.0, 0, 56, 56])
    flags = [np.array([True, False, False, True])]
    target = CODEC.encode((SQUARE,), frame, flags)
    assert target.at.sum() == 2


def test_nothing_is_decoded_from_an_empty_map():
    empty = np.zeros((56, 56), np.float32)
    points, scores = CODEC.decode(empty, np.zeros((2, 56, 56), np.float32), np.array([0, 0, 9, 9]))
    assert points.shape == (0, 2)
    assert scores.shape == (0,)


def test_of_a_plateau_one_cell_is_the_peak():
    heatmap = np.zeros((56, 56), np.float32)
    heatmap[10:12, 10:12] = 0.8
    points, _ = CODEC.decode(heatmap, np.zeros((2, 56, 56), np.float32), np.array([0, 0, 56, 56]))
    assert points.tolist() == [[10, 10]]


def test_gaussians_are_wider_for_larger_objects():
    frame = np.array([0.0, 0, 56, 56])
    small = CODEC.encode((SQUARE / 4,), frame).heatmap
    large = CODEC.encode((SQUARE,), frame).heatmap
    assert (large > 0.1).sum() > (small > 0.1).sum()

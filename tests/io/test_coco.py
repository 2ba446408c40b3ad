import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as judge

from buildex.geo.cutting import Part
from buildex.io.coco import annotation, compressed, run_lengths

masks = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda s: arrays(bool, s))


@given(masks)
def test_the_text_is_the_one_of_pycocotools(mask):
    theirs = judge.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert compressed(run_lengths(mask)) == theirs["counts"].decode()


def test_long_runs_take_several_characters():
    mask = np.zeros((512, 512), dtype=bool)
    mask[100:400, 50:500] = True
    mask[200:210, 200:210] = False
    theirs = judge.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert compressed(run_lengths(mask)) == theirs["counts"].decode()


def test_runs_start_with_zeros_and_go_down_columns():
    assert run_lengths(np.array([[True, False], [True, True]])) == [0, 2, 1, 1]


def test_a_part_keeps_its_polygon_and_its_corners():
    ring = np.array([[1.0, 2], [5, 2], [5, 8], [1, 8]])
    part = Part((ring,), (np.array([True, False, False, True]),), 0.5)
    entry = annotation(part, 7, 20, 20)
    assert entry["segmentation"] == [[1, 2, 5, 2, 5, 8, 1, 8]]
    assert entry["bbox"] == [1, 2, 4, 6]
    assert (entry["area"], entry["kept"], entry["building_id"]) == (24, 0.5, 7)
    assert entry["keypoints"] == [1, 2, 2, 5, 2, 1, 5, 8, 1, 1, 8, 2]
    assert (entry["num_keypoints"], entry["num_corners"]) == (4, 2)


def test_holes_are_kept_as_run_lengths():
    outline = np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]])
    hole = np.array([[2.0, 2], [2, 4], [4, 4], [4, 2]])
    flags = np.ones(4, dtype=bool)
    entry = annotation(Part((outline, hole), (flags, flags), 1.0), 1, 12, 12)
    shown = judge.decode(entry["segmentation"])
    assert shown.sum() == entry["area"] == 96
    assert shown[3, 3] == 0
    assert shown[5, 3] == 1

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildex.geo.boxes import PixelBox

sides = st.integers(1, 20)
places = st.integers(-30, 30)
boxes = st.builds(lambda x, y, w, h: PixelBox(x, y, x + w, y + h), places, places, sides, sides)


@pytest.mark.parametrize("corners", [(0, 0, 0, 1), (0, 0, 1, 0), (2, 0, 1, 1)])
def test_a_box_is_never_empty(corners):
    with pytest.raises(ValueError, match="empty pixel box"):
        PixelBox(*corners)


def pixels(box):
    return set(product(range(box.x0, box.x1), range(box.y0, box.y1)))


@given(boxes, boxes)
def test_the_intersection_is_the_pixels_of_both(a, b):
    common = a.intersection(b)
    assert pixels(a) & pixels(b) == (set() if common is None else pixels(common))


@given(boxes, places, places)
def test_a_shift_there_and_back_is_the_same_box(box, dx, dy):
    moved = box.shift(dx, dy)
    assert (moved.width, moved.height) == (box.width, box.height)
    assert moved.shift(-dx, -dy) == box


def test_slices_are_rows_then_columns():
    assert PixelBox(1, 2, 4, 8).slices == (slice(2, 8), slice(1, 4))

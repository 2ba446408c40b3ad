import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from buildex.geo.boxes import PixelBox
from buildex.geo.grid import Grid
from buildex.geo.tiles import Cover, cover


@st.composite
def covers(draw: st.DrawFn) -> Cover:
    size = draw(st.integers(1, 24))
    overlap = draw(st.integers(0, size - 1))
    longest = 6 * (size - overlap)
    return Cover(draw(st.integers(1, longest)), draw(st.integers(1, longest)), size, overlap)


@given(covers())
def test_tiles_cover_every_pixel(tiles):
    seen = np.zeros((tiles.height, tiles.width), dtype=bool)
    for place in tiles:
        seen[place.box.slices] = True
    assert seen.all()


@given(covers())
def test_cores_divide_the_grid_without_gap_or_overlap(tiles):
    owners = np.zeros((tiles.height, tiles.width), dtype=int)
    for row, col, _ in tiles:
        owners[tiles.core(row, col).slices] += 1
    assert (owners == 1).all()


@given(covers(), st.floats(0, 0.999), st.floats(0, 0.999))
def test_a_point_is_owned_by_the_tile_in_whose_core_it_lies(tiles, u, v):
    x, y = u * tiles.width, v * tiles.height
    row, col = tiles.owner(x, y)
    for box in (tiles.core(row, col), tiles.box(row, col)):
        assert box.x0 <= x < box.x1
        assert box.y0 <= y < box.y1


@given(covers())
def test_the_owner_of_a_point_outside_is_a_tile_at_the_edge(tiles):
    assert tiles.owner(-5, -5) == (0, 0)
    assert tiles.owner(1e6, 1e6) == (tiles.rows - 1, tiles.cols - 1)


def test_no_tile_too_many():
    tiles = cover(Grid("EPSG:32737", Affine(1, 0, 0, 0, -1, 0), 100, 60), size=40, overlap=10)
    assert (tiles.rows, tiles.cols, len(tiles)) == (2, 3, 6)
    assert [place.box for place in tiles][2] == PixelBox(60, 0, 100, 40)


def test_tiles_that_overlap_by_their_size_are_refused():
    with pytest.raises(ValueError, match="cannot overlap by 8"):
        Cover(10, 10, 8, 8)

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from buildex.geo.boxes import PixelBox
from buildex.geo.grid import Grid, snapped_grid

angles = st.floats(-180, 180)
metres = st.floats(-1e6, 1e6)
gsds = st.sampled_from([0.05, 0.1, 0.3, 1.0, 0.075])


def turned(x: float, y: float, gsd: float, angle: float) -> Grid:
    place = Affine.translation(x, y) @ Affine.rotation(angle) @ Affine.scale(gsd, -gsd)
    return Grid("EPSG:32737", place, 70, 40)


@given(metres, metres, gsds, angles)
def test_there_and_back_is_the_same_point(x, y, gsd, angle):
    grid = turned(x, y, gsd, angle)
    points = np.array([[0.0, 0], [12.5, 7.25], [70, 40], [-3, 50]])
    np.testing.assert_allclose(grid.to_pixel(grid.to_ground(points)), points, atol=1e-6)


@given(metres, metres, gsds, angles, st.integers(-9, 60), st.integers(-9, 30))
def test_a_crop_leaves_the_ground_where_it_was(x, y, gsd, angle, dx, dy):
    grid = turned(x, y, gsd, angle)
    crop = grid.crop(PixelBox(dx, dy, dx + 10, dy + 5))
    points = np.array([[0.0, 0], [3, 4]])
    np.testing.assert_allclose(
        crop.to_ground(points), grid.to_ground(points + np.array([dx, dy])), atol=1e-6
    )
    assert (crop.width, crop.height) == (10, 5)


def test_the_first_pixel_has_its_centre_at_a_half():
    grid = Grid("EPSG:32737", Affine(0.5, 0, 100, 0, -0.5, 200), 4, 2)
    np.testing.assert_allclose(grid.to_ground(np.array([[0.5, 0.5]])), [[100.25, 199.75]])
    assert grid.bounds == (100, 199, 102, 200)
    assert grid.gsd == 0.5


def test_a_grid_without_pixels_or_inverse_is_refused():
    with pytest.raises(ValueError, match="0 x 2"):
        Grid("EPSG:32737", Affine.identity(), 0, 2)
    with pytest.raises(ValueError, match="inverted"):
        Grid("EPSG:32737", Affine(1, 1, 0, 1, 1, 0), 2, 2)


@given(metres, metres, st.floats(0.5, 300), st.floats(0.5, 300), gsds, st.integers(1, 64))
def test_a_snapped_grid_covers_its_bounds_with_whole_steps(x, y, wide, high, gsd, step):
    bounds = (x, y, x + wide, y + high)
    grid = snapped_grid("EPSG:32737", bounds, gsd, step)
    side, slack = gsd * step, gsd * step * 1e-5
    got = grid.bounds
    assert got[0] <= bounds[0] + slack
    assert got[1] <= bounds[1] + slack
    assert got[2] >= bounds[2] - slack
    assert got[3] >= bounds[3] - slack
    assert got[0] > bounds[0] - side - slack
    assert got[2] < bounds[2] + side + slack
    assert (grid.width % step, grid.height % step) == (0, 0)
    steps = np.array([got[0], got[3]]) / side
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)


def test_bounds_on_the_lines_of_the_grid_add_no_pixels():
    grid = snapped_grid("EPSG:32737", (1000.0, 2000.0, 1010.0, 2005.0), 0.1, 10)
    assert (grid.width, grid.height) == (100, 50)

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from buildex.geo.boundary_bands import band_ious, band_width, eroded
from buildex.geo.drawing import Layer
from buildex.geo.footprints import object_array
from buildex.geo.grid import Grid
from buildex.geo.matching import overlaps
from tests.geo.shapes import buildings


def ious(a: shapely.Polygon, b: shapely.Polygon, width: float) -> list[float]:
    first, second = object_array([a]), object_array([b])
    return band_ious(first, second, overlaps(first, second), width).tolist()


def test_the_band_is_two_hundredths_of_a_tile_s_diagonal_but_at_least_a_pixel():
    assert band_width(51.2, 0.1) == pytest.approx(0.02 * math.hypot(51.2, 51.2))
    assert band_width(1.0, 0.1) == 0.1


def test_boundary_iou_by_hand():
    # Bands of 1 m in squares of 10 m: 100 - 64 = 36 m2 each. The squares are 1 m apart,
    # so the bands share the two long strips of 9 x 1 m: and in x, [1, 2] of one lies on
    # [1, 2] of the other only at the top and bottom strips.
    a, b = shapely.box(0, 0, 10, 10), shapely.box(1, 0, 11, 10)
    band_a, band_b = a.difference(a.buffer(-1)), b.difference(b.buffer(-1))
    assert band_a.area == pytest.approx(36)
    common = 9 * 2  # both strips; the upright ones lie side by side
    assert band_a.intersection(band_b).area == pytest.approx(common)
    assert ious(a, b, 1.0) == [pytest.approx(common / (72 - common))]


def test_a_building_no_wider_than_two_bands_is_all_band():
    a, b = shapely.box(0, 0, 2, 8), shapely.box(0, 2, 2, 10)
    assert ious(a, b, 1.0) == [pytest.approx(12 / 20)]
    assert shapely.is_empty(eroded(object_array([a]), 1.0)).all()


def test_pairs_of_low_iou_are_not_measured():
    first = object_array([shapely.box(0, 0, 10, 10)])
    second = object_array([shapely.box(0, 0, 10, 9), shapely.box(8, 0, 20, 10)])
    values = band_ious(first, second, overlaps(first, second), 1.0, least=0.5)
    assert values[0] > 0
    assert values[1] == 0


@given(buildings(), buildings(), st.floats(0.2, 20))
@settings(max_examples=50, deadline=None)
def test_boundary_iou_is_symmetric_bounded_and_1_with_itself(one, other, width):
    a, b = shapely.Polygon(one), shapely.Polygon(other)
    assert ious(a, a, width) == [pytest.approx(1)]
    for forth, back in zip(ious(a, b, width), ious(b, a, width), strict=True):
        assert 0 <= forth <= 1
        assert forth == pytest.approx(back, abs=1e-9)


@given(buildings(), buildings())
@settings(max_examples=20, deadline=None)
def test_a_band_wider_than_the_building_gives_the_iou(one, other):
    a, b = shapely.Polygon(one), shapely.Polygon(other)
    first, second = object_array([a]), object_array([b])
    found = overlaps(first, second)
    assert band_ious(first, second, found, 100.0) == pytest.approx(found.iou)


@pytest.mark.parametrize("seed", range(5))
def test_boundary_iou_is_that_of_masks_and_their_distance_to_the_outside(seed):
    rng = np.random.default_rng(seed)
    ring = np.array([[10.0, 10], [90, 14], [88, 60], [50, 55], [48, 90], [8, 86]])
    a = shapely.Polygon(ring)
    b = shapely.Polygon(ring + rng.normal(0, 2, ring.shape))
    gsd, width = 0.1, 4.0
    grid = Grid("EPSG:32737", Affine(gsd, 0, 0, 0, -gsd, 100), 1000, 1000)
    bands = []
    for polygon in (a, b):
        mask = Layer(object_array([polygon])).draw(grid)
        bands.append(mask & (distance_transform_edt(mask) * gsd <= width))
    known = (bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum()
    assert ious(a, b, width) == [pytest.approx(known, abs=0.02)]

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize

from buildex.geo.drawing import Layer
from buildex.geo.footprints import Footprints, repaired, to_polygon, to_rings
from buildex.geo.grid import Grid
from tests.geo.shapes import HOLE, SQUARE, buildings, same_polygon
from tests.geo.test_rings import POINTS, far_from_edges

BOWTIE = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])


def test_a_column_of_numbers_says_nothing_as_nan_and_text_is_none():
    columns = {
        "score": np.array([0.5, None], dtype=object),
        "floors": np.array([2, 3]),
        "name": np.array(["a", "b"], dtype=object),
        "tags": np.array([{}, {}], dtype=object),
    }
    found = Footprints(np.array([BOWTIE, BOWTIE], dtype=object), "EPSG:32737", columns)
    np.testing.assert_array_equal(found.numbers("score"), [0.5, np.nan])
    np.testing.assert_array_equal(found.numbers("floors"), [2.0, 3.0])
    for column in ("name", "tags"):
        with pytest.raises(ValueError, match="float"):
            found.numbers(column)
    with pytest.raises(KeyError):
        found.numbers("height")


def test_columns_have_a_value_for_each_polygon():
    polygons = shapely.box([0, 5, 9], 0, [3, 8, 12], 3)
    layer = Footprints(polygons, "EPSG:32737", {"score": np.array([0.9, 0.5, 0.7])})
    assert len(layer) == 3
    assert layer.take(np.array([2, 0])).columns["score"].tolist() == [0.7, 0.9]
    assert layer.take(layer.columns["score"] > 0.6).polygons.tolist() == polygons[[0, 2]].tolist()
    with pytest.raises(ValueError, match="column score: 2 values, 3 polygons"):
        Footprints(polygons, "EPSG:32737", {"score": np.array([0.9, 0.5])})


def test_moved_keeps_the_columns():
    layer = Footprints(shapely.box([0], 0, [3], 3), "EPSG:4326", {"name": np.array(["a"])})
    moved = layer.moved(shapely.box([100], 0, [103], 3), "EPSG:32737")
    assert (moved.crs, moved.columns["name"].tolist()) == ("EPSG:32737", ["a"])


@given(buildings(), st.booleans())
def test_rings_and_polygons_there_and_back(ring, holed):
    rings = (ring, HOLE / 100 + ring.mean(axis=0)) if holed else (ring,)
    back = to_rings(to_polygon(rings))
    assert len(back) == len(rings)
    for one, other in zip(back, rings, strict=True):
        assert same_polygon(one, other, 0)


def test_holes_of_no_area_are_left_out():
    assert len(to_polygon((SQUARE, HOLE[:2])).interiors) == 0


def test_a_bow_tie_is_two_buildings():
    parts = repaired(BOWTIE)
    assert [part.area for part in parts] == [25, 25]


def test_parts_of_a_multipolygon_are_buildings_largest_first():
    parts = repaired(shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(5, 5, 8, 8)]))
    assert [part.area for part in parts] == [9, 1]


def test_what_has_no_area_is_no_building():
    line = shapely.Polygon([(0, 0), (5, 0), (0, 0)])
    for empty in (None, shapely.Polygon(), shapely.Point(1, 1), line):
        assert repaired(empty) == []
    mixed = shapely.GeometryCollection([shapely.Point(0, 0), shapely.box(0, 0, 2, 2)])
    assert [part.area for part in repaired(mixed)] == [4]


@given(POINTS)
def test_what_was_repaired_is_valid_and_has_area(ring):
    parts = repaired(shapely.Polygon(ring))
    assert all(p.geom_type == "Polygon" and p.is_valid and p.area > 0 for p in parts)
    assert [p.area for p in parts] == sorted((p.area for p in parts), reverse=True)


@given(buildings())
def test_a_valid_polygon_needs_no_repair(ring):
    polygon = shapely.Polygon(ring)
    assert repaired(polygon) == [polygon]


@given(st.lists(buildings(), min_size=1, max_size=4), st.floats(-40, 40), st.floats(-40, 40))
@settings(max_examples=40)
def test_a_layer_draws_what_gdal_rasterizes(rings, x, y):
    transform = Affine(0.5, 0, 1000 + x, 0, -0.5, 2000 + y)
    grid = Grid("EPSG:32737", transform, 100, 80)
    ground = [ring * [1.0, -1.0] + np.array([1000.0, 2000.0]) for ring in rings]
    polygons = np.array([shapely.Polygon(ring) for ring in ground], dtype=object)
    known = rasterize(polygons, out_shape=(80, 100), transform=transform).astype(bool)
    clear = far_from_edges(tuple(grid.to_pixel(ring) for ring in ground), 100)[:80]
    assert (Layer(polygons).draw(grid) == known)[clear].all()


def test_a_layer_without_polygons_draws_nothing():
    grid = Grid("EPSG:32737", Affine(0.5, 0, 0, 0, -0.5, 0), 10, 10)
    assert not Layer(np.empty(0, dtype=object)).draw(grid).any()

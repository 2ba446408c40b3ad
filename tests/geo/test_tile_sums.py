from __future__ import annotations

import pytest
import shapely

from buildex.geo.drawing import Layer
from buildex.geo.footprints import object_array
from buildex.geo.matching import inside
from buildex.geo.tile_sums import tile_counts, tiles_of

UTM = "EPSG:32737"
AREA = shapely.box(0, 0, 400, 300).difference(shapely.Point(390, 290).buffer(35))
HOUSE = object_array([shapely.box(105, 55, 115, 61)])


def counted(area: shapely.Geometry):
    layers = inside(HOUSE, area), inside(HOUSE, area)
    return tile_counts(layers, area, tiles_of(area, UTM, 0.5, 100), 1.0)


def test_tiles_are_those_that_touch_the_area():
    tiles = tiles_of(AREA, UTM, 0.5, 100)
    boxes = tiles.boxes
    grids = [tiles[number] for number in range(len(tiles))]
    assert shapely.equals_exact(boxes, [shapely.box(*g.bounds) for g in grids], 1e-9).all()
    assert len(tiles) == len(boxes) == 48
    assert all(AREA.intersects(box) for box in boxes)
    assert shapely.union_all(boxes).covers(AREA)
    corner = tiles_of(shapely.Polygon([(0, 0), (400, 0), (0, 300)]), UTM, 0.5, 100)
    assert len(corner) < 48


def test_only_ground_with_buildings_is_drawn_and_all_of_it_is_counted(monkeypatch):
    drawn, draw = [], Layer.draw
    monkeypatch.setattr(Layer, "draw", lambda *a: drawn.append(a) or draw(*a))
    tiles = counted(AREA)
    assert len(drawn) < 2 * 8  # of 48 tiles: one with the house, one without, the cut corner
    assert sum(tile.valid for tile in tiles) * 0.25 == pytest.approx(AREA.area, rel=1e-4)
    assert sum(tile.pixels.tp for tile in tiles) == 240
    bare = [tile for tile in tiles if tile.valid == 10_000 and not tile.pixels.tp]
    assert {(tile.similarity.total, tile.similarity.windows) for tile in bare} == {(94**2, 94**2)}
    assert len({tile.centre for tile in tiles}) == 48

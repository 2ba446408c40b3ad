"""Layers as other programs export them from OpenStreetMap, Overture and Open Buildings."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas
import pyogrio
import pytest
import shapely

from buildex.errors import VectorError
from buildex.geo.footprints import Footprints
from buildex.io import tags, vector
from buildex.io.vector import RepairCounts, read_area, read_footprints, write_footprints

EAST, NORTH, UNIT = 36.8, -1.28, 1e-5


def square(x: float, y: float = 0, side: float = 10) -> shapely.Polygon:
    x0, y0 = EAST + x * UNIT, NORTH + y * UNIT
    return shapely.box(x0, y0, x0 + side * UNIT, y0 + side * UNIT)


def geojson(path: Path, *features: tuple[shapely.Geometry, dict[str, Any]], **extra: Any) -> Path:
    rows = [
        {"type": "Feature", "properties": properties, "geometry": shapely.geometry.mapping(shape)}
        for shape, properties in features
    ]
    ids = extra.get("ids")
    if ids:
        rows = [{"id": i, **row} for i, row in zip(ids, rows, strict=True)]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": rows}))
    return path


def places(path: Path) -> list[int]:
    """West edges of the buildings that are read, in units."""
    read, _ = read_footprints(path)
    return sorted(round((polygon.bounds[0] - EAST) / UNIT) for polygon in read.polygons)


def test_geojson_of_overpass_turbo(tmp_path):
    path = geojson(
        tmp_path / "x.geojson",
        (square(0), {"@id": "way/1", "building": "yes"}),
        (square(20), {"@id": "way/2", "building": "no"}),
        (square(40), {"@id": "way/3"}),
        (square(60), {"@id": "relation/4", "building": "house", "type": "multipolygon"}),
        (square(62, 2, 3), {"@id": "way/5", "building:part": "yes"}),
        (square(80), {"@id": "way/6", "building:part": "roof"}),
        (shapely.Point(EAST, NORTH), {"@id": "node/7", "building": "yes"}),
    )
    assert places(path) == [0, 60, 80]
    _, counts = read_footprints(path)
    assert counts == RepairCounts(read=7, dropped=1, no_building=2, parts=1)


def test_geojson_of_osmtogeojson_with_nested_tags(tmp_path):
    path = geojson(
        tmp_path / "x.geojson",
        (square(0), {"type": "way", "id": 1, "tags": {"building": "yes"}, "meta": {}}),
        (square(20), {"type": "way", "id": 2, "tags": {}, "meta": {}}),
        ids=("way/1", "way/2"),
    )
    assert places(path) == [0]


@pytest.mark.parametrize(
    "packed",
    [
        '"building"=>"yes", "name"=>"a b"',
        json.dumps({"building": "yes"}),
        {"building": "yes"},
        [("building", "yes"), ("name", "a b")],
        np.array([["building", "yes"]], dtype=object),
    ],
)
@pytest.mark.parametrize("column", ["tags", "other_tags"])
def test_tags_count_in_columns_of_their_own_and_packed(column, packed):
    """Of osm2pgsql, whose table has both: what has a column may be left out of `tags`."""
    table = {
        "osm_id": [1, 2, 3, 4, 5],
        "building": ["yes", "", None, float("nan"), "no"],
        "building:part": [None, None, "yes", None, None],
        column: ['"height"=>"3"', packed, None, {}, None],
    }
    columns = {}
    for name, values in table.items():
        columns[name] = np.empty(5, dtype=object)
        columns[name][:] = values
    found = tags.kinds(columns)
    assert found.tolist() == [tags.BUILDING, tags.BUILDING, tags.PART, tags.OTHER, tags.OTHER]


def test_what_is_missing_in_a_nullable_column_claims_nothing(tmp_path):
    frame = geopandas.GeoDataFrame(
        {
            "osm_id": pandas.array([1, 2, None], dtype="Int64"),
            "building": pandas.array(["yes", None, "no"], dtype="string"),
        },
        geometry=[square(0), square(20), square(40)],
        crs="EPSG:4326",
    )
    frame.to_parquet(tmp_path / "osm.parquet")
    assert places(tmp_path / "osm.parquet") == [0]
    nullable = overture()
    for name, kind in {
        "is_underground": "boolean",
        "building_id": "string",
        "type": "string",
    }.items():
        nullable[name] = nullable[name].astype(kind)
    nullable.to_parquet(tmp_path / "overture.parquet")
    assert places(tmp_path / "overture.parquet") == [0, 40]


def test_geojson_of_osmnx(tmp_path):
    path = geojson(
        tmp_path / "x.geojson",
        (square(0), {"element": "way", "id": 1, "building": "yes", "nodes": [1, 2, 3, 1]}),
        (square(20), {"element": "way", "id": 2, "building": "no", "nodes": None}),
        (shapely.Point(EAST, NORTH), {"element": "node", "id": 3, "building": "hut"}),
        (
            shapely.LineString([(EAST, NORTH), (EAST + UNIT, NORTH)]),
            {"element": "way", "id": 4, "building": "yes"},
        ),
    )
    assert places(path) == [0]
    _, counts = read_footprints(path)
    assert counts == RepairCounts(read=4, dropped=2, no_building=1)


def test_a_layer_that_ogr2ogr_made_of_openstreetmap(tmp_path):
    path = geojson(
        tmp_path / "x.geojson",
        (square(0), {"osm_way_id": "1", "building": "yes", "other_tags": None}),
        (square(20), {"osm_way_id": "2", "building": None, "other_tags": '"height"=>"3"'}),
        (square(40), {"osm_way_id": "3", "building": None, "other_tags": '"building:part"=>"yes"'}),
        (square(42, 2, 3), {"osm_way_id": "4", "other_tags": '"building:part"=>"yes"'}),
    )
    assert places(path) == [0, 40]


def test_layers_that_are_none_of_these_keep_every_feature(tmp_path):
    mine = geojson(
        tmp_path / "x.geojson",
        (square(0), {"building": "B12"}),
        (square(20), {"building": "no"}),
        (square(40), {"building": None}),
    )
    assert places(mine) == [0, 20, 40]
    ids = geojson(tmp_path / "y.geojson", (square(0), {"osm_id": 1}), (square(20), {"osm_id": 2}))
    assert places(ids) == [0, 20]


def test_geofabrik_s_shapefile(tmp_path):
    logging.getLogger("pyogrio").setLevel(logging.ERROR)
    path = tmp_path / "gis_osm_buildings_a_free_1.shp"
    yard = square(40).difference(square(43, 3, 4))
    rows = [
        (square(0), "building", None),
        (square(20), "building", "no"),
        (yard, "building", "house"),
        (square(60), "park", None),
    ]
    pyogrio.raw.write(
        str(path),
        geometry=shapely.to_wkb(np.array([row[0] for row in rows], dtype=object)),
        field_data=[
            np.array([f"{i}" for i in range(4)], dtype=object),
            np.full(4, 1500),
            np.array([row[1] for row in rows], dtype=object),
            np.array(["Grün", None, None, None], dtype=object),
            np.array([row[2] for row in rows], dtype=object),
        ],
        fields=["osm_id", "code", "fclass", "name", "type"],
        geometry_type="Polygon",
        crs="EPSG:4326",
        encoding="UTF-8",
    )
    assert places(path) == [0, 40]
    read, counts = read_footprints(path)
    assert counts == RepairCounts(read=4, no_building=2)
    assert read.columns["name"][0] == "Grün"
    assert [len(polygon.interiors) for polygon in read.polygons] == [0, 1]


def test_geofabrik_s_geopackage_needs_no_layer_to_be_named(tmp_path):
    logging.getLogger("pyogrio").setLevel(logging.ERROR)
    path = tmp_path / "region.gpkg"
    for number, layer in enumerate(("gis_osm_landuse_a_free", "gis_osm_buildings_a_free")):
        pyogrio.raw.write(
            str(path),
            geometry=shapely.to_wkb(np.array([square(20 * number)], dtype=object)),
            field_data=[np.array(["1"], dtype=object), np.array(["building"], dtype=object)],
            fields=["osm_id", "fclass"],
            geometry_type="MultiPolygon",
            crs="EPSG:4326",
            layer=layer,
            append=number > 0,
            promote_to_multi=True,
        )
    assert places(path) == [20]


def overture() -> geopandas.GeoDataFrame:
    """Buildings and parts as Overture's own schema has them, in one frame."""
    return geopandas.GeoDataFrame(
        {
            "id": ["a", "b", "c", "d"],
            "version": [1, 1, 1, 1],
            "sources": [[{"dataset": "OpenStreetMap"}]] * 4,
            "has_parts": [True, False, None, None],
            "is_underground": [False, True, False, None],
            "building_id": [None, None, "a", "zzz"],
            "type": ["building", "building", "building_part", "building_part"],
        },
        geometry=[square(0), square(20), square(2, 2, 3), square(40)],
        crs="EPSG:4326",
    )


@pytest.mark.parametrize("suffix", [".parquet", ".geojson"])
def test_overture_s_buildings_and_parts(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    if suffix == ".parquet":
        overture().to_parquet(path)
    else:
        geojson(
            path,
            *(
                (row.geometry, {k: v for k, v in row.items() if k not in ("geometry", "id")})
                for _, row in overture().astype(object).iterrows()
            ),
            ids=list("abcd"),
        )
    assert places(path) == [0, 40]
    assert read_footprints(path)[1] == RepairCounts(read=4, no_building=1, parts=1)


@pytest.mark.parametrize("told", [True, False])
def test_only_the_rows_of_a_place_are_read_where_a_file_tells_them(tmp_path, monkeypatch, told):
    frame = geopandas.GeoDataFrame(
        {"id": range(3)}, geometry=[square(0), square(20), square(4000)], crs="EPSG:4326"
    )
    frame.to_parquet(tmp_path / "x.parquet", write_covering_bbox=told)
    held, read = [], geopandas.read_parquet
    monkeypatch.setattr(
        geopandas, "read_parquet", lambda *a, **how: held.append(read(*a, **how)) or held[-1]
    )
    near, counts = read_footprints(
        tmp_path / "x.parquet", target_crs="EPSG:32737", bbox=window("EPSG:32737")
    )
    assert near.columns["id"].tolist() == [0, 1]
    assert counts.read == 2
    assert len(held[0]) == (2 if told else 3)


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".parquet", ".fgb"])
def test_places_in_one_file_are_read_as_each_by_itself(tmp_path, monkeypatch, suffix):
    polygons = np.array([square(0), square(20), square(4000), square(8000)], dtype=object)
    path = tmp_path / f"x{suffix}"
    write_footprints(path, Footprints(polygons, "EPSG:4326"))
    west, south, east, north = polygons[2].bounds
    windows = [("EPSG:32737", window("EPSG:32737")), ("EPSG:4326", (west, south, east, north))]
    alone = [read_footprints(path, target_crs=crs, bbox=bbox) for crs, bbox in windows]
    reads, read = [], vector.read_table
    monkeypatch.setattr(vector, "read_table", lambda *how: reads.append(how) or read(*how))
    together = vector.read_labels(path, windows)
    assert len(reads) == (1 if suffix == ".geojson" else 2)
    for (own, counts), (here, found) in zip(alone, together, strict=True):
        assert (here.crs, found) == (own.crs, counts)
        assert [p.wkt for p in here.polygons] == [p.wkt for p in own.polygons]
    assert [len(here) for here, _ in together] == [2, 1]


def test_a_place_without_a_polygon_is_no_error(tmp_path):
    path = geojson(
        tmp_path / "x.geojson",
        (square(4000), {"n": 1}),
        (shapely.Point(EAST + UNIT, NORTH + UNIT), {"n": 2}),
    )
    read, _ = read_footprints(path, target_crs="EPSG:32737", bbox=window("EPSG:32737"))
    assert len(read) == 0


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_google_s_open_buildings(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr("buildex.io.layers.CHUNK", 2)
    lines = ["latitude,longitude,area_in_meters,confidence,geometry,full_plus_code"]
    for x, confidence in ((0, 0.91), (20, 0.66), (4000, 0.8)):
        shape = square(x)
        middle = shape.centroid
        lines.append(f'{middle.y},{middle.x},123.9,{confidence},"{shape.wkt}",6GCR')
    text = "\n".join(lines).encode()
    path = tmp_path / f"open_buildings{suffix}"
    path.write_bytes(gzip.compress(text) if suffix == ".csv.gz" else text)
    assert places(path) == [0, 20, 4000]
    near, _ = read_footprints(path, target_crs="EPSG:32737", bbox=window("EPSG:32737"))
    assert near.columns["confidence"].tolist() == [0.91, 0.66]
    assert "geometry" not in near.columns


def window(crs: str) -> tuple[float, float, float, float]:
    frame = geopandas.GeoSeries([square(0, 0, 100)], crs="EPSG:4326").to_crs(crs)
    west, south, east, north = frame.total_bounds.tolist()
    return west, south, east, north


def test_points_of_open_buildings_are_told_from_polygons(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("latitude,longitude,confidence\n-1.28,36.8,0.9\n")
    with pytest.raises(VectorError, match=r"no column of WKT .*; give the polygons"):
        read_footprints(path)


@pytest.mark.parametrize("text", ["a,geometry\n1,POLYGON((0 0\n", "", "a,b\n1\n2,3,4\n"])
def test_a_damaged_table_is_told_in_one_line(tmp_path, text):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(VectorError, match=r"x.csv"):
        read_footprints(path)


def test_an_area_of_interest_may_be_anything(tmp_path):
    path = geojson(
        tmp_path / "x.geojson",
        (square(0), {"@id": "relation/1", "boundary": "administrative", "building": None}),
    )
    assert read_area(path, "EPSG:4326").area == pytest.approx(100 * UNIT**2)


@pytest.mark.parametrize(
    ("value", "claims"),
    [("yes", True), ("House", True), ("no", False), ("No ", False), ("demolished", False),
     (None, False), (float("nan"), False), ("construction", True), ("roof", True)],
)  # fmt: skip
def test_values_that_claim_a_building(value, claims):
    assert tags.is_building(value) is claims

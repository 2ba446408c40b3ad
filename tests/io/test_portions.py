from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely

from buildex.errors import OutputError, VectorError
from buildex.geo.footprints import Footprints
from buildex.io.crs import named, parsed, reprojected
from buildex.io.output import check_file, clear_beside
from buildex.io.portions import (
    DRIVERS,
    SIDECARS,
    check_output,
    layer_crs,
    placed,
    portions_of,
    to_batch,
    write_layer,
)
from buildex.io.vector import read_footprints, write_footprints
from tests.io.made import ORIGIN, houses

PARIS = (
    'GEOGCS["unknown",DATUM["Unknown based on WGS 84 ellipsoid",SPHEROID["WGS 84",6378137,'
    '298.257223563,AUTHORITY["EPSG","7030"]]],PRIMEM["Paris",2.33722917],'
    'UNIT["degree",0.0174532925199433],AXIS["Latitude",NORTH],AXIS["Longitude",EAST]]'
)  # as a GeoTIFF tells it


@pytest.mark.parametrize("suffix", DRIVERS)
def test_portions_make_the_same_layer_as_the_whole(tmp_path, suffix):
    made = houses()
    whole, parts = tmp_path / "whole" / f"x{suffix}", tmp_path / "parts" / f"x{suffix}"
    for path in (whole, parts):
        path.parent.mkdir()
    crs = layer_crs(whole, made.crs)
    write_footprints(whole, made)
    back, _ = read_footprints(whole)
    moved = back.moved(back.polygons, crs) if suffix == ".geojson" else made
    portions = [to_batch(moved.take(np.array([k]))) for k in range(len(moved))]
    with placed(parts) as place:
        write_layer(place, iter([portions[0].slice(0, 0), *portions]), portions[0].schema, crs)
    found, _ = read_footprints(parts)
    assert len(found) == len(made) > 1
    assert shapely.to_wkb(found.polygons).tolist() == shapely.to_wkb(back.polygons).tolist()
    for name, values in back.columns.items():
        assert found.columns[name].tolist() == values.tolist()


@pytest.mark.parametrize("suffix", DRIVERS)
def test_a_layer_whose_name_ends_in_capitals_is_written_and_read(tmp_path, suffix):
    layer = tmp_path / f"x{suffix.upper()}"
    for overwrite in (False, True):
        write_footprints(layer, houses(), overwrite=overwrite)
        assert layer.name in [file.name for file in tmp_path.iterdir()]
        assert len(read_footprints(layer)[0]) == len(houses())


def test_a_layer_in_memory_is_handed_over_in_order(monkeypatch):
    monkeypatch.setattr("buildex.io.portions.ROWS", 2)
    made = houses()
    parts = list(portions_of(made))
    assert [part.num_rows for part in parts] == [2, 2, 1]
    assert [row["number"] for part in parts for row in part.to_pylist()] == [0, 1, 2, 3, 4]
    outlines = [row["geometry"] for part in parts for row in part.to_pylist()]
    assert outlines == shapely.to_wkb(made.polygons).tolist()
    assert parts[0].schema.names == ["number", "geometry"]


@pytest.mark.parametrize("suffix", [".geojson", ".shp", ".gpkg", ".fgb"])
def test_a_layer_that_lacks_its_end_is_not_put_in_its_place(tmp_path, monkeypatch, suffix):
    made = houses()
    out = tmp_path / f"x{suffix}"
    write = pyogrio.write_arrow

    def cut_short(reader, path, **options):
        write(reader, path, **options)
        victim = Path(path).with_suffix(".dbf" if suffix == ".shp" else suffix)
        os.truncate(victim, victim.stat().st_size - 40 if suffix == ".shp" else 300)

    monkeypatch.setattr(pyogrio, "write_arrow", cut_short)
    with pytest.raises(OutputError, match="written to its end"):
        write_footprints(out, made)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_a_layer_is_told_at_once(tmp_path):
    (tmp_path / "x.gpkg").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path / "x.gpkg", overwrite=True)


@pytest.mark.parametrize("suffix", SIDECARS)
def test_what_belongs_to_a_layer_is_not_replaced_unasked(tmp_path, suffix):
    own = tmp_path / f"x{suffix}"
    own.write_bytes(b"mine")
    with pytest.raises(OutputError, match=rf"x{suffix}` exists already; .*`--overwrite`"):
        write_footprints(tmp_path / "x.shp", houses())
    assert [file.name for file in tmp_path.iterdir()] == [own.name]
    assert own.read_bytes() == b"mine"
    check_output(tmp_path / "x.gpkg")
    check_output(tmp_path / "x.shp", overwrite=True)


def test_what_belonged_to_an_older_layer_stays_until_the_new_one_is_there(tmp_path, monkeypatch):
    for suffix in (".shp", ".dbf", ".qix"):
        (tmp_path / f"x{suffix}").write_bytes(b"old")
    left, unlink = [], Path.unlink

    def noted(path, missing_ok=False):
        left.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", noted)
    write_footprints(tmp_path / "x.shp", houses(), overwrite=True)
    found, _ = read_footprints(tmp_path / "x.shp")
    assert len(found) == len(houses())
    assert not (tmp_path / "x.qix").exists()
    assert "x.dbf" not in left


@contextmanager
def edited(layer):
    """A GeoPackage in which another program, as QGIS does, has a change beside the file."""
    with closing(sqlite3.connect(layer)) as editor:
        editor.execute("PRAGMA journal_mode=WAL")
        editor.execute("PRAGMA wal_autocheckpoint=0")
        editor.execute("CREATE TABLE edits (number INTEGER)")
        editor.commit()
        yield editor


def test_a_layer_that_another_program_edits_is_not_replaced(tmp_path):
    layer = tmp_path / "x.gpkg"
    write_footprints(layer, houses())
    with edited(layer):
        assert (tmp_path / "x.gpkg-wal").stat().st_size > 0
        before = layer.read_bytes()
        for check in (check_output, check_file):
            with pytest.raises(OutputError, match=r"`x\.gpkg` is open in another program; close"):
                check(layer, overwrite=True)
        assert layer.read_bytes() == before
    write_footprints(layer, houses(), overwrite=True)
    assert len(read_footprints(layer)[0]) == len(houses())


def test_nor_one_that_is_opened_during_the_work_and_nothing_is_left_beside_it(tmp_path):
    layer = tmp_path / "x.gpkg"
    write_footprints(layer, houses())
    with edited(layer):
        held = sorted(file.name for file in tmp_path.iterdir())
        with pytest.raises(OutputError, match="open in another program"), placed(layer) as place:
            place.write_bytes(b"new")
        assert sorted(file.name for file in tmp_path.iterdir()) == held
    assert len(read_footprints(layer)[0]) == len(houses())


def test_what_a_viewer_left_empty_beside_a_layer_goes_with_it(tmp_path):
    layer = tmp_path / "x.gpkg"
    write_footprints(layer, houses())
    (tmp_path / "x.gpkg-wal").touch()
    (tmp_path / "x.gpkg-shm").write_bytes(b"\0" * 32768)
    write_footprints(layer, houses(), overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["x.gpkg"]


@pytest.mark.parametrize("name", ["a!1.gpkg", "a;b.fgb", "URGENT!/a.gpkg"])
def test_a_path_that_gdal_would_read_otherwise_is_refused_before_the_work(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    with pytest.raises(OutputError, match="`!` or `;`"):
        check_output(path)
    path.write_bytes(b"")
    with pytest.raises(VectorError, match="`!` or `;`"):
        read_footprints(path)


@pytest.mark.parametrize("suffix", DRIVERS)
@pytest.mark.parametrize(
    ("system", "corner"),
    [
        ("+proj=utm +zone=37 +south +ellps=clrk80 +towgs84=-160,-6,-302", ORIGIN),
        ("+proj=utm +zone=17 +datum=NAD83 +units=us-ft", (1_640_400, 12_000_000)),
        ("+proj=utm +zone=17 +datum=NAD27 +units=us-ft", (1_640_400, 12_000_000)),
        ("+proj=utm +zone=37 +south +datum=WGS84 +units=km", (530, 9_320)),
        (PARIS, (2, 48)),
    ],
)
def test_a_layer_lies_where_it_is_though_its_system_has_no_code(tmp_path, suffix, system, corner):
    system = named(parsed(system))
    house = shapely.box(0, 0, 1e-3, 2e-3)
    placed = np.array([shapely.transform(house, lambda points: points + corner)], dtype=object)
    write_footprints(tmp_path / f"x{suffix}", Footprints(placed, system))
    here = shapely.get_coordinates(in_degrees(tmp_path / f"x{suffix}"))
    there = reprojected(shapely.get_coordinates(placed), system, "EPSG:4326")
    assert np.abs(here.min(axis=0) - there.min(axis=0)).max() < 1e-7
    assert np.abs(here.max(axis=0) - there.max(axis=0)).max() < 1e-7


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".shp", ".parquet"])
def test_a_system_that_a_format_keeps_is_the_layers(monkeypatch, suffix):
    own = named(parsed("+proj=tmerc +lon_0=39 +k=1.0002 +x_0=500000 +datum=WGS84"))
    assert layer_crs(f"x{suffix}", own) == own
    monkeypatch.setattr(pyogrio.raw, "write", None)
    assert layer_crs(f"x{suffix}", own) == own
    for code in ("EPSG:2236", "ESRI:102003"):
        assert layer_crs(f"x{suffix}", code) == code


def in_degrees(path):
    found, _ = read_footprints(path)
    return shapely.transform(
        found.polygons, lambda points: reprojected(points, found.crs, "EPSG:4326")
    )


def test_what_is_cleared_beside_an_output_is_its_own(tmp_path):
    mine, theirs = tmp_path / ".x.gpkg-original", tmp_path / ".x.gpkg.buildex-ab_12cd3"
    for folder in (mine, theirs):
        folder.mkdir()
        (folder / "file").write_bytes(b"1")
    clear_beside(tmp_path / "x.gpkg")
    assert (mine / "file").is_file()
    assert not theirs.exists()

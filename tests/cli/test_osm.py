from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from click.testing import CliRunner, Result

from buildex.cli.main import main
from buildex.fetching import parse_bounds
from buildex.io.vector import read_footprints
from tests.io.elements import EAST, NORTH, UNIT
from tests.io.made import write_raster
from tests.io.overpass_server import BOX, STAMP, Reply, Server, serving

CREDIT = "© OpenStreetMap contributors, ODbL 1.0"
PLACE = f"{EAST - UNIT},{NORTH - UNIT},{EAST + 200 * UNIT},{NORTH + 100 * UNIT}"


@pytest.fixture
def server(monkeypatch, tmp_path) -> Iterator[Server]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serving() as running:
        monkeypatch.setenv("BUILDEX_OVERPASS", running.url)
        yield running


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["osm", *(str(a) for a in arguments)])


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".shp", ".fgb", ".parquet"])
def test_the_labels_of_a_box_with_their_credit(server, tmp_path, suffix):
    out = tmp_path / f"labels{suffix}"
    done = run(PLACE, "-o", out)
    assert done.exit_code == 0, done.stderr
    assert f"13 buildings as of {STAMP}, {CREDIT}" in done.stdout
    assert "1 requests, 0 answers from the cache" in done.stdout
    assert "tagged as no building" in done.stdout
    read, counts = read_footprints(out)
    assert (len(read), counts.text()) == (13, "")
    assert set(read.columns["credit"]) == {CREDIT}
    rows = {*zip(read.columns["osm_type"], read.columns["osm_id"].tolist(), strict=True)}
    assert {("relation", 5), ("way", 1), ("way", 11)} <= rows
    assert ("way", 2) not in rows


def test_the_courtyard_of_an_outline_that_carries_the_tag_itself_is_asked_for(server, tmp_path):
    run(PLACE, "-o", tmp_path / "labels.gpkg")
    read, _ = read_footprints(tmp_path / "labels.gpkg")
    rows = zip(read.columns["osm_type"], read.columns["osm_id"], read.polygons, strict=True)
    found = {(kind, int(number)): polygon for kind, number, polygon in rows}
    assert found["relation", 7].area == pytest.approx(128 * UNIT**2, rel=1e-6)
    assert ("way", 70) not in found


def test_a_geopackage_says_in_its_metadata_whose_data_it_holds(server, tmp_path):
    run(PLACE, "-o", tmp_path / "x.gpkg")
    with sqlite3.connect(tmp_path / "x.gpkg") as file:
        ((description,),) = file.execute("SELECT description FROM gpkg_contents")
        ((metadata,),) = file.execute("SELECT metadata FROM gpkg_metadata")
    assert description == CREDIT
    assert CREDIT in metadata


def test_a_second_run_asks_nobody(server, tmp_path):
    assert run(PLACE, "-o", tmp_path / "a.gpkg").exit_code == 0
    again = run(PLACE, "-o", tmp_path / "b.gpkg", "--json")
    assert json.loads(again.stdout)["cached"] == 1
    assert len(server.asked) == 1
    assert (tmp_path / "a.gpkg").read_bytes() == (tmp_path / "b.gpkg").read_bytes()
    assert run(PLACE, "-o", tmp_path / "c.gpkg", "--no-cache").exit_code == 0
    assert len(server.asked) == 2


def test_a_mosaic_is_asked_for_where_it_is_valid(server, tmp_path):
    bands = np.full((3, 400, 600), 90, dtype=np.uint8)
    mask = np.zeros((400, 600), dtype=np.uint8)
    mask[100:300, 150:450] = 255
    transform = Affine(UNIT / 4, 0, EAST, 0, -UNIT / 4, NORTH + 50 * UNIT)
    path = write_raster(tmp_path / "mosaic.tif", bands, transform, "EPSG:4326", mask=mask)
    done = run(path, "-o", tmp_path / "x.gpkg")
    assert done.exit_code == 0, done.stderr
    south, west, north, east = (float(v) for v in BOX.search(server.asked[0]).groups())
    assert west == pytest.approx(EAST + 149 / 4 * UNIT, abs=UNIT / 3)
    assert east == pytest.approx(EAST + 451 / 4 * UNIT, abs=UNIT / 3)
    assert north == pytest.approx(NORTH + (50 - 99 / 4) * UNIT, abs=UNIT / 3)
    assert south == pytest.approx(NORTH + (50 - 301 / 4) * UNIT, abs=UNIT / 3)


def test_an_empty_place_is_an_empty_layer(server, tmp_path):
    done = run("-17.5,14.6,-17.49,14.61", "-o", tmp_path / "x.gpkg")
    assert done.exit_code == 0, done.stderr
    assert "0 buildings" in done.stdout
    assert len(read_footprints(tmp_path / "x.gpkg")[0]) == 0


@pytest.mark.parametrize(
    ("place", "bounds"),
    [
        ("170,-17,-170,-16", (170, -17, -170, -16)),  # across the 180th meridian
        ("180,-17,-179.9,-16.9", (-180, -17, -179.9, -16.9)),
        ("179.9,-17,-180,-16.9", (179.9, -17, 180, -16.9)),
    ],
)
def test_a_box_may_lie_across_the_180th_meridian_or_beside_it(place, bounds):
    assert parse_bounds(place) == bounds


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("170,-17,190,-16", "across the 180th meridian east is less than west"),
        ("36.9,-1.2,36.8,-1.1", "is no box: west, south, east, north"),
        ("-1.28,36.8,-1.27,96.81", "is no box"),
        ("none.tif", "no file `none.tif`"),
    ],
)
def test_what_is_no_place_is_told_in_one_line(server, tmp_path, place, message):
    done = run(place, "-o", tmp_path / "x.gpkg")
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.strip().splitlines()
    assert message in line
    assert server.asked == []


def test_after_a_failure_nothing_is_written(server, tmp_path):
    server.replies = [Reply(400, b"parse error")]
    done = run(PLACE, "-o", tmp_path / "x.gpkg")
    assert done.exit_code == 1
    assert "refuses: 400" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "x.gpkg").exists()


def test_a_file_that_exists_is_not_asked_about(server, tmp_path):
    (tmp_path / "x.gpkg").write_text("mine")
    done = run(PLACE, "-o", tmp_path / "x.gpkg")
    assert (done.exit_code, server.asked) == (1, [])
    assert "--overwrite" in done.stderr
    assert run(PLACE, "-o", tmp_path / "x.gpkg", "--overwrite").exit_code == 0


def test_an_unknown_option_is_wrong_usage(server, tmp_path):
    assert run(PLACE, "-o", tmp_path / "x.gpkg", "--chache").exit_code == 2
    assert run("-o", tmp_path / "x.gpkg").exit_code == 2


def test_a_mosaic_without_a_valid_pixel_is_told(server, tmp_path):
    bands = np.zeros((3, 40, 40), dtype=np.uint8)
    transform = Affine(UNIT, 0, EAST, 0, -UNIT, NORTH)
    empty = np.zeros((40, 40), dtype=np.uint8)
    path = write_raster(tmp_path / "mosaic.tif", bands, transform, "EPSG:4326", mask=empty)
    done = run(path, "-o", tmp_path / "x.gpkg")
    assert done.exit_code == 1
    assert "has no valid pixel" in done.stderr
    assert server.asked == []

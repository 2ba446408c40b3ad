from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyproj
import pytest

from buildex.errors import CrsError
from buildex.io.crs import metric, named, parsed, reprojected


def test_the_easting_comes_first():
    point = reprojected(np.array([[39.0, -6.0]]), "EPSG:4326", "EPSG:32737")
    assert point[0] == pytest.approx([500_000, 9_336_800], abs=300)


@pytest.mark.parametrize("crs", ["EPSG:32737+5773", "EPSG:32737"])
def test_heights_are_left_out(crs):
    wkt = pyproj.CRS(crs).to_wkt("WKT1_GDAL")
    assert named(parsed(crs)) == named(parsed(wkt)) == "EPSG:32737"


def test_there_and_back_is_the_same_point():
    points = np.array([[85.5, 27.6], [85.6, 27.7]])
    there = reprojected(points, "EPSG:4326", "EPSG:32645")
    np.testing.assert_allclose(reprojected(there, "EPSG:32645", "EPSG:4326"), points, atol=1e-9)


def test_the_way_between_two_systems_is_sought_once_and_shared(monkeypatch):
    sought, seek = [], pyproj.Transformer.from_crs

    def noted(*systems, **how):
        sought.append(systems)
        return seek(*systems, **how)

    monkeypatch.setattr(pyproj.Transformer, "from_crs", noted)
    points = np.random.default_rng(0).uniform([14, 40], [16, 50], (200, 2))
    first = reprojected(points, "EPSG:4326", "EPSG:32633")
    with ThreadPoolExecutor(4) as threads:
        again = list(
            threads.map(lambda _: reprojected(points, "EPSG:4326", "EPSG:32633"), "abcdef")
        )
    assert all(np.array_equal(first, found) for found in again)
    assert len(sought) <= 1


@pytest.mark.parametrize(
    ("crs", "center", "wanted"),
    [
        ("EPSG:32737", (530_000, 9_320_000), "EPSG:32737"),
        ("EPSG:27700", (530_000, 180_000), "EPSG:27700"),  # British grid, London
        ("EPSG:2154", (650_000, 6_860_000), "EPSG:2154"),  # Lambert 93, Paris
        ("EPSG:4326", (39.2, -6.1), "EPSG:32737"),
        ("EPSG:4326", (-179.99, 10.0), "EPSG:32601"),
        ("EPSG:4326", (179.99, 10.0), "EPSG:32660"),
        ("EPSG:3857", (3_600_000, 1000), "EPSG:32636"),  # 0.7 % too short, north to south
        ("EPSG:3857", (9_500_000, 3_200_000), "EPSG:32645"),
        ("EPSG:2263", (980_000, 200_000), "EPSG:32618"),  # feet, New York
        ("EPSG:32737", (3_000_000, 9_320_000), "EPSG:32741"),  # far outside its zone
    ],
)
def test_the_unit_is_a_ground_metre(crs, center, wanted):
    assert metric(crs, center) == wanted


def test_codes_are_kept_and_other_systems_written_out():
    assert named(parsed("EPSG:32737")) == "EPSG:32737"
    own = "+proj=tmerc +lat_0=1 +lon_0=40 +k=1 +x_0=7 +y_0=0 +ellps=WGS84 +units=m"
    assert named(parsed(own)).startswith("PROJCRS")
    assert metric(named(parsed(own)), (7.0, 0.0)) == named(parsed(own))


def test_what_has_no_place_on_the_earth_is_told():
    with pytest.raises(CrsError, match="no place on the Earth"):
        metric("EPSG:4326", (39.0, 95.0))
    with pytest.raises(CrsError, match="names no known coordinate reference system: `moon`"):
        parsed("moon")
    local = 'LOCAL_CS["site",UNIT["metre",1]]'
    for crs in (local, "EPSG:4978"):
        with pytest.raises(CrsError, match="is not a CRS of maps"):
            metric(named(parsed(crs)), (0.0, 0.0))

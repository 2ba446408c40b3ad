import logging
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely

from buildex.errors import CrsError, OutputError, VectorError
from buildex.geo.footprints import Footprints
from buildex.io.crs import reprojected
from buildex.io.vector import (
    DRIVERS,
    RepairCounts,
    check_output,
    read_area,
    read_footprints,
    write_footprints,
)
from tests.io.made import UTM, houses

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def no_timestamps(monkeypatch):
    logging.getLogger("pyogrio").setLevel(logging.ERROR)


def same_ground(a: Footprints, b: Footprints, tolerance: float) -> bool:
    pairs = zip(a.polygons, b.polygons, strict=True)
    return all(p.symmetric_difference(q).area <= tolerance * p.length for p, q in pairs)


@pytest.mark.parametrize("suffix", DRIVERS)
def test_what_is_written_is_read_back(tmp_path, suffix):
    made = houses()
    write_footprints(tmp_path / f"x{suffix}", made)
    read, counts = read_footprints(tmp_path / f"x{suffix}", target_crs=UTM)
    assert counts == RepairCounts(read=5)
    order = np.argsort(read.columns["number"])
    assert read.columns["number"][order].tolist() == [0, 1, 2, 3, 4]
    assert same_ground(read.take(order), made, 0.01)
    assert [len(p.interiors) for p in read.take(order).polygons] == [0, 0, 0, 1, 0]


@pytest.mark.parametrize("suffix", DRIVERS)
def test_the_same_footprints_give_the_same_bytes(tmp_path, suffix):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_footprints(tmp_path / name / f"x{suffix}", houses())
    first, second = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in "ab"
    )
    assert first == second


@pytest.mark.parametrize("suffix", DRIVERS)
def test_an_empty_layer_is_a_layer(tmp_path, suffix):
    write_footprints(tmp_path / f"x{suffix}", houses().take(np.zeros(5, dtype=bool)))
    read, counts = read_footprints(tmp_path / f"x{suffix}", target_crs=UTM)
    assert len(read) == 0
    assert counts == RepairCounts()
    if suffix in (".gpkg", ".fgb", ".shp"):
        info = pyogrio.read_info(tmp_path / f"x{suffix}")
        assert info["geometry_type"] == "Polygon"
        assert info["fields"].tolist() == ["number"]


def test_geojson_is_as_the_standard_wants_it(tmp_path):
    write_footprints(tmp_path / "x.geojson", houses())
    text = (tmp_path / "x.geojson").read_text()
    assert '"crs"' not in text
    assert 39 < shapely.from_geojson(text).bounds[0] < 40


def test_only_what_touches_the_box_is_read(tmp_path):
    made = houses()
    write_footprints(tmp_path / "x.geojson", made)
    box = tuple(made.polygons[1].buffer(-1).bounds)
    read, _ = read_footprints(tmp_path / "x.geojson", target_crs=UTM, bbox=box)
    assert read.columns["number"].tolist() == [1]


def write_any(path: Path, shapes: list, crs: str | None = UTM, **options) -> Path:
    logging.getLogger("pyogrio").setLevel(logging.ERROR)
    pyogrio.raw.write(
        str(path),
        geometry=shapely.to_wkb(np.array(shapes, dtype=object)),
        field_data=[np.arange(len(shapes))],
        fields=["n"],
        geometry_type=options.pop("geometry_type", "Unknown"),
        crs=crs,
        **options,
    )
    return path


def test_rings_are_repaired_and_all_is_counted(tmp_path):
    bow_tie = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    two = shapely.MultiPolygon([shapely.box(20, 0, 25, 5), shapely.box(30, 0, 35, 5)])
    line = shapely.LineString([(0, 0), (5, 5)])
    flat = shapely.Polygon([(0, 0), (5, 0), (9, 0)])
    deep = shapely.force_3d(shapely.box(40, 0, 45, 5), 7.0)
    path = write_any(tmp_path / "x.gpkg", [bow_tie, two, line, flat, deep], driver="GPKG")
    read, counts = read_footprints(path)
    assert counts == RepairCounts(read=5, repaired=1, split=2, dropped=2)
    assert read.columns["n"].tolist() == [0, 0, 1, 1, 4]
    assert shapely.is_valid(read.polygons).all()
    assert shapely.area(read.polygons).tolist() == [25, 25, 25, 25, 25]
    assert not shapely.has_z(read.polygons).any()


def test_a_building_cut_at_the_180th_meridian_is_one_again(tmp_path):
    fiji = "EPSG:32701"
    corner = reprojected(np.array([[180.0, -17.0]]), "EPSG:4326", fiji)[0]
    houses = [shapely.box(-6, 0, 4, 8), shapely.box(-30, 0, -20, 8), shapely.box(20, 0, 30, 8)]
    ground = [shapely.transform(house, lambda points: points + corner) for house in houses]
    path = tmp_path / "x.geojson"
    write_footprints(path, Footprints(np.array(ground, dtype=object), fiji))
    assert pyogrio.read_dataframe(path).geom_type.tolist() == ["MultiPolygon", "Polygon", "Polygon"]
    read, counts = read_footprints(path, target_crs=fiji)
    assert counts == RepairCounts(read=3)
    assert shapely.hausdorff_distance(read.polygons, ground).max() < 1e-4
    whole, _ = read_footprints(path)
    assert shapely.bounds(whole.polygons[0])[[0, 2]] == pytest.approx([180, 180], abs=1e-4)


def test_other_features_of_several_parts_stay_several_buildings(tmp_path):
    apart = shapely.MultiPolygon([shapely.box(-180, 2, -179, 3), shapely.box(179, 4, 180, 5)])
    inland = shapely.MultiPolygon([shapely.box(-2, 2, -1, 3), shapely.box(1, 4, 2, 5)])
    path = write_any(tmp_path / "x.gpkg", [apart, inland], driver="GPKG", crs="EPSG:4326")
    read, counts = read_footprints(path)
    assert counts == RepairCounts(read=2, split=2)
    assert shapely.area(read.polygons).tolist() == [1, 1, 1, 1]


def test_a_layer_is_named_where_there_are_several(tmp_path):
    path = tmp_path / "x.gpkg"
    square = [shapely.box(0, 0, 5, 5)]
    write_any(path, square, layer="a", geometry_type="Polygon")
    write_any(path, square * 2, layer="b", geometry_type="Polygon", append=True)
    with pytest.raises(VectorError, match=r"several layers of polygons: a, b; .*layername=a"):
        read_footprints(path)
    assert len(read_footprints(f"{path}|layername=b")[0]) == 2
    with pytest.raises(VectorError, match="cannot be read"):
        read_footprints(f"{path}|layername=c")
    write_any(path, square * 3, layer="buildings", geometry_type="Polygon", append=True)
    assert len(read_footprints(path)[0]) == 3


def test_a_file_without_crs_takes_the_one_that_is_named(tmp_path):
    path = write_any(tmp_path / "x.shp", [shapely.box(0, 0, 5, 5)], None, geometry_type="Polygon")
    assert read_footprints(path, crs=UTM)[0].crs == UTM
    with pytest.raises(CrsError, match="has no coordinate reference system"):
        read_footprints(path)


def test_each_unusable_file_is_told_in_one_line(tmp_path):
    write_any(tmp_path / "lines.gpkg", [shapely.LineString([(0, 0), (1, 1)])])
    write_any(tmp_path / "points.gpkg", [shapely.Point(0, 0)], geometry_type="Point", driver="GPKG")
    (tmp_path / "text.geojson").write_text("no json")
    (tmp_path / "text.parquet").write_text("no parquet")
    for name, message in {
        "none.gpkg": "no file",
        "lines.gpkg": "has no polygons",
        "points.gpkg": "has no polygons",
        "text.geojson": "cannot be read",
        "text.parquet": "cannot be read",
    }.items():
        with pytest.raises(VectorError, match=message) as caught:
            read_footprints(tmp_path / name)
        assert name in str(caught.value)


def test_only_buildings_of_openstreetmap_are_read(tmp_path):
    corners = [(0, 0), (0, 1e-4), (1e-4, 1e-4), (1e-4, 0)]
    nodes, ways = [], []
    for way, tags in enumerate(({"building": "yes"}, {"building": "no"}, {"landuse": "farm"})):
        ids = range(way * 4 + 1, way * 4 + 5)
        nodes += [
            f'<node id="{i}" lat="{-6 + lat + way / 1000}" lon="{39 + lon}" version="1"/>'
            for i, (lat, lon) in zip(ids, corners, strict=True)
        ]
        refs = "".join(f'<nd ref="{i}"/>' for i in (*ids, ids[0]))
        tag = "".join(f'<tag k="{k}" v="{v}"/>' for k, v in tags.items())
        ways.append(f'<way id="{way + 1}" version="1">{refs}{tag}</way>')
    path = tmp_path / "x.osm"
    path.write_text(f'<osm version="0.6">{"".join(nodes)}{"".join(ways)}</osm>')
    read, _ = read_footprints(path)
    assert read.columns["osm_id"].tolist() == [1]
    assert read.crs == "EPSG:4326"


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real scenes beside the project")
def test_a_real_osm_file_holds_the_buildings_of_its_geojson():
    folder = SHARED / "val" / "zanzibar-val"
    read = [
        read_footprints(folder / name, target_crs=UTM)[0]
        for name in ("buildings.osm.pbf", "buildings.geojson")
    ]
    areas = [np.sort(shapely.area(f.polygons)) for f in read]
    assert len(areas[0]) == 80
    np.testing.assert_allclose(areas[0], areas[1], rtol=1e-6)


def test_text_in_another_encoding_than_the_file_says_is_read(tmp_path):
    here = houses()
    columns = {"name": np.array(["Gruen"] * len(here), dtype=object)}
    for name, text in (("x.shp", "x.dbf"), ("x.geojson", "x.geojson")):
        write_footprints(tmp_path / name, Footprints(here.polygons, UTM, columns))
        utf8 = (tmp_path / text).read_bytes()
        (tmp_path / text).write_bytes(utf8.replace(b"Gruen", "Grün ".encode("latin-1")))
        read, _ = read_footprints(tmp_path / name)
        assert {word.strip() for word in read.columns["name"]} == {"Grün"}
        assert read_area(tmp_path / name, read.crs).area == pytest.approx(
            sum(polygon.area for polygon in read.polygons)
        )


def test_an_area_is_the_union_of_its_polygons(tmp_path):
    path = write_any(tmp_path / "a.gpkg", [shapely.box(0, 0, 5, 5), shapely.box(4, 0, 9, 5)])
    assert read_area(path, UTM).area == 45


def test_nothing_is_written_over_without_leave(tmp_path):
    path = tmp_path / "x.gpkg"
    write_footprints(path, houses())
    with pytest.raises(OutputError, match=r"exists already; write elsewhere or add `--overwrite`"):
        write_footprints(path, houses())
    write_footprints(path, houses().take(np.array([0])), overwrite=True)
    assert len(read_footprints(path)[0]) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["x.gpkg"]


def test_an_older_shapefile_leaves_no_sidecar_behind(tmp_path):
    write_footprints(tmp_path / "x.shp", houses())
    (tmp_path / "x.qix").write_text("old index")
    write_footprints(tmp_path / "x.shp", houses(), overwrite=True)
    assert {file.suffix for file in tmp_path.iterdir()} == {".shp", ".shx", ".dbf", ".prj", ".cpg"}


def test_an_output_is_checked_before_the_work(tmp_path):
    with pytest.raises(VectorError, match=r"`x.kml` names no known vector format; use one of"):
        check_output(tmp_path / "x.kml")
    with pytest.raises(OutputError, match=r"folder .* does not exist; make it first"):
        check_output(tmp_path / "nowhere" / "x.gpkg")


def test_after_a_failure_nothing_is_left(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pyogrio, "write_arrow", fail)
    with pytest.raises(OutputError, match="No space left on device"):
        write_footprints(tmp_path / "x.gpkg", houses())
    assert list(tmp_path.iterdir()) == []

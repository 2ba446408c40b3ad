from __future__ import annotations

import bz2
import gzip
import json
import zipfile
from pathlib import Path

import pytest
import shapely

from buildex.errors import VectorError
from buildex.io import vector
from buildex.io.osm import CREDIT, read_elements
from buildex.io.vector import RepairCounts, read_footprints
from tests.io.elements import (
    AREAS,
    EAST,
    NORTH,
    UNIT,
    Street,
    overpass,
    street,
    write_json,
    write_pbf,
    write_xml,
)


def areas(path: Path) -> dict[tuple[str, int], list[float]]:
    """Square units of the buildings that are read, by element."""
    found: dict[tuple[str, int], list[float]] = {}
    read, _ = read_footprints(path)
    assert read.crs == "EPSG:4326"
    rows = zip(read.columns["osm_type"], read.columns["osm_id"], read.polygons, strict=True)
    for kind, number, polygon in rows:
        found.setdefault((kind, int(number)), []).append(round(polygon.area / UNIT**2, 3))
    return found


WRITERS = {
    "osm": lambda folder, s: write_xml(folder / "x.osm", s),
    "pbf": lambda folder, s: write_pbf(folder / "x.osm.pbf", s),
    "overpass with nodes": lambda folder, s: write_json(folder / "x.json", s, False),
    "overpass with geometry": lambda folder, s: write_json(folder / "x.geojson", s, True),
}


@pytest.mark.parametrize("form", WRITERS)
def test_each_form_of_the_same_elements_gives_the_same_buildings(form, tmp_path):
    assert areas(WRITERS[form](tmp_path, street())) == AREAS


@pytest.mark.parametrize("form", WRITERS)
def test_only_what_lies_near_is_repaired(form, tmp_path, monkeypatch):
    seen, repaired = [], vector.repaired
    monkeypatch.setattr(vector, "repaired", lambda shape: seen.append(shape) or repaired(shape))
    path = WRITERS[form](tmp_path, street())
    whole, _ = read_footprints(path, target_crs="EPSG:32637")
    bbox = tuple(whole.polygons[0].bounds)
    count = len(seen)
    near, counts = read_footprints(path, target_crs="EPSG:32637", bbox=bbox)
    wanted = [p for p in whole.polygons if shapely.box(*p.bounds).intersects(shapely.box(*bbox))]
    assert [p.wkt for p in near.polygons] == [p.wkt for p in wanted]
    assert 0 < len(near) < len(whole)
    assert len(seen) - count == counts.read - counts.doubled - counts.no_building < count / 2


@pytest.mark.parametrize("form", WRITERS)
def test_what_is_left_out_is_counted(form, tmp_path):
    _, counts = read_footprints(WRITERS[form](tmp_path, street()))
    # Way 13 crosses itself, which makes two; relation 19 is two houses. Ways 14 and 15 have no
    # area. Way 2 is `no`. Ways 10, 12 and 181 are parts. Ways 60 and 70 are drawn by relations,
    # which GDAL does not tell.
    doubled = 0 if form == "pbf" else 2
    assert counts == RepairCounts(
        read=17 + doubled, repaired=1, split=2, dropped=2, no_building=1, parts=3, doubled=doubled
    )


def test_the_counts_are_told_in_one_line(tmp_path):
    _, counts = read_footprints(write_xml(tmp_path / "x.osm", street()))
    assert counts.text() == (
        "of 19 features 1 repaired, 2 split into several buildings, 2 without an area dropped,"
        " 1 tagged as no building, 3 parts of other buildings, 2 drawn twice"
    )
    assert RepairCounts(read=5).text() == ""


def test_a_courtyard_is_no_part_of_its_building(tmp_path):
    read, _ = read_footprints(write_xml(tmp_path / "x.osm", street()))
    middle = shapely.Point(EAST + 86 * UNIT, NORTH + 6 * UNIT)
    assert not shapely.contains(read.polygons, middle).any()


@pytest.mark.parametrize("form", ["osm", "overpass with nodes"])
def test_what_the_file_does_not_hold_whole_is_dropped_with_a_count(form, tmp_path):
    s = Street()
    s.ring(1, s.square(0, 0), building="yes")
    s.ring(2, s.square(20, 0), building="yes")
    del s.nodes[6]  # a corner of way 2
    s.ring(3, s.square(40, 0, 4))
    s.relation(4, [(3, "outer"), (99, "outer")], type="multipolygon", building="yes")
    path = WRITERS[form](tmp_path, s)
    assert areas(path) == {("way", 1): [100.0]}
    assert read_footprints(path)[1] == RepairCounts(read=3, dropped=2)


def test_geometry_that_overpass_cut_off_is_dropped_with_a_count(tmp_path):
    s = Street()
    s.ring(1, s.square(0, 0), building="yes")
    s.ring(2, s.square(20, 0), building="yes")
    path = write_json(tmp_path / "x.json", s, True)
    answer = json.loads(path.read_text())
    answer["elements"][1]["geometry"][2] = None
    path.write_text(json.dumps(answer))
    assert areas(path) == {("way", 1): [100.0]}
    assert read_footprints(path)[1].dropped == 1


def test_what_an_editor_deleted_is_gone(tmp_path):
    s = Street()
    s.ring(1, s.square(0, 0), building="yes")
    s.ring(2, s.square(20, 0), building="yes")
    path = write_xml(tmp_path / "x.osm", s)
    path.write_text(path.read_text().replace('<way id="2"', '<way id="2" action="delete"'))
    assert areas(path) == {("way", 1): [100.0]}


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_packed_files_are_read(tmp_path, suffix, pack):
    plain = write_xml(tmp_path / "x.osm", street())
    packed = tmp_path / f"y.osm{suffix}"
    packed.write_bytes(pack(plain.read_bytes()))
    assert areas(packed) == AREAS


def test_a_file_in_an_archive_is_read(tmp_path):
    plain = write_xml(tmp_path / "x.osm", street())
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(plain, "inner.osm")
    read, _ = read_footprints(f"/vsizip/{tmp_path}/x.zip/inner.osm")
    assert len(read) == sum(len(own) for own in AREAS.values())


def test_a_relation_of_something_else_leaves_its_outline_a_building(tmp_path):
    s = Street()
    s.ring(1, s.square(0, 0), building="yes")
    s.ring(2, s.square(2, 2, 3))
    s.relation(3, [(1, "outer"), (2, "inner")], type="multipolygon", landuse="retail")
    assert areas(write_xml(tmp_path / "x.osm", s)) == {("way", 1): [100.0]}


def test_an_area_without_buildings_is_an_empty_layer(tmp_path):
    (tmp_path / "x.json").write_text('{"version": 0.6, "elements": []}')
    read, counts = read_footprints(tmp_path / "x.json", target_crs="EPSG:32637")
    assert (len(read), counts) == (0, RepairCounts())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.osm", b'<osm version="0.6"><node id="1" lat="0"'),
        ("cut.json", b'{"version": 0.6, "elements": [{"type": "way"'),
        ("odd.json", b'{"elements": 3}'),
        ("cut.osm.gz", gzip.compress(b"<osm/>" * 100, mtime=0)[:20]),
        ("cut.osm.pbf", b"\0\0\0\x0d\x0a\x09OSMHeader"),
    ],
)
def test_a_damaged_file_is_told_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VectorError, match="cannot be read"):
        read_elements(str(tmp_path / name))


@pytest.mark.parametrize("form", ["osm", "overpass with nodes", "overpass with geometry"])
def test_an_outline_of_several_ways_may_carry_the_tag_itself(form, tmp_path):
    s = Street()
    a, b, c, d = s.square(0, 0, 12)
    s.way(1, [a, b, c], building="yes")
    s.way(2, [a, d, c], building="yes")
    s.ring(3, s.square(4, 4, 4))
    s.relation(4, [(1, "outer"), (2, "outer"), (3, "inner")], type="multipolygon")
    e, f, g, h = s.square(20, 0, 10)
    s.way(5, [e, f, g], building="yes")
    s.way(6, [g, h, e])
    s.relation(7, [(5, "outer"), (6, "")], type="multipolygon", source="survey")
    path = WRITERS[form](tmp_path, s)
    assert areas(path) == {("relation", 4): [128.0], ("relation", 7): [100.0]}
    assert read_footprints(path)[1].dropped == 0


def test_each_file_says_whom_to_thank(tmp_path):
    def credit(path: Path) -> set[str]:
        return set(read_footprints(path)[0].columns["credit"])

    plain = write_xml(tmp_path / "x.osm", street())
    own = plain.read_text(encoding="utf-8").replace(
        "<osm ", '<osm copyright="A town" attribution="town.example" license="CC0" '
    )
    (tmp_path / "own.osm").write_text(own, encoding="utf-8")
    answer = overpass(street(), geometry=True) | {"osm3s": {"copyright": "From the map."}}
    (tmp_path / "a.json").write_text(json.dumps(answer), encoding="utf-8")
    export = '{"type": "FeatureCollection", "copyright": "Map \\"people\\"", "features": [%s]}'
    square = '{"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates":'
    square += " [[[36, -1], [36.1, -1], [36.1, -0.9], [36, -1]]]}}"
    (tmp_path / "t.geojson").write_text(export % square, encoding="utf-8")
    assert credit(plain) == credit(write_pbf(tmp_path / "x.osm.pbf", street())) == {CREDIT}
    assert credit(tmp_path / "own.osm") == {"A town, town.example, CC0"}
    assert credit(tmp_path / "a.json") == {"From the map."}
    assert credit(tmp_path / "t.geojson") == {'Map "people"'}

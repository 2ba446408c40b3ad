"""Files of OpenStreetMap's own elements: `.osm`, `.osm.pbf`, and what Overpass answers.

Nodes, ways and relations are turned into areas here, with one row for each way or relation
that claims to be a building or a part of one. XML and JSON are read by `geo.assembly`; the
binary `.osm.pbf` by GDAL, whose driver needs care:

* parts of buildings count as lines unless its configuration says otherwise;
* layers that are not read pile up until it gives up, unless it is asked by SQL;
* a way is closed over nodes that the file does not hold, and a relation that is not whole is
  left out without a word.
"""

from __future__ import annotations

import bz2
import gzip
import json
import tempfile
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray

from buildex.errors import VectorError
from buildex.geo.assembly import Line, area, is_ring
from buildex.io.tags import OTHER, kind

Bounds = tuple[float, float, float, float]

XML = (".osm", ".osm.xml", ".osm.gz", ".osm.bz2")
PBF = (".pbf",)
PLAIN = frozenset({"type", "source", "created_by", "note", "fixme"})  # say nothing of what it is
CONFIG = """closed_ways_are_polygons=building,building:part
attribute_name_laundering=no
[lines]
osm_id=yes
attributes=building,building:part
other_tags=no
[multipolygons]
osm_id=yes
attributes=building,building:part
other_tags=no
"""
DAMAGE = (
    ElementTree.ParseError, ValueError, KeyError, TypeError, EOFError, OSError, zlib.error,
    pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FeatureError,
)  # fmt: skip
CREDIT = "© OpenStreetMap contributors, ODbL 1.0"
CREDITS = ("copyright", "attribution", "license")  # of an `.osm` file's first element
COLUMNS = ("osm_type", "osm_id", "building", "building:part")
WHERE = 'building IS NOT NULL OR "building:part" IS NOT NULL'


class Row(NamedTuple):
    """A way or relation that claims a building; what is no area has another geometry or none."""

    osm_type: str
    osm_id: int
    building: str | None
    part: str | None
    geometry: shapely.Geometry | None


class Member(NamedTuple):
    """A way in a relation; `line` where the file repeats it there."""

    way: int
    role: str
    line: Line | None


@dataclass
class Elements:
    """All that a file holds.

    Attributes:
        nodes: longitude and latitude by id.
        ways: nodes by id of the way.
        lines: (N, 2) by id of the way, where the file gives coordinates with it.
        way_tags: by id of the way.
        relations: members and tags by id.
        credit: whom to thank, as the file words it.
    """

    nodes: dict[int, tuple[float, float]] = field(default_factory=dict)
    ways: dict[int, list[int]] = field(default_factory=dict)
    lines: dict[int, Line] = field(default_factory=dict)
    way_tags: dict[int, dict[str, str]] = field(default_factory=dict)
    relations: dict[int, tuple[list[Member], dict[str, str]]] = field(default_factory=dict)
    credit: str = CREDIT

    def line(self, way: int) -> Line | None:
        """The course of a way (N, 2); None where a node is not in the file."""
        if way in self.lines:
            return self.lines[way]
        try:
            points = [self.nodes[node] for node in self.ways[way]]
        except KeyError:
            return None
        return np.array(points, dtype=np.float64).reshape(-1, 2)


class Claims(NamedTuple):
    """What a file says of buildings.

    Attributes:
        geometry: (N,) in EPSG:4326, not repaired.
        columns: `osm_type`, `osm_id`, `building`, `building:part`, `credit`.
        doubled: ways left out because a relation draws the same building.
    """

    geometry: NDArray[np.object_]
    columns: dict[str, NDArray[Any]]
    doubled: int


def is_overpass(path: str) -> bool:
    """Whether a file is what Overpass answers in JSON, not GeoJSON."""
    if not path.endswith((".json", ".geojson")):
        return False
    with open(path, "rb") as file:
        start = file.read(4096)
    return b'"elements"' in start and b'"FeatureCollection"' not in start


def read_elements(path: str, bbox: Bounds | None = None) -> Claims:
    """Read the buildings of an `.osm`, `.osm.pbf` or Overpass JSON file; by GDAL in archives.

    Args:
        path: the file.
        bbox: west, south, east, north in degrees; what GDAL reads outside is left out.

    Raises:
        VectorError: if it is damaged.
    """
    try:
        if path.endswith(PBF) or path.startswith("/vsi") or "://" in path:
            return _claims(_rows_of_pbf(path, bbox), 0, CREDIT)
        if path.endswith(XML):
            with _opened(path) as file:
                return buildings(elements_of_xml(file))
        return buildings(elements_of_json(Path(path).read_bytes()))
    except DAMAGE as error:
        raise VectorError(
            f"`{path}` cannot be read: {error}", hint="check that it is whole, or fetch it again"
        ) from None


def elements_of_json(content: bytes) -> Elements:
    """The elements of an answer of Overpass, with `out geom` or with nodes.

    Raises:
        ValueError: if it is no such answer.
    """
    table = json.loads(content)
    if not isinstance(table, dict) or not isinstance(table.get("elements"), list):
        raise ValueError("no list of elements")
    out = elements_of(table["elements"])
    told = table.get("osm3s")
    out.credit = str(told.get("copyright") or CREDIT) if isinstance(told, dict) else CREDIT
    return out


def elements_of(listed: Iterable[dict[str, Any]]) -> Elements:
    """The elements that Overpass lists; one that is listed twice is one."""
    out = Elements()
    for element in listed:
        number, tags = int(element["id"]), dict(element.get("tags") or {})
        if element["type"] == "node":
            out.nodes[number] = float(element["lon"]), float(element["lat"])
        elif element["type"] == "way":
            _add_way(out, number, element, tags)
        elif element["type"] == "relation":
            members = [
                Member(int(m["ref"]), str(m.get("role", "")), _course(m.get("geometry")))
                for m in element.get("members", ())
                if m["type"] == "way"
            ]
            out.relations[number] = members, tags
    return out


def elements_of_xml(file: IO[bytes]) -> Elements:
    """The elements of an `.osm` file; what an editor has marked as deleted is left out."""
    out = Elements()
    root: ElementTree.Element | None = None
    for event, element in ElementTree.iterparse(file, events=("start", "end")):
        if root is None:
            root = element
            told = [element.attrib[name] for name in CREDITS if element.get(name)]
            out.credit = ", ".join(told) or CREDIT
        if event == "start" or element.tag not in ("node", "way", "relation"):
            continue
        if element.get("action") != "delete" and element.get("visible") != "false":
            _add_xml(out, element)
        root.clear()
    return out


def buildings(elements: Elements) -> Claims:
    """The rows of all that claims to be a building or a part of one.

    A multipolygon's outline may carry the tag as well as the relation: that is one building.
    Where only the outline carries it (an old habit), the relation gives its courtyards, and
    joins the outline where it is of several ways.
    """
    rows, outlines = [], set()
    for number, (members, tags) in elements.relations.items():
        if tags.get("type") != "multipolygon":
            continue
        outer = [m for m in members if m.role in ("outer", "")]
        inner = [m for m in members if m.role == "inner"]
        if set(tags) <= PLAIN and (inner or not all(_is_ring(elements, m) for m in outer)):
            tags = tags | _shared([elements.way_tags.get(m.way, {}) for m in outer])
        if kind(tags) == OTHER and "building" not in tags:
            continue
        geometry = _area(elements, outer, inner)
        rows.append(_row("relation", number, tags, geometry))
        if geometry is not None and kind(tags) != OTHER:
            outlines |= {m.way for m in outer}
    doubled = 0
    for number, tags in elements.way_tags.items():
        if "building" not in tags and kind(tags) == OTHER:
            continue
        if number in outlines and "building" in tags:
            doubled += 1
        else:
            rows.append(_row("way", number, tags, _closed(elements.line(number))))
    return _claims(rows, doubled, elements.credit)


def _add_way(out: Elements, number: int, element: dict[str, Any], tags: dict[str, str]) -> None:
    out.ways.setdefault(number, [int(node) for node in element.get("nodes", ())])
    line = _course(element.get("geometry"))
    if line is not None:
        out.lines[number] = line
    out.way_tags[number] = out.way_tags.get(number) or tags


def _add_xml(out: Elements, element: ElementTree.Element) -> None:
    number = int(element.attrib["id"])
    tags = {tag.attrib["k"]: tag.attrib["v"] for tag in element.iter("tag")}
    if element.tag == "node":
        out.nodes[number] = float(element.attrib["lon"]), float(element.attrib["lat"])
    elif element.tag == "way":
        out.ways[number] = [int(node.attrib["ref"]) for node in element.iter("nd")]
        out.way_tags[number] = tags
    else:
        members = [
            Member(int(m.attrib["ref"]), m.get("role", ""), None)
            for m in element.iter("member")
            if m.get("type") == "way"
        ]
        out.relations[number] = members, tags


def _course(points: Any) -> Line | None:
    """A line from Overpass' coordinates; None where there are none or some are cut off."""
    if not points or any(point is None for point in points):
        return None
    return np.array([[p["lon"], p["lat"]] for p in points], dtype=np.float64)


def _area(elements: Elements, outer: list[Member], inner: list[Member]) -> shapely.Geometry | None:
    lines = [m.line if m.line is not None else elements.line(m.way) for m in outer]
    if any(line is None for line in lines):
        return None
    holes = [m.line if m.line is not None else elements.line(m.way) for m in inner]
    return area([x for x in lines if x is not None], [x for x in holes if x is not None])


def _is_ring(elements: Elements, member: Member) -> bool:
    """Whether a way of a relation is closed, or not known."""
    line = member.line if member.line is not None else elements.line(member.way)
    return line is None or is_ring(line)


def _closed(line: Line | None) -> shapely.Geometry | None:
    """A closed way as a polygon; an open one stays a line."""
    if line is None or len(line) < 2:
        return None
    return shapely.Polygon(line) if is_ring(line) else shapely.LineString(line)


def _shared(tags: Iterable[dict[str, str]]) -> dict[str, str]:
    """The building tags of the first outline that has any."""
    keys = ("building", "building:part")
    found = ({key: own[key] for key in keys if key in own} for own in tags)
    return next((own for own in found if own), {})


def _row(
    osm_type: str, number: int, tags: dict[str, str], geometry: shapely.Geometry | None
) -> Row:
    return Row(osm_type, number, tags.get("building"), tags.get("building:part"), geometry)


def _claims(rows: Iterable[Row], doubled: int, credit: str) -> Claims:
    found = sorted(rows, key=lambda row: (row.osm_type, row.osm_id))
    geometry = np.array([None] * len(found), dtype=object)
    geometry[:] = [row.geometry for row in found]
    values = ([row[index] for row in found] for index in range(len(COLUMNS)))
    columns = {
        name: np.array(value, dtype=np.int64 if name == "osm_id" else object)
        for name, value in zip(COLUMNS, values, strict=True)
    }
    columns["credit"] = np.full(len(found), credit, dtype=object)
    return Claims(geometry, columns, doubled)


def _rows_of_pbf(path: str, bbox: Bounds | None) -> Iterator[Row]:
    """Areas as GDAL makes them, and open ways that claim to be buildings as lines."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "osmconf.ini"
        config.write_text(CONFIG, encoding="utf-8")
        for layer in ("multipolygons", "lines"):
            sql = f"SELECT * FROM {layer} WHERE {WHERE}"
            meta, _, shapes, fields = pyogrio.raw.read(
                path, sql=sql, bbox=bbox, CONFIG_FILE=str(config)
            )
            table = dict(zip((str(name) for name in meta["fields"]), fields, strict=True))
            own = table["osm_id"]
            ways = table.get("osm_way_id", [None] * len(own)) if layer == "multipolygons" else own
            parts = table["building:part"]
            for shape, whole, way, building, part in zip(
                shapely.from_wkb(shapes, on_invalid="ignore"),
                own, ways, table["building"], parts, strict=True,
            ):  # fmt: skip
                number = int(way if way is not None else whole)
                yield Row("way" if way is not None else "relation", number, building, part, shape)


def _opened(path: str) -> IO[bytes]:
    if path.endswith(".gz"):
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return bz2.open(path, "rb") if path.endswith(".bz2") else open(path, "rb")

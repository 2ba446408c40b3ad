"""A street of OpenStreetMap's elements, written by hand in each of the forms they come in.

Squares lie on a grid of 0.00001 degrees near the equator; `street` says what each is. Not at
longitude and latitude 0: GDAL takes a node there for one that is missing.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

UNIT = 1e-5
EAST, NORTH = 36.8, -1.28
Tags = dict[str, str]


@dataclass
class Street:
    """Nodes (x, y in units), ways (node ids, tags), relations (way ids with roles, tags)."""

    nodes: dict[int, tuple[int, int]] = field(default_factory=dict)
    ways: dict[int, tuple[list[int], Tags]] = field(default_factory=dict)
    relations: dict[int, tuple[list[tuple[int, str]], Tags]] = field(default_factory=dict)

    def points(self, *corners: tuple[int, int]) -> list[int]:
        first = len(self.nodes) + 1
        self.nodes |= {first + i: corner for i, corner in enumerate(corners)}
        return list(range(first, first + len(corners)))

    def square(self, x: int, y: int, side: int = 10) -> list[int]:
        return self.points((x, y), (x + side, y), (x + side, y + side), (x, y + side))

    def way(self, number: int, nodes: Iterable[int], **tags: str) -> None:
        named = {key.replace("__", ":"): value for key, value in tags.items()}
        self.ways[number] = list(nodes), named

    def ring(self, number: int, nodes: list[int], **tags: str) -> None:
        self.way(number, [*nodes, nodes[0]], **tags)

    def relation(self, number: int, members: list[tuple[int, str]], **tags: str) -> None:
        self.relations[number] = members, tags


def street() -> Street:
    """Every kind of element that a reader of buildings has to judge."""
    s = Street()
    s.ring(1, s.square(0, 0), building="yes")
    s.ring(2, s.square(20, 0), building="no")
    s.ring(3, s.square(40, 0), landuse="farm")
    s.ring(4, s.square(60, 0))  # untagged
    # A courtyard: outline and hole without tags of their own.
    s.ring(50, s.square(80, 0, 12))
    s.ring(51, s.square(84, 4, 4))
    s.relation(5, [(50, "outer"), (51, "inner")], type="multipolygon", building="yes")
    # The outline carries the tag as well.
    s.ring(60, s.square(100, 0, 12), building="house")
    s.ring(61, s.square(104, 4, 4))
    s.relation(6, [(60, "outer"), (61, "inner")], type="multipolygon", building="house")
    # Only the outline carries it.
    s.ring(70, s.square(120, 0, 12), building="house")
    s.ring(71, s.square(124, 4, 4))
    s.relation(7, [(70, "outer"), (71, "inner")], type="multipolygon")
    # An outline of two ways, drawn against each other.
    a, b, c, d = s.square(140, 0, 12)
    s.way(80, [a, b, c])
    s.way(81, [a, d, c])
    s.relation(8, [(80, "outer"), (81, "outer")], type="multipolygon", building="yes")
    # A shed that fills a courtyard.
    s.ring(90, s.square(160, 0, 12))
    s.ring(91, s.square(164, 4, 4), building="shed")
    s.relation(9, [(90, "outer"), (91, "inner")], type="multipolygon", building="yes")
    # Two houses in one relation.
    s.ring(190, s.square(140, 40, 4))
    s.ring(191, s.square(150, 40, 4))
    s.relation(19, [(190, "outer"), (191, "outer")], type="multipolygon", building="yes")
    # Parts: under a house, alone, and on another part.
    s.ring(10, s.square(2, 2, 4), building__part="yes")
    s.ring(11, s.square(0, 40), building__part="yes")
    s.ring(12, s.square(1, 41, 3), building__part="tower")
    # Crossing itself, flat, open.
    s.ring(13, s.points((20, 40), (30, 50), (30, 40), (20, 50)), building="yes")
    s.ring(14, s.points((40, 40), (50, 40)), building="yes")
    s.way(15, s.square(60, 40), building="yes")
    # 3D mapping: the outline is a building of its own.
    s.ring(180, s.square(120, 40), building="yes")
    s.ring(181, s.square(121, 41, 3), building__part="yes")
    s.relation(18, [(180, "outline"), (181, "part")], type="building", building="yes")
    return s


AREAS = {  # what a reader must make of it, in square units
    ("relation", 5): [128.0], ("relation", 6): [128.0], ("relation", 7): [128.0],
    ("relation", 8): [144.0], ("relation", 9): [128.0], ("relation", 19): [16.0, 16.0],
    ("way", 1): [100.0], ("way", 11): [100.0], ("way", 13): [25.0, 25.0], ("way", 91): [16.0],
    ("way", 180): [100.0],
}  # fmt: skip


def write_xml(path: Path, s: Street) -> Path:
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<osm version="0.6">']
    for i, (x, y) in s.nodes.items():
        place = _place((x, y))
        lines.append(f'<node id="{i}" lon="{place["lon"]}" lat="{place["lat"]}" version="1"/>')
    for i, (nodes, tags) in s.ways.items():
        refs = "".join(f'<nd ref="{node}"/>' for node in nodes)
        lines.append(f'<way id="{i}" version="1">{refs}{_xml_tags(tags)}</way>')
    for i, (members, tags) in s.relations.items():
        refs = "".join(f'<member type="way" ref="{w}" role="{role}"/>' for w, role in members)
        lines.append(f'<relation id="{i}" version="1">{refs}{_xml_tags(tags)}</relation>')
    path.write_text("\n".join([*lines, "</osm>"]), encoding="utf-8")
    return path


def _xml_tags(tags: Tags) -> str:
    return "".join(f'<tag k="{key}" v="{value}"/>' for key, value in tags.items())


def overpass(s: Street, geometry: bool) -> dict[str, object]:
    """An answer: with `out geom` where `geometry`, else with nodes (`out body; >; out skel`)."""

    def course(way: int) -> list[dict[str, float]]:
        return [_place(s.nodes[node]) for node in s.ways[way][0]]

    out: list[dict[str, object]] = []
    for i, (nodes, tags) in s.ways.items():
        if geometry and not tags:
            continue  # a query by tag does not answer with it
        extra = {"geometry": course(i)} if geometry else {}
        out.append({"type": "way", "id": i, "nodes": nodes, "tags": tags, **extra})
    for i, (members, tags) in s.relations.items():
        rows = [
            {"type": "way", "ref": way, "role": role}
            | ({"geometry": course(way)} if geometry else {})
            for way, role in members
        ]
        out.append({"type": "relation", "id": i, "members": rows, "tags": tags})
    if not geometry:
        out += [{"type": "node", "id": i, **_place(place)} for i, place in s.nodes.items()]
    return {"version": 0.6, "generator": "Overpass API", "elements": out}


def _place(point: tuple[int, int]) -> dict[str, float]:
    x, y = point
    return {"lat": round(NORTH + y * UNIT, 7), "lon": round(EAST + x * UNIT, 7)}


def write_json(path: Path, s: Street, geometry: bool) -> Path:
    path.write_text(json.dumps(overpass(s, geometry)), encoding="utf-8")
    return path


def write_pbf(path: Path, s: Street) -> Path:
    """The binary form, by the format's description: blobs of protocol buffers."""
    words = [""]

    def word(text: str) -> int:
        if text not in words:
            words.append(text)
        return words.index(text)

    def tagged(tags: Tags) -> bytes:
        keys = b"".join(_varint(word(key)) for key in tags)
        values = b"".join(_varint(word(value)) for value in tags.values())
        return _bytes(2, keys) + _bytes(3, values) if tags else b""

    groups = b""
    for i, (x, y) in s.nodes.items():
        place = _place((x, y))
        lat, lon = (_zigzag(round(place[name] * 1e7)) for name in ("lat", "lon"))
        node = _number(1, _zigzag(i)) + _number(8, lat) + _number(9, lon)
        groups += _bytes(1, node)
    blocks = [_bytes(2, groups)]
    ways = b""
    for i, (nodes, tags) in sorted(s.ways.items()):
        way = _number(1, i) + tagged(tags) + _bytes(8, _deltas(nodes))
        ways += _bytes(3, way)
    blocks.append(_bytes(2, ways))
    relations = b""
    for i, (members, tags) in sorted(s.relations.items()):
        roles = b"".join(_varint(word(role)) for _, role in members)
        body = _number(1, i) + tagged(tags) + _bytes(8, roles)
        body += _bytes(9, _deltas([way for way, _ in members])) + _bytes(10, b"\1" * len(members))
        relations += _bytes(4, body)
    blocks.append(_bytes(2, relations))
    table = _bytes(1, b"".join(_bytes(1, text.encode()) for text in words))
    header = _bytes(4, b"OsmSchema-V0.6")
    content = _blob("OSMHeader", header)
    content += b"".join(_blob("OSMData", table + block) for block in blocks)
    path.write_bytes(content)
    return path


def _blob(kind: str, data: bytes) -> bytes:
    body = _number(2, len(data)) + _bytes(3, zlib.compress(data))
    head = _bytes(1, kind.encode()) + _number(3, len(body))
    return struct.pack(">I", len(head)) + head + body


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _zigzag(value: int) -> int:
    return value * 2 if value >= 0 else -value * 2 - 1


def _deltas(values: list[int]) -> bytes:
    steps = [b - a for a, b in zip([0, *values], values, strict=False)]
    return b"".join(_varint(_zigzag(step)) for step in steps)


def _number(field_number: int, value: int) -> bytes:
    return _varint(field_number << 3) + _varint(value)


def _bytes(field_number: int, value: bytes) -> bytes:
    return _varint(field_number << 3 | 2) + _varint(len(value)) + value

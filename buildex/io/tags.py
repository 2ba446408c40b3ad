"""What the columns of a layer say a feature is: a building, a part of one, or neither.

Layers from OpenStreetMap (osmnx, Overpass turbo, HOT, QuickOSM, Geofabrik, `ogr2ogr`) and from
Overture hold more than buildings. A layer counts as one of these only where its columns
say so; in any other each feature is a building, whatever a column `building` may hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[Any]]
Kinds = NDArray[np.int8]  # (N,): BUILDING, PART or OTHER

BUILDING, PART, OTHER = 0, 1, 2
NO_BUILDING = frozenset(
    {"", "no", "none", "false", "proposed", "demolished", "razed", "removed", "dismantled"}
)
OSM_IDS = frozenset(
    {"osm_id", "osm_way_id", "osmid", "osm_type", "@id", "@type", "full_id", "element",
     "element_type"}
)  # fmt: skip
ELEMENT = re.compile(r"(node|way|relation)/-?\d+$")
STORE = re.compile(r'"(building(?::part)?)"=>"([^"]*)"')


def is_building(value: object) -> bool:
    """Whether a value of the tag `building` or `building:part` claims a building."""
    return not _missing(value) and str(value).strip().lower() not in NO_BUILDING


def kind(tags: Mapping[str, object]) -> int:
    """What the tags of one element of OpenStreetMap make of it."""
    if is_building(tags.get("building")):
        return BUILDING
    return PART if is_building(tags.get("building:part")) else OTHER


def kinds(columns: Columns) -> Kinds | None:
    """What each feature of a layer is; None where the columns know nothing of it."""
    if "fclass" in columns and "osm_id" in columns:
        return _geofabrik(columns)
    if "has_parts" in columns or ("building_id" in columns and "sources" in columns):
        return _overture(columns)
    return _tagged(columns) if _from_osm(columns) else None


def _geofabrik(columns: Columns) -> Kinds:
    """Layers `gis_osm_..._free`: a class, and the value of its tag, which may be missing."""
    values = columns.get("type", np.array([None] * len(columns["fclass"]), dtype=object))
    named = zip(columns["fclass"], values, strict=True)
    return _as_kinds(
        BUILDING if name == "building" and (_missing(value) or is_building(value)) else OTHER
        for name, value in named
    )


def _overture(columns: Columns) -> Kinds:
    """Types `building` and `building_part`: a part names its building."""
    length = len(next(iter(columns.values())))
    nothing = np.array([None] * length, dtype=object)
    rows = zip(
        columns.get("type", nothing),
        columns.get("building_id", nothing),
        columns.get("is_underground", nothing),
        strict=True,
    )
    return _as_kinds(
        OTHER
        if not _missing(below) and below  # a float where some rows have none
        else PART
        if what == "building_part" or not _missing(parent)
        else BUILDING
        for what, parent, below in rows
    )


def _from_osm(columns: Columns) -> bool:
    if OSM_IDS & set(columns) or {"tags", "meta"} <= set(columns):
        return True
    return any(
        isinstance(value, str) and ELEMENT.match(value) for value in columns.get("id", ())[:1]
    )


def _tagged(columns: Columns) -> Kinds | None:
    """By tags, each in its own column or several in one."""
    if "tags" in columns:
        return _as_kinds(kind(_parsed(text)) for text in columns["tags"])
    part = next((name for name in ("building:part", "building_part") if name in columns), None)
    packed = columns.get("other_tags")
    if "building" not in columns and part is None and packed is None:
        return None
    length = len(next(iter(columns.values())))
    nothing = np.array([None] * length, dtype=object)
    rows = zip(
        columns.get("building", nothing),
        nothing if part is None else columns[part],
        nothing if packed is None else packed,
        strict=True,
    )
    return _as_kinds(
        kind({"building": whole, "building:part": piece, **_unpacked(rest)})
        for whole, piece, rest in rows
    )


def _parsed(text: object) -> dict[str, object]:
    """Tags as a table; some writers nest them as JSON."""
    if isinstance(text, str):
        try:
            text = json.loads(text)
        except ValueError:
            return {}
    return dict(text) if isinstance(text, Mapping) else {}


def _unpacked(text: object) -> dict[str, object]:
    """The tags that matter of GDAL's `other_tags`."""
    return dict(STORE.findall(text)) if isinstance(text, str) else {}


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


def _as_kinds(values: Iterable[int]) -> Kinds:
    return np.fromiter(values, dtype=np.int8)

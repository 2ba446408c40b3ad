"""What the columns of a layer say a feature is: a building, a part of one, or neither.

Layers from OpenStreetMap (osmnx, Overpass turbo, HOT, QuickOSM, Geofabrik, `ogr2ogr`) and from
Overture hold more than buildings. A layer counts as one of these only where its columns
say so; in any other each feature is a building, whatever a column `building` may hold.
"""

from __future__ import annotations

import json
import re
from collections import ChainMap
from collections.abc import Iterable, Mapping
from functools import partial
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
OWN = {"building": "building", "building:part": "building:part", "building_part": "building:part"}
PACKED = ("tags", "other_tags")
PAIRS = (list, tuple, np.ndarray)
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
    """By tags, some in columns of their own, others packed into one; of the former first."""
    told = [map(partial(_own, tag), columns[name]) for name, tag in OWN.items() if name in columns]
    told += [map(_unpacked, columns[name]) for name in PACKED if name in columns]
    return _as_kinds(kind(ChainMap(*row)) for row in zip(*told, strict=True)) if told else None


def _own(tag: str, value: object) -> dict[str, object]:
    """What a column of its own says of a tag: nothing where it has no value."""
    return {} if _missing(value) or str(value) == "" else {tag: value}


def _unpacked(packed: object) -> dict[str, object]:
    """Tags from a table, its JSON, pairs, or the text of an hstore such as GDAL's `other_tags`.

    Of text that is not JSON only the tags that matter here.
    """
    table = packed
    if isinstance(packed, str):
        try:
            table = json.loads(packed)
        except ValueError:
            table = STORE.findall(packed)
    if isinstance(table, PAIRS):
        table = {
            str(pair[0]): pair[1] for pair in table if isinstance(pair, PAIRS) and len(pair) == 2
        }
    return dict(table) if isinstance(table, Mapping) else {}


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


def _as_kinds(values: Iterable[int]) -> Kinds:
    return np.fromiter(values, dtype=np.int8)

"""Ask OpenStreetMap for the buildings of a place: `buildex osm MOSAIC|WEST,SOUTH,EAST,NORTH`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from buildex.config import Track, silent
from buildex.errors import ConfigError
from buildex.geo.footprints import Footprints
from buildex.io import overpass
from buildex.io.crs import WGS84
from buildex.io.layers import Table
from buildex.io.osm import CREDIT
from buildex.io.output import check_apart
from buildex.io.source import valid_bounds
from buildex.io.vector import RepairCounts, buildings_of, check_output, write_footprints

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class OsmConfig:
    """How to ask for buildings."""

    endpoint: str = field(
        default=overpass.URL,
        metadata={
            "help": "Overpass interpreter to ask; also from BUILDEX_OVERPASS.",
            "envvar": "BUILDEX_OVERPASS",
        },
    )
    timeout: float = field(
        default=180.0, metadata={"help": "Seconds that the server may take for one query."}
    )
    retries: int = field(
        default=5, metadata={"help": "How often a request is repeated where the server is busy."}
    )
    part: float = field(
        default=5000.0, metadata={"help": "Side of the area of one query, in metres."}
    )
    cache: bool = field(
        default=True, metadata={"help": "Keep answers, and use those that are kept."}
    )
    crs: str | None = field(default=None, metadata={"help": "CRS of a mosaic that names none."})
    overwrite: bool = field(default=False, metadata={"help": "Replace an older file."})

    def __post_init__(self) -> None:
        checks = {
            "timeout": 1 <= self.timeout <= 3600,
            "retries": 0 <= self.retries <= 20,
            "part": 500 <= self.part <= 50_000,
        }
        for name, good in checks.items():
            if not good:
                raise ConfigError(
                    f"`--{name}` is {getattr(self, name):g}", hint="see `buildex osm --help`"
                )


@dataclass(frozen=True)
class OsmReport:
    """What OpenStreetMap knows of a place.

    Attributes:
        path: the file that was written.
        bounds: west, south, east, north in degrees, past the 180th meridian where east < west.
        buildings: how many it holds.
        requests: queries that went out.
        cached: queries that were answered before.
        timestamp: of the data, as the server words it.
        labels: what became of the elements.
        credit: the line that the licence asks for.
    """

    path: str
    bounds: Bounds
    buildings: int
    requests: int
    cached: int
    timestamp: str
    labels: RepairCounts
    credit: str = CREDIT

    def as_dict(self) -> dict[str, Any]:
        """The report as a table."""
        return asdict(self)

    def text(self) -> str:
        """The report in words."""
        when = f" as of {self.timestamp}" if self.timestamp else ""
        lines = [
            f"{self.path}: {self.buildings} buildings{when}, {self.credit}",
            f"{self.requests} requests, {self.cached} answers from the cache",
        ]
        left = self.labels.text()
        return "\n".join(lines + ([left] if left else []))


def fetch(place: str, out: Path, config: OsmConfig, track: Track = silent) -> OsmReport:
    """Write the buildings that OpenStreetMap has in a place.

    Args:
        place: a mosaic, of which the valid part counts, or `west,south,east,north` in degrees.
        out: the file to write, in EPSG:4326: `osm_type`, `osm_id`, `building`, `credit`.
        config: whom to ask, and how.
        track: progress over queries.

    Raises:
        BuildexError: of the kind that says what is wrong; nothing is written then.
    """
    check_output(out, config.overwrite)
    check_apart(out, place)
    bounds = parse_bounds(place) or valid_bounds(place, config.crs)
    endpoint = overpass.Endpoint(
        url=config.endpoint,
        timeout=config.timeout,
        retries=config.retries,
        cache=overpass.cache_folder() if config.cache else None,
    )
    answer = overpass.ask_buildings(endpoint, bounds, config.part, track)
    claims = answer.claims
    table = Table(claims.geometry, WGS84, claims.columns, claims.doubled)
    footprints, counts = buildings_of(table, "the answer of Overpass")
    write_footprints(out, _tidy(footprints), overwrite=config.overwrite, credit=CREDIT)
    return OsmReport(
        path=str(out),
        bounds=bounds,
        buildings=len(footprints),
        requests=answer.requests,
        cached=answer.cached,
        timestamp=answer.timestamp,
        labels=counts,
    )


def parse_bounds(place: str) -> Bounds | None:
    """West, south, east, north from text; None where it is none, such as a path.

    Across the antimeridian east is less than west (RFC 7946), by more than half the way round: by
    less it is a slip of order.

    Raises:
        ConfigError: if it is a box that cannot be.
    """
    try:
        numbers = [float(word) for word in place.split(",")]
    except ValueError:
        return None
    if len(numbers) != 4:
        return None
    west, south, east, north = numbers
    west, east = -180.0 if west == 180 else west, 180.0 if east == -180 else east
    sides = west < east or west - east > 180
    if not (sides and max(abs(west), abs(east)) <= 180 and -90 <= south < north <= 90):
        raise ConfigError(
            f"`{place}` is no box: west, south, east, north in degrees",
            hint="check the order; across the 180th meridian east is less than west",
        )
    return west, south, east, north


def _tidy(footprints: Footprints) -> Footprints:
    """One column of what the building is, also where it is a part that stands alone."""
    columns = dict(footprints.columns)
    part = columns.pop("building:part")
    whole = columns["building"]
    columns["building"] = np.where(whole == None, part, whole)  # noqa: E711 - an array
    return Footprints(footprints.polygons, footprints.crs, columns)

"""Ask an Overpass endpoint for buildings: politely, and not twice for the same.

One request at a time, with a name, a pause between two, and as long a wait as the server asks
for. A part that is too much for the server is asked for in quarters. Answers lie in the
user's cache folder by their query, packed; only whole ones are kept.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import math
import os
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import buildex
from buildex.config import Track, silent
from buildex.errors import ConfigError, NetworkError
from buildex.io.crs import GEOD
from buildex.io.osm import Claims, buildings, elements_of

Bounds = tuple[float, float, float, float]  # west, south, east, north in degrees

URL = "https://overpass-api.de/api/interpreter"
BUSY = (429, 502, 503, 504)
BROKEN = (urllib.error.URLError, http.client.HTTPException, OSError, EOFError, zlib.error)
FIRST_WAIT, LONGEST_WAIT = 2.0, 300.0  # seconds
MOST_PARTS = 400
SMALLEST_SIDE = 250.0  # metres of a part that is not cut again
QUERY = """[out:json][timeout:{timeout:.0f}][bbox:{south:.7f},{west:.7f},{north:.7f},{east:.7f}];
way["building"]->.whole;way["building:part"]->.part;
(.whole;.part;
relation["type"="multipolygon"]["building"];relation["type"="multipolygon"]["building:part"];
relation(bw.whole:"outer")["type"="multipolygon"];relation(bw.whole:"")["type"="multipolygon"];
relation(bw.part:"outer")["type"="multipolygon"];relation(bw.part:"")["type"="multipolygon"];);
out geom qt;"""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A server, and how it is asked.

    Attributes:
        url: of its interpreter.
        timeout: seconds that one query may take.
        retries: how often a request is repeated.
        pause: seconds between two requests.
        cache: folder of earlier answers; None to keep none and use none.
        sleep: waits so many seconds.
    """

    url: str = URL
    timeout: float = 180.0
    retries: int = 5
    pause: float = 1.0
    cache: Path | None = None
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ConfigError(
                f"`endpoint` is `{self.url}`", hint="give a URL, such as https://.../interpreter"
            )


class Answer(NamedTuple):
    """What a server said of an area.

    Attributes:
        claims: ways and relations that claim to be buildings.
        requests: how many queries went out.
        cached: how many were answered before.
        timestamp: of the oldest data, as the server words it; empty where it does not say.
    """

    claims: Claims
    requests: int
    cached: int
    timestamp: str


class _TooMuchError(Exception):
    """The server gave up on a query that may do in parts."""


def cache_folder() -> Path:
    """Where answers are kept: `$XDG_CACHE_HOME/buildex/overpass`, else under `~/.cache`."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    return root / "buildex" / "overpass"


def ask_buildings(
    endpoint: Endpoint, bounds: Bounds, side: float = 5000.0, track: Track = silent
) -> Answer:
    """All ways and relations that claim to be buildings and touch a box.

    Relations without a tag of their own, whose outlines carry it, are asked for by these.

    Args:
        endpoint: whom to ask.
        bounds: west, south, east, north in degrees, past the 180th meridian where east < west.
        side: metres of one query's box; larger boxes are split.
        track: progress over the parts.

    Raises:
        NetworkError: if the server does not give an answer in the end.
        ConfigError: if the box is too large to be polite.
    """
    parts = split(bounds, side)
    if len(parts) > MOST_PARTS:
        raise ConfigError(
            f"the area needs {len(parts)} queries, more than {MOST_PARTS}",
            hint="take an extract of the region, such as Geofabrik's, in place of Overpass",
        )
    asked = _Asked(endpoint)
    listed: list[dict[str, Any]] = []
    for part in track(parts, total=len(parts), label="OpenStreetMap"):
        for table in asked.tables(part):
            listed += table["elements"]
    claims = buildings(elements_of(listed))
    return Answer(claims, asked.requests, asked.cached, min(asked.stamps, default=""))


def split(bounds: Bounds, side: float) -> list[Bounds]:
    """Boxes of at most so many metres a side that cover a box, west to east, south to north.

    One that ends west of where it begins goes on past the 180th meridian.
    """
    west, south, east, north = bounds
    if east < west:
        return split((west, south, 180.0, north), side) + split((-180.0, south, east, north), side)
    middle = min(max(0.0, south), north)  # the latitude at which it is widest
    width = GEOD.line_length([west, (west + east) / 2, east], [middle] * 3)
    height = GEOD.line_length([west, west], [south, north])
    xs = np.linspace(west, east, max(1, math.ceil(width / side)) + 1).tolist()
    ys = np.linspace(south, north, max(1, math.ceil(height / side)) + 1).tolist()
    return [(x0, y0, x1, y1) for y0, y1 in pairwise(ys) for x0, x1 in pairwise(xs)]


def query_of(bounds: Bounds, timeout: float) -> str:
    """The query for the buildings of a box, with their geometry."""
    west, south, east, north = bounds
    return QUERY.format(timeout=timeout, west=west, south=south, east=east, north=north)


class _Asked:
    """A conversation with a server: how often it was asked, and how old its data are."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.requests = self.cached = 0
        self.stamps: list[str] = []

    def tables(self, bounds: Bounds) -> Iterator[dict[str, Any]]:
        """The answers for a box; several where it had to be cut."""
        try:
            yield self._table(query_of(bounds, self.endpoint.timeout))
        except _TooMuchError as error:
            quarters = _quarters(bounds)
            if not quarters:
                raise NetworkError(
                    f"`{self.endpoint.url}` gives up: {error}",
                    hint="try again later, or name another server with `--endpoint`",
                ) from None
            for quarter in quarters:
                yield from self.tables(quarter)

    def _table(self, query: str) -> dict[str, Any]:
        kept = _kept(self.endpoint, query)
        content = _read(kept)
        fresh = content is None
        if content is None:
            if self.requests:
                self.endpoint.sleep(self.endpoint.pause)
            self.requests += 1
            content = _fetched(self.endpoint, query)
        table = _checked(self.endpoint.url, content)
        if fresh:
            _keep(kept, content)
        else:
            self.cached += 1
        stamp = table.get("osm3s", {}).get("timestamp_osm_base", "")
        self.stamps += [stamp] if stamp else []
        return table


def _checked(url: str, content: bytes) -> dict[str, Any]:
    """The answer as a table, if it is a whole one."""
    try:
        table = json.loads(content)
        elements, remark = table["elements"], str(table.get("remark", ""))
    except (ValueError, KeyError, TypeError):
        raise NetworkError(
            f"`{url}` answers no Overpass JSON: {_gist(content)}",
            hint="check the address that `--endpoint` names",
        ) from None
    if "error" in remark:
        if "timed out" in remark or "out of memory" in remark:
            raise _TooMuchError(remark)
        raise NetworkError(f"`{url}` reports: {remark}", hint="try again later")
    return {**table, "elements": elements}


def _fetched(endpoint: Endpoint, query: str) -> bytes:
    """The body of the answer to a query, after as many attempts as it takes."""
    trouble, wanted = "", None
    for attempt in range(endpoint.retries + 1):
        if attempt:
            usual = min(FIRST_WAIT * 2 ** (attempt - 1), 60.0)
            endpoint.sleep(usual if wanted is None else wanted)
        try:
            return _request(endpoint, query)
        except urllib.error.HTTPError as error:
            with error:
                trouble, wanted = _busy(endpoint.url, error)
        except BROKEN as error:
            trouble, wanted = str(getattr(error, "reason", error)) or type(error).__name__, None
    raise NetworkError(
        f"`{endpoint.url}` does not answer after {endpoint.retries + 1} attempts: {trouble}",
        hint="check the network, try again later, or name another server with `--endpoint`",
    )


def _busy(url: str, error: urllib.error.HTTPError) -> tuple[str, float | None]:
    """What a busy server says, and how many seconds it asks to wait, if it does.

    Raises:
        NetworkError: if it refuses for another reason, or asks for too long a wait.
    """
    trouble = f"{error.code} {error.reason}"
    if error.code not in BUSY:
        gist = _gist(error.read(4096))
        raise NetworkError(
            f"`{url}` refuses: {trouble}{': ' if gist else ''}{gist}",
            hint="check the address and the area",
        )
    wanted = _seconds(error.headers.get("Retry-After"))
    if wanted is not None and wanted > LONGEST_WAIT:
        raise NetworkError(
            f"`{url}` is busy ({trouble}) and asks to wait {wanted:.0f} s",
            hint="try again then, or name another server with `--endpoint`",
        )
    return trouble, wanted


def _request(endpoint: Endpoint, query: str) -> bytes:
    request = urllib.request.Request(
        endpoint.url,
        data=urllib.parse.urlencode({"data": query}).encode(),
        headers={
            "User-Agent": f"buildex/{buildex.__version__} (building footprints from drone mosaics)",
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
        },
    )
    # The server may take its time, and says itself when it gives up.
    with urllib.request.urlopen(request, timeout=endpoint.timeout + 30) as answer:
        content: bytes = answer.read()
        packed = answer.headers.get("Content-Encoding") == "gzip"
    return gzip.decompress(content) if packed else content


def _seconds(text: str | None) -> float | None:
    """What `Retry-After` says: seconds, or a date; None where it says nothing."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        wait = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
    return max(0.0, wait)


def _gist(content: bytes) -> str:
    """The first words of an answer that is meant for people, without its markup."""
    words, inside = [], False
    for character in content.decode("utf-8", "replace"):
        inside = character == "<" or (inside and character != ">")
        words.append(" " if inside or character == ">" else character)
    return " ".join("".join(words).split())[:200]


def _quarters(bounds: Bounds) -> list[Bounds]:
    """The four quarters of a box; none where it is small already."""
    west, south, east, north = bounds
    if GEOD.line_length([west, west], [south, north]) < 2 * SMALLEST_SIDE:
        return []
    x, y = (west + east) / 2, (south + north) / 2
    return [(west, south, x, y), (x, south, east, y), (west, y, x, north), (x, y, east, north)]


def _kept(endpoint: Endpoint, query: str) -> Path | None:
    """Where the answer to a query lies, now or later."""
    if endpoint.cache is None:
        return None
    name = hashlib.sha256(f"{endpoint.url}\n{query}".encode()).hexdigest()
    return endpoint.cache / f"{name}.json.gz"


def _read(kept: Path | None) -> bytes | None:
    """An earlier answer; None where there is none, or it is damaged."""
    try:
        content = None if kept is None else gzip.decompress(kept.read_bytes())
        return content if content and json.loads(content) else None
    except (OSError, EOFError, ValueError, zlib.error):
        return None


def _keep(kept: Path | None, content: bytes) -> None:
    """Put an answer aside. A folder that cannot be written costs a request, not the run."""
    if kept is None:
        return
    beside = kept.with_name(f"{kept.name}.{os.getpid()}.tmp")
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(gzip.compress(content, mtime=0))
            beside.replace(kept)
        finally:
            beside.unlink(missing_ok=True)

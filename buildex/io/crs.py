"""Coordinate reference systems: read them, name them, pick one whose unit is a ground metre."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
import pyproj
from numpy.typing import NDArray
from pyproj.enums import TransformDirection
from pyproj.exceptions import CRSError, ProjError

from buildex.errors import CrsError

Points = NDArray[np.float64]
MAX_DISTORTION = 0.003
WGS84 = "EPSG:4326"
CHECK = "check that the file's CRS is the one its coordinates are in"
GEOD = pyproj.Geod(ellps="WGS84")
SPACING = 10  # degrees between places at which two systems are compared
ALIKE = 1e-7  # degrees, about a centimetre


def parsed(crs: str, where: str = "`--crs`") -> pyproj.CRS:
    """The CRS that an authority code, WKT or PROJ string means; heights are left out of it.

    Raises:
        CrsError: if it means none.
    """
    try:
        return pyproj.CRS.from_user_input(crs).to_2d()
    except CRSError:
        raise CrsError(
            f"{where} names no known coordinate reference system: `{crs[:60]}`",
            hint="use a code such as `EPSG:32737`",
        ) from None


def named(crs: pyproj.CRS) -> str:
    """`AUTHORITY:CODE` where the CRS has one, else its WKT."""
    authority = crs.to_authority(min_confidence=100)
    return ":".join(authority) if authority else str(crs.to_wkt())


def coded(crs: str) -> bool:
    """Whether a CRS is written as `AUTHORITY:CODE`."""
    return re.fullmatch(r"\w+:\w+", crs) is not None


@lru_cache(maxsize=32)
def in_degrees(crs: str) -> bool:
    """Whether coordinates are longitude and latitude."""
    return bool(parsed(crs).is_geographic)


@lru_cache(maxsize=32)
def _transformer(source: str, target: str) -> pyproj.Transformer:
    """Threads may share it: pyproj keeps for each thread one of its own behind it."""
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def reprojected(points: Points, source: str, target: str) -> Points:
    """Points (N, 2), x then y, from one CRS to another; always east before north.

    Raises:
        CrsError: if one of the two cannot be tied to the Earth or a point has no image.
    """
    if source == target:
        return points
    try:
        x, y = _transformer(source, target).transform(
            points[:, 0], points[:, 1], direction=TransformDirection.FORWARD
        )
    except (CRSError, ProjError) as error:
        raise CrsError(
            f"coordinates cannot be brought from `{source[:60]}` to `{target[:60]}`: {error}",
            hint=CHECK,
        ) from None
    result = np.stack([x, y], axis=1)
    if not np.isfinite(result).all():
        raise CrsError(
            f"coordinates lie outside the area of `{target[:60]}`",
            hint=CHECK,
        )
    return result


def alike(first: str, second: str) -> bool:
    """Whether coordinates of one CRS mean the same places in another, all over the Earth.

    Equal definitions decide where the first has no place that can be found again.
    """
    lon, lat = np.meshgrid(np.arange(-175, 180, SPACING), np.arange(-85, 90, SPACING))
    places = np.stack([lon.ravel(), lat.ravel()]).astype(np.float64)
    try:
        points = _transformer(WGS84, first).transform(*places)
        there = np.stack(_transformer(first, WGS84).transform(*points))
        other = np.stack(_transformer(second, WGS84).transform(*points))
    except (CRSError, ProjError):
        return bool(parsed(first) == parsed(second))
    kept = (np.abs(there - places) < ALIKE).all(axis=0)
    if not kept.any():
        return bool(parsed(first) == parsed(second))
    return bool((np.abs(other[:, kept] - there[:, kept]) < ALIKE).all())


def eastward(points: Points, west: float) -> Points:
    """Points in degrees with longitudes from `west` on, up to 360 degrees east of it."""
    return np.stack([(points[:, 0] - west) % 360 + west, points[:, 1]], axis=1)


def check_place(lon: float, lat: float) -> None:
    """Whether degrees may be some.

    Raises:
        CrsError: if not, as where metres are called degrees.
    """
    if abs(lat) > 90 or abs(lon) > 360:
        raise CrsError(f"{lon:g}, {lat:g} is no place on the Earth", hint=CHECK)


def metric(crs: str, center: tuple[float, float]) -> str:
    """A CRS whose unit is a ground metre around a point: the given one where it is, else UTM.

    A CRS qualifies if a metre of it is a metre on the ground within 0.3 % in both directions.
    Degrees, feet and web mercator do not.

    Args:
        crs: the CRS of the point.
        center: x, y of the point.
    """
    if not (parsed(crs).is_projected or parsed(crs).is_geographic):
        raise CrsError(f"`{crs[:60]}` is not a CRS of maps", hint=CHECK)
    x, y = center
    cross = np.array([[x, y], [x + 1, y], [x, y + 1]], dtype=np.float64)
    lon, lat = reprojected(cross, crs, WGS84).T
    check_place(lon[0], lat[0])
    _, _, units = GEOD.inv(lon[[0, 0]], lat[[0, 0]], lon[1:], lat[1:])
    if np.abs(np.asarray(units) - 1).max() <= MAX_DISTORTION:
        return crs
    zone = int((lon[0] + 180) % 360 // 6) + 1
    return f"EPSG:{(32600 if lat[0] >= 0 else 32700) + zone}"

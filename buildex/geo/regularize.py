"""Straighten outlines and square them up, never farther than a stated deviation.

An outline is cut into runs, each run is given a direction of its building's main axes if
that turns it little, runs of one wall are merged, lines are fitted and crossed. What
deviates too far is set free of the axes, or tried again with less ambition; at last the
original stands. All polygons are worked on at once, in the unit of their coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo import straight
from buildex.geo.footprints import Polygons, repaired
from buildex.geo.runs import OPEN, Corners, Flags, Floats, Index, Outlines, following, roundness
from buildex.geo.straight import Draft, Limits

Status = NDArray[np.str_]
Method = Literal["none", "right-angles", "right-angles-and-diagonals", "any-angle"]

CHUNK = 4096  # polygons that are worked on at once
TRIES = 2  # on a rung: the second one with those walls set free that deviate too far
SWING = 0.7  # share of the tolerance by which the ends of a wall may be turned aside
ROUND = 0.07  # roundness under which an outline is a hut or a tank, and is not squared
HUT = 6  # corners that a round outline keeps at least
FEW = 0.25  # share of its points that is left of an outline, at most, to straighten it without axes
COARSER = (1.5, 2.0)  # times the step, where nothing is found with less and tolerance permits
SAMPLES = 32  # to a tolerance, where a distance is measured point by point
SAME = 1e-6  # share of the tolerance within which an outline is the same


@dataclass(frozen=True)
class Regularizing:
    """Settings.

    Attributes:
        method: `right-angles` puts walls along the building's two main axes;
            `right-angles-and-diagonals` also along the two between them; `any-angle`
            straightens walls and squares corners that are nearly right; `none` does nothing.
        tolerance: largest Hausdorff distance between an outline and what becomes of it, in
            the unit of the coordinates.
        step: steps and chamfers of an outline that are clearly smaller vanish, in the same
            unit; never more than the tolerance, which it is if not given. A wall may so be
            straightened and turned by more than the detail that is kept. An outline for
            which nothing is found so is tried again with half as much again, then twice the step.
        turn: degrees off the axes within which an outline's parts go along them (and that a
            wall may be turned, for `any-angle`).
        square: share of an outline's length that must go along the axes; under it the
            outline is not squared.
        area: largest change of an outline's area, as a share of it.
    """

    method: Method = "right-angles"
    tolerance: float = 0.5
    step: float | None = None
    turn: float = 20.0
    square: float = 0.6
    area: float = 0.2

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ValueError(f"method {self.method!r}: it is one of {', '.join(get_args(Method))}")
        if not self.tolerance > 0:
            raise ValueError(f"tolerance {self.tolerance}: it is more than 0")
        if self.step is not None and not self.step > 0:
            raise ValueError(f"step {self.step}: it is more than 0")

    @property
    def detail(self) -> float:
        """The step that counts."""
        return self.tolerance if self.step is None else min(self.step, self.tolerance)


@dataclass(frozen=True)
class Regularized:
    """What became of polygons.

    Attributes:
        polygons: (N,) shapely Polygons; the original object where nothing changed.
        status: (N,) `regularized`; `unchanged`: there was nothing to do; `kept`: nothing
            within the tolerance was found, the original stands.
    """

    polygons: Polygons
    status: Status


class _Rung(NamedTuple):
    """How much is dared, in shares of the smallest step that stays."""

    simplify: float  # deviation within which outlines are cut into runs
    short: float  # steps and chamfers that vanish
    squared: bool = True  # whether walls are put along axes


LADDER = (
    _Rung(0.9, 0.8),
    _Rung(0.7, 0.6),
    _Rung(0.5, 0.4),
    _Rung(0.3, 0.3),
    _Rung(0.7, 0.5, squared=False),
    _Rung(0.4, 0.3, squared=False),
)
DEFAULT = Regularizing()


def regularize(polygons: Polygons, settings: Regularizing = DEFAULT) -> Regularized:
    """Regularize polygons, each by itself.

    Args:
        polygons: (N,) shapely Polygons in a metric unit; holes are kept, and squared with
            the axes of their building. Empty and invalid ones stay as they are.
        settings: method and limits.

    Returns:
        Valid polygons with as many holes and no more vertices.
    """
    out = np.array(polygons, dtype=object)
    status = np.full(len(out), "unchanged", dtype="U11")
    if settings.method == "none":
        return Regularized(out, status)
    usable = shapely.is_valid(out) & (shapely.area(out) > 0)
    status[~usable] = "kept"
    index = np.flatnonzero(usable)
    for start in range(0, len(index), CHUNK):
        chunk = index[start : start + CHUNK]
        out[chunk], status[chunk] = _regularized(out[chunk], settings)
        for coarser in _coarser(settings):
            stuck = chunk[status[chunk] == "kept"]
            if len(stuck):
                out[stuck], status[stuck] = _regularized(out[stuck], coarser)
    return Regularized(out, status)


def _coarser(settings: Regularizing) -> list[Regularizing]:
    """The same with larger steps, as far as the tolerance permits."""
    steps = {min(factor * settings.detail, settings.tolerance) for factor in COARSER}
    return [replace(settings, step=step) for step in sorted(steps) if step > settings.detail]


class _Answer(NamedTuple):
    """Rings that are done, by their names."""

    points: Floats  # (M, 2)
    ring: Index  # (M,) name of each point's ring
    name: Index  # (D,) names of the rings
    moved: Flags  # (D,) whether the ring is another than it was


def _regularized(polygons: Polygons, settings: Regularizing) -> tuple[Polygons, Status]:
    outlines, origin = _outlines(polygons)
    axes = np.full(len(polygons), np.nan)
    angular = roundness(outlines) >= ROUND
    pending = np.ones(len(angular), dtype=bool)
    answers = []
    for rung in LADDER:
        if not pending.any():
            break
        fit = pending & angular if rung.squared else pending
        draft = _draft(outlines.take(fit), rung, settings, axes)
        bad = np.zeros(len(draft.runs.at), dtype=bool)
        for _ in range(TRIES):
            draft = draft.freed(bad)
            if not len(bad):
                break
            walls, deviation = draft.drawn(settings.tolerance)
            answer, good = _answer(draft, walls, deviation, rung, settings)
            answers.append(answer)
            pending[answer.name] = False
            bad = (deviation > settings.tolerance)[~good[draft.runs.ring]]
            draft = draft.take(~good)
        outlines.mark[np.isin(outlines.ring, draft.outlines.name)] = draft.marks(bad)
    return _assembled(polygons, (outlines, origin), answers, pending)


def _outlines(polygons: Polygons) -> tuple[Outlines, Floats]:
    """All rings, each from its point farthest from its centre, and buildings' origins (N, 2)."""
    rings, building = shapely.get_rings(polygons, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    inner = np.append(ring[1:] == ring[:-1], False)
    keep = inner & np.append((points[1:] != points[:-1]).any(axis=1), False)
    points, ring = points[keep], ring[keep]
    size = np.bincount(ring)
    first = np.cumsum(size) - size
    origin = points[first[np.searchsorted(building, np.arange(len(polygons)))]]
    points = points - origin[building[ring]]
    centre = np.add.reduceat(points, first) / size[:, None]
    radius = np.hypot(*(points - centre[ring]).T)
    far = np.flatnonzero(radius == np.maximum.reduceat(radius, first)[ring])
    start = np.empty(len(size), dtype=np.int64)
    start[ring[far][::-1]] = far[::-1]
    place = np.arange(len(ring)) - first[ring]
    points = points[first[ring] + (place + (start - first)[ring]) % size[ring]]
    name, mark = np.arange(len(size)), np.full(len(ring), OPEN)
    return Outlines(points, ring, building, name, mark), origin


def _draft(outlines: Outlines, rung: _Rung, settings: Regularizing, axes: Floats) -> Draft:
    """Runs and their directions, of the rings that can be done on this rung.

    Args:
        outlines: rings that are not done yet.
        rung: how much is dared.
        settings: method and limits.
        axes: (N,) main axis of each building in degrees; where it is not known yet, NaN, it
            is found and written here: holes go along it on whichever rung they are done.
    """
    short = rung.short * settings.detail
    if not rung.squared:
        outlines = outlines._replace(mark=np.full_like(outlines.mark, OPEN))
    draft = straight.cut_loose(outlines, rung.simplify * settings.detail)
    if not len(draft.runs.at):
        return draft
    if not rung.squared:
        return straight.joined(draft, short)
    diagonals = settings.method == "right-angles-and-diagonals"
    limits = Limits(short, SWING * settings.tolerance, settings.turn, diagonals)
    if settings.method == "any-angle":
        draft = straight.chained(straight.joined(draft, short), settings.turn)
        return straight.squared(draft, np.full(len(draft.group), np.nan), limits)[0]
    draft, share = straight.squared(draft, axes, limits)
    axes[draft.group] = draft.axis
    return draft.take(share >= settings.square)


def _answer(
    draft: Draft, walls: Corners, deviation: Floats, rung: _Rung, settings: Regularizing
) -> tuple[_Answer, Flags]:
    """The new rings that keep to the limits, and which (K,) of the draft's rings they are."""
    old, runs = draft.outlines, draft.runs
    count = len(old.building)
    step = (walls.end != walls.start).any(axis=1)
    points = np.stack([walls.end, walls.start], axis=1).reshape(-1, 2)
    given = np.stack([np.ones_like(step), step], axis=1).ravel()
    points, ring = points[given], np.repeat(runs.ring, 1 + step)
    worst = np.zeros(count)
    np.maximum.at(worst, runs.ring, deviation)
    good = worst <= settings.tolerance
    points, ring = _without_loops(points, ring, good, old, settings.tolerance)
    before, after = np.bincount(old.ring, minlength=count), np.bincount(ring, minlength=count)
    area, new_area = _areas(old.points, old.ring, count), _areas(points, ring, count)
    if rung.squared:
        good &= after <= before
    else:
        good &= after <= FEW * before
        good &= (after >= HUT) | (roundness(old) >= ROUND)
    good &= np.abs(new_area - area) <= settings.area * np.abs(area)
    good[good] = shapely.is_valid(_polygons(points, ring, good))
    moved = (after != before) | (worst > SAME * settings.tolerance)
    mine = good[ring]
    return _Answer(points[mine], old.name[ring[mine]], old.name[good], moved[good]), good


def _without_loops(
    points: Floats, ring: Index, wanted: Flags, old: Outlines, tolerance: float
) -> tuple[Floats, Index]:
    """The same rings; where a wanted one crosses itself, its largest part, if that is near.

    A needle of an outline, squared, is a loop that hangs at the point where its walls cross.

    Args:
        points: (M, 2).
        ring: (M,) number of each point's ring, in order.
        wanted: (K,) rings to be looked at.
        old: the outlines that they were drawn from.
        tolerance: how far what is left of a ring may be from its outline.
    """
    wanted = wanted & (np.bincount(ring, minlength=len(wanted)) >= 3)
    shapes = _polygons(points, ring, wanted)
    crossed = ~shapely.is_valid(shapes)
    for number, shape in zip(np.flatnonzero(wanted)[crossed], shapes[crossed], strict=True):
        outline = shapely.linearrings(old.points[old.ring == number])
        rest = _largest_ring(shape)
        if rest is None or _apart(rest, outline, tolerance / SAMPLES) > tolerance:
            continue
        first, last = np.searchsorted(ring, [number, number + 1])
        if shapely.is_ccw(outline) != shapely.is_ccw(rest):
            rest = shapely.reverse(rest)
        kept = shapely.get_coordinates(rest)[:-1]
        points = np.concatenate([points[:first], kept, points[last:]])
        ring = np.concatenate([ring[:first], np.full(len(kept), number), ring[last:]])
    return points, ring


def _largest_ring(shape: shapely.Polygon) -> shapely.LinearRing | None:
    """The outline of the largest part of a polygon that crosses itself; None if it has a hole."""
    parts = repaired(shape)
    return parts[0].exterior if parts and not len(parts[0].interiors) else None


def _apart(one: shapely.LinearRing, other: shapely.LinearRing, spacing: float) -> float:
    """A bound of the Hausdorff distance of two rings, at most `spacing` / 2 above it.

    It is the distance of points so far apart, at most, and half of that: along a ring the distance
    to another never grows faster than the way.
    """
    far = 0.0
    for a, b in ((one, other), (other, one)):
        dense = shapely.points(shapely.get_coordinates(shapely.segmentize(a, spacing)))
        far = max(far, float(shapely.distance(dense, b).max()))
    return far + spacing / 2


def _assembled(
    polygons: Polygons,
    old: tuple[Outlines, Floats],
    answers: list[_Answer],
    pending: Flags,
) -> tuple[Polygons, Status]:
    """Polygons of new rings, and of old ones where a ring found no answer."""
    outlines, origin = old
    left = outlines.take(pending)
    points = np.concatenate([left.points, *(answer.points for answer in answers)])
    ring = np.concatenate([left.name[left.ring], *(answer.ring for answer in answers)])
    order = np.argsort(ring, kind="stable")
    points = points[order] + origin[outlines.building[ring[order]]]
    rings = shapely.linearrings(points, indices=ring[order])
    new = shapely.polygons(rings, indices=outlines.building)
    moved = np.zeros(len(pending), dtype=bool)
    for answer in answers:
        moved[answer.name] = answer.moved
    building = outlines.building
    changed = np.bincount(building, weights=moved, minlength=len(polygons)) > 0
    stuck = np.bincount(building, weights=pending, minlength=len(polygons)) > 0
    fine = changed & shapely.is_valid(new)
    status = np.where(fine, "regularized", np.where(changed | stuck, "kept", "unchanged"))
    return np.where(fine, new, polygons), status


def _polygons(points: Floats, ring: Index, wanted: Flags) -> Polygons:
    """The wanted (K,) of rings as polygons without holes."""
    mine = wanted[ring]
    number = np.cumsum(wanted) - 1
    out: Polygons = shapely.polygons(shapely.linearrings(points[mine], indices=number[ring[mine]]))
    return out


def _areas(points: Floats, ring: Index, count: int) -> Floats:
    """Signed areas (count,) of rings by the shoelace formula."""
    (x, y), (x1, y1) = points.T, points[following(ring)].T
    return np.bincount(ring, weights=x * y1 - x1 * y, minlength=count) / 2

"""Which runs of an outline are one wall, and which way each wall goes.

Directions are counted in classes of 45 degrees from an axis: 0, 2, 4, 6 along it and across
it, 1, 3, 5, 7 diagonal, and `FREE` for a run that keeps a direction of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from buildex.geo.axes import Edges, main_axes, off_axis
from buildex.geo.deviation import deviations
from buildex.geo.runs import (
    CORNER,
    INNER,
    OPEN,
    PARALLEL,
    Corners,
    Flags,
    Floats,
    Index,
    Outlines,
    Runs,
    angles,
    breakpoints,
    centres,
    chords,
    corners,
    cross,
    cut,
    following,
    gaps,
    merged,
    preceding,
    run_of_points,
    scatter,
)

FREE = -1
ROUGH = 8.0  # degrees that edges of one direction differ by, and axes at first and at last
NEARLY_STRAIGHT = 15.0  # degrees between two free runs that may be one wall
PASSES = 50  # of merging: each takes every local best


@dataclass(frozen=True)
class Limits:
    """What a run may suffer.

    Attributes:
        short: steps and chamfers that vanish, in the coordinates' unit.
        swing: how far the ends of a wall may be moved by turning it.
        turn: degrees off an axis within which a run goes along it.
        diagonals: whether walls may go half-way between the axes.
    """

    short: float
    swing: float
    turn: float
    diagonals: bool


@dataclass(frozen=True)
class Draft:
    """Outlines cut into runs that have directions.

    Attributes:
        outlines: the rings.
        runs: their runs.
        group: (R,) runs that share axes: a building's, or a chain's.
        axis: (R,) their axis in degrees.
        klass: (R,) direction of each run.
    """

    outlines: Outlines
    runs: Runs
    group: Index
    axis: Floats
    klass: Index

    def take(self, rings: Flags) -> Self:
        """The rings where a mask (K,) is true, numbered anew."""
        keep = rings[self.runs.ring]
        points = rings[self.outlines.ring]
        at = (np.cumsum(points) - 1)[self.runs.at[keep]]
        ring = (np.cumsum(rings) - 1)[self.runs.ring[keep]]
        runs = Runs(at, ring, self.runs.moments[:, keep])
        return replace(
            self,
            outlines=self.outlines.take(rings),
            runs=runs,
            group=self.group[keep],
            axis=self.axis[keep],
            klass=self.klass[keep],
        )

    def only(self, runs: Flags) -> Self:
        """Some of the runs (R,), of the same outlines."""
        kept = self.runs
        return replace(
            self,
            runs=Runs(kept.at[runs], kept.ring[runs], kept.moments[:, runs]),
            group=self.group[runs],
            axis=self.axis[runs],
            klass=self.klass[runs],
        )

    @classmethod
    def of_parts(cls, parts: Sequence[Draft]) -> Draft:
        """The runs of several drafts of the same outlines, in the order of these."""
        runs = [part.runs for part in parts]
        ring = np.concatenate([part.ring for part in runs])
        order = np.argsort(ring, kind="stable")
        at = np.concatenate([part.at for part in runs])
        moments = np.concatenate([part.moments for part in runs], axis=1)
        return cls(
            parts[0].outlines,
            Runs(at[order], ring[order], moments[:, order]),
            np.concatenate([part.group for part in parts])[order],
            np.concatenate([part.axis for part in parts])[order],
            np.concatenate([part.klass for part in parts])[order],
        )

    def freed(self, where: Flags) -> Self:
        """The same with some runs (R,) set free of the axes."""
        return replace(self, klass=np.where(where, FREE, self.klass))

    def marks(self, bad: Flags) -> Index:
        """Marks (V,) of the outlines' points for another cut, of bad runs (R,) only.

        A ring without bad runs, for which this draft would not do, is open altogether.
        """
        ring = self.outlines.ring
        run = run_of_points(self.outlines, self.runs)
        mark = np.where(bad[run], OPEN, INNER)
        mark[self.runs.at] = CORNER
        somewhere = np.bincount(self.runs.ring, weights=bad) > 0
        return np.where(somewhere[ring], mark, OPEN)

    def directions(self) -> Floats:
        """Unit vectors (R, 2): along the axes, or a free run's own."""
        own = angles(self.runs, chords(self.runs, self.outlines.points))
        radians = np.radians(np.where(self.klass == FREE, own, self.axis + 45.0 * self.klass))
        return np.stack([np.cos(radians), np.sin(radians)], axis=1)

    def drawn(self, tolerance: float) -> tuple[Corners, Floats]:
        """The walls' corners, and a bound (R,) of each run's deviation from its wall."""
        place = self.outlines.points[self.runs.at]
        walls = corners(self.runs, place, self.directions(), self.klass != FREE, tolerance)
        return walls, deviations(self.outlines, self.runs, walls)


def cut_loose(outlines: Outlines, tolerance: float) -> Draft:
    """Outlines cut where they turn, no run bound to an axis; a building's runs are a group.

    Rings that collapse within the tolerance are left out.
    """
    at = breakpoints(outlines, tolerance)
    enough = np.bincount(outlines.ring[at], minlength=len(outlines.building)) >= 3
    at = at[enough[outlines.ring[at]]]
    at = (np.cumsum(enough[outlines.ring]) - 1)[at]
    outlines = outlines.take(enough)
    runs = cut(outlines, at)
    group = outlines.building[runs.ring]
    return Draft(outlines, runs, group, np.zeros(len(at)), np.full(len(at), FREE))


def squared(draft: Draft, known: Floats, limits: Limits) -> tuple[Draft, Floats]:
    """Bind runs to axes and merge those of one wall, twice over.

    Args:
        draft: runs in groups.
        known: axis of each group in degrees; NaN where it is to be fitted.
        limits: what a run may suffer.

    Returns:
        The draft, and the share (K,) of each outline's length that went along the axes.
    """
    axis = known[draft.group]
    axis = np.where(np.isnan(axis), rough_axes(draft), axis)
    draft, aligned = bound(draft, axis, limits)
    length = draft.runs.moments[0]
    along = np.bincount(draft.runs.ring, weights=length * aligned)
    share = np.asarray(along / np.bincount(draft.runs.ring, weights=length))
    draft = _fitted(joined(draft, limits.short), known)
    draft, _ = bound(draft, draft.axis, limits)
    return _fitted(joined(draft, limits.short), known), share


def _fitted(draft: Draft, known: Floats) -> Draft:
    axis = known[draft.group]
    return replace(draft, axis=np.where(np.isnan(axis), fitted_axes(draft), axis))


def chained(draft: Draft, turn: float) -> Draft:
    """The same, grouped by chains: runs that follow one another nearly squarely."""
    ring = draft.runs.ring
    angle = angles(draft.runs, chords(draft.runs, draft.outlines.points))
    before = preceding(ring)
    breaks = np.abs(off_axis(angle, angle[before])) > turn
    first = np.append(True, ring[1:] != ring[:-1])
    chain = np.cumsum(breaks | first) - 1
    # Around the seam a ring's first chain goes on from its last one.
    rename = np.arange(len(chain))
    joins = first & ~breaks
    rename[chain[joins]] = chain[before[joins]]
    return replace(draft, group=rename[chain])


def rough_axes(draft: Draft) -> Floats:
    """Axes (R,) of each run's group, from the runs' directions and lengths."""
    chord = chords(draft.runs, draft.outlines.points)
    length = np.hypot(chord[:, 0], chord[:, 1])
    edges = Edges(angles(draft.runs, chord) % 90.0, length, draft.group)
    return main_axes(edges, int(draft.group.max(initial=-1)) + 1, ROUGH)[draft.group]


def fitted_axes(draft: Draft) -> Floats:
    """Axes (R,) that fit the runs of each group best, near those they have.

    Total least squares over all walls of a group at once: each wall's second moments are
    turned by its class, summed, and their principal axis is the common axis. With the
    moments as a complex number z = xx - yy + 2i xy, turning by a is a factor exp(2i a).
    """
    xx, xy, yy = scatter(draft.runs)
    turned = np.radians(draft.axis + 45.0 * draft.klass)
    z = (xx - yy + 2j * xy) * np.exp(-2j * turned) * (draft.klass != FREE)
    real = np.bincount(draft.group, weights=z.real)
    imaginary = np.bincount(draft.group, weights=z.imag)
    off = np.degrees(np.arctan2(imaginary, real)) / 2
    return np.asarray(draft.axis + np.clip(off, -ROUGH, ROUGH)[draft.group])


def bound(draft: Draft, axis: Floats, limits: Limits) -> tuple[Draft, Flags]:
    """Give each run the class of the nearest direction that it can be turned to.

    A run is turned only so far that its ends stay near: a long one by little, a short one
    always, for its direction means little.

    Returns:
        The draft, and whether each run (R,) went along the axes to begin with.
    """
    chord = chords(draft.runs, draft.outlines.points)
    length = np.hypot(chord[:, 0], chord[:, 1])
    angle = angles(draft.runs, chord)
    off = off_axis(angle, axis)
    square = 2 * np.round((angle - axis - off) / 90.0).astype(np.int64) % 8
    aligned = np.abs(off) <= limits.turn
    swing = length / 2 * np.sin(np.radians(np.abs(off)))
    klass = np.where((swing <= limits.swing) | (length <= 2 * limits.short), square, FREE)
    if limits.diagonals:
        off = off_axis(angle, axis + 45.0)
        diagonal = (2 * np.round((angle - axis - off - 45.0) / 90.0).astype(np.int64) + 1) % 8
        swing = length / 2 * np.sin(np.radians(np.abs(off)))
        fits = (np.abs(off) <= limits.turn / 2) & (swing <= limits.swing)
        fits &= length > 3 * limits.short
        klass, aligned = np.where(fits, diagonal, klass), aligned | fits
    return replace(draft, axis=axis, klass=klass), aligned


def joined(draft: Draft, short: float) -> Draft:
    """Merge runs of one wall, the surest first, until no step under `short` is left."""
    settled: list[Draft] = []
    for _ in range(PASSES):
        cost, drop, counted = _merges(draft)
        chosen = _local_best(np.where(cost <= short, cost, np.inf), draft.runs.ring)
        # Where nothing merges in a ring, nothing will: what follows is of the other rings.
        moving = np.bincount(draft.runs.ring, weights=chosen)[draft.runs.ring] > 0
        settled.append(draft.only(~moving))
        if not chosen.any():
            break
        keep = ~chosen
        keep[following(draft.runs.ring)[chosen & drop]] = False
        runs = merged(draft.runs, keep, counted | ~chosen)
        draft = replace(draft.only(keep), runs=runs).only(moving[keep])
    else:
        settled.append(draft)
    return Draft.of_parts(settled)


def _merges(draft: Draft) -> tuple[Floats, Flags, Flags]:
    """The cheapest way to merge each run with what is before it.

    A run joins the wall before it; or it is a step between two parts of one wall and goes
    with both; or it is a chamfer, and the walls beside it are drawn on to where they meet.

    Returns:
        Cost (R,), how far the wall and what it replaces are apart; whether the run is a
        step; whether it says anything about the wall that it joins.
    """
    runs, klass = draft.runs, draft.klass
    before, after = preceding(runs.ring), following(runs.ring)
    size = np.bincount(runs.ring)[runs.ring]
    place, centre = draft.outlines.points[runs.at], centres(runs)
    wall = draft.directions()
    fixed = klass != FREE
    same = (klass == klass[before]) & (draft.group == draft.group[before])
    around = (klass[before] == klass[after]) & (draft.group[before] == draft.group[after])
    aside = np.abs(cross(wall, centre - centre[before]))
    join = np.where(same & fixed, aside, np.inf)
    join = np.where(same & ~fixed, _sag(draft), join)
    aside = np.max(
        [
            np.abs(cross(wall[before], other - centre[before]))
            for other in (place, place[after], centre[after])
        ],
        axis=0,
    )
    drop = np.where(around & ~same & fixed[before] & (size >= 6), aside, np.inf)
    chamfer = np.where(same & fixed, np.inf, _chamfer(draft, wall))
    cost = np.where(size > 3, np.minimum(np.minimum(join, drop), chamfer), np.inf)
    is_drop = (drop < join) & (drop <= chamfer)
    return cost, is_drop, join <= np.minimum(drop, chamfer)


def _chamfer(draft: Draft, wall: Floats) -> Floats:
    """Distance (R,) of runs from where the walls (R, 2) beside them meet; infinite if nowhere."""
    ring = draft.runs.ring
    before, after = preceding(ring), following(ring)
    place, centre = draft.outlines.points[draft.runs.at], centres(draft.runs)
    sine = cross(wall[before], wall[after])
    meets = np.abs(sine) >= PARALLEL
    t = cross(centre[after] - centre[before], wall[after]) / np.where(meets, sine, 1.0)
    corner = centre[before] + t[:, None] * wall[before]
    return np.where(meets, gaps(corner, place, place[after])[0], np.inf)


def _sag(draft: Draft) -> Floats:
    """Twice the distance of breakpoints from the chord over both runs; infinite at a bend."""
    chord = chords(draft.runs, draft.outlines.points)
    before = preceding(draft.runs.ring)
    whole = chord + chord[before]
    angle = np.degrees(np.arctan2(chord[:, 1], chord[:, 0]))
    bend = np.abs((angle - angle[before] + 180.0) % 360.0 - 180.0)
    far = np.abs(cross(chord[before], whole)) / np.maximum(np.hypot(*whole.T), 1e-300)
    return np.where(bend <= NEARLY_STRAIGHT, 2 * far, np.inf)


def _local_best(cost: Floats, ring: Index) -> Flags:
    """Runs cheaper than the two on either side; in a small ring only the cheapest of all."""
    rank = np.empty(len(cost), dtype=np.int64)
    rank[np.argsort(cost, kind="stable")] = np.arange(len(cost))
    before, after = preceding(ring), following(ring)
    beside = np.minimum(rank[before], rank[after])
    beside = np.minimum(beside, np.minimum(rank[before[before]], rank[after[after]]))
    first = np.flatnonzero(np.append(True, ring[1:] != ring[:-1]))
    number = np.cumsum(np.append(True, ring[1:] != ring[:-1])) - 1
    cheapest = np.minimum.reduceat(rank, first)[number] if len(first) else rank
    small = np.diff(np.append(first, len(ring)))[number] < 8
    return np.isfinite(cost) & np.where(small, rank == cheapest, rank < beside)

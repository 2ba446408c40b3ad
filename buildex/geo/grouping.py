"""Keypoints of one instance -> polygon.

`contour` (the default, ours): keypoints are put in the order in which the outline of the
predicted mask passes them. Where the outline turns between two of them, the missing
corner is added; a weak keypoint on a straight stretch is dropped; holes of the mask are
outlines of their own. The result never crosses itself.

`paper`: by distance alone, see `geo.paper`. `mask`: the outline of the mask, simplified,
without any keypoint: what the keypoints are compared with.

Everything is pure numpy, in tile pixels; lengths of the settings are in cells of the RoI
frame, because that is the grain of what the network saw.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from buildex.geo.contours import outline_and_holes
from buildex.geo.instances import RoiMaps
from buildex.geo.keypoints import RoiCodec
from buildex.geo.paper import group_by_distance
from buildex.geo.rings import (
    Ring,
    Rings,
    area,
    boundary_distances,
    fill,
    fill_of_points,
    is_simple,
    segment_distances,
    signed_area,
    simplify,
    turning_angles,
)

Places = NDArray[np.float64]
SAME_PLACE = 1e-3  # cells: a vertex so near to a keypoint is that keypoint
GroupingMethod = Literal["contour", "paper", "mask"]


@dataclass(frozen=True)
class Grouping:
    """Settings of grouping.

    Attributes:
        method: how keypoints become a polygon.
        mask_level: probability at which the mask's outline is drawn.
        corner_level: probability from which a heatmap's peak is a keypoint.
        reach: cells between a keypoint and the outline it belongs to, at most.
        sag: cells that the outline may stray from an edge before a corner is added.
        spurious: gain of IoU with the mask from which a keypoint is dropped.
        straight: degrees of turn under which a weak keypoint is dropped.
        sure: score from which a keypoint is kept however little it turns.
        smallest_hole: cells (area) under which a hole is noise.
    """

    method: GroupingMethod = "contour"
    mask_level: float = 0.5
    corner_level: float = 0.2
    reach: float = 3.0
    sag: float = 1.0
    spurious: float = 0.003
    straight: float = 8.0
    sure: float = 0.5
    smallest_hole: float = 12.0


DEFAULT = Grouping()


class Grouped(NamedTuple):
    """One building of one tile.

    `sure` is the share of its vertices that are keypoints the network was sure of: an outline
    that is all of such corners needs no straightening.
    """

    rings: Rings  # in tile pixels
    score: float
    sure: float


def polygons_of(
    maps: RoiMaps, codec: RoiCodec, *, score: float = 0.5, grouping: Grouping = DEFAULT
) -> list[Grouped]:
    """The polygons of one tile.

    Args:
        maps: what the segmenter said.
        codec: how it draws.
        score: instances below it are left out.
        grouping: settings.

    Returns:
        The buildings in the order of the maps; an instance whose mask is empty gives none.
        Without heatmaps they follow the masks, whatever the settings say.
    """
    polygons = []
    knows_corners = maps.heatmaps.shape[1] > 0
    grouping = grouping if knows_corners else replace(grouping, method="mask")
    for index in np.flatnonzero(maps.scores >= score):
        frame = maps.frames[index]
        points, weights = np.zeros((0, 2)), np.zeros(0)
        if knows_corners:
            points, weights = codec.decode(
                maps.heatmaps[index], maps.offsets[index], frame, grouping.corner_level
            )
        cells = codec.to_cells(points, frame)
        rings = group(maps.masks[index], cells, weights, grouping)
        if rings:
            in_pixels = tuple(codec.to_pixels(ring, frame) for ring in rings)
            sure = _sure_share(rings, cells[weights >= grouping.sure])
            polygons.append(Grouped(in_pixels, float(maps.scores[index]), sure))
    return polygons


def _sure_share(rings: Rings, sure: Ring) -> float:
    """Share of the vertices of rings that are one of the keypoints (K, 2)."""
    vertices = np.concatenate(rings)
    if len(sure) == 0:
        return 0.0
    apart = np.abs(vertices[:, None] - sure[None]).max(axis=2)
    return float((apart.min(axis=1) <= SAME_PLACE).mean())


def group(
    mask: NDArray[np.floating],
    points: Ring,
    weights: NDArray[np.float64],
    grouping: Grouping = DEFAULT,
) -> Rings:
    """Make the polygon of one instance.

    Args:
        mask: (M, M) probability of being the building.
        points: (K, 2) keypoints in cell coordinates, in any order.
        weights: (K,) their scores.
        grouping: settings.

    Returns:
        Rings in cell coordinates, outline first; empty where the mask is.
    """
    if grouping.method == "paper":
        ring = group_by_distance(points)
        return (ring,) if len(ring) else ()
    if grouping.method == "mask":
        points, weights = points[:0], weights[:0]
    outlines = outline_and_holes(mask, grouping.mask_level, grouping.smallest_hole)
    if not outlines:
        return ()
    gaps = np.stack([boundary_distances(points, [ring]) for ring in outlines])  # (rings, K)
    home = gaps.argmin(axis=0) if len(points) else np.zeros(0, dtype=np.int64)
    near = gaps.min(axis=0) <= grouping.reach if len(points) else np.zeros(0, dtype=bool)
    rings = []
    for index, outline in enumerate(outlines):
        mine = near & (home == index)
        ring = _ring(outline, points[mine], weights[mine], mask.shape, grouping)
        if len(ring) >= 3:
            rings.append(ring)
        elif index == 0:
            return ()
    return tuple(rings)


def _ring(
    outline: Ring, points: Ring, weights: Places, cells: tuple[int, int], g: Grouping
) -> Ring:
    """One ring: the first of several candidates that is a simple ring of a like area."""
    track = _Track(outline)
    inside = fill([outline], *cells)
    place, gap = track.project(points)
    order = _distinct(place, gap, weights, track.length)
    # Most trusted first: where all keypoints make a ring that crosses itself, the farther
    # ones from the outline are given up, at last all of them.
    for limit in (g.reach, g.reach / 3, 0.0):
        chosen = order[gap[order] <= limit] if limit else order[:0]
        ring = _join(track, points[chosen], place[chosen], weights[chosen], g)
        ring = _without_spurious(ring, inside, g.spurious)
        if is_simple(ring) and _alike(ring, outline):
            return ring
    ring = simplify(outline, g.sag / 2)
    return ring if is_simple(ring) else outline


def _alike(ring: Ring, outline: Ring) -> bool:
    """Same direction and no less than half of the outline's area: nothing was folded over."""
    return bool(signed_area(ring) * np.sign(signed_area(outline)) > 0.5 * area([outline]))


def _distinct(place: Places, gap: Places, weights: Places, length: float) -> NDArray[np.int64]:
    """Keypoints in the order of an outline; of those at one place (within a cell) the best."""
    order = np.argsort(place, kind="stable")
    merit = weights - 0.1 * gap
    kept: list[int] = []
    for i in order.tolist():
        if kept and place[i] - place[kept[-1]] < 1.0:
            if merit[i] > merit[kept[-1]]:
                kept[-1] = i
        else:
            kept.append(i)
    if len(kept) > 1 and place[kept[0]] + length - place[kept[-1]] < 1.0:  # across the seam
        kept.remove(min(kept[0], kept[-1], key=lambda i: merit[i]))
    return np.array(kept, dtype=np.int64)


def _join(track: _Track, points: Ring, place: Places, weights: Places, g: Grouping) -> Ring:
    """Connect keypoints along the outline, adding the corners that are missing."""
    added = np.zeros(len(points), dtype=bool)
    if len(points) == 0:
        start = int(np.argmax(np.sum((track.ring - track.ring.mean(axis=0)) ** 2, axis=1)))
        points, place = track.ring[start : start + 1], track.place[start : start + 1]
        weights, added = np.ones(1), np.ones(1, dtype=bool)
    new: list[Places] = []
    for i in range(len(points)):
        j = (i + 1) % len(points)
        arc, arc_place = track.between(place[i], place[j])
        new.append(arc_place[_missing(arc, points[i], points[j], g.sag)])
    fresh = np.concatenate(new)
    place = np.concatenate([place, fresh])
    order = np.argsort(place, kind="stable")
    points = np.vstack([points, track.at(fresh)])[order]
    weights = np.concatenate([weights, np.ones(len(fresh))])[order]
    added = np.concatenate([added, np.ones(len(fresh), dtype=bool)])[order]
    points = _sharpened(track, points, place[order], added, 2 * g.sag)
    return _without_weak(points, weights, g)


def _missing(arc: Ring, a: Ring, b: Ring, sag: float, first: int = 0) -> list[int]:
    """Positions in an arc of outline that the edge from a to b strays from by over `sag`."""
    if len(arc) == 0:
        return []
    distances = segment_distances(arc, a, b)
    worst = int(np.argmax(distances))
    if distances[worst] <= sag:
        return []
    middle = arc[worst]
    return [
        *_missing(arc[:worst], a, middle, sag, first),
        first + worst,
        *_missing(arc[worst + 1 :], middle, b, sag, first + worst + 1),
    ]


def _sharpened(
    track: _Track, points: Ring, place: Places, added: NDArray[np.bool_], reach: float
) -> Ring:
    """Move added corners to where the walls beside them meet.

    A mask rounds its corners, so the outline's point lies inside the true one. Where the
    outline on both sides is long enough for a straight line (total least squares over its
    middle), the corner goes to the crossing of the two lines, if that is within `reach`.
    """
    out = points.copy()
    n = len(points)
    for k in np.flatnonzero(added).tolist() if n >= 3 else []:
        before = track.wall(place[k - 1], place[k])
        after = track.wall(place[k], place[(k + 1) % n])
        if before is None or after is None:
            continue
        corner = _crossing(before, after)
        if corner is not None and np.hypot(*(corner - points[k])) <= reach:
            out[k] = corner
    return out


def _crossing(first: tuple[Ring, Ring], second: tuple[Ring, Ring]) -> Ring | None:
    """Where two lines (a point and a direction each) meet; None where they are near parallel."""
    (p, d), (q, e) = first, second
    sine = d[0] * e[1] - d[1] * e[0]
    if abs(sine) < 0.3:
        return None
    t = ((q[0] - p[0]) * e[1] - (q[1] - p[1]) * e[0]) / sine
    crossing: Ring = p + t * d
    return crossing


def _without_weak(ring: Ring, strength: NDArray[np.float64], g: Grouping) -> Ring:
    """Drop keypoints that are both unsure and nearly straight, the straightest first."""
    while len(ring) > 3:
        turn = turning_angles(ring)
        weak = np.flatnonzero((strength < g.sure) & (turn < g.straight))
        if len(weak) == 0:
            break
        worst = weak[int(np.argmin(turn[weak]))]
        ring, strength = np.delete(ring, worst, axis=0), np.delete(strength, worst)
    return ring


def _without_spurious(ring: Ring, inside: NDArray[np.bool_], least: float) -> Ring:
    """Drop points without which the ring agrees better with the mask, the worst first.

    Args:
        ring: (V, 2) in cells.
        inside: (M, M) cells of the mask that the ring is to follow.
        least: gain of IoU from which a point is dropped.
    """
    while len(ring) > 3:
        now, without = _agreement(ring, inside)
        worst = int(np.argmax(without))
        if without[worst] < now + least:
            break
        ring = np.delete(ring, worst, axis=0)
    return ring


def _agreement(ring: Ring, inside: NDArray[np.bool_]) -> tuple[float, Places]:
    """IoU of a ring (V, 2), filled, with the cells of a mask; and (V,) without each point."""
    filled = fill([ring], *inside.shape)
    first, last = fill_of_points(ring, *inside.shape)
    turned = np.where(filled, -1, 1)  # what a cell that turns over adds to their count
    sums = np.zeros((2, len(inside), inside.shape[1] + 1), dtype=np.int64)
    np.cumsum([turned * inside, turned * ~inside], axis=2, out=sums[:, :, 1:])
    rows = np.arange(len(inside))
    more_both, more_outside = (sums[:, rows, last] - sums[:, rows, first]).sum(axis=2)
    both, union = int((filled & inside).sum()), int((filled | inside).sum())
    without = (both + more_both) / np.maximum(union + more_outside, 1)
    return both / max(union, 1), without


class _Track:
    """A closed outline with the distance run along it."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        steps = np.hypot(*(np.roll(ring, -1, axis=0) - ring).T)
        self.place = np.concatenate([[0.0], np.cumsum(steps)[:-1]])
        self.length = float(steps.sum())

    def project(self, points: Ring) -> tuple[Places, Places]:
        """Nearest place on the outline (K,) and the distance to it (K,)."""
        if len(points) == 0:
            return np.zeros(0), np.zeros(0)
        direction = np.roll(self.ring, -1, axis=0) - self.ring
        length2 = np.maximum((direction**2).sum(axis=1), 1e-300)
        relative = points[:, None] - self.ring[None]
        t = np.clip((relative * direction[None]).sum(axis=2) / length2, 0.0, 1.0)
        gap = np.hypot(*np.moveaxis(relative - t[..., None] * direction[None], 2, 0))
        edge = gap.argmin(axis=1)
        rows = np.arange(len(points))
        return self.place[edge] + t[rows, edge] * np.sqrt(length2[edge]), gap[rows, edge]

    def at(self, place: Places) -> Ring:
        """The outline's own points at places (K,) that are its points'."""
        return self.ring[np.searchsorted(self.place, place)]

    def between(self, start: float, end: float) -> tuple[Ring, Places]:
        """The outline's points after place `start` up to `end`, around the seam if need be."""
        if start < end:
            inner = np.flatnonzero((self.place > start) & (self.place < end))
        else:
            inner = np.concatenate(
                [np.flatnonzero(self.place > start), np.flatnonzero(self.place < end)]
            )
        return self.ring[inner], self.place[inner]

    def wall(self, start: float, end: float) -> tuple[Ring, Ring] | None:
        """The straight line along an arc: a point on it and its direction.

        Fitted to the arc without its rounded ends (two cells, at most a quarter of its
        length); None where fewer than four points are left.
        """
        arc, place = self.between(start, end)
        run = (place - start) % self.length
        total = (end - start) % self.length
        end_part = min(2.0, total / 4)
        arc = arc[(run > end_part) & (run < total - end_part)]
        if len(arc) < 4:
            return None
        centre = arc.mean(axis=0)
        _, _, axes = np.linalg.svd(arc - centre, full_matrices=False)
        return centre, axes[0]

"""A tile looked at more than once, and what the looks agree on.

A network that sees the same ground coarser and mirrored errs elsewhere. What all looks see is
surer than what one of them does: their chances are averaged, where a look that sees nothing
says 0 (boxes of several models are fused so by Solovyev et al. 2021), and the maps of the boxes
that come of it are averaged over the views, cell by cell.

Shapes: S the side of a tile in pixels; B tiles, N boxes of a tile, R boxes of all tiles; M cells
along each side of an RoI frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from buildex.geo.calibration import IDENTITY, Calibration
from buildex.geo.instances import Floats, Found, RoiMaps, Tile, no_instances
from buildex.geo.keypoints import RoiCodec
from buildex.geo.suppression import common_and_union, suppress

SIDES = 32  # sides of views are multiples of it, as encoders want them
SAME = 0.55  # box IoU from which two looks see the same building
AT_ONCE = 512  # frames that are drawn together: more of them take memory and save no time


class View(NamedTuple):
    """How a tile is shown.

    Attributes:
        share: side of the view by that of the tile; 1 or less.
        mirrored: whether left is right.
    """

    share: float = 1.0
    mirrored: bool = False

    def side(self, size: int) -> int:
        """Pixels along a side of the view of a tile of side `size`."""
        return size if self.share == 1 else max(SIDES, round(self.share * size / SIDES) * SIDES)

    def show(
        self, image: NDArray[np.uint8], valid: NDArray[np.bool_]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """A tile (S, S, 3) and where it is ground (S, S), as the view has them, of its side."""
        size = len(image)
        side = self.side(size)
        if side != size:
            near = (np.arange(side) + 0.5) * size / side
            valid = valid[near.astype(np.int64)][:, near.astype(np.int64)]
            image = shrunk(image, side)
        if self.mirrored:
            image, valid = image[:, ::-1], valid[:, ::-1]
        return image, valid

    def into(self, boxes: NDArray[np.floating], size: int) -> NDArray[np.float64]:
        """Boxes (N, 4) of a tile of side `size`, in pixels of the view."""
        side = self.side(size)
        return self._turned(np.asarray(boxes, np.float64) * (side / size), side)

    def back(self, boxes: NDArray[np.floating], size: int) -> NDArray[np.float64]:
        """Boxes (N, 4) of the view, in pixels of a tile of side `size`; the inverse."""
        side = self.side(size)
        return self._turned(np.asarray(boxes, np.float64), side) * (size / side)

    def _turned(self, boxes: NDArray[np.float64], side: int) -> NDArray[np.float64]:
        if not self.mirrored:
            return boxes
        x0, y0, x1, y1 = boxes.T
        return np.stack([side - x1, y0, side - x0, y1], axis=1)

    def straight(self, maps: Maps) -> Maps:
        """Maps of frames of the view, as frames of the tile have them."""
        if not self.mirrored:
            return maps
        masks, heatmaps, offsets = (part[..., ::-1] for part in maps)
        across = np.stack([1 - offsets[:, 0], offsets[:, 1]], axis=1)
        return Maps(masks, heatmaps, across)


# The views of one look, of two; why these: docs/decisions/0017.
VIEWS: tuple[tuple[View, ...], ...] = ((View(),), (View(), View(0.75, mirrored=True)))


class Maps(NamedTuple):
    """What is drawn of R frames; see `geo.instances.RoiMaps`."""

    masks: Floats  # (R, M, M)
    heatmaps: Floats  # (R, M, M)
    offsets: Floats  # (R, 2, M, M)


class Look(Protocol):
    """What a network says of B tiles as one view shows them."""

    @property
    def found(self) -> Sequence[Found]:
        """B of them; boxes in pixels of the view."""
        ...

    def maps(self, frames: Sequence[NDArray[np.floating]]) -> Maps:
        """The maps of the frames (N, 4) of each tile, in pixels of the view, in their order."""
        ...


@dataclass(frozen=True)
class Looking:
    """How what a network sees in some views becomes instances.

    Attributes:
        codec: makes frames of boxes.
        size: side of the tiles.
        overlap: box IoU above which the weaker of two boxes is dropped.
        most: instances of a tile, the best.
        calibration: makes chances of the network's scores, before these are averaged.
    """

    codec: RoiCodec
    size: int
    overlap: float
    most: int
    calibration: Calibration = IDENTITY

    def instances(
        self, looks: Sequence[tuple[View, Callable[[float], Look]]], score: float
    ) -> list[RoiMaps]:
        """What several looks at B tiles come to.

        Args:
            looks: each view, and what looks with it and leaves out what the network scores less
                than a number. What the first look does not find at all, in a tile, counts for
                nothing: later ones are not asked where it finds no building.
            score: instances whose chance is less are left out.

        Returns:
            For each tile its instances, best first.
        """
        # A mean of n chances is not less than `score` only if none is less than this.
        least = len(looks) * score - (len(looks) - 1)
        raw = float(self.calibration.scores(np.array([least]))[0]) if least > 0 else 0.0
        seen: list[tuple[View, Look]] = []
        for view, look in looks:
            seen.append((view, look(raw)))
            if not any(len(one.scores) for one in seen[0][1].found):
                break
        agreed = [self._agreed(seen, tile, score) for tile in range(len(seen[0][1].found))]
        frames = [self.codec.frames(one.boxes) for one in agreed]
        if not sum(map(len, frames)):
            return [no_instances(self.codec.cells) for _ in frames]
        maps = mean(
            [
                view.straight(_drawn(look, [view.into(some, self.size) for some in frames]))
                for view, look in seen
            ]
        )
        stops = np.cumsum([len(some) for some in frames])[:-1]
        parts = zip(*(np.split(part, stops) for part in maps), strict=True)
        return [
            RoiMaps(some.astype(np.float32), one.scores.astype(np.float32), *part)
            for some, one, part in zip(frames, agreed, parts, strict=True)
        ]

    def _agreed(self, seen: Sequence[tuple[View, Look]], tile: int, score: float) -> Found:
        """The boxes of a tile, in its pixels, that all looks together give such a chance."""
        if not len(seen[0][1].found[tile].scores):
            return Found(np.zeros((0, 4)), np.zeros(0))
        looks = []
        for view, look in seen:
            boxes, scores = look.found[tile]
            chances = self.calibration.chances(np.asarray(scores, np.float64))
            looks.append(Found(view.back(boxes, self.size), chances))
        found = together(looks, self.overlap, score)
        kept = np.flatnonzero(found.scores >= score)[: self.most]
        return Found(found.boxes[kept], found.scores[kept])


def _drawn(look: Look, frames: Sequence[NDArray[np.floating]]) -> Maps:
    """The maps of the frames (N, 4) of each tile, at least one in all, in their order."""
    starts = np.cumsum([0, *map(len, frames)]).tolist()
    parts = []
    for first in range(0, starts[-1], AT_ONCE):
        within = [(first - start, first - start + AT_ONCE) for start in starts[:-1]]
        pairs = zip(frames, within, strict=True)
        parts.append(look.maps([some[max(a, 0) : max(b, 0)] for some, (a, b) in pairs]))
    return Maps(*(np.concatenate(some) for some in zip(*parts, strict=True)))


def together(looks: Sequence[Found], overlap: float, least: float = 0.0) -> Found:
    """The boxes that several looks at one tile agree on; of a single look those that it has.

    The best box is joined with the best one of each other look that it overlaps by `SAME`; the next
    best is one of those that are left. Boxes are averaged by score. So what scores little can never
    come between what scores more: to leave it out changes nothing else.

    Args:
        looks: in pixels of the tile.
        overlap: box IoU above which the weaker of two that came of it is dropped.
        least: mean score from which boxes are wanted; some that have less may come, too. No mean
            is more than the best of its scores, so a box that scores less begins none of them.

    Returns:
        Boxes with the mean of their scores over all looks, best first.
    """
    if len(looks) == 1:
        return looks[0]
    boxes = np.concatenate([one.boxes for one in looks])
    scores = np.concatenate([one.scores for one in looks])
    look = np.repeat(np.arange(len(looks)), [len(one.scores) for one in looks])
    first = np.flatnonzero(scores >= least)
    first = first[np.argsort(-scores[first], kind="stable")]
    same = (look[first, None] != look) & (box_ious(boxes[first], boxes) >= SAME)
    free = np.ones(len(boxes), dtype=bool)
    joined: list[tuple[NDArray[np.float64], float]] = []
    for best, those in zip(first, same, strict=True):
        if not free[best]:
            continue
        members = [best]
        for other in range(len(looks)):
            mine = np.flatnonzero(free & (look == other) & those)
            if len(mine):
                members.append(mine[scores[mine].argmax()])
        free[members] = False
        weight = scores[members]
        joined.append((weight @ boxes[members] / weight.sum(), weight.sum() / len(looks)))
    fused = np.array([box for box, _ in joined]).reshape(-1, 4)
    means = np.array([score for _, score in joined], np.float64)
    kept = suppress(fused, means, overlap, len(means))
    return Found(fused[kept], means[kept])


def box_ious(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """IoU of each of some boxes (N, 4) with each of others (K, 4): (N, K)."""
    common, union = common_and_union(np.asarray(a, np.float64), np.asarray(b, np.float64))
    return np.asarray(common / np.maximum(union, 1e-9))


def shrunk(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A square image (S, S, C) with fewer pixels (side, side, C).

    Each pixel is the mean of those around its place, weighted by a triangle that reaches as far
    as the new pixels are wide: no detail is kept that they could not show (antialiasing).
    """
    near, weights = _taps(len(image), side)
    down = np.zeros((side, *image.shape[1:]), np.float32)
    for k, weight in enumerate(weights):
        down += image[near[k]] * weight[:, None, None]
    out = np.full((side, side, image.shape[2]), 0.5, np.float32)
    for k, weight in enumerate(weights):
        out += down[:, near[k]] * weight[:, None]
    return out.astype(np.uint8)


@lru_cache(maxsize=8)
def _taps(size: int, side: int) -> tuple[NDArray[np.int64], Floats]:
    """Of which pixels (K, side) each new one is made, and their weights (K, side), sum 1."""
    scale = size / side
    centre = (np.arange(side) + 0.5) * scale
    first = np.floor(centre - scale + 0.5).astype(np.int64)
    near = first + np.arange(math.ceil(2 * scale))[:, None]
    weights = np.clip(1 - np.abs(near + 0.5 - centre) / scale, 0, None)
    weights[(near < 0) | (near >= size)] = 0
    return np.clip(near, 0, size - 1), (weights / weights.sum(axis=0)).astype(np.float32)


def mean(views: Sequence[Maps]) -> Maps:
    """Maps averaged cell by cell; places of corners by how likely each view has one there."""
    if len(views) == 1:
        return views[0]
    likely = [one.heatmaps[:, None] + np.float32(1e-6) for one in views]
    places = sum(one.offsets * weight for one, weight in zip(views, likely, strict=True))
    return Maps(
        np.mean([one.masks for one in views], axis=0),
        np.mean([one.heatmaps for one in views], axis=0),
        np.asarray(places / sum(likely)),
    )


def weighed(maps: RoiMaps, calibration: Calibration, score: float) -> RoiMaps:
    """Instances of a network that looks once, with chances for scores; not less than `score`."""
    chances = calibration.chances(maps.scores.astype(np.float64))
    kept = RoiMaps(*(part[chances >= score] for part in maps))
    return kept._replace(scores=chances[chances >= score].astype(np.float32))


def stacked(tiles: Sequence[Tile], view: View) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Tiles as a view shows them: pixels (B, s, s, 3) and which are ground (B, s, s)."""
    images, valid = zip(*(view.show(tile.image, tile.valid) for tile in tiles), strict=True)
    return np.stack(images), np.stack(valid)

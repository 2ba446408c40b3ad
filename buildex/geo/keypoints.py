"""The keypoint codec: rings to maps of an RoI frame (encode) and maps to points (decode).

An RoI frame is a box of tile pixels, divided into M x M cells; cell (row 0, col 0) is its
top-left one. A point (x, y) of the tile has cell coordinates
u = (x - x0) / (x1 - x0) * M, v = (y - y0) / (y1 - y0) * M, and lies in cell
(floor(v), floor(u)). This module is the only one that knows that convention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from buildex.geo.rings import Ring, Rings, fill

Floats = NDArray[np.float32]


class RoiTarget(NamedTuple):
    """What a perfect network would answer for one frame; M cells along each side."""

    mask: Floats  # (M, M) share of the cell that the building covers
    heatmap: Floats  # (M, M) 1 in a corner's cell, a Gaussian around it
    offset: Floats  # (2, M, M) place of the corner in its cell, 0..1, x then y
    at: NDArray[np.bool_]  # (M, M) cells that hold a corner: where `offset` is defined


class RoiSketch(NamedTuple):
    """What the maps of R frames are drawn from, all in cells; E edges, P corners of all frames."""

    edges: NDArray[np.float64]  # (E, 4) x, y of the start, x, y of the end; of all rings
    edge_of: NDArray[np.int64]  # (E,) the frame that the edge lies in
    cells: NDArray[np.int64]  # (P, 2) column and row of the corner's cell; no cell twice in a frame
    offsets: Floats  # (P, 2) the corner's place in it, 0..1, x then y
    corner_of: NDArray[np.int64]  # (P,) the frame that the corner lies in
    sigmas: NDArray[np.float64]  # (R,) standard deviation of its corners' Gaussians


@dataclass(frozen=True)
class RoiCodec:
    """How buildings become maps and back.

    Attributes:
        cells: M, cells along each side of a frame.
        margin: how far the frame reaches beyond the box on every side, as a share of the
            box's width and height: corners on the edge of a box must be seen.
        spread: standard deviation of a corner's Gaussian as a share of the object's size
            (square root of the area of its bounding box in cells), as in the paper's
            size-adaptive sigma; never under half a cell.
        subcells: each cell's coverage is counted on subcells x subcells points.
    """

    cells: int = 56
    margin: float = 0.15
    spread: float = 0.025
    subcells: int = 4

    def frames(self, boxes: NDArray[np.floating]) -> NDArray[np.float64]:
        """Frames (N, 4) of boxes (N, 4), both x0, y0, x1, y1 in pixels; at least 4 pixels wide."""
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        side = np.maximum((boxes[:, 2:] - boxes[:, :2]) * (1 + 2 * self.margin), 4.0)
        return np.hstack([centre - side / 2, centre + side / 2])

    def to_cells(self, points: Ring, frame: NDArray[np.floating]) -> Ring:
        """Points (N, 2) in pixels to cell coordinates (N, 2) of one frame (4,) or of (N, 4)."""
        frame = np.asarray(frame, dtype=np.float64)
        return (points - frame[..., :2]) / (frame[..., 2:] - frame[..., :2]) * self.cells

    def to_pixels(self, points: Ring, frame: NDArray[np.floating]) -> Ring:
        """Points (N, 2) in cell coordinates to pixels (N, 2)."""
        frame = np.asarray(frame, dtype=np.float64)
        return points / self.cells * (frame[2:] - frame[:2]) + frame[:2]

    def encode(
        self,
        rings: Rings,
        frame: NDArray[np.floating],
        corners: Sequence[NDArray[np.bool_]] | None = None,
    ) -> RoiTarget:
        """Draw one building as the maps of a frame.

        Args:
            rings: the building in tile pixels, outline first.
            frame: (4,) x0, y0, x1, y1 in tile pixels; may reach beyond the tile.
            corners: for each ring a flag (V,) per point, false for points that are no
                corners (a tile's edge made them); all are corners by default.

        Returns:
            The maps; where two corners share a cell, the offset is the later one's.
        """
        m, k = self.cells, self.subcells
        in_cells = tuple(self.to_cells(ring, frame) for ring in rings)
        fine = fill([ring * k for ring in in_cells], m * k, m * k)
        mask = fine.reshape(m, k, m, k).mean(axis=(1, 3), dtype=np.float32)
        points = np.vstack(in_cells)
        if corners is not None:
            points = points[np.concatenate(corners)]
        inside = ((points >= 0) & (points < m)).all(axis=1)
        side = in_cells[0].max(axis=0) - in_cells[0].min(axis=0)
        heatmap, offset, at = self._draw_points(points[inside], float(self._sigma(side)))
        return RoiTarget(mask, heatmap, offset, at)

    def sketch(
        self,
        buildings: Sequence[Rings],
        frames: NDArray[np.floating],
        corners: Sequence[Sequence[NDArray[np.bool_]]],
    ) -> RoiSketch:
        """What `encode` draws of many buildings, for whoever draws many at once.

        Args:
            buildings: R of them in tile pixels, outline first.
            frames: (R, 4), one for each.
            corners: for each ring of each building a flag (V,) per point, as in `encode`.
        """
        frames = np.asarray(frames, dtype=np.float64).reshape(-1, 4)
        if not buildings:
            none = np.zeros(0, np.int64)
            return RoiSketch(
                np.zeros((0, 4)), none, none.reshape(0, 2), np.zeros((0, 2), np.float32), none,
                np.zeros(0),
            )  # fmt: skip
        points = np.vstack([ring for rings in buildings for ring in rings])
        flags = np.concatenate([flag for some in corners for flag in some])
        sizes = np.array([len(ring) for rings in buildings for ring in rings])
        owner = np.repeat(np.arange(len(buildings)), [sum(map(len, b)) for b in buildings])
        start = self.to_cells(points, frames[owner])
        first = np.cumsum(sizes) - sizes
        following = np.arange(1, len(points) + 1)
        following[first + sizes - 1] = first  # a ring's last edge ends where its first begins
        seen = flags & ((start >= 0) & (start < self.cells)).all(axis=1)
        cell = np.floor(start[seen]).astype(np.int64)
        place = (owner[seen] * self.cells + cell[:, 1]) * self.cells + cell[:, 0]
        last = len(place) - 1 - np.unique(place[::-1], return_index=True)[1]
        side = np.maximum.reduceat(start, first) - np.minimum.reduceat(start, first)
        rings = np.array([len(some) for some in buildings])
        sigmas = self._sigma(side[np.cumsum(rings) - rings])
        return RoiSketch(
            np.hstack([start, start[following]]), owner, cell[last],
            (start[seen] - cell)[last].astype(np.float32), owner[seen][last], sigmas,
        )  # fmt: skip

    def decode(
        self,
        heatmap: Floats,
        offset: Floats,
        frame: NDArray[np.floating],
        threshold: float = 0.3,
    ) -> tuple[Ring, NDArray[np.float64]]:
        """Find the corners of one building.

        A corner is a cell whose probability is at least `threshold` and not less than any
        of its eight neighbours'; of equal neighbours the first in reading order counts.

        Returns:
            Points (K, 2) in tile pixels and their scores (K,), in reading order.
        """
        m = self.cells
        padded = np.pad(heatmap.astype(np.float64), 1, constant_values=-1.0)
        peak = heatmap >= threshold
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                if dy == dx == 0:
                    continue
                other = padded[1 + dy : 1 + dy + m, 1 + dx : 1 + dx + m]
                peak &= (heatmap > other) if (dy, dx) < (0, 0) else (heatmap >= other)
        rows, cols = np.nonzero(peak)
        cells = np.stack([cols + offset[0, rows, cols], rows + offset[1, rows, cols]], axis=1)
        return self.to_pixels(cells.astype(np.float64), frame), heatmap[rows, cols].astype(float)

    def _sigma(self, side: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standard deviation in cells, of objects (..., 2) so wide and so high in cells."""
        sigma: NDArray[np.float64] = np.maximum(0.5, self.spread * np.sqrt(side.prod(axis=-1)))
        return sigma

    def _draw_points(self, points: Ring, sigma: float) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        m = self.cells
        heatmap = np.zeros((m, m), np.float32)
        offset = np.zeros((2, m, m), np.float32)
        at = np.zeros((m, m), dtype=bool)
        if len(points) == 0:
            return heatmap, offset, at
        cell = np.floor(points).astype(np.int64)
        steps = np.arange(m)
        across = np.exp(-((steps[None] - cell[:, :1]) ** 2) / (2 * sigma**2))
        down = np.exp(-((steps[None] - cell[:, 1:]) ** 2) / (2 * sigma**2))
        heatmap = (down[:, :, None] * across[:, None, :]).max(axis=0).astype(np.float32)
        offset[:, cell[:, 1], cell[:, 0]] = (points - cell).T
        at[cell[:, 1], cell[:, 0]] = True
        return heatmap, offset, at

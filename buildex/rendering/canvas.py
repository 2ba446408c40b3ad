"""The surface everything is painted on: colour and height, twice as fine as the mosaic.

Places are metres: x to the right and y down from the top-left corner of the mosaic. The
canvas reaches `PAD` metres past the mosaic on all sides, so that what stands just outside
still throws its shadow in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from buildex.geo.rings import Box, Ring, fill
from buildex.rendering.noise import Field

PAD = 6.0
OVERSAMPLING = 2
Color = tuple[float, float, float]


@dataclass(frozen=True)
class Patch:
    """A window of the canvas. `color` and `height` are views: painting writes through.

    Attributes:
        color: (h, w, 3), 0..1.
        height: (h, w) metres above the ground.
        x: (1, w) metres, centres of the columns.
        y: (h, 1) metres, centres of the rows.
        scale: canvas pixels per metre.
    """

    color: Field
    height: Field
    x: Field
    y: Field
    scale: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height.shape[0], self.height.shape[1]

    def coverage(self, rings: Sequence[Ring]) -> Field:
        """How much of each canvas pixel (h, w) the polygon (metres) covers, 0..1."""
        h, w = self.shape
        origin = np.array([self.x[0, 0], self.y[0, 0]]) - 0.5 / self.scale
        fine = [(ring - origin) * (2 * self.scale) for ring in rings]
        inside = fill(fine, 2 * h, 2 * w)
        return _averaged(inside.astype(np.float32), 2)

    def waves(self, turn: float, gap: float, bend: Field | float = 0.0) -> Field:
        """Waves (h, w) of -1..1 that run in direction `turn`, `gap` metres long.

        `bend` (h, w) moves them, in metres.
        """
        across = self.x * math.cos(turn) + self.y * math.sin(turn) + bend
        return np.asarray(np.cos(across * (2 * math.pi / gap)), dtype=np.float32)

    def blend(self, color: Field | Color, alpha: Field) -> None:
        """Lay a colour over the window; `alpha` (h, w) says how thickly."""
        self.color[...] += (np.asarray(color, np.float32) - self.color) * alpha[..., None]

    def level(self, alpha: Field) -> None:
        """Bring the surface down to the ground where something flat covers it."""
        np.copyto(self.height, np.float32(0), where=alpha >= 0.25)

    def raise_to(self, height: Field | float, alpha: Field) -> None:
        """Lift the surface to a height where at least half a pixel is covered."""
        np.copyto(self.height, np.maximum(height, self.height), where=alpha >= 0.5)


class Canvas:
    """Colour (H, W, 3) and height (H, W) of a mosaic of `width` x `height` metres."""

    def __init__(self, columns: int, rows: int, gsd: float) -> None:
        self.scale = OVERSAMPLING / gsd
        self._pad = max(1, round(PAD / gsd)) * OVERSAMPLING
        shape = (rows * OVERSAMPLING + 2 * self._pad, columns * OVERSAMPLING + 2 * self._pad)
        self.color: Field = np.zeros((*shape, 3), np.float32)
        self.height: Field = np.zeros(shape, np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of canvas pixels."""
        return self.height.shape[0], self.height.shape[1]

    def patch(self, bounds: Box, margin: float = 0.3) -> Patch | None:
        """The window round some bounds in metres; None where it misses the canvas."""
        low = np.floor((np.array(bounds[:2]) - margin) * self.scale).astype(int) + self._pad
        high = np.ceil((np.array(bounds[2:]) + margin) * self.scale).astype(int) + self._pad
        x0, y0 = (int(v) for v in np.maximum(low, 0))
        x1, y1 = (int(v) for v in np.minimum(high, self.shape[::-1]))
        if x1 - x0 < 2 or y1 - y0 < 2:
            return None
        x = ((np.arange(x0, x1) + 0.5 - self._pad) / self.scale).astype(np.float32)
        y = ((np.arange(y0, y1) + 0.5 - self._pad) / self.scale).astype(np.float32)
        window = slice(y0, y1), slice(x0, x1)
        return Patch(self.color[window], self.height[window], x[None], y[:, None], self.scale)

    @property
    def whole(self) -> Patch:
        """All of the canvas as one window."""
        h, w = self.shape
        x = ((np.arange(w) + 0.5 - self._pad) / self.scale).astype(np.float32)
        y = ((np.arange(h) + 0.5 - self._pad) / self.scale).astype(np.float32)
        return Patch(self.color, self.height, x[None], y[:, None], self.scale)

    def undercoat(self) -> Patch:
        """A new window as large as the canvas but only as fine as the mosaic."""
        whole, n = self.whole, OVERSAMPLING
        h, w = (side // n for side in self.shape)
        x, y = whole.x[:, ::n] + 0.5 / self.scale, whole.y[::n] + 0.5 / self.scale
        blank = np.zeros((h, w, 3), np.float32), np.zeros((h, w), np.float32)
        return Patch(*blank, x, y, self.scale / n)

    def cover(self, undercoat: Patch) -> None:
        """Paint the canvas over with an undercoat."""
        n = OVERSAMPLING
        for i in range(n):
            for j in range(n):
                self.color[i::n, j::n] = undercoat.color
                self.height[i::n, j::n] = undercoat.height

    def developed(self, color: Field) -> NDArray[np.float32]:
        """The mosaic's own pixels (rows, columns, 3): padding cut off, averaged down."""
        return _averaged(color[self._pad : -self._pad, self._pad : -self._pad], OVERSAMPLING)


def _averaged(values: Field, n: int) -> Field:
    """Means of n x n blocks of an array whose first two axes are rows and columns."""
    total = sum(values[i::n, j::n] for i in range(n) for j in range(n))
    return np.asarray(total / np.float32(n * n), dtype=np.float32)

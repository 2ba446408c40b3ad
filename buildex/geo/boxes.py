"""Boxes of whole pixels. Needs nothing but the standard library."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class PixelBox:
    """A box of whole pixels, half open: columns x0..x1-1 and rows y0..y1-1. Never empty."""

    x0: int
    y0: int
    x1: int
    y1: int

    def __post_init__(self) -> None:
        if self.x1 <= self.x0 or self.y1 <= self.y0:
            raise ValueError(f"empty pixel box {self.x0, self.y0, self.x1, self.y1}")

    @property
    def width(self) -> int:
        """Columns."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Rows."""
        return self.y1 - self.y0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices of the box in an array whose origin is (0, 0)."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def intersection(self, other: PixelBox) -> PixelBox | None:
        """The common pixels, or None where there are none."""
        x0, y0 = max(self.x0, other.x0), max(self.y0, other.y0)
        x1, y1 = min(self.x1, other.x1), min(self.y1, other.y1)
        return PixelBox(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    def shift(self, dx: int, dy: int) -> PixelBox:
        """The box moved by whole pixels."""
        return PixelBox(self.x0 + dx, self.y0 + dy, self.x1 + dx, self.y1 + dy)

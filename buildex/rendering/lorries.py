"""Painting lorries, buses and vans: of a shed's size, colour and shadow, and no shed.

Each is made of boxes in a frame of its own: metres along from the front, metres across from the
middle. The plainer lorry of `decoys` stays beside them: towns that models have learnt from keep
their bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from buildex.geo.rings import Ring
from buildex.rendering.clutter import box_ring, paint_object
from buildex.rendering.roofs import Kit
from buildex.rendering.shapes import Color
from buildex.rendering.styles import pick

CABS: tuple[Color, ...] = (
    (0.90, 0.90, 0.88), (0.86, 0.42, 0.14), (0.20, 0.34, 0.62), (0.70, 0.16, 0.14),
    (0.85, 0.70, 0.22), (0.28, 0.45, 0.34),
)  # fmt: skip
BEDS: tuple[Color, ...] = (
    (0.45, 0.28, 0.22), (0.55, 0.55, 0.53), (0.24, 0.36, 0.55), (0.62, 0.40, 0.20),
    (0.35, 0.35, 0.36), (0.66, 0.20, 0.16),
)  # fmt: skip
LOADS: tuple[Color, ...] = (
    (0.24, 0.23, 0.22), (0.42, 0.40, 0.38), (0.72, 0.62, 0.47), (0.56, 0.52, 0.47),
    (0.60, 0.34, 0.25), (0.38, 0.27, 0.20),
)  # fmt: skip
SHEETS: tuple[Color, ...] = (
    (0.18, 0.36, 0.62), (0.25, 0.42, 0.30), (0.82, 0.45, 0.20), (0.55, 0.53, 0.48),
    (0.85, 0.85, 0.83),
)  # fmt: skip
ROOFS: tuple[Color, ...] = (
    (0.92, 0.92, 0.91), (0.80, 0.81, 0.80), (0.26, 0.40, 0.62), (0.62, 0.20, 0.18),
    (0.78, 0.70, 0.30), (0.34, 0.50, 0.40),
)  # fmt: skip
GLASS: Color = (0.16, 0.18, 0.21)
KINDS: Mapping[str, float] = {"tipper": 4, "sheeted": 2, "box": 2, "bus": 1.5, "van": 2}


@dataclass(frozen=True)
class Frame:
    """Where something stands, and how large it is; in metres, its front where `angle` points."""

    center: tuple[float, float]
    angle: float
    length: float
    width: float

    def box(self, along: tuple[float, float], across: tuple[float, float]) -> Ring:
        """The ring from .. to along, from the front, and across, from the middle."""
        size = along[1] - along[0], across[1] - across[0]
        ahead = self.length / 2 - sum(along) / 2
        aside = sum(across) / 2
        c, s = math.cos(self.angle), math.sin(self.angle)
        x, y = self.center
        return box_ring((x + c * ahead - s * aside, y + s * ahead + c * aside), size, self.angle)

    def piece(self, start: float, end: float, inset: float = 0.0) -> Ring:
        """All across, from .. to along, less an inset on every side."""
        half = self.width / 2 - inset
        return self.box((start + inset, end - inset), (-half, half))


def draw_vehicle(rng: np.random.Generator) -> tuple[str, float, float]:
    """A kind, and its length and width in metres."""
    kind = pick(KINDS, rng)
    length = {
        "tipper": (5.2, 9), "sheeted": (6, 12), "box": (5.5, 11), "bus": (7, 12), "van": (4.4, 6),
    }[kind]  # fmt: skip
    width = (1.8, 2.1) if kind == "van" else (2.2, 2.6)
    return kind, float(rng.uniform(*length)), float(rng.uniform(*width))


def paint_vehicle(kit: Kit, kind: str, frame: Frame) -> None:
    """Paint one that stands on the ground."""
    painters: Mapping[str, Callable[[Kit, Frame], None]] = {
        "tipper": _paint_tipper, "sheeted": _paint_sheeted, "box": _paint_box, "bus": _paint_bus,
        "van": _paint_van,
    }  # fmt: skip
    painters[kind](kit, frame)


def _one(kit: Kit, colors: tuple[Color, ...], spread: float = 0.15) -> Color:
    """One of the colours, faded or dirty."""
    tone = kit.rng.uniform(1 - spread, 1 + spread / 2) * np.array(
        colors[kit.rng.integers(len(colors))]
    )
    grey = float(kit.rng.uniform(0, 0.4))
    red, green, blue = (float(v) for v in tone + grey * (tone.mean() - tone))
    return red, green, blue


def _paint_cab(kit: Kit, frame: Frame, height: float) -> float:
    """A cab with its windscreen; where it ends."""
    long = float(kit.rng.uniform(1.5, 2.2))
    color = _one(kit, CABS)
    paint_object(kit, frame.piece(0, long), color, height)
    paint_object(kit, frame.piece(0.05, 0.45, 0.02), GLASS, -0.3)
    if kit.rng.random() < 0.5:  # a deflector, a rack
        paint_object(kit, frame.piece(0.7, long - 0.2, 0.2), _one(kit, CABS), 0.2)
    return long


def _paint_tipper(kit: Kit, frame: Frame) -> None:
    """An open bed, empty or loaded, between low walls."""
    height = float(kit.rng.uniform(1.8, 2.6))
    start = _paint_cab(kit, frame, height) + 0.15
    paint_object(kit, frame.piece(start, frame.length), _one(kit, BEDS), height * 0.85)
    wall = float(kit.rng.uniform(0.08, 0.18))
    load = _one(kit, LOADS, 0.25)
    paint_object(kit, frame.piece(start, frame.length, wall), load, -float(kit.rng.uniform(0.1, 1)))
    if kit.rng.random() < 0.6:
        _paint_ribs(kit, frame, (start + wall, frame.length - wall), load)


def _paint_sheeted(kit: Kit, frame: Frame) -> None:
    """A bed under a sheet, with hoops that show through it."""
    height = float(kit.rng.uniform(2.2, 3.2))
    start = _paint_cab(kit, frame, height - 0.4) + 0.1
    color = _one(kit, SHEETS, 0.25)
    paint_object(kit, frame.piece(start, frame.length), color, height)
    if kit.rng.random() < 0.7:
        _paint_ribs(kit, frame, (start, frame.length), color)


def _paint_box(kit: Kit, frame: Frame) -> None:
    """A container or a box body."""
    height = float(kit.rng.uniform(2.4, 3.6))
    start = _paint_cab(kit, frame, height - 0.8) + float(kit.rng.uniform(0.05, 0.5))
    color = _one(kit, ROOFS)
    paint_object(kit, frame.piece(start, frame.length), color, height)
    if kit.rng.random() < 0.4:
        _paint_ribs(kit, frame, (start, frame.length), color)


def _paint_bus(kit: Kit, frame: Frame) -> None:
    """One long roof with hatches, and a stripe or a rack."""
    height = float(kit.rng.uniform(2.6, 3.2))
    paint_object(kit, frame.piece(0, frame.length), _one(kit, ROOFS), height)
    paint_object(kit, frame.piece(0, 0.3, 0.02), GLASS, -0.4)
    if kit.rng.random() < 0.5:
        half = frame.width / 2 * float(kit.rng.uniform(0.3, 0.7))
        paint_object(
            kit, frame.box((0.6, frame.length - 0.3), (-half, half)), _one(kit, ROOFS), 0.05
        )
    for at in np.arange(1.5, frame.length - 1.5, float(kit.rng.uniform(1.8, 3.5))):
        if kit.rng.random() < 0.7:
            hatch = frame.box((float(at), float(at) + 0.8), (-0.4, 0.4))
            paint_object(kit, hatch, _one(kit, LOADS + ROOFS[:2]), 0.15)


def _paint_van(kit: Kit, frame: Frame) -> None:
    """A van, or a pickup whose bed is open."""
    color = _one(kit, CABS + ROOFS)
    pickup = kit.rng.random() < 0.4
    roof = 2.6 if pickup else frame.length
    paint_object(kit, frame.piece(0, frame.length), color, 1.0)
    paint_object(kit, frame.piece(0.9, roof, 0.06), color, 0.8)
    paint_object(kit, frame.piece(0.9, 1.5, 0.1), GLASS, -0.2)
    if pickup:
        paint_object(kit, frame.piece(2.7, frame.length, 0.12), _one(kit, LOADS), -0.4)


def _paint_ribs(kit: Kit, frame: Frame, along: tuple[float, float], color: Color) -> None:
    """Ribs across a bed or a sheet, lighter or darker than it."""
    tone = float(kit.rng.choice([0.65, 0.8, 1.25]))
    red, green, blue = (min(1.0, tone * v) for v in color)
    for at in np.arange(along[0] + 0.3, along[1] - 0.1, float(kit.rng.uniform(0.45, 1.2))):
        rib = frame.piece(float(at), float(at) + 0.09)
        paint_object(kit, rib, (red, green, blue), 0.03)

"""Drawing lots for houses: what shape, what roof, how high."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from buildex.geo.rings import Ring, signed_area
from buildex.rendering.materials import PAINTS, draw_material
from buildex.rendering.shapes import (
    Building,
    Color,
    Material,
    Part,
    Rect,
    RoofSpec,
    Slope,
    assembled,
    from_ring,
    hut,
    plan_of,
)
from buildex.rendering.styles import Style, pick

WALLS: tuple[Color, ...] = (
    (0.72, 0.69, 0.64),
    (0.64, 0.60, 0.55),
    (0.80, 0.79, 0.76),
    (0.58, 0.55, 0.52),
)


def draw_house(size: tuple[float, float], style: Style, rng: np.random.Generator) -> Building:
    """A house that fills about `size` metres, its plan near (0, 0)."""
    if rng.random() < style.flats:
        return _slab_house(size, style, rng)
    if rng.random() < 0.035:
        return _unroofed(assembled(plan_of(*_sides(size, rng), rng), _spec("flat", 0, rng)), rng)
    kind = pick(style.roofs, rng)
    if kind == "thatch" and rng.random() < 0.5:
        return hut(float(rng.uniform(1.6, 3.2)), draw_material("thatch", rng))
    w, d = _sides(size, rng)
    slope: Slope = "gable" if rng.random() < 0.6 else "hip"
    if min(w, d) < 6 and rng.random() < 0.45:
        slope = "shed"
    rects = plan_of(w, d, rng) if slope != "shed" else [(0.0, 0.0, w, d)]
    if len(rects) > 2 and rng.random() < 0.8:
        slope = "hip"
    spec = _spec(slope, int(rng.integers(1, style.storeys + 1)), rng, kind)
    return assembled(rects, spec, _annexes(rects[0], w, d, rng) if len(rects) == 1 else [])


def draw_row_house(ring: Ring, style: Style, rng: np.random.Generator) -> Building:
    """A row house on a given parcel, whose first edge is the street front."""
    storeys = int(rng.integers(1, style.storeys + 1))
    if rng.random() < 0.04:
        return _unroofed(from_ring(ring, _spec("flat", 0, rng)), rng)
    if rng.random() < max(style.flats, 0.25):
        return _with_parapet(from_ring(ring, _spec("flat", storeys, rng, "slab")), rng)
    slope: Slope = "shed" if rng.random() < 0.4 else "gable"
    return from_ring(ring, _spec(slope, storeys, rng, pick(style.roofs, rng)))


def draw_shed(style: Style, rng: np.random.Generator) -> Building:
    """A shed, kitchen or latrine of two to four metres."""
    w, d = (round(float(v), 2) for v in rng.uniform(1.9, 4.2, size=2))
    kind = pick({**style.roofs, "rusty": 4.0}, rng)
    return assembled([(0, 0, w, d)], _spec("shed", 0.75, rng, kind))


def court_house(style: Style, rng: np.random.Generator) -> Building:
    """A hall, a school or a house round a yard: the large building of a block."""
    kind = pick({"metal": 3, "painted": 2, "rusty": 1, "tile": 1}, rng)
    spec = _spec("gable", 1.4, rng, kind)
    form = pick({"court": 3, "hall": 3, "ell": 2, "u": 1}, rng)
    w, d = (round(float(v), 2) for v in rng.uniform([20, 17], [34, 28]))
    t = round(float(rng.uniform(5, 7.5)), 2)
    if form == "hall":
        return assembled([(0, 0, round(w * 1.4, 2), round(d * 0.6, 2))], spec)
    if rng.random() < 0.75:
        spec = dataclasses.replace(spec, slope="hip")
    rects: dict[str, list[Rect]] = {
        "court": [(0, 0, w, t), (0, d - t, w, d), (0, 0, t, d), (w - t, 0, w, d)],
        "ell": [(0, 0, w, t), (0, 0, t, d)],
        "u": [(0, 0, w, t), (0, 0, t, d), (w - t, 0, w, d)],
    }
    return assembled(rects[form], spec)


def range_roof(style: Style, rng: np.random.Generator) -> RoofSpec:
    """The roof of a long house: one for all of a group."""
    storeys = int(rng.integers(1, style.storeys + 1))
    if rng.random() < style.flats:
        return _spec("flat", storeys, rng)
    slope: Slope = "gable" if rng.random() < 0.7 else "hip"
    return _spec(slope, storeys, rng, pick(style.roofs, rng))


def _sides(size: tuple[float, float], rng: np.random.Generator) -> tuple[float, float]:
    """Width and depth of a house for a plot: long rather than square."""
    w = min(size[0], 19.0) * float(rng.uniform(0.7, 1.0))
    d = min(size[1], 15.0) * float(rng.uniform(0.7, 1.0))
    return round(w, 2), round(d, 2)


def _annexes(house: Rect, w: float, d: float, rng: np.random.Generator) -> list[Rect]:
    """A lean-to along a part of one side, now and then."""
    if min(w, d) < 4.5 or rng.random() > 0.3:
        return []
    start, end = sorted(round(float(v), 2) for v in rng.uniform(0, w, size=2))
    if end - start < 2:
        start, end = 0.0, w
    return [(start, d, end, round(d + float(rng.uniform(1.4, 2.8)), 2))]


def _spec(slope: Slope, storeys: float, rng: np.random.Generator, kind: str = "slab") -> RoofSpec:
    if slope == "flat":
        return RoofSpec("flat", 3.0 * storeys, 0.0, draw_material("slab", rng))
    pitch = float(rng.uniform(0.08, 0.2) if slope == "shed" else rng.uniform(0.22, 0.55))
    height = float(rng.uniform(2.3, 3.0)) * storeys
    return RoofSpec(slope, height, 0.8 if kind == "thatch" else pitch, draw_material(kind, rng))


def _slab_house(size: tuple[float, float], style: Style, rng: np.random.Generator) -> Building:
    storeys = int(rng.integers(1, style.storeys + 1))
    house = assembled(plan_of(*_sides(size, rng), rng), _spec("flat", storeys, rng))
    if style.levels and rng.random() < style.levels:
        house = _in_levels(house, rng)
    return _with_parapet(house, rng)


def _in_levels(building: Building, rng: np.random.Generator) -> Building:
    """The same outline under roofs at two or three heights, some of another concrete."""
    parts = list(building.parts)
    for _ in range(int(rng.integers(1, 4))):
        place = int(np.argmax([abs(signed_area(part.ring)) for part in parts]))
        parts[place : place + 1] = _split(parts[place], rng)
    storeys = rng.integers(3, size=len(parts))  # above the lowest roof
    if (storeys == storeys[0]).all():
        storeys[0] = (storeys[0] + 1) % 3
    lowest = max(3.0, building.parts[0].eave - 3.0)
    raised = [
        dataclasses.replace(
            part,
            eave=lowest + 3.0 * float(above),
            material=draw_material("slab", rng) if rng.random() < 0.5 else part.material,
        )
        for part, above in zip(parts, storeys, strict=True)
    ]
    return dataclasses.replace(building, parts=tuple(raised))


def _split(part: Part, rng: np.random.Generator) -> list[Part]:
    """A roof of four corners cut in two across its longer side."""
    ring = part.ring
    share = float(rng.uniform(0.25, 0.75))
    if math.dist(ring[0], ring[1]) < math.dist(ring[1], ring[2]):
        ring = np.roll(ring, -1, axis=0)
    front = ring[0] + share * (ring[1] - ring[0])
    back = ring[3] + share * (ring[2] - ring[3])
    halves = [ring[0], front, back, ring[3]], [front, ring[1], ring[2], back]
    return [dataclasses.replace(part, ring=np.vstack(half)) for half in halves]


def _with_parapet(building: Building, rng: np.random.Generator) -> Building:
    if building.area < 10 or rng.random() < 0.25:
        return building
    color = PAINTS[3] if rng.random() < 0.08 else WALLS[rng.integers(len(WALLS))]
    wall = float(rng.uniform(0.3, 1.0)), float(rng.uniform(0.18, 0.35))
    return dataclasses.replace(building, parapet=wall, parapet_color=color)


def _unroofed(building: Building, rng: np.random.Generator) -> Building:
    """Walls without a roof: the floor lies on the ground."""
    floor = Material("rubble", (0.58, 0.50, 0.42), float(rng.random()), 0.0)
    parts = tuple(dataclasses.replace(p, eave=0.0, material=floor) for p in building.parts)
    wall = float(rng.uniform(0.5, 2.8)), float(rng.uniform(0.2, 0.3))
    color = WALLS[rng.integers(len(WALLS))]
    return dataclasses.replace(building, parts=parts, parapet=wall, parapet_color=color)

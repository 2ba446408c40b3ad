"""Painting what is taken for roofs and is none: courts, pools, pads, sheets, bare beds, lorries.

Each has straight edges and a colour of its own, as roofs have; what lies flat throws no shadow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import shapely

from buildex.geo.rings import Ring, bounds
from buildex.rendering.canvas import Patch
from buildex.rendering.clutter import box_ring, paint_object
from buildex.rendering.noise import Field, smoothstep
from buildex.rendering.plan import Plan
from buildex.rendering.roofs import Kit
from buildex.rendering.shapes import Color
from buildex.rendering.styles import Ground, pick

TRIES = 8  # at a place for one of them
COURTS: tuple[Color, ...] = (
    (0.28, 0.46, 0.34), (0.25, 0.40, 0.60), (0.62, 0.34, 0.26), (0.60, 0.58, 0.55),
)  # fmt: skip
SHEETS: tuple[Color, ...] = ((0.20, 0.42, 0.72), (0.85, 0.50, 0.22), (0.86, 0.86, 0.84))
BODIES: tuple[Color, ...] = (
    (0.90, 0.90, 0.90), (0.55, 0.36, 0.22), (0.30, 0.42, 0.62), (0.78, 0.30, 0.22),
    (0.62, 0.63, 0.60),
)  # fmt: skip
KINDS: Mapping[str, float] = {
    "court": 0.6, "pool": 0.7, "pad": 3, "sheet": 2, "bed": 2.5, "lorry": 2.5,
}  # fmt: skip


def paint_decoys(kit: Kit, plan: Plan, ground: Ground, count: int) -> None:
    """Paint so many of them, where they keep clear of buildings."""
    painters: Mapping[str, Callable[[Kit, Ring, Ground], None]] = {
        "court": _paint_court, "pool": _paint_pool, "pad": _paint_pad, "sheet": _paint_sheet,
        "bed": _paint_bed, "lorry": _paint_lorry,
    }  # fmt: skip
    for _ in range(count):
        kind = pick(KINDS, kit.rng)
        ring = _place(kit, plan, _size(kind, kit.rng))
        if ring is not None:
            painters[kind](kit, ring, ground)


def _size(kind: str, rng: np.random.Generator) -> tuple[float, float]:
    """Metres along and across."""
    low, high = {
        "court": ((14, 8), (28, 15)), "pool": ((4, 3), (11, 5.5)), "pad": ((2.5, 2), (14, 8)),
        "sheet": ((1.5, 1.2), (5, 4)), "bed": ((4, 3), (25, 12)), "lorry": ((6, 2.3), (12, 2.6)),
    }[kind]  # fmt: skip
    along, across = rng.uniform(low, high)
    return float(along), float(across)


def _place(kit: Kit, plan: Plan, size: tuple[float, float]) -> Ring | None:
    """A rectangle clear of buildings, mostly along the walls of some house; None without room."""
    for _ in range(TRIES):
        center = float(kit.rng.uniform(0, plan.width)), float(kit.rng.uniform(0, plan.height))
        angle = float(kit.rng.uniform(0, math.pi))
        if plan.shapes and kit.rng.random() < 0.7:
            walls = shapely.get_coordinates(plan.shapes[kit.rng.integers(len(plan.shapes))])
            along = walls[1] - walls[0]
            angle = math.atan2(along[1], along[0])
        ring = box_ring(center, size, angle)
        if plan.fits(shapely.Polygon(ring), 0.6):
            return ring
    return None


def _laid(kit: Kit, ring: Ring, color: Field | Color, mottle: float) -> Patch | None:
    """Something flat of one colour, a little uneven; None beside the canvas."""
    patch = kit.canvas.patch(bounds((ring,)))
    if patch is None:
        return None
    alpha = patch.coverage((ring,))
    uneven = 1 + mottle * (kit.bank.take("patch", patch.shape, kit.rng) - 0.5)
    patch.level(alpha)
    patch.blend(np.asarray(color, np.float32) * uneven[..., None], alpha)
    return patch


def _paint_court(kit: Kit, ring: Ring, _ground: Ground) -> None:
    if _laid(kit, ring, COURTS[kit.rng.integers(len(COURTS))], 0.25) is None:
        return
    shade = float(kit.rng.uniform(0.7, 0.95))
    for share, wide in ((0.9, 0.12), (0.45, 0.1)):
        outer = shapely.Polygon(_shrunk(ring, share))
        line = outer.buffer(wide / 2).difference(outer.buffer(-wide / 2))
        patch = kit.canvas.patch(line.bounds)
        if patch is not None:
            rings = [np.asarray(r.coords)[:-1] for r in (line.exterior, *line.interiors)]
            patch.blend((shade, shade, shade), 0.8 * patch.coverage(rings))


def _shrunk(ring: Ring, share: float) -> Ring:
    center = ring.mean(axis=0)
    return np.asarray(center + share * (ring - center))


def _paint_pool(kit: Kit, ring: Ring, _ground: Ground) -> None:
    _laid(kit, ring, (0.78, 0.76, 0.72), 0.15)
    _laid(kit, _shrunk(ring, 0.82), (0.25, 0.62, 0.70), 0.2)


def _paint_pad(kit: Kit, ring: Ring, ground: Ground) -> None:
    """A slab of concrete or swept floor, often worn."""
    patch = kit.canvas.patch(bounds((ring,)))
    if patch is None:
        return
    worn = kit.bank.take("patch", patch.shape, kit.rng)
    alpha = patch.coverage((ring,)) * smoothstep(0.0, float(kit.rng.uniform(0.05, 0.5)), worn)
    grey = np.asarray(ground.paving, np.float32) * kit.rng.uniform(0.8, 1.3)
    patch.level(alpha)
    patch.blend(grey * (0.85 + 0.3 * worn[..., None]), alpha)


def _paint_sheet(kit: Kit, ring: Ring, _ground: Ground) -> None:
    paint_object(kit, ring, SHEETS[kit.rng.integers(len(SHEETS))], 0.15)


def _paint_bed(kit: Kit, ring: Ring, ground: Ground) -> None:
    """Turned earth with sharp borders: bare, or in rows."""
    patch = _laid(
        kit, ring, np.asarray(ground.soil[1], np.float32) * kit.rng.uniform(0.7, 1.3), 0.3
    )
    if patch is None or kit.rng.random() < 0.4:
        return
    along = ring[1] - ring[0]
    turn = math.atan2(along[1], along[0]) + math.pi / 2 * int(kit.rng.integers(2))
    gap = kit.rng.uniform(0.4, 1.2)
    rows = patch.waves(turn, gap)
    leaf = np.asarray(ground.lush, np.float32) * kit.rng.uniform(0.7, 1.2)
    patch.blend(
        leaf, patch.coverage((ring,)) * smoothstep(-0.2, 0.8, rows) * kit.rng.uniform(0, 0.8)
    )


def _paint_lorry(kit: Kit, ring: Ring, _ground: Ground) -> None:
    """A lorry or a bus: a body, and mostly a cab of another colour."""
    color = BODIES[kit.rng.integers(len(BODIES))]
    paint_object(kit, ring, color, float(kit.rng.uniform(1.6, 3)))
    if kit.rng.random() < 0.7:
        share = 1.8 / math.dist(ring[0], ring[1])
        sides = ring[[1, 2]] - ring[[0, 3]]
        cab = np.vstack([ring[0], ring[0] + share * sides[0], ring[3] + share * sides[1], ring[3]])
        paint_object(kit, cab, BODIES[kit.rng.integers(len(BODIES))], -0.4)

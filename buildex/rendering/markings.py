"""Painting roads of concrete slabs: joints across, dashes along the middle, lines at the edges."""

from __future__ import annotations

import numpy as np

from buildex.geo.rings import bounds
from buildex.rendering.clutter import box_ring
from buildex.rendering.plan import Plan, Road
from buildex.rendering.roofs import Kit
from buildex.rendering.shapes import Color

SLAB = (3.5, 6.0)  # metres from joint to joint
JOINT: Color = (0.36, 0.34, 0.31)
LINE: Color = (0.92, 0.91, 0.86)


def mark_roads(kit: Kit, plan: Plan) -> None:
    """Joints and lines of all roads that have them."""
    for road in plan.roads:
        if road.marked:
            _mark(kit, road)


def _mark(kit: Kit, road: Road) -> None:
    fresh = float(kit.rng.uniform(0.2, 0.9))
    dark = float(kit.rng.uniform(0.15, 0.6))
    for at in np.arange(0, road.line.length - 1, float(kit.rng.uniform(*SLAB))):
        _stripe(kit, road, (float(at), 0.0), (0.1, road.width), JOINT, dark)
    for side in (-0.25, 0.25) if road.width > 6 and kit.rng.random() < 0.6 else ():
        for at in np.arange(0, road.line.length - 2, 2.0):
            _stripe(kit, road, (float(at), side * road.width), (2.2, 0.08), JOINT, dark)
    dash, gap = float(kit.rng.uniform(1, 3)), float(kit.rng.uniform(2, 6))
    if kit.rng.random() < 0.75:
        for at in np.arange(0, road.line.length - dash, dash + gap):
            _stripe(kit, road, (float(at), 0.0), (dash, 0.13), LINE, fresh)
    if kit.rng.random() < 0.4:
        for side in (-1, 1):
            for at in np.arange(0, road.line.length - 2, 2.0):
                place = float(at), side * (road.width / 2 - 0.35)
                _stripe(kit, road, place, (2.1, 0.12), LINE, fresh)


def _stripe(
    kit: Kit, road: Road, place: tuple[float, float], size: tuple[float, float], color: Color,
    alpha: float,
) -> None:  # fmt: skip
    """A stripe that begins so far along a road and so far aside of its middle."""
    middle, angle = road.place(place[0] + size[0] / 2, place[1])
    ring = box_ring(middle, size, angle)
    patch = kit.canvas.patch(bounds((ring,)))
    if patch is not None:
        patch.blend(color, alpha * patch.coverage((ring,)))

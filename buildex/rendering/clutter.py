"""Painting the small things: walls, rubble, laundry, water tanks, sheets on slabs."""

from __future__ import annotations

import math

import numpy as np
import shapely
from scipy import ndimage

from buildex.geo.footprints import to_rings
from buildex.geo.rings import Ring, bounds
from buildex.rendering.materials import METALS, PAINTS
from buildex.rendering.noise import smoothstep
from buildex.rendering.plan import Plan
from buildex.rendering.roofs import Kit
from buildex.rendering.shapes import Building, Color

CLOTHS: tuple[Color, ...] = (
    (0.9, 0.9, 0.92), (0.2, 0.4, 0.8), (0.85, 0.45, 0.2), (0.8, 0.2, 0.3), (0.85, 0.75, 0.3),
    (0.3, 0.3, 0.32),
)  # fmt: skip
SCRAP: tuple[Color, ...] = (
    (0.62, 0.60, 0.57), (0.48, 0.42, 0.36), (0.40, 0.28, 0.20), (0.72, 0.70, 0.66),
    (0.35, 0.34, 0.33), (0.56, 0.50, 0.40),
)  # fmt: skip
TANKS: tuple[Color, ...] = (
    (0.12, 0.12, 0.13), (0.10, 0.48, 0.36), (0.75, 0.77, 0.78), (0.20, 0.40, 0.70),
)  # fmt: skip


def box_ring(center: tuple[float, float], size: tuple[float, float], angle: float) -> Ring:
    """A rectangle's ring: `size` along and across the angle."""
    c, s = math.cos(angle), math.sin(angle)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array(size) / 2
    return np.asarray(corners @ np.array([[c, s], [-s, c]]) + np.array(center))


def paint_object(kit: Kit, ring: Ring, color: Color, top: float) -> None:
    """A plain object of one colour, `top` metres higher than what lies under it."""
    patch = kit.canvas.patch(bounds((ring,)))
    if patch is None:
        return
    alpha = patch.coverage((ring,))
    mottle = kit.bank.take("patch", patch.shape, kit.rng)[..., None]
    patch.blend(np.asarray(color, np.float32) * (0.9 + 0.2 * mottle), alpha)
    patch.height[alpha >= 0.5] += np.float32(top)


def stands_on(kit: Kit, ground: shapely.Polygon) -> bool:
    """Whether something stands on a piece of ground: a lorry, a wall, another car."""
    patch = kit.canvas.patch(ground.bounds)
    if patch is None:
        return False
    within = patch.coverage(to_rings(ground)) > 0
    return bool((patch.height[within] > 0.3).any())


def paint_walls(kit: Kit, plan: Plan) -> None:
    """Walls and hedges round plots, with gaps for gates."""
    for line in plan.walls:
        hedge = kit.rng.random() < 0.25
        gate = kit.rng.uniform(0, line.length)
        tone = kit.rng.uniform(0.75, 1.1)
        rest = line.difference(line.interpolate(gate).buffer(1.6))
        body = rest.buffer(0.6 if hedge else 0.11, cap_style="flat", join_style="mitre")
        for part in shapely.get_parts(body):
            if hedge:
                _paint_hedge(kit, part, tone)
            else:
                _paint_wall(kit, part, tone)


def _paint_wall(kit: Kit, part: shapely.Polygon, tone: float) -> None:
    patch = kit.canvas.patch(part.bounds)
    if patch is None:
        return
    alpha = patch.coverage(to_rings(part))
    mottle = kit.bank.take("clump", patch.shape, kit.rng)[..., None]
    plaster = np.array([0.66, 0.62, 0.56], np.float32) * tone
    patch.blend(plaster * (0.75 + 0.5 * mottle), alpha)
    patch.raise_to(1.9, alpha)


def _paint_hedge(kit: Kit, part: shapely.Polygon, tone: float) -> None:
    patch = kit.canvas.patch(part.bounds)
    if patch is None:
        return
    leaves = kit.bank.take("clump", patch.shape, kit.rng)
    body = ndimage.gaussian_filter(patch.coverage(to_rings(part)), 0.2 * patch.scale)
    alpha = smoothstep(0.45, 0.6, body + 0.5 * (leaves - 0.5))
    green = np.array([0.27, 0.36, 0.18], np.float32) * tone
    patch.blend(green * (0.6 + 0.8 * leaves[..., None]), alpha)
    patch.raise_to(0.7 + 0.8 * leaves, alpha)


def paint_litter(kit: Kit, plan: Plan, count: int) -> None:
    """Heaps, laundry, planks and stones near the houses."""
    for _ in range(count):
        x, y = _beside_a_house(kit, plan)
        size = kit.rng.gamma(2.0, 0.28, 2) + 0.12
        angle = float(kit.rng.uniform(0, math.pi))
        palette = CLOTHS if kit.rng.random() < 0.15 else SCRAP
        ring = box_ring((x, y), (float(size[0]), float(size[1])), angle)
        tone = kit.rng.uniform(0.7, 1.15)
        red, green, blue = palette[kit.rng.integers(len(palette))]
        paint_object(kit, ring, (red * tone, green * tone, blue * tone), 0.25)


def _beside_a_house(kit: Kit, plan: Plan) -> tuple[float, float]:
    """A place up to a few metres from some outline; anywhere where there are no houses."""
    if not plan.shapes or kit.rng.random() < 0.15:
        return float(kit.rng.uniform(0, plan.width)), float(kit.rng.uniform(0, plan.height))
    outline = plan.shapes[kit.rng.integers(len(plan.shapes))].exterior
    spot = outline.interpolate(float(kit.rng.random()), normalized=True)
    dx, dy = kit.rng.normal(0, 1.3, 2)
    return float(spot.x + dx), float(spot.y + dy)


def paint_rubble(kit: Kit, plan: Plan, count: int) -> None:
    """Heaps of stones, sand or rubbish."""
    for _ in range(count):
        x, y = float(kit.rng.uniform(0, plan.width)), float(kit.rng.uniform(0, plan.height))
        radius = float(kit.rng.uniform(0.5, 2.2))
        patch = kit.canvas.patch((x - radius, y - radius, x + radius, y + radius))
        if patch is None:
            continue
        gap = np.hypot(patch.x - x, patch.y - y) / radius
        stones = kit.bank.take("clump", patch.shape, kit.rng)
        alpha = smoothstep(1.0, 0.7, (gap + 0.7 * (stones - 0.5)).astype(np.float32))
        alpha = alpha * (patch.height < 0.1)
        grey = np.array([0.62, 0.58, 0.53], np.float32) * kit.rng.uniform(0.7, 1.25)
        patch.blend(grey * (0.6 + 0.8 * stones[..., None]), 0.85 * alpha)
        patch.raise_to((0.4 * stones).astype(np.float32), alpha)


def furnish_roof(kit: Kit, building: Building) -> None:
    """What stands on a slab: a stair head, tanks, a sheet roof over a corner, laundry."""
    inner = building.polygon.buffer(-0.5)
    if building.parts[0].slope != "flat" or building.parts[0].eave < 2 or inner.is_empty:
        return
    axis = building.parts[0].ring[1] - building.parts[0].ring[0]
    angle = math.atan2(axis[1], axis[0])
    if inner.area > 30 and kit.rng.random() < 0.6:
        _stand(kit, inner, (2.6, 2.2), angle, ((0.66, 0.63, 0.58), 2.3))
    if inner.area > 25 and kit.rng.random() < 0.4:
        color = PAINTS[kit.rng.integers(2)] if kit.rng.random() < 0.5 else METALS[0]
        side = math.sqrt(inner.area)
        share = kit.rng.uniform(0.3, 0.55, 2)
        _stand(kit, inner, (side * share[0], side * share[1]), angle, (color, 1.9))
    for _ in range(int(kit.rng.poisson(1.2))):
        _tank(kit, inner)
    for _ in range(int(kit.rng.poisson(inner.area / 14))):
        palette = CLOTHS if kit.rng.random() < 0.45 else SCRAP
        cloth = palette[kit.rng.integers(len(palette))]
        low, high = kit.rng.uniform([0.3, 0.2], [1.4, 0.6])
        _stand(kit, inner, (float(low), float(high)), angle, (cloth, 0.4))


def _stand(
    kit: Kit,
    inside: shapely.Polygon,
    size: tuple[float, float],
    angle: float,
    look: tuple[Color, float],
) -> None:
    """Put a box on a roof where it fits; `look` is its colour and height."""
    x0, y0, x1, y1 = inside.bounds
    for _ in range(6):
        center = float(kit.rng.uniform(x0, x1)), float(kit.rng.uniform(y0, y1))
        ring = box_ring(center, size, angle)
        if inside.contains(shapely.Polygon(ring)):
            paint_object(kit, ring, *look)
            return


def _tank(kit: Kit, inside: shapely.Polygon) -> None:
    x0, y0, x1, y1 = inside.bounds
    x, y = float(kit.rng.uniform(x0, x1)), float(kit.rng.uniform(y0, y1))
    radius = float(kit.rng.uniform(0.45, 0.75))
    disc = shapely.Point(x, y).buffer(radius, quad_segs=4)
    if inside.contains(disc):
        color = TANKS[kit.rng.integers(len(TANKS))]
        paint_object(kit, to_rings(disc)[0], color, 1.4)
        lid = to_rings(shapely.Point(x, y).buffer(radius * 0.35, quad_segs=3))[0]
        paint_object(kit, lid, (min(1, color[0] * 1.5), min(1, color[1] * 1.5), color[2]), 0.1)

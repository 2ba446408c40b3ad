"""Painting the ground: earth, grass, fields, yards, roads and what is trodden bare."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import shapely
from scipy import ndimage

from buildex.geo.footprints import to_rings
from buildex.geo.rings import Rings, fill
from buildex.rendering.canvas import OVERSAMPLING, Patch
from buildex.rendering.noise import Field, resized, smoothstep
from buildex.rendering.plan import Plan, Road, axis_of
from buildex.rendering.roofs import Kit
from buildex.rendering.shapes import Color
from buildex.rendering.styles import Ground, Style
from buildex.rendering.tillage import paint_tillage

# Earth and grass have no sharp edges: they are painted as fine as the mosaic and no finer,
# and textures made for the canvas skip as many texels.
FINE = 1 / OVERSAMPLING
# What changes slowly is made coarser still by this factor.
COARSE = 4
# Roads are painted in windows of this many metres.
WINDOW = 16.0
CONCRETE: tuple[Color, ...] = (
    (0.72, 0.68, 0.61), (0.66, 0.65, 0.62), (0.62, 0.58, 0.52), (0.76, 0.74, 0.70),
)  # fmt: skip


def paint_ground(kit: Kit, plan: Plan, ground: Ground, style: Style) -> None:
    """Paint all that lies flat."""
    patch = kit.canvas.undercoat()
    _paint_earth(kit, patch, ground)
    _paint_grass(kit, patch, plan, (ground, style))
    kit.canvas.cover(patch)
    for polygon in plan.fields:
        _paint_field(kit, polygon, ground)
    paint_tillage(kit, plan, ground)
    for polygon in plan.yards:
        _paint_yard(kit, polygon, ground)
    for road in sorted(plan.roads, key=lambda road: road.paved):
        _paint_road(kit, road, ground)


def _paint_earth(kit: Kit, patch: Patch, ground: Ground) -> None:
    take, rng, shape = kit.bank.take, kit.rng, patch.shape
    mix = take("cloud", shape, rng, zoom=2.5)[..., None]
    light, dark = (np.asarray(c, np.float32) for c in ground.soil)
    mottle = 0.2 * (take("patch", shape, rng, FINE) - 0.5)
    mottle += 0.1 * (take("grain", shape, rng, FINE) - 0.5)
    patch.color[...] = (dark + (light - dark) * mix) * (1 + mottle[..., None])
    dirt = smoothstep(0.6, 1.0, take("cloud", shape, rng, FINE)) * take("patch", shape, rng, FINE)
    patch.blend((0.36, 0.32, 0.27), 0.45 * dirt)
    pebbles = smoothstep(0.985, 0.995, take("clump", shape, rng, FINE))
    patch.blend((0.72, 0.69, 0.63), 0.5 * pebbles)


def _paint_grass(kit: Kit, patch: Patch, plan: Plan, look: tuple[Ground, Style]) -> None:
    """Grass where nobody treads: thin beside houses and roads."""
    ground, style = look
    take, rng, shape = kit.bank.take, kit.rng, patch.shape
    level = style.green + float(rng.uniform(-0.15, 0.15))
    growth = 0.6 * take("cloud", shape, rng, 1.5) + 0.4 * take("cloud", shape, rng, FINE)
    growth += 0.3 * (take("patch", shape, rng, FINE) - 0.5) - 0.45 * _trodden(kit, patch, plan)
    cover = smoothstep(0.95 - level, 1.2 - level, growth)
    dryness = take("cloud", shape, rng, 1.25)[..., None]
    lush, dry = (np.asarray(c, np.float32) for c in (ground.lush, ground.dry))
    tufts = take("clump", shape, rng, FINE)
    shade = 1 + 0.3 * (tufts - 0.5) + 0.35 * (take("grain", shape, rng, FINE) - 0.5)
    color = (lush + (dry - lush) * smoothstep(0.3, 0.9, dryness)) * shade[..., None]
    weeds = smoothstep(1.15 - 0.5 * level, 1.35 - 0.5 * level, growth + 0.5 * tufts)
    patch.blend(color, np.maximum(0.9 * cover, 0.6 * weeds))
    thicket = smoothstep(1.3 - level, 1.36 - level, growth + 0.35 * (tufts - 0.5))
    leaf = np.asarray(ground.leaf, np.float32) * (0.6 + 0.7 * tufts)[..., None]
    patch.blend(leaf * (0.8 + 0.4 * dryness), thicket)
    patch.raise_to(0.3 + 0.9 * tufts, thicket)


def _trodden(kit: Kit, patch: Patch, plan: Plan) -> Field:
    """How near each pixel (h, w) is to houses, 1 beside them and 0 from about 6 m on."""
    h, w = (n // COARSE + 1 for n in patch.shape)
    mask = np.zeros((h, w), np.float32)
    scale = patch.scale / COARSE
    origin = np.array([patch.x[0, 0], patch.y[0, 0]])
    for building in plan.buildings:
        rings = [(ring - origin) * scale for ring in building.rings[:1]]
        _stamp(mask, tuple(rings))
    blurred = ndimage.gaussian_filter(mask, 2.2 * scale)
    near: Field = np.minimum(1, 2 * blurred).astype(np.float32)
    return resized(near, patch.shape, COARSE)


def _stamp(mask: Field, rings: Rings) -> None:
    low = np.maximum(np.floor(rings[0].min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(rings[0].max(axis=0)).astype(int), mask.shape[::-1])
    if (high <= low).any():
        return
    inside = fill([ring - low for ring in rings], int(high[1] - low[1]), int(high[0] - low[0]))
    mask[low[1] : high[1], low[0] : high[0]][inside] = 1


def _paint_field(kit: Kit, polygon: shapely.Polygon, ground: Ground) -> None:
    """A plot under the hoe: furrows, bare or green."""
    inner = polygon.buffer(-0.5)
    patch = None if inner.geom_type != "Polygon" else kit.canvas.patch(polygon.bounds)
    kind, gap = kit.rng.random(), kit.rng.uniform(0.5, 1.3)
    turn = axis_of(polygon) + math.pi / 2 * int(kit.rng.integers(2))
    if patch is None or inner.is_empty:
        return
    wobble = kit.bank.take("cloud", patch.shape, kit.rng) * 0.8
    furrow = patch.waves(turn, gap, wobble)
    earth = np.asarray(ground.soil[1], np.float32) * (0.95 + 0.07 * furrow[..., None])
    leaf = np.asarray(ground.lush, np.float32) * kit.rng.uniform(0.85, 1.2)
    growth = kit.bank.take("patch", patch.shape, kit.rng) + 0.3 * furrow
    color = earth * (0.9 + 0.2 * kit.bank.take("grain", patch.shape, kit.rng)[..., None])
    cover = smoothstep(1.0 - kind, 1.5 - kind, growth)
    green = leaf * (0.75 + 0.5 * kit.bank.take("clump", patch.shape, kit.rng)[..., None])
    color = color + (green - color) * cover[..., None]
    tilled = ndimage.gaussian_filter(patch.coverage(to_rings(inner)), 3)
    patch.level(tilled)
    patch.blend(color, 0.92 * tilled)


def _paint_yard(kit: Kit, polygon: shapely.Polygon, ground: Ground) -> None:
    """Concrete or swept earth round a house."""
    patch = kit.canvas.patch(polygon.bounds)
    tint = kit.rng.uniform(0.85, 1.15)
    if patch is None:
        return
    mottle = kit.bank.take("patch", patch.shape, kit.rng)
    color = np.asarray(ground.paving, np.float32) * tint * (0.88 + 0.24 * mottle[..., None])
    laid = patch.coverage(to_rings(polygon))
    patch.level(laid)
    patch.blend(color, 0.9 * laid * smoothstep(0.05, 0.3, mottle))


def _paint_road(kit: Kit, road: Road, ground: Ground) -> None:
    """Asphalt with dusty edges, or a track with two ruts; window by window along the line."""
    place = float(kit.rng.integers(1000))
    if road.marked:
        ground = replace(ground, paving=CONCRETE[kit.rng.integers(len(CONCRETE))])
    low, high = kit.canvas.whole.x[0, 0], kit.canvas.whole.x[0, -1]
    top, bottom = kit.canvas.whole.y[0, 0], kit.canvas.whole.y[-1, 0]
    for x in np.arange(low, high, WINDOW):
        for y in np.arange(top, bottom, WINDOW):
            box = float(x), float(y), float(x) + WINDOW, float(y) + WINDOW
            patch = kit.canvas.patch(box, 0.0)
            near = road.line.intersection(shapely.box(*box).buffer(road.width / 2 + 3))
            if patch is not None and not near.is_empty:
                offset = np.minimum.reduce([_offset(line, patch) for line in _lines(near)])
                _pave(kit, patch, (road, ground), offset, place)


def _pave(kit: Kit, patch: Patch, look: tuple[Road, Ground], offset: Field, place: float) -> None:
    road, ground = look
    rows, columns = patch.y * patch.scale + place, patch.x * patch.scale
    mottle = kit.bank.sample("patch", rows, columns) - 0.5
    past = offset - road.width / 2
    inside = smoothstep(0.25, -0.15, past + mottle * (0.5 if road.paved else 1.6))
    patch.level(inside)
    fine = kit.bank.sample("grain", columns, rows) - 0.5
    tone = 1 + 0.16 * (kit.bank.sample("patch", columns, rows) - 0.5) + 0.07 * fine
    light = np.asarray(ground.soil[0], np.float32)
    if road.paved:
        patch.blend(light, 0.5 * smoothstep(1.4, 0, past))
        patch.blend(np.asarray(ground.paving, np.float32) * tone[..., None], inside)
        return
    rut = np.exp(-(((offset - 0.75) / 0.28) ** 2)) * (road.width > 2.5)
    patch.blend(light * (tone + 0.06 * rut)[..., None], 0.85 * inside)


def _lines(geometry: shapely.Geometry) -> list[Field]:
    """The points (N, 2) of each line."""
    parts = [g for g in shapely.get_parts(geometry) if g.geom_type == "LineString"]
    return [shapely.get_coordinates(part) for part in parts]


def _offset(points: Field, patch: Patch) -> Field:
    """Distance (h, w) from pixels to a line of points (N, 2)."""
    best = np.full(patch.shape, np.inf, np.float32)
    for a, b in pairwise(points):
        dx, dy = (float(v) for v in b - a)
        length2 = max(dx * dx + dy * dy, 1e-12)
        px, py = patch.x - np.float32(a[0]), patch.y - np.float32(a[1])
        t = np.clip((px * dx + py * dy) / length2, 0, 1)
        best = np.minimum(best, (px - t * dx) ** 2 + (py - t * dy) ** 2)
    return np.sqrt(best).astype(np.float32)

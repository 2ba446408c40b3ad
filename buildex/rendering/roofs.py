"""Painting buildings: where each roof slopes, how the sun falls on it, what stands on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from buildex.geo.rings import Ring, bounds
from buildex.rendering.canvas import Canvas, Patch
from buildex.rendering.light import Sun
from buildex.rendering.materials import Surface, painted
from buildex.rendering.noise import Field, NoiseBank, smoothstep
from buildex.rendering.shapes import Building, Part

# A part is drawn this far past its own edges, so that no gap shows along the outline.
BLEED = 0.15


@dataclass(frozen=True)
class Kit:
    """What every painter works with."""

    canvas: Canvas
    sun: Sun
    bank: NoiseBank
    rng: np.random.Generator


@dataclass(frozen=True)
class _Layer:
    """One part over a window: its height, its slope (rise per metre) and its surface."""

    height: Field
    slope_x: Field
    slope_y: Field
    surface: Surface


def paint_building(kit: Kit, building: Building) -> None:
    """Paint one building and lift the canvas under it."""
    patch = kit.canvas.patch(bounds(building.rings))
    if patch is None:
        return
    alpha = patch.coverage(building.rings)
    color, height = _roof(kit, patch, building)
    if building.parapet[0] > 0:
        inset = _inset(patch, building)
        wall = smoothstep(building.parapet[1], building.parapet[1] - 0.08, inset)
        mottle = kit.bank.take("patch", patch.shape, kit.rng)[..., None]
        paint = np.asarray(building.parapet_color, np.float32) * (0.88 + 0.24 * mottle)
        color += (paint - color) * wall[..., None]
        height = height + building.parapet[0] * (wall > 0.5)
    patch.blend(color, alpha)
    patch.raise_to(height, alpha)


def _roof(kit: Kit, patch: Patch, building: Building) -> tuple[Field, Field]:
    """Colour (h, w, 3) in the sun and height (h, w) of all parts, the highest on top."""
    height = np.full(patch.shape, -np.inf, np.float32)
    color = np.zeros((*patch.shape, 3), np.float32)
    place = int(kit.rng.integers(1000))
    glint = float(kit.rng.uniform(0.7, 1.3))
    for part in building.parts:
        layer = _layer(patch, part)
        seen = layer.height > height
        shade = 1 + (kit.sun.shade(layer.slope_x, layer.slope_y) - 1) * glint
        texture = painted(part.material, layer.surface, kit.bank, place)
        color = np.where(seen[..., None], texture * shade[..., None], color)
        height = np.where(seen, layer.height, height)
    return color, np.where(np.isfinite(height), height, 0).astype(np.float32)


def _layer(patch: Patch, part: Part) -> _Layer:
    start = part.ring
    along = np.roll(start, -1, axis=0) - start
    along /= np.hypot(along[:, 0], along[:, 1])[:, None]
    inward = np.stack([-along[:, 1], along[:, 0]], axis=1)
    gaps = [_distance(patch, p, n) for p, n in zip(start, inward, strict=True)]
    inset = np.minimum.reduce(gaps)
    edges = {"gable": [0, 2], "shed": [0], "flat": [0]}.get(part.slope, list(range(len(start))))
    rises = np.stack([gaps[e] for e in edges])
    plane = rises.argmin(axis=0)
    up = rises.min(axis=0)
    edge = np.sort(rises, axis=0)[1] - up if len(edges) > 1 else np.full(patch.shape, 9.0)
    pitch = 0.0 if part.slope == "flat" else part.pitch
    normals = inward[edges].astype(np.float32)[plane]
    u = np.stack([_distance(patch, start[e], along[e]) for e in edges])
    surface = Surface(
        np.take_along_axis(u, plane[None], axis=0)[0], up, edge.astype(np.float32), inset
    )
    height = np.where(inset >= -BLEED, part.eave + pitch * np.maximum(up, 0), -np.inf)
    return _Layer(
        height.astype(np.float32), pitch * normals[..., 0], pitch * normals[..., 1], surface
    )


def _inset(patch: Patch, building: Building) -> Field:
    """Metres from the outline inwards, the parts taken one by one: (h, w)."""
    insets = [_layer(patch, part).surface.inset for part in building.parts]
    return np.asarray(np.maximum.reduce(insets), dtype=np.float32)


def _distance(patch: Patch, point: Ring, direction: Ring) -> Field:
    """How far along a direction each pixel centre lies from a point: (h, w)."""
    x = (patch.x - np.float32(point[0])) * np.float32(direction[0])
    y = (patch.y - np.float32(point[1])) * np.float32(direction[1])
    return np.asarray(x + y, dtype=np.float32)

"""Painting paved ground: asphalt, slabs, blocks or swept earth, with joints, stains and sand."""

from __future__ import annotations

import math

import numpy as np
import shapely

from buildex.geo.footprints import to_rings
from buildex.rendering.canvas import Patch
from buildex.rendering.noise import Field, smoothstep
from buildex.rendering.plan import Plan, axis_of
from buildex.rendering.roofs import Kit
from buildex.rendering.shapes import Color

PAVED: tuple[Color, ...] = (
    (0.36, 0.36, 0.37), (0.50, 0.49, 0.48), (0.68, 0.66, 0.62), (0.84, 0.82, 0.77),
    (0.56, 0.44, 0.38), (0.72, 0.62, 0.49),
)  # fmt: skip


def paint_pavements(kit: Kit, plan: Plan) -> None:
    """Paint all paved yards of a town."""
    for yard in plan.pavements:
        pave(kit, yard)


def pave(kit: Kit, yard: shapely.Polygon) -> None:
    """Slabs, concrete or asphalt, with sand on them here and there."""
    patch = kit.canvas.patch(yard.bounds)
    if patch is None:
        return
    take, rng, shape = kit.bank.take, kit.rng, patch.shape
    tone = np.asarray(PAVED[rng.integers(len(PAVED))]) * rng.uniform(0.85, 1.15)
    shade = 1 + 0.2 * (take("patch", shape, rng) - 0.5) + 0.1 * (take("grain", shape, rng) - 0.5)
    shade -= rng.uniform(0, 0.35) * smoothstep(0.55, 0.95, take("cloud", shape, rng))
    shade -= _joints(patch, axis_of(yard), rng)
    laid = patch.coverage(to_rings(yard))
    patch.level(laid)
    sand = smoothstep(1 - rng.uniform(0, 0.6), 1.1, take("cloud", shape, rng, 1.5))
    patch.blend(tone.astype(np.float32) * shade[..., None], laid * (1 - 0.8 * sand))


def _joints(patch: Patch, axis: float, rng: np.random.Generator) -> Field:
    """How much darker the joints between slabs are (h, w); often there are none."""
    if rng.random() < 0.55:
        return np.zeros(patch.shape, np.float32)
    side, depth = float(rng.uniform(1.5, 5)), float(rng.uniform(0.05, 0.25))
    c, s = math.cos(axis), math.sin(axis)
    u, v = patch.x * c + patch.y * s, patch.y * c - patch.x * s
    gap = np.minimum(*(np.abs(w / side - np.round(w / side)) * side for w in (u, v)))
    return np.asarray(depth * smoothstep(0.12, 0.03, gap), dtype=np.float32)

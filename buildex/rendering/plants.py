"""Painting trees: crowns of leaves that the sun models, fans of palm fronds."""

from __future__ import annotations

import numpy as np

from buildex.rendering.canvas import Patch
from buildex.rendering.noise import Field, smoothstep
from buildex.rendering.plan import Tree
from buildex.rendering.roofs import Kit
from buildex.rendering.shapes import Color

HEIGHT = {"broad": 1.5, "bush": 1.0, "palm": 2.4, "banana": 1.7}


def paint_tree(kit: Kit, tree: Tree, leaf: Color) -> None:
    """Paint one tree and lift the canvas under its crown, so that it throws a shadow."""
    reach = tree.radius * 1.25
    box = (tree.x - reach, tree.y - reach, tree.x + reach, tree.y + reach)
    patch = kit.canvas.patch(box)
    tint = kit.rng.uniform(0.75, 1.3) * kit.rng.uniform(0.9, 1.1, 3)
    phase = kit.rng.uniform(0, 2 * np.pi, 4).astype(np.float32)
    if patch is None:
        return
    dx, dy = patch.x - np.float32(tree.x), patch.y - np.float32(tree.y)
    distance = np.sqrt(dx * dx + dy * dy) / tree.radius
    angle = np.arctan2(dy, dx)
    fan = tree.kind in ("palm", "banana")
    crown = _fronds if fan else _crown
    dome, alpha = crown(kit, patch.shape, distance, angle, phase)
    color = np.asarray(leaf, np.float32) * tint.astype(np.float32)
    if fan:
        color = color * np.array([1.25, 1.3, 1.0], np.float32)
    patch.blend(_shaded(kit, patch, dome * tree.radius, color), alpha)
    base = HEIGHT[tree.kind] * tree.radius
    patch.raise_to(base * (0.55 + 0.45 * dome).astype(np.float32), alpha)


def _shaded(kit: Kit, patch: Patch, dome: Field, color: Field) -> Field:
    """Leaves in the light: the crown's form and clumps of leaves turned to the sun or away."""
    leaves = kit.bank.take("clump", patch.shape, kit.rng)
    grain = kit.bank.take("grain", patch.shape, kit.rng)
    relief = 0.8 * dome + 0.22 * leaves + 0.06 * grain
    slope_y, slope_x = np.gradient(relief * patch.scale)
    shade = kit.sun.shade(0.55 * slope_x, 0.55 * slope_y)
    depth = 0.74 + 0.42 * leaves + 0.3 * (grain - 0.5)
    return color * (np.clip(shade, 0.45, 1.6) * depth)[..., None]


def _crown(
    kit: Kit, shape: tuple[int, int], distance: Field, angle: Field, phase: Field
) -> tuple[Field, Field]:
    """Height 0..1 and coverage of a round crown with a ragged edge."""
    lobes = 0.09 * np.sin(3 * angle + phase[0]) + 0.07 * np.sin(5 * angle + phase[1])
    lobes += 0.04 * np.sin(9 * angle + phase[2])
    ragged = 0.35 * (kit.bank.take("clump", shape, kit.rng) - 0.5)
    ragged += 0.12 * (kit.bank.take("grain", shape, kit.rng) - 0.5)
    t = (distance + lobes + ragged).astype(np.float32)
    dome = np.sqrt(np.clip(1 - t * t, 0, 1))
    return dome.astype(np.float32), smoothstep(1.02, 0.94, t)


def _fronds(
    kit: Kit, shape: tuple[int, int], distance: Field, angle: Field, phase: Field
) -> tuple[Field, Field]:
    """Height 0..1 and coverage of leaves that spread from one heart."""
    count = 7 + int(4 * phase[0] / np.pi)
    bent = angle + 0.35 * np.sin(3 * phase[1]) * distance + 0.25 * np.sin(2 * angle + phase[2])
    ray = np.abs(np.sin(0.5 * count * bent + phase[3]))
    length = 0.8 + 0.2 * np.sin(2 * angle + phase[1])
    feather = 0.3 * (kit.bank.take("grain", shape, kit.rng) - 0.5)
    width = 0.95 * np.clip(1 - (distance / length) ** 2, 0, 1) + 0.1
    t = (ray + feather - width).astype(np.float32)
    alpha = smoothstep(0.12, -0.12, t) * smoothstep(length, length - 0.06, distance)
    dome = np.clip(1 - 0.8 * distance, 0, 1) * (1 - 0.4 * ray)
    return dome.astype(np.float32), alpha.astype(np.float32)

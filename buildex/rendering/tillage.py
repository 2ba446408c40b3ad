"""Painting plots under the plough: bare, in rows, under stubble or water, with sharp borders.

A bare plot has a roof's shape, size and colour; it has neither a parapet nor a roof's shadow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import shapely
from scipy import ndimage

from buildex.geo.footprints import to_rings
from buildex.rendering.canvas import Patch
from buildex.rendering.noise import Field, smoothstep
from buildex.rendering.plan import Plan, axis_of
from buildex.rendering.roofs import Kit
from buildex.rendering.styles import Ground, pick

CROPS: Mapping[str, float] = {"bare": 5, "rows": 2.5, "stubble": 1, "water": 0.5}


def paint_tillage(kit: Kit, plan: Plan, ground: Ground) -> None:
    """Paint all tilled plots of a town; those of one town are of much the same earth."""
    painters: Mapping[str, Callable[[Kit, Patch, float, Ground], Field]] = {
        "bare": _bare, "rows": _rows, "stubble": _stubble, "water": _water,
    }  # fmt: skip
    if not plan.tilled:
        return
    grey = float(kit.rng.uniform(0, 0.9))
    for plot in plan.tilled:
        patch = kit.canvas.patch(plot.bounds)
        crop = pick(CROPS, kit.rng)
        turn = axis_of(plot) + math.pi / 2 * int(kit.rng.random() < 0.7)
        level = max(0.0, float(kit.rng.uniform(-0.8, 0.7)))
        if patch is None:
            continue
        earth = _earth(ground, grey, kit.rng)
        color = painters[crop](kit, patch, turn, replace(ground, soil=(earth, earth)))
        laid = _bordered(kit, patch, plot)
        patch.level(laid)
        patch.raise_to(level, laid)
        patch.blend(color, laid)


def _earth(ground: Ground, grey: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """The colour of one plot's earth: between the town's soils, greyer, lighter or darker."""
    light, dark = (np.asarray(tone) for tone in ground.soil)
    tone = dark + (light - dark) * rng.uniform(0, 1)
    tone = tone + grey * (tone.mean() - tone)
    red, green, blue = (float(v) for v in tone * rng.uniform(0.75, 1.3))
    return red, green, blue


def _bordered(kit: Kit, patch: Patch, plot: shapely.Polygon) -> Field:
    """How thickly a plot lies (h, w): all of it, to a border that is a little ragged."""
    cover = ndimage.gaussian_filter(patch.coverage(to_rings(plot)), kit.rng.uniform(0.5, 3))
    ragged = float(kit.rng.uniform(0, 0.5)) * (
        kit.bank.take("clump", patch.shape, kit.rng) - np.float32(0.5)
    )
    return smoothstep(0.3, 0.7, (cover + ragged * (cover > 0.02)).astype(np.float32))


def _furrows(kit: Kit, patch: Patch, turn: float, gap: float) -> Field:
    """Waves of -1..1 (h, w) across a plot, one for each furrow; they are not quite straight."""
    wobble = kit.bank.take("cloud", patch.shape, kit.rng, 2.0) * kit.rng.uniform(0.1, 0.9)
    return patch.waves(turn, gap, wobble)


def _bare(kit: Kit, patch: Patch, turn: float, ground: Ground) -> Field:
    """Ploughed or raked earth: clods, damp places, now and then heaps of manure or weeds."""
    take, rng, shape = kit.bank.take, kit.rng, patch.shape
    tone = 1 + rng.beta(1, 2) * 0.09 * _furrows(kit, patch, turn, float(rng.uniform(0.3, 1.1)))
    tone += rng.uniform(0.05, 0.2) * (take("grain", shape, rng) - 0.5)
    tone += rng.uniform(0.05, 0.2) * (take("patch", shape, rng) - 0.5)
    tone -= rng.uniform(0, 0.25) * smoothstep(0.5, 0.9, take("cloud", shape, rng))
    color = np.asarray(ground.soil[0], np.float32) * tone[..., None]
    if rng.random() < 0.3:
        heaps = smoothstep(0.965, 0.985, take("clump", shape, rng, 2.5))
        color *= 1 - np.float32(0.5) * heaps[..., None]
    if rng.random() < 0.3:
        weeds = smoothstep(0.8, 0.95, take("patch", shape, rng))[..., None]
        color += (np.asarray(ground.lush, np.float32) - color) * weeds * rng.uniform(0.2, 0.7)
    return np.asarray(color, dtype=np.float32)


def _rows(kit: Kit, patch: Patch, turn: float, ground: Ground) -> Field:
    """Vegetables in rows, young or grown, on bare earth."""
    color = _bare(kit, patch, turn, ground)
    row = _furrows(kit, patch, turn, float(kit.rng.uniform(0.5, 1.3)))
    plants = kit.bank.take("clump", patch.shape, kit.rng)
    cover = smoothstep(-0.2, 0.7, (row + plants - kit.rng.uniform(-0.3, 1.0)).astype(np.float32))
    leaf = np.asarray(ground.lush, np.float32) * kit.rng.uniform(0.8, 1.25)
    green = leaf * (0.7 + 0.6 * plants)[..., None]
    return np.asarray(color + (green - color) * cover[..., None], dtype=np.float32)


def _stubble(kit: Kit, patch: Patch, turn: float, ground: Ground) -> Field:
    """Straw in streaks, after the harvest."""
    take, rng, shape = kit.bank.take, kit.rng, patch.shape
    streak = _furrows(kit, patch, turn, float(rng.uniform(0.25, 2.0)))
    straw = np.asarray(ground.dry, np.float32) * rng.uniform(1.0, 1.45)
    tone = 1 + 0.08 * streak + 0.25 * (take("grain", shape, rng) - 0.5)
    tone += 0.2 * (take("patch", shape, rng) - 0.5)
    return np.asarray(straw * tone[..., None], dtype=np.float32)


def _water(kit: Kit, patch: Patch, _turn: float, _ground: Ground) -> Field:
    """A pond or a flooded field: smooth, green, brown or as grey as the sky."""
    waters = ((0.30, 0.36, 0.26), (0.40, 0.35, 0.26), (0.52, 0.55, 0.56), (0.16, 0.20, 0.18))
    water = np.asarray(waters[kit.rng.integers(len(waters))], np.float32)
    ripple = kit.bank.take("cloud", patch.shape, kit.rng)[..., None]
    return np.asarray(water * (0.92 + 0.16 * ripple), dtype=np.float32)

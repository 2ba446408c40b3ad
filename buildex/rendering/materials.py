"""Roof materials: which colours there are, and how each looks from above."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from buildex.rendering.noise import Field, NoiseBank, smoothstep
from buildex.rendering.shapes import Color, Material, MaterialKind

RUST: Color = (0.47, 0.27, 0.17)
PAINTS: tuple[Color, ...] = (
    (0.25, 0.55, 0.72),
    (0.16, 0.42, 0.72),
    (0.62, 0.24, 0.24),
    (0.70, 0.30, 0.30),
    (0.24, 0.46, 0.36),
    (0.60, 0.70, 0.58),
    (0.45, 0.28, 0.22),
    (0.55, 0.58, 0.52),
    (0.30, 0.70, 0.85),
)
METALS: tuple[Color, ...] = (
    (0.66, 0.71, 0.75),
    (0.58, 0.62, 0.64),
    (0.76, 0.79, 0.80),
    (0.70, 0.66, 0.60),
    (0.50, 0.51, 0.49),
)
TILES: tuple[Color, ...] = (
    (0.80, 0.42, 0.26),
    (0.68, 0.36, 0.25),
    (0.52, 0.30, 0.24),
    (0.48, 0.46, 0.43),
)
SLABS: tuple[Color, ...] = (
    (0.66, 0.62, 0.57),
    (0.56, 0.54, 0.51),
    (0.74, 0.71, 0.66),
    (0.60, 0.53, 0.46),
)
THATCHES: tuple[Color, ...] = ((0.50, 0.43, 0.34), (0.42, 0.38, 0.33), (0.58, 0.50, 0.36))


TEXTURES: dict[str, MaterialKind] = {"tile": "tile", "slab": "concrete", "thatch": "thatch"}


@dataclass(frozen=True)
class Surface:
    """A roof as the painter sees it: arrays (h, w) over a window of the canvas.

    Attributes:
        along: metres along the eave.
        up: metres up the slope from the eave.
        edge: metres to the nearest ridge or hip line.
        inset: metres to the outline of the part.
    """

    along: Field
    up: Field
    edge: Field
    inset: Field


def draw_material(kind: str, rng: np.random.Generator) -> Material:
    """A material of one of the sorts `metal`, `rusty`, `painted`, `tile`, `slab`, `thatch`."""
    colors = {"metal": METALS, "rusty": METALS, "painted": PAINTS, "tile": TILES, "slab": SLABS}
    palette = colors.get(kind, THATCHES)
    tint = rng.uniform(0.9, 1.1) * rng.uniform(0.96, 1.04, size=3)
    red, green, blue = (float(v) for v in np.array(palette[rng.integers(len(palette))]) * tint)
    wear = {
        "metal": 0.25 * rng.random(),
        "rusty": rng.uniform(0.45, 1.0),
        "painted": rng.beta(1, 4),
    }
    spread = {"painted": (0.4, 12), "rusty": (1.2, 4)}.get(kind, (0.7, 7))
    texture = TEXTURES.get(kind, "iron")
    worn, patches = wear.get(kind, rng.random()), rng.beta(*spread)
    return Material(texture, (red, green, blue), float(worn), float(patches))


def painted(material: Material, surface: Surface, bank: NoiseBank, place: int) -> Field:
    """Colours (h, w, 3) of a material; `place` decides where its pattern begins."""
    textures = {
        "iron": _iron, "tile": _tile, "concrete": _concrete, "thatch": _thatch, "rubble": _rubble,
    }  # fmt: skip
    return textures[material.kind](material, surface, bank, place)


def _iron(material: Material, surface: Surface, bank: NoiseBank, place: int) -> Field:
    """Corrugated sheets: ribs up the slope, a seam between sheets, rust that runs down."""
    along, up = surface.along, surface.up
    length = 2.0 + place % 3 * 0.6
    sheet_a, sheet_u = np.floor(along / 0.76), np.floor(up / length)
    tone = bank.sample("white", sheet_a + place, sheet_u + 7 * place)
    other = bank.sample("white", sheet_a + 3 * place, sheet_u + place)
    hue = bank.sample("white", sheet_a + 5 * place, sheet_u + 2 * place)
    wear = material.wear
    color = np.asarray(material.color, np.float32) * (
        1 + (0.06 + 0.16 * material.patches + 0.08 * wear) * (tone - 0.5)[..., None]
    )
    replaced = (other < material.patches)[..., None]
    metal = np.asarray(METALS[place % len(METALS)], np.float32)
    color = np.where(replaced, metal * (0.75 + 0.45 * hue[..., None]), color)
    streaks = bank.sample("patch", along * 22 + place, up * 5 + place)
    spots = bank.sample("cloud", along * 9, up * 9 + 3 * place)
    sheet_rust = 0.5 * bank.sample("white", sheet_a + 11 * place, sheet_u)
    level = 1.15 * wear * (0.45 + 0.75 * sheet_rust) + 0.25 * (spots - 0.5)
    rusty = smoothstep(-0.12, 0.2, level - 0.9 * streaks)
    rust = np.asarray(RUST, np.float32) * (0.75 + 0.5 * hue[..., None])
    color = color + (rust - color) * (rusty * min(1.0, 1.5 * wear))[..., None]
    ribs = 0.045 * np.cos(along * (2 * np.pi / (0.19 + 0.05 * (place % 4))))
    seams = 0.12 * smoothstep(0.07, 0.0, np.abs(up - (sheet_u + 0.03) * length))
    cap = 0.09 * smoothstep(0.18, 0.08, surface.edge)
    grain = 0.05 * (bank.sample("grain", along * 20, up * 20) - 0.5)
    shade = 1 + ribs - seams * (up > 0.5) + cap + grain
    return np.asarray(color * shade[..., None], dtype=np.float32)


def _tile(material: Material, surface: Surface, bank: NoiseBank, place: int) -> Field:
    """Rows of tiles along the eave, each of its own tone, and mould in patches."""
    along, up = surface.along, surface.up
    row, column = np.floor(up / 0.34), np.floor(along / 0.27)
    tone = bank.sample("white", row + place, column)
    mould = bank.sample("patch", along * 10 + place, up * 10)
    dark = smoothstep(0.62, 0.95, mould) * material.wear
    lines = 0.13 * smoothstep(0.25, 0.0, up / 0.34 - row)
    cap = 0.12 * smoothstep(0.2, 0.08, surface.edge)
    shade = 1 + 0.18 * (tone - 0.5) - lines - 0.38 * dark + cap
    return np.asarray(np.asarray(material.color, np.float32) * shade[..., None], dtype=np.float32)


def _concrete(material: Material, surface: Surface, bank: NoiseBank, place: int) -> Field:
    """A slab: mottled, streaked black where water stands, worn paint here and there."""
    along, up = surface.along, surface.up
    mottle = bank.sample("patch", along * 8 + place, up * 8 + 5 * place)
    stain = bank.sample("cloud", along * 11 + 3 * place, up * 11)
    puddle = smoothstep(0.62 - 0.2 * material.wear, 0.95, stain) * (0.25 + 0.5 * material.wear)
    rim = 0.25 * material.wear * smoothstep(1.2, 0.2, surface.inset)
    grain = bank.sample("grain", along * 20, up * 20 + place)
    shade = 1 + 0.22 * (mottle - 0.5) + 0.1 * (grain - 0.5) - 0.6 * puddle - rim * mottle
    return np.asarray(np.asarray(material.color, np.float32) * shade[..., None], dtype=np.float32)


def _thatch(material: Material, surface: Surface, bank: NoiseBank, place: int) -> Field:
    """Straw that runs down the slope."""
    along, up = surface.along, surface.up
    straw = bank.sample("grain", along * 18 + place, up * 3)
    mottle = bank.sample("patch", along * 12, up * 12 + place)
    cap = 0.2 * smoothstep(0.35, 0.1, surface.edge)
    shade = 1 + 0.4 * (straw - 0.5) + 0.35 * (mottle - 0.5) * (0.5 + material.wear) - cap
    return np.asarray(np.asarray(material.color, np.float32) * shade[..., None], dtype=np.float32)


def _rubble(material: Material, surface: Surface, bank: NoiseBank, place: int) -> Field:
    """The floor inside walls without a roof: earth, weeds and broken blocks."""
    along, up = surface.along, surface.up
    mottle = bank.sample("patch", along * 14 + place, up * 14)
    weeds = smoothstep(0.55, 0.8, bank.sample("cloud", along * 12, up * 12 + place))
    blocks = smoothstep(0.92, 0.96, bank.sample("clump", along * 16, up * 16 + place))
    color = np.asarray(material.color, np.float32) * (0.75 + 0.5 * mottle[..., None])
    green = np.array([0.33, 0.40, 0.20], np.float32) * (0.7 + 0.6 * mottle[..., None])
    color = color + (green - color) * (weeds * material.wear)[..., None]
    pale = np.array([0.72, 0.70, 0.66], np.float32)
    return np.asarray(color + (pale - color) * (0.5 * blocks)[..., None], dtype=np.float32)

"""Kinds of towns: how dense, how regular, of what roofs, on what ground."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from buildex.rendering.shapes import Color


@dataclass(frozen=True)
class Style:
    """How a town is laid out.

    Attributes:
        spacing: metres between roads.
        road: width of a road in metres, least and most.
        plot: area of a plot in square metres.
        blocks: what blocks hold, by weight: `rows`, `plots`, `sheds`, `compound`, `field`,
            `ranges`, `tilled`, `lot`.
        built: share of the plots with a house.
        jitter: how far houses turn away from their block's axis, in radians.
        roofs: roof materials by weight.
        flats: share of concrete houses among all.
        storeys: most storeys of a house.
        trees: trees per hectare.
        green: how much of the ground is grown over, 0..1.
        paved: share of plots and yards that are paved all over.
        levels: share of the concrete houses on plots whose roof lies at several heights.
        marked: share of the roads that are of concrete slabs, with lines on them.
    """

    spacing: float
    road: tuple[float, float]
    plot: float
    blocks: Mapping[str, float]
    built: float
    jitter: float
    roofs: Mapping[str, float]
    flats: float
    storeys: int
    trees: float
    green: float
    paved: float = 0.0
    levels: float = 0.0
    marked: float = 0.0


STYLES: Mapping[str, Style] = {
    "village": Style(
        70, (2, 4), 420, {"plots": 5, "field": 3, "compound": 1, "sheds": 0.3}, 0.6, 0.35,
        {"rusty": 3, "metal": 3, "thatch": 2, "painted": 0.6}, 0.08, 1, 60, 0.65,
    ),
    "suburb": Style(
        48, (4, 7), 420, {"plots": 6, "compound": 1.2, "field": 0.7, "sheds": 0.8}, 0.85, 0.08,
        {"metal": 2.5, "painted": 2.5, "tile": 2, "rusty": 2}, 0.2, 2, 70, 0.55,
    ),
    "town": Style(
        42, (4, 8), 150, {"plots": 4, "rows": 2.5, "sheds": 1.5, "compound": 1, "field": 0.3}, 0.92,
        0.06, {"rusty": 3, "metal": 3, "painted": 3, "tile": 0.6}, 0.25, 2, 48, 0.45,
    ),
    "bazaar": Style(
        38, (3, 9), 110, {"rows": 6, "plots": 1.5, "compound": 0.7, "field": 0.6, "sheds": 0.6},
        0.95, 0.04, {"rusty": 2, "metal": 2, "painted": 2}, 0.68, 3, 20, 0.35,
    ),
    "camp": Style(
        40, (2, 4), 34, {"sheds": 7, "plots": 1, "compound": 0.4}, 0.9, 0.15,
        {"rusty": 5, "metal": 3, "painted": 1}, 0.03, 1, 22, 0.3,
    ),
    "estate": Style(
        55, (5, 9), 260, {"plots": 3, "field": 3, "compound": 0.8, "rows": 0.5}, 0.75, 0.05,
        {"metal": 2, "painted": 2, "tile": 1}, 0.6, 3, 30, 0.55,
    ),
    "barracks": Style(
        66, (5, 9), 300, {"ranges": 7, "plots": 1, "compound": 1, "field": 0.5}, 0.8, 0.05,
        {"metal": 3, "painted": 3, "tile": 2, "rusty": 0.6}, 0.15, 4, 35, 0.45, paved=0.75,
    ),
    "walled": Style(
        46, (4, 8), 330, {"plots": 6, "ranges": 1.5, "compound": 1}, 0.85, 0.07,
        {"metal": 2.5, "painted": 2, "tile": 1.5, "rusty": 1.5}, 0.3, 2, 45, 0.35, paved=0.65,
    ),
    "terraces": Style(
        52, (2, 5), 240, {"tilled": 6, "plots": 4, "rows": 0.7, "ranges": 0.5}, 0.75, 0.15,
        {"metal": 2, "painted": 2, "rusty": 1}, 0.65, 4, 22, 0.65, paved=0.2, levels=0.7,
    ),
    "roadside": Style(
        46, (4, 11), 190, {"lot": 6, "plots": 4, "rows": 2, "ranges": 1.5, "field": 0.5},
        0.85, 0.08, {"metal": 3, "painted": 2, "rusty": 2}, 0.45, 3, 22, 0.4,
        paved=0.25, levels=0.4, marked=0.6,
    ),
}  # fmt: skip
USUAL = ("village", "suburb", "town", "bazaar", "camp", "estate")  # what a seed chooses among


@dataclass(frozen=True)
class Ground:
    """Colours of a place.

    Attributes:
        soil: bare earth, in two tones.
        dry: dry grass.
        lush: green grass.
        leaf: trees.
        paving: asphalt or concrete.
    """

    soil: tuple[Color, Color]
    dry: Color
    lush: Color
    leaf: Color
    paving: Color


SOILS: tuple[tuple[Color, Color], ...] = (
    ((0.78, 0.68, 0.54), (0.66, 0.56, 0.42)),
    ((0.74, 0.47, 0.32), (0.62, 0.38, 0.26)),
    ((0.60, 0.53, 0.45), (0.50, 0.44, 0.37)),
    ((0.66, 0.60, 0.52), (0.52, 0.45, 0.38)),
    ((0.72, 0.58, 0.44), (0.58, 0.44, 0.32)),
)


def draw_ground(rng: np.random.Generator) -> Ground:
    """The colours of one place, each a little off those of any other."""

    def near(color: Color, spread: float = 0.08) -> Color:
        tint = rng.uniform(1 - spread, 1 + spread) * rng.uniform(0.97, 1.03, size=3)
        red, green, blue = (float(v) for v in np.array(color) * tint)
        return red, green, blue

    light, dark = SOILS[rng.integers(len(SOILS))]
    paving = ((0.50, 0.49, 0.49), (0.66, 0.62, 0.57))[rng.integers(2)]
    return Ground(
        soil=(near(light), near(dark)),
        dry=near((0.53, 0.50, 0.36)),
        lush=near((0.35, 0.44, 0.23), 0.15),
        leaf=near((0.27, 0.37, 0.19), 0.15),
        paving=near(paving),
    )


def pick(weights: Mapping[str, float], rng: np.random.Generator) -> str:
    """One of the names, by weight."""
    values = np.array(list(weights.values()), dtype=float)
    return str(rng.choice(list(weights), p=values / values.sum()))

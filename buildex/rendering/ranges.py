"""Long houses round yards: barracks, schools, blocks of flats and their car parks.

What stands between them has straight edges on all sides, and is no roof.
"""

from __future__ import annotations

import numpy as np
import shapely

from buildex.geo.footprints import repaired
from buildex.rendering.houses import range_roof
from buildex.rendering.plan import Plan, axis_of
from buildex.rendering.plots import extent, plots_of
from buildex.rendering.shapes import Rect, assembled, placement
from buildex.rendering.styles import Style

GROUP = 1500.0  # square metres of a yard with its houses
SMALLEST = 20.0  # metres across, under which there is room for one house and no yard
NARROWEST = 3.0  # metres across a house


def build_ranges(
    plan: Plan, block: shapely.Polygon, style: tuple[Style, float], rng: np.random.Generator
) -> None:
    """Build a block over with groups of houses that look alike; `style` is how, how densely."""
    look, density = style
    for plot in plots_of(block, GROUP / density, rng):
        axis, (long, short) = axis_of(plot), extent(plot)
        spec = range_roof(look, rng)
        middle = plot.centroid.x, plot.centroid.y
        matrix = placement(middle, axis, float(rng.normal(0, 0.01)), (long / 2, short / 2))
        for rect in _sides(long - 3, short - 3, rng):
            x0, y0, x1, y1 = (round(v + 1.5, 2) for v in rect)
            house = assembled([(0, 0, round(x1 - x0, 2), round(y1 - y0, 2))], spec)
            there = matrix.copy()
            there[:, 2] += matrix[:, :2] @ [x0, y0]
            moved = house.moved(there)
            if plot.contains(moved.polygon) and plan.fits(moved.polygon, 0.4):
                plan.add(moved)
        if rng.random() < look.paved:
            inner = plot.buffer(-float(rng.uniform(0.6, 2.5)), join_style="mitre")
            plan.pavements += repaired(inner)
        if rng.random() < 0.4:
            plan.walls += [part.exterior for part in repaired(plot.buffer(-0.3))]


def _sides(width: float, depth: float, rng: np.random.Generator) -> list[Rect]:
    """Rectangles along the sides of a yard of so many metres, or one where it is narrow.

    None is narrower than `NARROWEST`: where there is no room for one, none stands.
    """
    thick = float(rng.uniform(6, 12))
    if min(width, depth) < SMALLEST:
        return [rect for rect in [(0.0, 0.0, width, min(depth, thick))] if _wide_enough(rect)]
    thick = min(thick, min(width, depth) / 3)
    gap = float(rng.uniform(0.8, 5))
    start, end = thick + gap, depth - thick - gap
    every: list[Rect] = [
        (0, 0, width, thick),
        (0, depth - thick, width, depth),
        (0, start, thick, end),
        (width - thick, start, width, end),
    ]
    chosen = [rect for rect in every if rng.random() < 0.72]
    return [r for rect in chosen or every[:1] if _wide_enough(r := _shortened(rect, rng))]


def _wide_enough(rect: Rect) -> bool:
    x0, y0, x1, y1 = rect
    return min(x1 - x0, y1 - y0) >= NARROWEST


def _shortened(rect: Rect, rng: np.random.Generator) -> Rect:
    """A rectangle whose longer sides end somewhat earlier, now and then."""
    x0, y0, x1, y1 = rect
    first, last = (float(v) for v in rng.beta(0.5, 3, 2) * 0.5)
    if x1 - x0 >= y1 - y0:
        return x0 + first * (x1 - x0), y0, x1 - last * (x1 - x0), y1
    return x0, y0 + first * (y1 - y0), x1, y1 - last * (y1 - y0)

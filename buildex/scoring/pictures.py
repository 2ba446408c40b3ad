"""The worst tiles of some scenes, as pictures: truth, prediction, and both."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.footprints import Polygons, to_rings
from buildex.geo.judging import Comparison
from buildex.io.crs import WGS84, reprojected
from buildex.io.snapshots import Snapshots

SHOWN = 6
UNITS = 512  # of a picture's side, in the drawing


class WorstTile(NamedTuple):
    """A tile of a scene, and what is wrong with it."""

    comparison: Comparison
    mosaic: Path | None
    block: int
    missed_m2: float
    false_m2: float


def worst_tiles(
    comparisons: Sequence[Comparison], mosaics: Sequence[Path | None], fair: bool
) -> list[WorstTile]:
    """The tiles with most area that is wrong, at most `SHOWN`, worst first.

    Args:
        comparisons: the scenes.
        mosaics: the imagery of each.
        fair: whether the truth has no holes; if it has, only what was missed is wrong.
    """
    found = []
    for comparison, mosaic in zip(comparisons, mosaics, strict=True):
        pixel = comparison.rules.gsd**2
        for block, tile in zip(comparison.tile_places, comparison.tiles, strict=True):
            missed, false = tile.pixels.fn * pixel, tile.pixels.fp * pixel
            found.append(WorstTile(comparison, mosaic, int(block), missed, false))
    found.sort(key=lambda tile: -(tile.missed_m2 + tile.false_m2 * fair))
    return [tile for tile in found if tile.missed_m2 + tile.false_m2 * fair > 0][:SHOWN]


def picture(tile: WorstTile, number: int) -> str:
    """A tile as HTML: three drawings over one picture of the ground, and what is wrong."""
    c = tile.comparison
    side = c.blocks.side
    x, y = (float(v) for v in c.blocks.cells[tile.block] * side)
    ground = "" if tile.mosaic is None else _ground(tile.mosaic, c.scene.crs, side, (x, y), number)
    draw = _Drawing(x, y, side)
    at = c.paired
    found, real = c.scene.predictions, c.scene.truth
    truth = draw.paths(real, "truth")
    both = [
        draw.paths(found[at.predictions], "found"), draw.paths(found[at.false], "false"),
        draw.paths(real[at.missed], "missed"), draw.paths(real[at.truths], "thin"),
    ]  # fmt: skip
    views = [
        ("both", "both", "".join(both)),
        ("truth", "truth", truth),
        ("prediction", "prediction", draw.paths(found, "predicted")),
    ]
    shown = "".join(_view(kind, label, ground, inside, number) for kind, label, inside in views)
    return (
        f'<figure class="tile">{_symbol(ground)}<div class="views">{shown}</div>'
        f"{_caption(tile, (x, y))}</figure>"
    )


def _ground(mosaic: Path, crs: str, side: float, corner: tuple[float, float], number: int) -> str:
    uri = Snapshots(mosaic, crs, side).of(*corner)
    return (
        f'<image id="ground{number}" width="{UNITS}" height="{UNITS}"'
        f' preserveAspectRatio="none" href="{uri}"/>'
    )


def _symbol(ground: str) -> str:
    """The picture itself, once: the views point at it."""
    return f'<svg class="store" aria-hidden="true"><defs>{ground}</defs></svg>' if ground else ""


def _view(kind: str, label: str, ground: str, inside: str, number: int) -> str:
    below = f'<use href="#ground{number}"/>' if ground else ""
    return (
        f'<div class="view {kind}"><svg viewBox="0 0 {UNITS} {UNITS}" role="img">'
        f"<title>{escape(label)}</title>{below}{inside}</svg><span>{escape(label)}</span></div>"
    )


def _caption(tile: WorstTile, corner: tuple[float, float]) -> str:
    c = tile.comparison
    middle = np.array([corner]) + c.blocks.side / 2
    lon, lat = reprojected(middle, c.scene.crs, WGS84)[0]
    counts = {
        "missed": int((c.place_t[c.paired.missed] == tile.block).sum()),
        "false": int((c.place_p[c.paired.false] == tile.block).sum()),
        "found": int((c.place_t[c.paired.truths] == tile.block).sum()),
    }
    words = ", ".join(f"{number} {name}" for name, number in counts.items())
    return (
        f"<figcaption><strong>{escape(c.scene.name)}</strong>"
        f" <span>{lat:.5f}, {lon:.5f}</span><br>{words};"
        f" {tile.missed_m2:,.0f} m² missed, {tile.false_m2:,.0f} m² false</figcaption>"
    )


class _Drawing:
    """Polygons as SVG paths in the square whose corner of least x and y is given."""

    def __init__(self, x: float, y: float, side: float) -> None:
        self._box = shapely.box(x, y, x + side, y + side)
        self._origin, self._scale = np.array([x, y + side]), UNITS / side * np.array([1.0, -1.0])

    def paths(self, polygons: Polygons, kind: str) -> str:
        """Those that touch the square, in one class."""
        near = polygons[shapely.intersects(polygons, self._box)]
        if not len(near):
            return ""
        rings = [ring for polygon in near for ring in to_rings(polygon)]
        return f'<path class="{kind}" d="{"".join(map(self._ring, rings))}"/>'

    def _ring(self, ring: NDArray[np.float64]) -> str:
        points = (ring - self._origin) * self._scale
        return f"M{'L'.join(f'{x:.0f} {y:.0f}' for x, y in points)}Z"

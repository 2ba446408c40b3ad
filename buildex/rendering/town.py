"""A drawn town: its settings, its mosaic, its footprints, its files."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from buildex.errors import ConfigError, OutputError
from buildex.geo.footprints import Footprints, to_polygon
from buildex.geo.grid import Grid
from buildex.geo.rings import Rings, oriented, transformed
from buildex.io.output import check_output
from buildex.io.raster import write_mosaic
from buildex.io.vector import write_footprints
from buildex.rendering.canvas import Canvas
from buildex.rendering.cars import paint_cars
from buildex.rendering.clutter import (
    furnish_roof,
    paint_litter,
    paint_rubble,
    paint_walls,
)
from buildex.rendering.decoys import paint_decoys
from buildex.rendering.ground import paint_ground
from buildex.rendering.layout import lay_out
from buildex.rendering.light import draw_camera, draw_sun, lit, photographed, shadows
from buildex.rendering.lots import paint_lots, pave_lots
from buildex.rendering.markings import mark_roads
from buildex.rendering.noise import NoiseBank
from buildex.rendering.pavements import paint_pavements
from buildex.rendering.plan import Plan
from buildex.rendering.plants import paint_tree
from buildex.rendering.roofs import Kit, paint_building
from buildex.rendering.styles import STYLES, USUAL, Style, draw_ground

# Towns lie near Zanzibar, seeds that are near one another at places of their own.
CRS = "EPSG:32737"
DECOYS = 20  # things that look like roofs, per hectare
ORIGIN = (525_000.0, 9_318_000.0)
FEWEST, MOST = 8, 20_000  # pixels a side
DENSEST = 10.0  # how closely houses may be asked to stand
FILES = ("mosaic.tif", "buildings.geojson", "aoi.geojson")

StyleName = Literal[
    "any",
    "village",
    "suburb",
    "town",
    "bazaar",
    "camp",
    "estate",
    "barracks",
    "walled",
    "terraces",
    "roadside",
]


@dataclass(frozen=True, kw_only=True)
class RenderConfig:
    """How to draw a town."""

    seed: int = field(default=0, metadata={"help": "Which town; the same seed, the same bytes."})
    width: float = field(default=120.0, metadata={"help": "Metres from west to east."})
    height: float = field(default=120.0, metadata={"help": "Metres from north to south."})
    gsd: float = field(default=0.10, metadata={"help": "Ground sample distance in metres."})
    style: StyleName = field(
        default="any",
        metadata={"help": f"Kind of town; `any` lets the seed choose of {', '.join(USUAL)}."},
    )
    density: float = field(
        default=1.0,
        metadata={
            "help": "How closely houses stand: 1 is usual for the style, "
            f"{DENSEST:g} the most, as far as there is room."
        },
    )

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"a seed of {self.seed}", hint="use 0 or more")
        if not 0 < self.gsd < math.inf:
            raise ConfigError(f"a gsd of {self.gsd}", hint="use metres a pixel, such as 0.1")
        if not 0 < self.density <= DENSEST:
            raise ConfigError(
                f"a density of {self.density}", hint=f"use more than 0, up to {DENSEST:g}"
            )
        for side in (self.width, self.height):
            if not FEWEST <= side / self.gsd <= MOST:
                raise ConfigError(
                    f"a town of {self.width} x {self.height} m in pixels of {self.gsd} m",
                    hint=f"use {FEWEST} to {MOST} pixels a side",
                )


@dataclass(frozen=True)
class RenderedTown:
    """A mosaic and the exact footprints of its roofs.

    Attributes:
        image: (H, W, 3).
        grid: where the pixels lie.
        polygons: one per building, in pixels; those at the edge reach past the mosaic.
    """

    image: NDArray[np.uint8]
    grid: Grid
    polygons: tuple[Rings, ...]

    @property
    def footprints(self) -> Footprints:
        """The polygons on the ground."""
        ground = [tuple(self.grid.to_ground(r) for r in rings) for rings in self.polygons]
        shapes = np.array([to_polygon(rings) for rings in ground], dtype=object)
        return Footprints(shapes, self.grid.crs, {"building": np.full(len(shapes), "yes")})


def render_town(config: RenderConfig) -> RenderedTown:
    """Draw a town, from its plan to the photograph."""
    rng = np.random.default_rng(config.seed)
    chosen = str(rng.choice(USUAL))
    style = STYLES[chosen if config.style == "any" else config.style]
    columns, rows = round(config.width / config.gsd), round(config.height / config.gsd)
    plan = lay_out((columns * config.gsd, rows * config.gsd), style, config.density, rng)
    kit = Kit(Canvas(columns, rows, config.gsd), draw_sun(rng), NoiseBank(rng), rng)
    _paint(kit, plan, style)
    hidden = shadows(kit.canvas.height, kit.sun, kit.canvas.scale)
    color = kit.canvas.developed(lit(kit.canvas.color, hidden, kit.sun))
    image = photographed(color, draw_camera(rng), kit.bank, rng)
    grid = _place(config.seed, config.gsd, (columns, rows))
    return RenderedTown(image, grid, _outlines(plan, grid))


def make_folder(folder: Path, *, overwrite: bool = False) -> None:
    """Make the folder of a town, if it is missing, and see that a town can be written there.

    Raises:
        OutputError: if a file of a town exists already, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"folder `{folder}` cannot be made: {error.strerror}", hint="write elsewhere"
        ) from error
    for name in FILES:
        check_output(folder / name, overwrite)


def write_town(folder: Path, town: RenderedTown, *, overwrite: bool = False) -> None:
    """Write `mosaic.tif`, `buildings.geojson` and `aoi.geojson` into a folder, made if missing.

    Raises:
        OutputError: if one of them exists already, or the folder cannot be written.
    """
    make_folder(folder, overwrite=overwrite)
    write_mosaic(folder / "mosaic.tif", town.image, town.grid)
    write_footprints(folder / "buildings.geojson", town.footprints, overwrite=overwrite)
    extent = np.array([shapely.box(*town.grid.bounds)], dtype=object)
    aoi = Footprints(extent, town.grid.crs)
    write_footprints(folder / "aoi.geojson", aoi, overwrite=overwrite)


def _paint(kit: Kit, plan: Plan, style: Style) -> None:
    """From the ground up: what is painted later lies on top."""
    ground = draw_ground(kit.rng)
    hectares = plan.width * plan.height / 1e4
    paint_ground(kit, plan, ground, style)
    mark_roads(kit, plan)
    pave_lots(kit, plan)
    paint_pavements(kit, plan)
    paint_decoys(kit, plan, ground, int(kit.rng.poisson(DECOYS * hectares)))
    paint_walls(kit, plan)
    paint_rubble(kit, plan, int(kit.rng.poisson(10 * hectares)))
    paint_litter(kit, plan, int(kit.rng.poisson(140 * hectares + 3 * len(plan.buildings))))
    paint_lots(kit, plan)
    paint_cars(kit, plan)
    for building in plan.buildings:
        paint_building(kit, building)
        furnish_roof(kit, building)
    for tree in plan.trees:
        paint_tree(kit, tree, ground.leaf)


def _place(seed: int, gsd: float, size: tuple[int, int]) -> Grid:
    east = ORIGIN[0] + 1000.0 * (seed % 40)
    north = ORIGIN[1] + 1000.0 * (seed // 40 % 40)
    return Grid(CRS, Affine(gsd, 0, east, 0, -gsd, north), *size)


def _outlines(plan: Plan, grid: Grid) -> tuple[Rings, ...]:
    """Outlines in pixels of the buildings that the mosaic shows, if only in part."""
    scale = np.array([[1 / grid.gsd, 0, 0], [0, 1 / grid.gsd, 0]])
    frame = shapely.box(0, 0, plan.width, plan.height)
    seen = [b for b in plan.buildings if b.polygon.intersection(frame).area > 0.2]
    return tuple(oriented(transformed(b.rings, scale)) for b in seen)

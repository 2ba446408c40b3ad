"""Compare predicted buildings with true ones: pixels, instances and shapes.

Everything is measured in ground metres, in the UTM zone of the scene's centre, whatever
the files' own coordinate systems are: web-mercator metres are too long away from the
equator. Pixels are drawn block by block, so memory does not depend on the area.
`docs/metrics.md` states every definition; `geo.matching` says which buildings count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely

from buildex.config import Track, silent
from buildex.errors import ConfigError, VectorError
from buildex.geo import measures
from buildex.geo.boxes import PixelBox
from buildex.geo.drawing import Layer
from buildex.geo.figures import (
    BuildingFigures,
    PixelFigures,
    ShapeFigures,
    building_figures,
    shape_figures,
)
from buildex.geo.footprints import Footprints, Polygons
from buildex.geo.grid import Grid, snapped_grid
from buildex.geo.matching import inside, overlap_area, pair
from buildex.geo.measures import PixelCounts, Ssim
from buildex.io.crs import WGS84, metric
from buildex.io.vector import RepairCounts, read_area, read_footprints

SECTIONS = (PixelFigures, BuildingFigures, ShapeFigures)


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """How to compare predictions with truth."""

    gsd: float = field(
        default=0.10, metadata={"help": "Side of a pixel in metres, for the pixel measures."}
    )
    iou: float = field(default=0.5, metadata={"help": "Least IoU at which two buildings pair."})
    block: float = field(
        default=51.2, metadata={"help": "Side of a tile in metres, for the means over tiles."}
    )
    fail_under: dict[str, float] = field(
        default_factory=dict,
        metadata={
            "help": "Exit with 3 where a figure of the JSON is lower, such as f1_50=.6; repeatable."
        },
    )

    def __post_init__(self) -> None:
        if not self.gsd > 0:
            raise ConfigError(f"`gsd` is {self.gsd}", hint="use metres per pixel, such as 0.1")
        if not 0 < self.iou <= 1:
            raise ConfigError(f"`iou` is {self.iou}", hint="use a number above 0, up to 1")
        if not measures.SSIM_WINDOW <= self.block_pixels <= 8192:
            raise ConfigError(
                f"`block` is {self.block:g} m, {self.block_pixels} pixels of {self.gsd:g} m",
                hint=f"use {measures.SSIM_WINDOW} to 8192 pixels",
            )
        unknown = sorted(set(self.fail_under) - set(self.figure_names))
        if unknown:
            raise ConfigError(
                f"`fail_under` names no figure `{unknown[0]}`",
                hint=f"figures are {', '.join(self.figure_names)}",
            )

    @property
    def block_pixels(self) -> int:
        """Side of a tile in pixels."""
        return round(self.block / self.gsd)

    @property
    def figure_names(self) -> list[str]:
        """Names of all figures of a report."""
        return [self.figure_name(spec) for section in SECTIONS for spec in fields(section)]

    def figure_name(self, spec: Field[Any]) -> str:
        """Name of a figure in JSON and in `fail_under`: `f1_50` is F1 at an IoU of 0.50."""
        return f"{spec.name}_{self.iou * 100:g}" if spec.metadata["at_iou"] else spec.name


@dataclass(frozen=True)
class ScoreReport:
    """What a comparison found; its text and its JSON come from here.

    Attributes:
        predictions: how many predicted buildings touch the area.
        truth: how many true ones do.
        area: size of the area in m2.
        crs: the metric system in which it was measured.
        labels: what became of the features of the file of true buildings.
    """

    config: ScoreConfig
    predictions: int
    truth: int
    area: float
    crs: str
    pixels: PixelFigures
    buildings: BuildingFigures
    shapes: ShapeFigures
    labels: RepairCounts = field(default_factory=RepairCounts)

    @property
    def sections(self) -> tuple[Any, ...]:
        """The figures in the order of `SECTIONS`."""
        return self.pixels, self.buildings, self.shapes

    @property
    def figures(self) -> dict[str, float]:
        """Every figure by name; NaN where there was nothing to measure."""
        return {
            self.config.figure_name(spec): float(getattr(section, spec.name))
            for section in self.sections
            for spec in fields(section)
        }

    @property
    def failures(self) -> list[str]:
        """One line for each figure that does not reach `fail_under`; NaN reaches nothing."""
        figures = self.figures
        return [
            f"{name} is {figures[name]:.4g}, below {limit:g}"
            for name, limit in self.config.fail_under.items()
            if not figures[name] >= limit
        ]

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON; None where there was nothing to measure."""
        known = {name: None if math.isnan(v) else v for name, v in self.figures.items()}
        return {
            "gsd_m": self.config.gsd,
            "iou": self.config.iou,
            "tile_m": self.config.block,
            "crs": self.crs,
            "area_m2": self.area,
            "predicted_buildings": self.predictions,
            "true_buildings": self.truth,
            "labels": asdict(self.labels),
            "figures": known,
        }

    def text(self) -> str:
        """The report as a table."""
        c = self.config
        heads = (f"pixels of {c.gsd:g} m", f"buildings at IoU {c.iou:g}", "shapes")
        lines = [
            f"{self.predictions} predicted and {self.truth} true buildings"
            f" in {self.area:,.0f} m2 ({self.crs})"
        ]
        lines += [f"labels: {self.labels.text()}"] if self.labels.text() else []
        for head, section in zip(heads, self.sections, strict=True):
            lines += ["", head]
            for spec in fields(section):
                value = _worded(getattr(section, spec.name), spec.metadata["unit"])
                lines.append(f"  {spec.metadata['label']:<46}{value}")
        return "\n".join(lines)


def _worded(value: float, unit: str) -> str:
    if math.isnan(value):
        return "       -"
    if unit == "count":
        return f"{value:8,.0f}"
    return f"{value:8.3f} {unit}".rstrip()


def score(
    predictions: Path,
    truth: Path,
    config: ScoreConfig,
    aoi: Path | None = None,
    track: Track = silent,
    onto: Callable[[Footprints], Footprints] | None = None,
) -> ScoreReport:
    """Compare a file of predicted buildings with a file of true ones.

    Args:
        predictions: vector file in any CRS.
        truth: vector file in any CRS.
        config: resolution and thresholds.
        aoi: file with the area in which every true building is drawn; without it the area
            is the box around both layers, in which false positives far from truth count.
        track: progress over the blocks of pixels.
        onto: moves the true buildings onto the imagery, where they lie off it.

    Raises:
        VectorError: if a file cannot be used, or no building lies in the area.
    """
    crs = _metric_crs(truth, predictions, aoi)
    found, mended = read_footprints(predictions, target_crs=crs)
    real, labels = read_footprints(truth, target_crs=crs)
    if onto is not None:
        real = onto(real)
    both = np.concatenate([found.polygons, real.polygons])
    area = read_area(aoi, crs) if aoi is not None else shapely.box(*shapely.total_bounds(both))
    if len(both) and not shapely.intersects(area, both).any():
        raise VectorError(
            f"no building of `{predictions}` or `{truth}` lies in `{aoi}`",
            hint="check that they show the same place, and their coordinate systems",
        )
    report = compare(
        Scene(found.polygons, real.polygons, area, crs),
        config,
        mended.repaired + mended.dropped,
        track=track,
    )
    return replace(report, labels=labels)


class Scene(NamedTuple):
    """Two layers and the area in which they are compared, in metres of one metric CRS."""

    predictions: Polygons
    truth: Polygons
    area: shapely.Geometry
    crs: str


def compare(
    scene: Scene, config: ScoreConfig, invalid: int = 0, track: Track = silent
) -> ScoreReport:
    """Compare two layers in memory.

    Args:
        scene: valid polygons in metres.
        config: resolution and thresholds.
        invalid: how many predictions had to be repaired.
        track: progress over the blocks of pixels.
    """
    predictions, truth = inside(scene.predictions, scene.area), inside(scene.truth, scene.area)
    pairing = pair(predictions, truth, config.iou)
    return ScoreReport(
        config=config,
        predictions=int(np.count_nonzero(predictions.share)),
        truth=int(np.count_nonzero(truth.share)),
        area=float(scene.area.area),
        crs=scene.crs,
        pixels=_pixel_figures(scene, config, track),
        buildings=building_figures(pairing, overlap_area(predictions.polygons), invalid),
        shapes=shape_figures(scene.predictions, scene.truth, (predictions, truth), pairing),
    )


def _metric_crs(truth: Path, predictions: Path, aoi: Path | None) -> str:
    """The UTM zone of the centre of the area, or of the first layer that has buildings."""
    if aoi is not None:
        middle = read_area(aoi, WGS84).centroid
        return metric(WGS84, (middle.x, middle.y))
    for path in (truth, predictions):
        polygons = read_footprints(path, target_crs=WGS84)[0].polygons
        if len(polygons):
            west, south, east, north = shapely.total_bounds(polygons)
            return metric(WGS84, ((west + east) / 2, (south + north) / 2))
    raise VectorError(
        f"no buildings in `{truth}` nor in `{predictions}`",
        hint="check the files, or say with `--aoi FILE` where to look",
    )


def _pixel_figures(scene: Scene, config: ScoreConfig, track: Track) -> PixelFigures:
    """Pooled counts, and the mean of tiles weighted by what the area leaves of them."""
    counts, similarity = PixelCounts(), Ssim()
    tile_iou, weight = 0.0, 0
    blocks = list(_blocks(scene.area, scene.crs, config))
    predictions, truth, area = (
        Layer(polygons) for polygons in (scene.predictions, scene.truth, np.array([scene.area]))
    )
    for block in track(blocks, total=len(blocks), label="scoring"):
        p, t, valid = predictions.draw(block), truth.draw(block), area.draw(block)
        tile = measures.pixel_counts(p, t, valid)
        counts += tile
        similarity += measures.ssim(p, t, valid)
        if tile.tp + tile.fp + tile.fn:
            pixels = int(np.count_nonzero(valid))
            tile_iou, weight = tile_iou + tile.iou * pixels, weight + pixels
    return PixelFigures(
        pixel_iou=counts.iou,
        pixel_iou_tiles=measures.ratio(tile_iou, weight),
        pixel_iou_classes=counts.mean_iou,
        pixel_f1=counts.f1,
        pixel_precision=counts.precision,
        pixel_recall=counts.recall,
        ssim=similarity.value,
    )


def _blocks(area: shapely.Geometry, crs: str, config: ScoreConfig) -> Iterator[Grid]:
    """The tiles (multiples of their side in the CRS) that touch the area."""
    side = config.block_pixels
    grid = snapped_grid(crs, area.bounds, config.gsd, side)
    shapely.prepare(area)
    for y in range(0, grid.height, side):
        for x in range(0, grid.width, side):
            block = grid.crop(PixelBox(x, y, x + side, y + side))
            if area.intersects(shapely.box(*block.bounds)):
                yield block

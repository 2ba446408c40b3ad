"""Sheets of the fifty buildings of each scene that the geometry serves worst, to be looked at.

    python benchmarks/worst.py OUT --data ../shared/data [--scenes zanzibar ...] [--grouping paper]

An oracle stands in the network's place, as in `oracle.py`. Each building is drawn twice over
the mosaic: left the label (green) and what the grouping made (red), right the label and what
predict delivers (red), squared and with shared walls. Under it: IoU, vertices of the label,
of the left and of the right outline. The worst come first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from oracle import Blank, Labels
from PIL import Image, ImageDraw

from buildex.geo.boxes import PixelBox
from buildex.geo.finishing import vertex_counts
from buildex.geo.keypoints import RoiCodec
from buildex.geo.oracle import Oracle
from buildex.io.raster import Mosaic
from buildex.predicting import PredictConfig, buildings_of, look

CELL = 170  # pixels of one picture; a building has two, side by side
COLUMNS, SHOWN = 5, 50
GREEN, RED = (60, 255, 60), (255, 40, 40)
Polygons = NDArray[np.object_]


def main() -> None:
    """Draw a sheet for each scene."""
    parser = argparse.ArgumentParser(description="Draw the worst buildings of each scene.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--scenes", nargs="*", help="names; all of train by default")
    parser.add_argument("--grouping", default="contour", choices=["contour", "paper", "mask"])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for path in sorted(given.data.glob("train/*/mosaic.tif")):
        if not given.scenes or path.parent.name in given.scenes:
            sheet(path, given.grouping).save(given.out / f"{path.parent.name}.png")
            print(f"{path.parent.name}.png", flush=True)


def sheet(mosaic_path: Path, grouping: str) -> Image.Image:
    """The worst buildings of one scene."""
    labels = Labels(mosaic_path.parent)
    plain = PredictConfig(grouping=grouping, regularize="none", min_area=0.5)
    final = PredictConfig(grouping=grouping, min_area=0.5)
    seen = look(Blank(labels.grid), Oracle.of_polygons(labels.pixels, RoiCodec()), plain)
    layers = [
        shapely.transform(buildings_of(seen, config).polygons, labels.grid.to_pixel)
        for config in (plain, final)
    ]
    inside = np.flatnonzero(shapely.contains(labels.area, shapely.centroid(labels.polygons)))
    (before, _), (after, iou) = (best_of(labels.pixels, layer) for layer in layers)
    worst = inside[np.argsort(iou[inside], kind="stable")][:SHOWN]
    rows = -(-len(worst) // COLUMNS)
    out = Image.new("RGB", (COLUMNS * (2 * CELL + 6), rows * (CELL + 18)), "white")
    with Mosaic.open(mosaic_path) as mosaic:
        for k, name in enumerate(worst):
            shown = [labels.pixels[name], before[name], after[name]]
            corner = (k % COLUMNS * (2 * CELL + 6), k // COLUMNS * (CELL + 18))
            draw_one(out, mosaic, shown, iou[name], corner)
    return out


def best_of(truth: Polygons, found: Polygons) -> tuple[Polygons, NDArray[np.float64]]:
    """For each label (N,) the polygon of the highest IoU, or None, and that IoU."""
    best, iou = np.full(len(truth), None, dtype=object), np.zeros(len(truth))
    i, j = shapely.STRtree(found).query(truth, predicate="intersects")
    both = shapely.area(shapely.intersection(truth[i], found[j]))
    values = both / (shapely.area(truth[i]) + shapely.area(found[j]) - both)
    for a, b, value in zip(i, j, values, strict=True):
        if value > iou[a]:
            best[a], iou[a] = found[b], value
    return best, iou


def draw_one(
    out: Image.Image,
    mosaic: Mosaic,
    shown: list[shapely.Polygon],
    iou: float,
    corner: tuple[int, int],
) -> None:
    """One building: label, before and after, over the mosaic."""
    x0, y0, x1, y1 = shown[0].bounds
    side = 1.3 * max(x1 - x0, y1 - y0, 20)
    left, top = (x0 + x1 - side) / 2, (y0 + y1 - side) / 2
    box = PixelBox(int(left), int(top), int(left + side) + 1, int(top + side) + 1)
    picture = Image.fromarray(mosaic.read(box)[0]).resize((CELL, CELL), Image.Resampling.BICUBIC)
    scale = CELL / box.width
    for k, polygon in enumerate(shown[1:]):
        cell = picture.copy()
        draw = ImageDraw.Draw(cell)
        for shape, colour, width in ((shown[0], GREEN, 3), (polygon, RED, 1)):
            for ring in [] if shape is None else shapely.get_rings(shape):
                points = (shapely.get_coordinates(ring) - (box.x0, box.y0)) * scale
                draw.line([tuple(p) for p in points], fill=colour, width=width)
                if colour == RED:
                    for x, y in points:
                        draw.rectangle((x - 1, y - 1, x + 1, y + 1), fill=colour)
        out.paste(cell, (corner[0] + k * CELL, corner[1]))
    counts = [0 if p is None else int(vertex_counts(np.array([p]))[0]) for p in shown]
    text = f"IoU {iou:.3f}   {counts[0]} > {counts[1]} > {counts[2]}"
    ImageDraw.Draw(out).text((corner[0] + 4, corner[1] + CELL + 2), text, fill="black")


if __name__ == "__main__":
    main()

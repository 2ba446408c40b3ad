"""Regularizing judged on real labels with noise put on them, beside buildingregulariser.

    python benchmarks/regularize.py --data ../shared/data

The peer's row is skipped where it is not installed. To have it:
    pip install --no-deps --target PEER buildingregulariser
    PYTHONPATH=PEER python benchmarks/regularize.py --data ../shared/data

Three kinds of noise: `corners` moves each corner (what a keypoint network does), `jitter`
moves points that lie every half metre, `mask` draws the jittered outline on pixels of 10-20 cm and
takes their stair-stepped outline. Ours are at the tolerance and step with which `buildex predict`
draws on pixels of 10 cm, unless others are given. All rows of a table come from one run and one
core; seconds are processor time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import geopandas
import numpy as np
import rasterio.features
import rasterio.transform
import shapely
from numpy.typing import NDArray

from buildex.geo.axes import squareness
from buildex.geo.footprints import repaired, to_rings
from buildex.geo.measures import polis
from buildex.geo.regularize import Method, Regularizing, regularize
from buildex.predicting import PredictConfig

Polygons = NDArray[np.object_]
SHIPPED = PredictConfig().finishing(gsd=0.1).regularizing
ROWS = "banepa-centre"  # the scene whose houses stand wall to wall
HEADS = (
    ("method", 28), ("IoU", 7), ("PoLiS m", 8), ("vertices", 9), ("square", 7),
    ("overlap m2", 11), ("farthest m", 11), ("polygons/s", 11),
)  # fmt: skip


def main() -> None:
    """Read the arguments, print a table for each kind of noise."""
    parser = argparse.ArgumentParser(description="Compare ways to regularize outlines.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--tolerance", type=float, default=SHIPPED.tolerance, help="metres")
    parser.add_argument("--step", type=float, default=SHIPPED.step, help="metres")
    parser.add_argument("--limit", type=int, default=None, help="buildings per scene, at most")
    parser.add_argument("--noise", nargs="+", default=list(NOISES), choices=list(NOISES))
    given = parser.parse_args()
    truth, scenes = labels(given.data, given.limit)
    for name in given.noise:
        rng = np.random.default_rng(0)
        noisy = as_array([NOISES[name](polygon, rng) for polygon in truth])
        print(f"\n{name}: {len(truth)} buildings; true square edges {mean(squareness(truth)):.3f}")
        print("".join(head.rjust(width) for head, width in HEADS))
        for label, method in methods(given.tolerance, given.step).items():
            start = time.process_time()
            result = method(noisy)
            seconds = time.process_time() - start
            print(row(label, (truth, noisy, result), scenes == ROWS, seconds), flush=True)


def labels(data: Path, limit: int | None) -> tuple[Polygons, NDArray[np.str_]]:
    """All labelled buildings in metres of their own UTM zone, and their scenes."""
    polygons, scenes = [], []
    for path in sorted(data.glob("*/*/buildings.geojson")):
        layer = geopandas.read_file(path)
        layer = layer.to_crs(layer.estimate_utm_crs())
        parts = [part for shape in layer.geometry[:limit] for part in repaired(shape)[:1]]
        polygons += parts
        scenes += [path.parent.name] * len(parts)
    return as_array(polygons), np.array(scenes)


def corners(polygon: shapely.Polygon, rng: np.random.Generator) -> shapely.Polygon:
    """Each corner moved by a normal error of 0.15 to 0.3 m in x and y."""
    points = shapely.get_coordinates(polygon.exterior)[:-1]
    moved = shapely.Polygon(points + rng.normal(0, rng.uniform(0.15, 0.3), points.shape))
    return (repaired(moved) or [polygon])[0]


def jitter(polygon: shapely.Polygon, rng: np.random.Generator) -> shapely.Polygon:
    """Points every half metre moved anywhere by at most 0.15 to 0.3 m."""
    points = shapely.get_coordinates(shapely.segmentize(polygon.exterior, 0.5))[:-1]
    angle, length = rng.uniform(0, 2 * np.pi, len(points)), np.sqrt(rng.random(len(points)))
    step = rng.uniform(0.15, 0.3) * length * [np.cos(angle), np.sin(angle)]
    return (repaired(shapely.Polygon(points + step.T)) or [polygon])[0]


def mask(polygon: shapely.Polygon, rng: np.random.Generator) -> shapely.Polygon:
    """The largest patch of the pixels of 10 to 20 cm that a jittered outline covers."""
    moved, pixel = jitter(polygon, rng), rng.uniform(0.1, 0.2)
    x0, y0, x1, y1 = moved.bounds
    shape = (int((y1 - y0) / pixel) + 3, int((x1 - x0) / pixel) + 3)
    transform = rasterio.transform.from_origin(x0 - pixel, y1 + pixel, pixel, pixel)
    drawn = rasterio.features.rasterize(
        [moved], out_shape=shape, transform=transform, dtype="uint8"
    )
    patches = rasterio.features.shapes(drawn, mask=drawn > 0, transform=transform)
    found = [part for patch, _ in patches for part in repaired(shapely.geometry.shape(patch))]
    largest = max(found, key=lambda part: part.area, default=polygon)
    return shapely.Polygon(largest.exterior)


NOISES = {"corners": corners, "jitter": jitter, "mask": mask}


def methods(tolerance: float, step: float) -> dict[str, Callable[[Polygons], Polygons]]:
    """Ours by method, and the peer's with its defaults where it is installed."""

    def ours(method: Method) -> Callable[[Polygons], Polygons]:
        settings = Regularizing(method=method, tolerance=tolerance, step=step)
        return lambda polygons: regularize(polygons, settings).polygons

    out = {method: ours(method) for method in get_args(Method)}
    try:
        from buildingregulariser import regularize_geodataframe
    except ImportError:
        return out

    def peer(polygons: Polygons) -> Polygons:
        layer = geopandas.GeoDataFrame({"id": range(len(polygons))}, geometry=list(polygons))
        layer = layer.set_crs("EPSG:32645")
        done = regularize_geodataframe(layer, num_cores=1)
        result = polygons.copy()  # what it drops stays as it was
        for index, shape in zip(done["id"], done.geometry, strict=True):
            result[index] = (repaired(shape) or [polygons[index]])[0]
        return result

    return {**out, "buildingregulariser": peer}


def row(
    label: str,
    layers: tuple[Polygons, Polygons, Polygons],
    in_rows: NDArray[np.bool_],
    seconds: float,
) -> str:
    """A line of the table for truth, noisy outlines and what became of them."""
    truth, noisy, result = layers
    both = shapely.area(shapely.intersection(truth, result))
    iou = both / (shapely.area(truth) + shapely.area(result) - both)
    polises = [polis(to_rings(a), to_rings(b)) for a, b in zip(result, truth, strict=True)]
    vertices = (shapely.get_num_coordinates(result) - 1).sum()
    vertices = vertices / (shapely.get_num_coordinates(truth) - 1).sum()
    far = shapely.hausdorff_distance(
        shapely.boundary(shapely.segmentize(noisy, 0.1)),
        shapely.boundary(shapely.segmentize(result, 0.1)),
    ).max()
    overlap = overlaps(result[in_rows])
    cells = (
        label, f"{iou.mean():.4f}", f"{np.mean(polises):.3f}", f"{vertices:.2f}",
        f"{mean(squareness(result)):.3f}", f"{overlap:.0f}", f"{far:.2f}",
        f"{len(truth) / seconds:.0f}" if seconds > 1e-2 else "",
    )  # fmt: skip
    return "".join(cell.rjust(width) for cell, (_, width) in zip(cells, HEADS, strict=True))


def overlaps(polygons: Polygons) -> float:
    """Area that polygons share with one another, summed over pairs."""
    i, j = shapely.STRtree(polygons).query(polygons)
    i, j = i[i < j], j[i < j]
    return float(shapely.area(shapely.intersection(polygons[i], polygons[j])).sum())


def mean(values: NDArray[np.float64]) -> float:
    return float(np.nanmean(values))


def as_array(polygons: list[shapely.Polygon]) -> Polygons:
    out = np.empty(len(polygons), dtype=object)
    out[:] = polygons
    return out


if __name__ == "__main__":
    main()

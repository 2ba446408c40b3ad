"""Scoring timed on towns made by chance, beside other ways to pair buildings.

    python benchmarks/scoring.py                        # 20 000 against 20 000
    python benchmarks/scoring.py --buildings 1000000 --no-pixels
    python benchmarks/scoring.py --peers 1000           # the same answer, other ways

A town is a grid of turned rectangles and L-shapes, 20 m apart; a prediction is a true
building whose corners moved by .4 m, less one in twenty, plus one in twenty that is nowhere.
Seconds are processor time of one process; memory is the largest that the process has held.
The other ways are written here from their description: they stand for an algorithm, not for
a package.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from buildex.geo.evidence import Evidence, Scene
from buildex.geo.figures import figures_for, values_of
from buildex.geo.judging import (
    SIZES,
    band_evidence,
    building_evidence,
    matched,
    outline_evidence,
    pair_evidence,
    ranked_evidence,
    tangent_evidence,
)
from buildex.geo.matching import inside, pair
from buildex.geo.measures import PixelCounts, Ssim
from buildex.geo.tile_sums import TileCounts, tiles_of
from buildex.scoring import ScoreConfig, compare

Floats = NDArray[np.float64]
Polygons = NDArray[np.object_]
SPACING = 20.0
RECTANGLE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=float)
L_SHAPE = np.array([[0, 0], [1, 0], [1, 0.5], [0.5, 0.5], [0.5, 1], [0, 1]], dtype=float)


def main() -> None:
    """Read the arguments, print the tables."""
    parser = argparse.ArgumentParser(description="Time scoring on towns made by chance.")
    parser.add_argument("--buildings", type=int, default=20_000)
    parser.add_argument("--no-pixels", action="store_true", help="pair and rank, no masks")
    parser.add_argument("--peers", type=int, default=0, help="buildings for the other ways")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    if given.peers:
        peers(*town(given.peers, rng))
        return
    predictions, truth, scores = town(given.buildings, rng)
    print(f"{len(predictions):,} predictions, {len(truth):,} true buildings")
    with timed("pair, one to one"):
        area = shapely.box(*shapely.total_bounds(np.concatenate([predictions, truth])))
        found = pair(inside(predictions, area), inside(truth, area))
    print(f"  F1 at .5: {found.counts.f1:.4f}")
    scene = Scene(predictions, truth, area, "EPSG:32737", scores)
    if given.no_pixels:
        without_pixels(scene)
        return
    with timed("everything, pixels of 0.1 m included"):
        report = compare(scene, ScoreConfig(bootstrap=0))
    print(f"  F1 {report.figures['f1_50']:.4f}, AP {report.figures['ap']:.4f}")
    with timed("the same, with 1000 draws for intervals, at 0.5 m"):
        compare(scene, ScoreConfig(gsd=0.5))


def without_pixels(scene: Scene) -> None:
    """Time each part of the report but the masks."""
    rules = ScoreConfig().rules
    tiles = [
        TileCounts((x, y), PixelCounts(), PixelCounts(), Ssim())
        for x, y in tiles_of(scene.area, scene.crs, rules.gsd, rules.tile).centres.tolist()
    ]
    with timed("who overlaps whom, and why"):
        seen = inside(scene.predictions, scene.area), inside(scene.truth, scene.area)
        comparison = matched(scene, rules, seen, tiles)
    with timed("boundary IoU of the pairs"):
        bands = band_evidence(comparison)
    with timed("counts, overlaps of the predictions"):
        sums = building_evidence(comparison)
    with timed("PoLiS, Hausdorff, C-IoU, offsets"):
        sums |= pair_evidence(comparison, bands)
    with timed("vertices, square edges"):
        sums |= outline_evidence(comparison)
    with timed("tangent angles"):
        sums |= tangent_evidence(comparison)
    with timed(f"AP, boundary AP, AP of {', '.join(SIZES)}"):
        ranked = ranked_evidence(comparison, bands)
        drawn = {"pixels", "n_ratio_tiles"}  # figures of masks
        wanted = [f for f in figures_for((0.5,)) if not drawn & {f.section, f.name}]
        values = values_of(wanted, Evidence(sums, ranked))
    print("  " + ", ".join(f"{k} {values[k][0]:.4f}" for k in ("f1_50", "ap", "polis_m")))


def town(count: int, rng: np.random.Generator) -> tuple[Polygons, Polygons, Floats]:
    """Predictions, truth, and scores of the predictions."""
    columns = int(np.ceil(np.sqrt(count)))
    places = np.stack(np.divmod(np.arange(count), columns)[::-1], axis=1) * SPACING
    sizes, turns = rng.uniform(6, 14, (count, 2)), rng.uniform(0, 2 * np.pi, count)
    lean = rng.normal(0, 0.4, (count, 6, 2))
    kinds = rng.random(count) < 0.7
    truth, moved = np.empty(count, dtype=object), np.empty(count, dtype=object)
    for kind, unit in ((True, RECTANGLE), (False, L_SHAPE)):
        own = kinds == kind
        rings = turned(unit, sizes[own], turns[own]) + places[own, None]
        truth[own] = polygons(rings)
        moved[own] = polygons(rings + lean[own, : len(unit)])
    kept = moved[(rng.random(count) > 0.05) & shapely.is_valid(moved)]
    stray = shapely.transform(truth[rng.random(count) < 0.05], lambda points: points + SPACING / 2)
    predictions = np.concatenate([kept, stray])
    return predictions, truth, rng.random(len(predictions))


def turned(unit: Floats, sizes: Floats, turns: Floats) -> Floats:
    """A shape in several sizes and directions, (N, V, 2)."""
    rings = unit[None] * sizes[:, None]
    cos, sin = np.cos(turns)[:, None], np.sin(turns)[:, None]
    x, y = rings[..., 0], rings[..., 1]
    return np.stack([x * cos - y * sin, x * sin + y * cos], axis=2)


def polygons(rings: Floats) -> Polygons:
    """Open rings (N, V, 2) as polygons (N,)."""
    closed = np.concatenate([rings, rings[:, :1]], axis=1)
    return np.asarray(shapely.polygons(closed))


@contextmanager
def timed(label: str) -> Iterator[None]:
    """Print processor seconds and the most memory held so far."""
    start = time.process_time()
    yield
    seconds = time.process_time() - start
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{label:<52}{seconds:9.2f} s {held:7.2f} GiB", flush=True)


def peers(predictions: Polygons, truth: Polygons, scores: Floats) -> None:
    """Time other ways to pair the same buildings, and say whether they agree."""
    area = shapely.box(*shapely.total_bounds(np.concatenate([predictions, truth])))
    ways: dict[str, Callable[[], int]] = {
        "buildex: index, best pair first": lambda: (
            pair(inside(predictions, area), inside(truth, area)).counts.tp
        ),
        "two plain loops": lambda: two_loops(predictions, truth),
        "as solaris: frame filtered for each prediction": lambda: by_frame(
            predictions[np.argsort(-scores)], truth
        ),
        "as DeepForest: index, dense Hungarian on area": lambda: by_hungarian(predictions, truth),
    }
    print(f"{len(predictions):,} predictions, {len(truth):,} true buildings")
    print(f"{'way':<52}{'seconds':>9}{'ratio':>9}{'pairs':>8}")
    first = None
    for label, way in ways.items():
        start = time.process_time()
        pairs = way()
        seconds = time.process_time() - start
        first = first or seconds
        print(f"{label:<52}{seconds:9.3f}{seconds / first:9.0f}{pairs:8}", flush=True)


def two_loops(predictions: Polygons, truth: Polygons, threshold: float = 0.5) -> int:
    """Every prediction against every true building, then best pair first."""
    pairs = []
    for i, p in enumerate(predictions):
        for j, t in enumerate(truth):
            common = p.intersection(t).area
            iou = common / (p.area + t.area - common)
            if iou >= threshold:
                pairs.append((iou, i, j))
    used_i, used_j = set(), set()
    for _, i, j in sorted(pairs, reverse=True):
        if i not in used_i and j not in used_j:
            used_i.add(i)
            used_j.add(j)
    return len(used_i)


def by_frame(predictions: Polygons, truth: Polygons, threshold: float = 0.5) -> int:
    """Best score first: the frame of what is left is filtered, then loses what was found."""
    left = geopandas.GeoDataFrame(geometry=truth)
    found = 0
    for p in predictions:
        near = left[left.intersects(p)]
        ious = [p.intersection(t).area / p.union(t).area for t in near.geometry]
        if ious and max(ious) >= threshold:
            left = left.drop(near.index[int(np.argmax(ious))])
            found += 1
    return found


def by_hungarian(predictions: Polygons, truth: Polygons, threshold: float = 0.5) -> int:
    """The area that each two share in a dense matrix, the best assignment of it, then IoU."""
    matrix = np.zeros((len(truth), len(predictions)))
    tree = shapely.STRtree(predictions)
    for j, t in enumerate(truth):
        for i in tree.query(t):
            matrix[j, i] = t.intersection(predictions[i]).area
    rows, columns = linear_sum_assignment(matrix, maximize=True)
    common = matrix[rows, columns]
    ious = common / (shapely.area(truth[rows]) + shapely.area(predictions[columns]) - common)
    return int((ious >= threshold).sum())


if __name__ == "__main__":
    main()

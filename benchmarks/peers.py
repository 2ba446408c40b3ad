"""Stitching against what pip installs of peers: detectree2's crowns, geoai's overlap filter.

    pip install --no-deps detectree2 geoai-py geopandas
    python benchmarks/peers.py --buildings 2000

All get the same sightings, of `benchmarks/stitching.py`'s made town: tiles of 512 pixels that
share 128, noisy outlines, cut at tile edges. detectree2 is given those that lie within their
tile less a metre, as its `stitch_crowns` keeps them, and its `clean_crowns` is timed; geoai's
`filter_overlapping_polygons` is given all of them. Their functions are taken out of the
installed files by name: the packages need much that this comparison does not. Processor
seconds of this process, one run, one after the other; a true building counts as found if some
outline has an IoU above .5 with it, and an outline that finds none is false.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.util
import io
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas
import numpy as np
import pandas
import shapely
from stitching import PLOT, houses, sightings_by_row

from buildex.geo.matching import overlaps
from buildex.geo.measures import match
from buildex.geo.sightings import Sightings
from buildex.geo.stitch import Stitcher
from buildex.geo.tiles import Cover

GSD = 0.1  # metres a pixel
Shapes = np.ndarray


def main() -> None:
    """Print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--buildings", type=int, default=2000)
    given = parser.parse_args()
    side = round(given.buildings**0.5)
    cover = Cover(int(side * PLOT), int(side * PLOT), 512, 128)
    rows = list(sightings_by_row(cover, side))
    truth = np.concatenate([houses(row, side) for row in range(side)])
    seen = np.concatenate([row.polygons for row in rows])
    boxes = np.concatenate([row.boxes for row in rows])
    scores = np.concatenate([row.scores for row in rows])
    print(f"{len(truth)} buildings, seen {len(seen)} times")
    runs: dict[str, Callable[[], Shapes]] = {
        "buildex": lambda: ours(rows, cover),
        "detectree2": lambda: detectree2(seen, boxes, scores),
        "geoai": lambda: geoai(seen, scores),
    }
    base = 0.0
    for name, run in runs.items():
        started = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            found = run()
        spent = time.process_time() - started
        base = base or spent
        known = overlaps(found, truth)
        pairs = len(match((known.i, known.j, known.iou), len(found), len(truth)).ious)
        print(
            f"{name:<12}{spent:>8.2f} s {spent / base:>7.1f} x; {len(found)} outlines, "
            f"{pairs} of them true, {len(truth) - pairs} buildings missed"
        )


def ours(rows: list[Sightings], cover: Cover) -> Shapes:
    """`geo.stitch`, row by row."""
    stitcher = Stitcher()
    parts = [
        stitcher.add(row, settled=cover.box(number + 1, 0).y0).polygons
        for number, row in enumerate(rows)
    ]
    return np.concatenate([*parts, stitcher.finish().polygons])


def detectree2(seen: Shapes, boxes: Shapes, scores: Shapes) -> Shapes:
    """`clean_crowns` of what lies a metre within its tile."""
    inner = shapely.box(*(boxes + np.array([10, 10, -10, -10])).T)
    kept = shapely.within(seen, inner)
    frame = geopandas.GeoDataFrame(
        {"Confidence_score": scores[kept]}, geometry=in_metres(seen[kept]), crs="EPSG:32737"
    )
    clean = taken("detectree2", "models/outputs.py", "clean_crowns")
    return in_pixels(clean(frame, verbose=False).geometry.to_numpy())


def geoai(seen: Shapes, scores: Shapes) -> Shapes:
    """`filter_overlapping_polygons`, at its own threshold of .5."""
    frame = geopandas.GeoDataFrame(
        {"confidence": scores}, geometry=in_metres(seen), crs="EPSG:32737"
    )
    clean = taken("geoai", "extract.py", "filter_overlapping_polygons")
    return in_pixels(clean(SimpleNamespace(nms_iou_threshold=0.5), frame).geometry.to_numpy())


def in_metres(shapes: Shapes) -> Shapes:
    """Pixels as metres."""
    return np.asarray(shapely.transform(shapes, lambda points: points * GSD))


def in_pixels(shapes: Shapes) -> Shapes:
    """And back."""
    return np.asarray(shapely.transform(shapes, lambda points: points / GSD))


def taken(package: str, file: str, name: str) -> Callable[..., Any]:
    """A function of an installed package, without what else its module imports."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed; see the top of this file")
    tree = ast.parse((Path(spec.origin).parent / file).read_text(encoding="utf-8"))
    (node,) = (
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name
    )
    node.returns, node.decorator_list = None, []
    for one in [*node.args.args, node.args.kwarg]:
        if one is not None:
            one.annotation = None
    place: dict[str, Any] = {
        "gpd": geopandas, "np": np, "pd": pandas, "tqdm": lambda items, **_: items,
    }  # fmt: skip
    exec(compile(ast.Module([node], []), file, "exec"), place)
    return place[name]  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()

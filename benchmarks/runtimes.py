"""Whether runtimes draw the same buildings: torch in single precision against all others.

    python benchmarks/runtimes.py ../shared/data/val/zanzibar-val
    python benchmarks/runtimes.py ../shared/data/val/zanzibar-val --runs torch-fp32 onnx-bf16

A scene is drawn once by each. Buildings are matched by IoU (above .5); a building whose
outline has as many vertices in both is compared vertex by vertex, and the rest are counted.
Seconds are those of the processor.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.matching import overlaps
from buildex.geo.measures import match
from buildex.io.vector import read_area, read_footprints
from buildex.io.zoo import DEFAULT_MODEL, find_model
from buildex.predicting import PredictConfig, Segmenter, buildings_of, look
from buildex.predicting.opening import opened
from buildex.scoring import Scene, ScoreConfig, compare

RUNS = ("torch-fp32", "torch-bf16", "onnx-fp32", "onnx-bf16", "onnx-int8")
NEAR = 0.02  # metres


def main() -> None:
    """Print a line for each runtime."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scene", type=Path, help="folder: mosaic.tif, buildings.geojson, aoi")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    given = parser.parse_args()
    folder = find_model(given.model)
    first: NDArray[np.object_] | None = None
    for run in given.runs:
        started = time.process_time()
        polygons, crs = drawn(segmenter_of(folder, run), given.scene / "mosaic.tif")
        spent = time.process_time() - started
        truth = read_footprints(given.scene / "buildings.geojson", target_crs=crs)[0].polygons
        area = read_area(given.scene / "aoi.geojson", crs)
        figures = compare(Scene(polygons, truth, area, crs), ScoreConfig(bootstrap=0)).figures
        line = f"{run:<11} {len(polygons):>4} buildings, IoU {figures['pixel_iou']:.4f}, "
        line += f"F1 {figures['f1_50']:.4f}, PoLiS {figures['polis_m']:.4f} m, {spent:.0f} s"
        first = polygons if first is None else first
        print(
            line + (f"; {agreement(first, polygons)}" if polygons is not first else ""), flush=True
        )


def segmenter_of(folder: Path, run: str) -> Segmenter:
    """A segmenter by runtime and precision."""
    runtime, precision = run.split("-")
    if runtime == "onnx":
        from buildex.runtime.segmenter import OnnxSegmenter

        return OnnxSegmenter(folder, precision)
    from buildex.nn.segmenter import load_segmenter

    return load_segmenter(folder, "cpu", precision)  # type: ignore[arg-type]


def drawn(segmenter: Segmenter, mosaic: Path) -> tuple[NDArray[np.object_], str]:
    """The buildings of a mosaic, in metres, and their CRS."""
    config = PredictConfig()
    with opened(str(mosaic), config, segmenter.gsd) as pixels:
        found = buildings_of(look(pixels, segmenter, config), config)
    return found.polygons, found.crs


def agreement(first: NDArray[np.object_], second: NDArray[np.object_]) -> str:
    """How many buildings of two layers are the same, in words."""
    known = overlaps(first, second)
    paired = match((known.i, known.j, known.iou), len(first), len(second))
    near, counted, shifts = 0, 0, []
    for i, j in zip(paired.predictions, paired.truths, strict=True):
        a, b = (shapely.get_coordinates(shapely.normalize(p)) for p in (first[i], second[j]))
        if len(a) != len(b):
            continue
        counted += 1
        apart = np.linalg.norm(a[:, None] - b[None], axis=2)
        shifts.append(max(apart.min(axis=0).max(), apart.min(axis=1).max()))
        near += shifts[-1] <= NEAR
    pairs = len(paired.predictions)
    return (
        f"{pairs} matched, {near} of them within {NEAR * 100:.0f} cm, {counted - near} beyond "
        f"(median {np.median(shifts) if shifts else 0:.4f} m), "
        f"{pairs - counted} with other vertices"
    )


if __name__ == "__main__":
    main()

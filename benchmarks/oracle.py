"""How well the geometry does when the network is perfect, and how it bears honest noise.

    python benchmarks/oracle.py --data ../shared/data                # every training scene
    python benchmarks/oracle.py --data ../shared/data --noise        # curves; --scenes NAME for one

The oracle stands in the network's place and its maps go through predict's own decoding,
stitching, regularising and topology; the result is compared with the labels themselves.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from buildex.geo.boxes import PixelBox
from buildex.geo.finishing import vertex_counts
from buildex.geo.grid import Grid
from buildex.geo.keypoints import RoiCodec
from buildex.geo.matching import inside, pair
from buildex.geo.oracle import Noise, Oracle
from buildex.io.raster import Mosaic
from buildex.io.vector import read_area, read_footprints
from buildex.predicting import PredictConfig, buildings_of, look
from buildex.scoring import Scene, ScoreConfig, compare

HEAD = (
    f"{'scene':<18}{'grouping':<10}{'regularize':<14}{'F1':>6}{'IoU':>7}{'IoU p5':>8}"
    f"{'PoLiS m':>9}{'vertices':>10}{'exact':>7}{'square':>8}{'truth':>7}{'overlap m2':>12}"
)


class Blank:
    """A mosaic of nothing but ground: an oracle does not look."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.native_gsd = grid.gsd

    def read(self, box: PixelBox) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Black pixels, all valid."""
        shape = (box.height, box.width)
        return np.zeros((*shape, 3), np.uint8), np.ones(shape, dtype=bool)


class Labels:
    """The labels of one scene, in metres and in pixels of its working grid."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        with Mosaic.open(folder / "mosaic.tif") as mosaic:
            self.grid = mosaic.grid
        footprints, _ = read_footprints(folder / "buildings.geojson", target_crs=self.grid.crs)
        self.area = read_area(folder / "aoi.geojson", self.grid.crs)
        self.polygons = footprints.polygons
        self.pixels = shapely.transform(self.polygons, self.grid.to_pixel)


def main() -> None:
    """Print the table, or the noise curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--scenes", nargs="*", help="names; all of train by default")
    parser.add_argument("--noise", action="store_true", help="curves over the level of noise")
    parser.add_argument("--cells", type=int, default=56, help="cells of an RoI frame")
    parser.add_argument("--regularize", nargs="*", default=["none", "right-angles"])
    given = parser.parse_args()
    folders = sorted(path.parent for path in given.data.glob("train/*/mosaic.tif"))
    chosen = [f for f in folders if not given.scenes or f.name in given.scenes]
    print(HEAD)
    levels = (0.0, 0.5, 1.0, 1.5, 2.0) if given.noise else (None,)
    for folder in chosen:
        labels = Labels(folder)
        for level in levels:
            print_rows(labels, given.regularize, RoiCodec(cells=given.cells), level)


def print_rows(
    labels: Labels, regularizers: Sequence[str], codec: RoiCodec, level: float | None
) -> None:
    """One line for each grouping and regulariser."""
    noise = None if level is None else Noise.of(level)
    for grouping, regularizer in itertools.product(("contour", "paper", "mask"), regularizers):
        config = PredictConfig(grouping=grouping, regularize=regularizer, min_area=0.5)
        oracle = Oracle.of_polygons(labels.pixels, codec, noise)
        seen = look(Blank(labels.grid), oracle, config)
        found = buildings_of(seen, config).polygons
        name = labels.name if level is None else f"{labels.name} ~{level:g}"
        print(f"{name:<18}{grouping:<10}{regularizer:<14}" + "".join(cells(found, labels)))


def cells(found: NDArray[np.object_], labels: Labels) -> Iterator[str]:
    """The figures of one line."""
    scene = Scene(found, labels.polygons, labels.area, labels.grid.crs)
    figures = compare(scene, ScoreConfig(gsd=0.5, bootstrap=0)).figures
    pairing = pair(inside(found, labels.area), inside(labels.polygons, labels.area), 0.5)
    couples = list(zip(pairing.predictions, pairing.truths, strict=True))
    drawn, true = vertex_counts(found), vertex_counts(labels.polygons)
    same = [drawn[i] == true[j] for i, j in couples]
    ious = pairing.ious if len(couples) else np.zeros(1)
    yield f"{figures['f1_50']:>6.3f}{figures['matched_iou_50']:>7.4f}"
    yield f"{np.percentile(ious, 5):>8.4f}{figures['polis_m']:>9.4f}"
    yield f"{figures['vertex_ratio']:>10.3f}{np.mean(same) if same else 0:>7.3f}"
    yield f"{figures['square_predicted']:>8.3f}{figures['square_true']:>7.3f}"
    yield f"{figures['overlap_m2']:>12.6f}"


if __name__ == "__main__":
    main()

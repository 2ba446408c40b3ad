"""Shifts put into labels and found again from edges, on real scenes.

    python benchmarks/offset.py --data ../shared/data

Labels are drawn by hand and may lie off even on scenes that count as aligned: the row of
shift 0 shows what is found there. `error` is by how much what is found changed otherwise
than by the shift put in; `off` is the distance to the shift put in. Rows `nonsense` move
labels so far (17 to 39 m) that no shift within reach brings them back: they have to be
refused. `halves` is the distance between the estimates of two random halves of the
buildings, in units of the standard error that the two state (about 1.2 in the median if
what is stated is right).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import shapely

from buildex.aligning import offset_of
from buildex.geo.footprints import Footprints
from buildex.geo.offset import Shift
from buildex.io.raster import Mosaic
from buildex.io.vector import read_footprints

SCENES = (
    "misaligned/nairobi-1", "misaligned/nairobi-2", "train/zanzibar", "train/kampala",
    "train/catanduanes", "train/banepa-south-1", "train/banepa-south-2", "train/banepa-centre",
    "val/zanzibar-val",
)  # fmt: skip
PUT_IN = (
    (0.5, 0.0), (0.7, 0.7), (0.0, 1.5), (-1.4, 1.4), (-3.0, 0.0), (-1.4, -1.4), (0.0, -2.5),
    (2.1, -2.1),
)  # fmt: skip
NONSENSE = ((14.0, 9.0), (-11.0, 16.0), (25.0, -3.0), (-20.0, -20.0), (3.0, 31.0), (-38.0, 8.0))


def main() -> None:
    """Read the arguments, print the table."""
    parser = argparse.ArgumentParser(description="Find shifts that were put into labels.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--scene", nargs="+", default=list(SCENES))
    given = parser.parse_args()
    print(f"{'scene':22}{'put in':>14}{'found':>16}{'sigma':>12}{'error':>7}{'off':>7}  verdict")
    worst, refused, asked = 0.0, 0, 0
    for name in given.scene:
        mosaic = str(given.data / name / "mosaic.tif")
        with Mosaic.open(mosaic) as image:
            grid = image.grid
        labels, _ = read_footprints(
            given.data / name / "buildings.geojson", target_crs=grid.crs, bbox=grid.bounds
        )
        own = offset_of(mosaic, labels).shift
        print(row(name, (0.0, 0.0), own, own), flush=True)
        for step in PUT_IN:
            shift = offset_of(mosaic, moved(labels, step)).shift
            print(row(name, step, shift, own), flush=True)
            worst = max(worst, error(step, shift, own)) if "train" in name else worst
        for step in NONSENSE:
            shift = offset_of(mosaic, moved(labels, step)).shift
            print(row(name, step, shift, None), flush=True)
            refused, asked = refused + (shift.verdict == "no reliable shift"), asked + 1
        print(f"{name:22}halves {halves(mosaic, labels):.2f} sigma", flush=True)
    print(f"largest error on train/: {worst:.3f} m; nonsense refused: {refused} of {asked}")


def moved(labels: Footprints, step: tuple[float, float]) -> Footprints:
    polygons = shapely.transform(labels.polygons, lambda points: points + np.array(step))
    return labels.moved(polygons, labels.crs)


def error(step: tuple[float, float], shift: Shift, own: Shift) -> float:
    """By how much the shift found changed otherwise than by what was put in, in metres."""
    return float(np.hypot(shift.east - own.east + step[0], shift.north - own.north + step[1]))


def row(name: str, step: tuple[float, float], shift: Shift, own: Shift | None) -> str:
    off = np.hypot(shift.east + step[0], shift.north + step[1])
    told = f"{'':7}{'':7}" if own is None else f"{error(step, shift, own):7.3f}{off:7.3f}"
    return (
        f"{name:22}{step[0]:7.2f}{step[1]:7.2f}{shift.east:8.3f}{shift.north:8.3f}"
        f"{shift.sigma_east:6.2f}{shift.sigma_north:6.2f}{told}  {shift.verdict}"
        f"{' (nonsense)' if own is None else ''} {shift.agreement:.2f}"
    )


def halves(mosaic: str, labels: Footprints, times: int = 5) -> float:
    """Median distance of the estimates of two random halves, in stated standard errors."""
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(times):
        first = rng.permutation(len(labels)) < len(labels) // 2
        a, b = (offset_of(mosaic, labels.take(half)).shift for half in (first, ~first))
        ratios.append(
            np.hypot(
                (a.east - b.east) / np.hypot(a.sigma_east, b.sigma_east),
                (a.north - b.north) / np.hypot(a.sigma_north, b.sigma_north),
            )
        )
    return float(np.median(ratios))


if __name__ == "__main__":
    main()

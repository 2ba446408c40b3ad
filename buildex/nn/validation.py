"""How good a network is on whole tiles, while it learns.

The definitions are those of `buildex score` (`geo.measures`), on rasters and tile by tile:
a building that a tile's edge cuts counts as what the tile shows of it. Every measure is
taken at several score thresholds; the one with the best mean of IoU and instance F1 is reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from buildex.geo.measures import (
    InstanceCounts,
    Match,
    PixelCounts,
    match,
    mean,
    pixel_counts,
    polis,
    ratio,
    ssim,
    vertex_count,
)
from buildex.geo.rings import Rings, bounds, fill

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
FEWEST = 150  # instances of a tile that are looked at, at least; see `most_counted`
SUMS = (
    "pixel_tp", "pixel_fp", "pixel_fn", "ssim", "windows", "tp", "fp", "fn", "iou",
    "polis", "vertices", "true_vertices",
)  # fmt: skip
Sums = NDArray[np.float64]  # (T, len(SUMS)): what adds up over tiles, for each threshold


class _Raster(NamedTuple):
    """A filled polygon, cut to its bounding box."""

    x0: int
    y0: int
    mask: NDArray[np.bool_]


def no_sums() -> Sums:
    """The sums of no tiles."""
    return np.zeros((len(THRESHOLDS), len(SUMS)))


def most_counted(buildings: int) -> int:
    """How many instances count in a tile of so many: a network that has just begun finds 1000."""
    return max(FEWEST, 2 * buildings)


def tile_sums(
    found: Sequence[tuple[Rings, float]],
    truth: Sequence[Rings],
    valid: NDArray[np.bool_],
    gsd: float,
) -> Sums:
    """The sums of one tile.

    Args:
        found: polygons in tile pixels with their scores, best first.
        truth: what the tile shows of the true buildings.
        valid: (h, w) pixels that count.
        gsd: metres per pixel.
    """
    found = found[: most_counted(len(truth))]
    shape = valid.shape
    predicted = [_raster(rings, shape) for rings, _ in found]
    true = [_raster(rings, shape) for rings in truth]
    scores = np.array([score for _, score in found])
    i, j, iou = _pairs(predicted, true)
    truth_mask = _union(true, shape)
    sums = no_sums()
    for row, threshold in enumerate(THRESHOLDS):
        count = int((scores >= threshold).sum())
        mask = _union(predicted[:count], shape)
        pixels = pixel_counts(mask, truth_mask, valid)
        similarity = ssim(mask, truth_mask, valid)
        kept = i < count
        paired = match((i[kept], j[kept], iou[kept]), count, len(true))
        counts, couples = paired.counts, _couples(paired, found, truth)
        sums[row] = (
            pixels.tp, pixels.fp, pixels.fn, similarity.total, similarity.windows,
            counts.tp, counts.fp, counts.fn, counts.iou_sum,
            sum(polis(a, b) for a, b in couples) * gsd,
            sum(vertex_count(a) for a, _ in couples), sum(vertex_count(b) for _, b in couples),
        )  # fmt: skip
    return sums


def _couples(
    paired: Match, found: Sequence[tuple[Rings, float]], truth: Sequence[Rings]
) -> list[tuple[Rings, Rings]]:
    """The polygons of each pair, predicted and true."""
    pairs = zip(paired.predictions.tolist(), paired.truths.tolist(), strict=True)
    return [(found[i][0], truth[j]) for i, j in pairs]


def measures(sums: Sums) -> dict[str, float]:
    """The measures of summed tiles at the threshold with the best `score`.

    Returns:
        iou, f1 and ssim of pixels; precision, recall, instance_f1 and matched_iou of
        instances; polis in metres; vertex_ratio; threshold; and score, the mean of iou and
        instance_f1, 0 where nothing was found. NaN where there is nothing to measure.
    """
    rows = [_measures(row) for row in sums]
    best = max(range(len(rows)), key=lambda k: (rows[k]["score"], -THRESHOLDS[k]))
    return {**rows[best], "threshold": THRESHOLDS[best]}


def _measures(row: NDArray[np.float64]) -> dict[str, float]:
    s: Mapping[str, float] = dict(zip(SUMS, row.tolist(), strict=True))
    pixels = PixelCounts(int(s["pixel_tp"]), int(s["pixel_fp"]), int(s["pixel_fn"]))
    instances = InstanceCounts(int(s["tp"]), int(s["fp"]), int(s["fn"]), s["iou"])
    score = mean([pixels.iou, instances.f1])
    return {
        "iou": pixels.iou,
        "f1": pixels.f1,
        "ssim": ratio(s["ssim"], s["windows"]),
        "precision": instances.precision,
        "recall": instances.recall,
        "instance_f1": instances.f1,
        "matched_iou": instances.mean_iou,
        "polis": ratio(s["polis"], s["tp"]),
        "vertex_ratio": ratio(s["vertices"], s["true_vertices"]),
        "score": 0.0 if np.isnan(score) else score,
    }


def _raster(rings: Rings, shape: tuple[int, ...]) -> _Raster:
    x0, y0, x1, y1 = bounds(rings)
    left, top = (int(np.clip(np.floor(v), 0, n)) for v, n in ((x0, shape[1]), (y0, shape[0])))
    right, low = (int(np.clip(np.ceil(v), 0, n)) for v, n in ((x1, shape[1]), (y1, shape[0])))
    moved = [ring - (left, top) for ring in rings]
    return _Raster(left, top, fill(moved, max(low - top, 0), max(right - left, 0)))


def _union(rasters: Sequence[_Raster], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    whole = np.zeros(shape, dtype=bool)
    for x0, y0, mask in rasters:
        whole[y0 : y0 + mask.shape[0], x0 : x0 + mask.shape[1]] |= mask
    return whole


def _pairs(
    predicted: Sequence[_Raster], true: Sequence[_Raster]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Prediction, truth and IoU of all that overlap."""
    areas = [int(t.mask.sum()) for t in true]
    rows = []
    for i, p in enumerate(predicted):
        area = int(p.mask.sum())
        for j, t in enumerate(true):
            common = _common(p, t)
            if common:
                rows.append((i, j, common / (area + areas[j] - common)))
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2]


def _common(a: _Raster, b: _Raster) -> int:
    """Pixels that two polygons share."""
    x0, y0 = max(a.x0, b.x0), max(a.y0, b.y0)
    x1 = min(a.x0 + a.mask.shape[1], b.x0 + b.mask.shape[1])
    y1 = min(a.y0 + a.mask.shape[0], b.y0 + b.mask.shape[0])
    if x0 >= x1 or y0 >= y1:
        return 0
    windows = [m[y0 - oy : y1 - oy, x0 - ox : x1 - ox] for ox, oy, m in (a, b)]
    return int(np.count_nonzero(windows[0] & windows[1]))

"""Measures as published code computes them, traps and all: to read papers, not to choose models.

That code works on the images of a dataset. Here a block of ground is an image: buildings
are cut at its edges, as cutting a dataset does. What each figure does differently from the
definition stands in `docs/metrics.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from buildex.geo.blocks import Blocks
from buildex.geo.edges import edges_of
from buildex.geo.footprints import Polygons
from buildex.geo.matching import overlaps
from buildex.geo.precision import Candidates, Detections, Field, found_at
from buildex.geo.shape_measures import polis_as_published

Floats = NDArray[np.float64]
Index = NDArray[np.int64]
MOST_DETECTIONS = 100  # of an image, in COCO
BOX_IOU = 0.5  # from which boxes pair for PoLiS
DEEPFOREST_IOU = 0.4  # from which a pair counts there, by default


@dataclass(frozen=True)
class Pieces:
    """Polygons cut into the images that they touch, image by image.

    Attributes:
        polygons: (N,) pieces.
        image: (N,) rising.
        score: (N,) of the building that each is a piece of.
    """

    polygons: Polygons
    image: Index
    score: Floats

    def of(self, image: int) -> slice:
        """Where the pieces of an image are."""
        low, high = np.searchsorted(self.image, [image, image + 1])
        return slice(int(low), int(high))


def pieces(polygons: Polygons, score: Floats, blocks: Blocks) -> Pieces:
    """Cut polygons at the edges of the blocks."""
    x, y = (blocks.cells * blocks.side).T
    boxes = shapely.box(x, y, x + blocks.side, y + blocks.side)
    image, index = shapely.STRtree(polygons).query(boxes, predicate="intersects")
    order = np.lexsort((index, image))
    image, index = image[order], index[order]
    cut = shapely.intersection(polygons[index], boxes[image])
    parts, source = shapely.get_parts(cut, return_index=True)
    real = shapely.area(parts) > 0
    source = source[real]
    return Pieces(parts[real], image[source], score[index[source]])


def published_sums(found: Pieces, real: Pieces, pixel_ious: Floats) -> Mapping[str, Floats]:
    """Sums per image (B,) of the published figures, and how many images each runs over.

    Args:
        found: the predictions.
        real: the truth.
        pixel_ious: (B,) IoU of the pixels of each image; NaN where there is no building.
    """
    count = len(pixel_ious)
    vertices_p, vertices_t = (
        np.bincount(p.image, edges_of(p.polygons).counts, minlength=count) for p in (found, real)
    )
    apart = np.abs(vertices_p - vertices_t) / (vertices_p + vertices_t + 1e-9)
    has_truth = np.bincount(real.image, minlength=count) > 0
    polis = np.array([_polis_of(found, real, k) for k in range(count)])
    boxes = np.array([_deepforest(found, real, k) for k in range(count)]).reshape(-1, 2)
    return {
        "published_c_iou": np.nan_to_num(pixel_ious, nan=1.0) * (1 - apart),
        "published_images": np.ones(count),
        "published_pixel_iou": np.where(has_truth, np.nan_to_num(pixel_ious), 0.0),
        "published_with_truth": has_truth.astype(np.float64),
        "published_polis": polis,
        "published_polis_images": (polis > 0).astype(np.float64),
        "published_recall": np.nan_to_num(boxes[:, 1]),
        "published_precision": np.nan_to_num(boxes[:, 0]),
        "published_with_predictions": np.isfinite(boxes[:, 0]).astype(np.float64),
    }


def _polis_of(found: Pieces, real: Pieces, image: int) -> float:
    """Mean PoLiS of an image as FFL's and HiSup's code has it; 0 where there is none.

    Each true building goes with the prediction whose box fits its own box best, if their
    boxes' IoU is above .5; a prediction may serve several.
    """
    p, t = found.polygons[found.of(image)], real.polygons[real.of(image)]
    if not len(p) or not len(t):
        return 0.0
    ious = _box_overlaps(t, p)[1]
    best = ious.argmax(axis=1)
    close = ious[np.arange(len(t)), best] > BOX_IOU
    return float(polis_as_published(p[best[close]], t[close]).mean()) if close.any() else 0.0


def _deepforest(found: Pieces, real: Pieces, image: int) -> tuple[float, float]:
    """Precision and recall of an image's boxes, assigned by the area that they share.

    NaN where there is no truth, so false positives there are never counted; precision is
    NaN where there is no prediction.
    """
    p, t = found.polygons[found.of(image)], real.polygons[real.of(image)]
    if not len(t):
        return np.nan, np.nan
    if not len(p):
        return np.nan, 0.0
    common, ious = _box_overlaps(t, p)
    rows, columns = linear_sum_assignment(common, maximize=True)
    hits = int((ious[rows, columns] > DEEPFOREST_IOU).sum())
    return hits / len(p), hits / len(t)


def _box_overlaps(a: Polygons, b: Polygons) -> tuple[Floats, Floats]:
    """Area that the bounding boxes share, and their IoU, (A, B) each."""
    box_a, box_b = shapely.bounds(a)[:, None], shapely.bounds(b)[None]
    sides = np.minimum(box_a[..., 2:], box_b[..., 2:]) - np.maximum(box_a[..., :2], box_b[..., :2])
    common = np.maximum(sides, 0).prod(axis=2)
    areas = [(box[..., 2:] - box[..., :2]).prod(axis=2) for box in (box_a, box_b)]
    return common, common / (areas[0] + areas[1] - common)


def published_detections(found: Pieces, real: Pieces, images: int, ranked: bool) -> Detections:
    """What COCO's AP sees: cut buildings, image by image, the best 100 of each image."""
    best = np.lexsort((-found.score, found.image))
    place = np.arange(len(best)) - np.searchsorted(found.image, found.image[best])
    kept = np.sort(best[place < MOST_DETECTIONS])
    polygons, image, score = found.polygons[kept], found.image[kept], found.score[kept]
    pairs = overlaps(polygons, real.polygons)
    same = image[pairs.i] == real.image[pairs.j]
    areas = shapely.area(polygons), shapely.area(real.polygons)
    field = Field(
        score, areas[0], np.zeros(len(score), bool), areas[1], np.zeros(len(areas[1]), bool)
    )
    flags = found_at(field, Candidates(pairs.i[same], pairs.j[same], pairs.iou[same]))
    truths = np.bincount(real.image, minlength=images).astype(np.float64)
    return Detections(*flags, score=score, block=image, truths=truths, ranked=ranked)

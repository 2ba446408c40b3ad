"""How good a prediction is: pixels, instances and shapes. Needs nothing but numpy.

Counts are values that add up, so a measure of many tiles is the measure of their sum. A
measure of nothing (0 / 0) is NaN: there was nothing to find and nothing was found. Where
only one side is empty the answer is 0: a false positive counts in an area without truth.
Polygons are `geo.rings.Rings`: open arrays, outline first, then holes. Lengths come out in
the unit that goes in. `docs/metrics.md` states every definition and its source.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from buildex.geo.rings import Rings, boundary_distances

SSIM_WINDOW = 7  # pixels; the side that scikit-image uses by default
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
SQUARE_TOLERANCE = 5.0  # degrees


def ratio(part: float, whole: float) -> float:
    """`part / whole`; NaN where both are 0, for there is nothing to measure."""
    return float(part / whole) if whole else float("nan")


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives of pixels or of buildings."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def precision(self) -> float:
        """Share of what was predicted that is true; NaN without predictions."""
        return ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Share of what is true that was predicted; NaN without truth."""
        return ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN)."""
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)


@dataclass(frozen=True)
class PixelCounts(Counts):
    """How many pixels are building in both masks, in one, in none."""

    tn: int = 0

    @property
    def iou(self) -> float:
        """Intersection over union of the building class: TP / (TP + FP + FN)."""
        return ratio(self.tp, self.tp + self.fp + self.fn)


def mean(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN where there are none."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def pixel_counts(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], valid: NDArray[np.bool_] | None = None
) -> PixelCounts:
    """Count the pixels of two masks of one shape; only where `valid`, if it is given."""
    p, t = np.asarray(prediction, dtype=bool), np.asarray(truth, dtype=bool)
    if valid is not None:
        p, t = p[valid], t[valid]
    tp = int(np.count_nonzero(p & t))
    fp, fn = int(np.count_nonzero(p)) - tp, int(np.count_nonzero(t)) - tp
    return PixelCounts(tp=tp, fp=fp, fn=fn, tn=int(p.size) - tp - fp - fn)


@dataclass(frozen=True)
class Ssim:
    """A sum of SSIM over windows and how many windows there were."""

    total: float = 0.0
    windows: int = 0

    def __add__(self, other: Ssim) -> Ssim:
        return Ssim(self.total + other.total, self.windows + other.windows)

    @property
    def value(self) -> float:
        """Mean over the windows; NaN without any."""
        return ratio(self.total, self.windows)


def ssim(
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    valid: NDArray[np.bool_] | None = None,
    window: int = SSIM_WINDOW,
) -> Ssim:
    """Structural similarity of two binary masks (the paper's eq. 5; Wang et al. 2004, eq. 13).

    (2 mx my + c1)(2 sxy + c2) / ((mx^2 + my^2 + c1)(sx^2 + sy^2 + c2)) in a uniform square
    window around every pixel, with population (co)variances and a data range of 1. The
    paper prints c1 in both factors of the denominator, a misprint: with it two equal masks
    would not give 1.

    Args:
        prediction: (h, w).
        truth: (h, w).
        valid: (h, w); windows that hold a pixel outside are left out.
        window: side in pixels; windows that reach past the masks are left out.

    Returns:
        Sum and number of windows; none where the masks are smaller than a window. Windows
        empty in both masks count as 1, so sparse scenes score high.
    """
    x, y = np.asarray(prediction, dtype=bool), np.asarray(truth, dtype=bool)
    if min(x.shape) < window:
        return Ssim()
    n = window * window
    x_sum, y_sum, both = (window_sums(mask, window) for mask in (x, y, x & y))
    mixed = (x_sum != y_sum) | ((x_sum > 0) & (x_sum < n))  # the others are all 0 or all 1
    windows = mixed.size
    if valid is not None:
        counted = window_sums(valid, window) == n
        mixed, windows = mixed & counted, int(np.count_nonzero(counted))
    mx, my, mxy = (sums[mixed] / n for sums in (x_sum, y_sum, both))
    variances = mx - mx**2 + my - my**2  # x^2 = x in a binary mask
    similarity = (2 * mx * my + SSIM_C1) * (2 * (mxy - mx * my) + SSIM_C2)
    similarity /= (mx**2 + my**2 + SSIM_C1) * (variances + SSIM_C2)
    return Ssim(float(similarity.sum()) + windows - len(similarity), windows)


def window_sums(mask: NDArray[np.bool_], window: int) -> NDArray[np.unsignedinteger]:
    """Number of true pixels in every window that lies inside the mask.

    Shifted copies are added, down and then across: for small windows that is ten times as
    fast as cumulative sums.

    Args:
        mask: (h, w), neither side shorter than `window`.
        window: side in pixels.

    Returns:
        (h - window + 1, w - window + 1).
    """
    height, width = mask.shape[0] - window + 1, mask.shape[1] - window + 1
    kind = np.min_scalar_type(window * window)  # the smallest is the fastest
    mask = mask.astype(kind)
    down = np.zeros((height, mask.shape[1]), dtype=kind)
    for k in range(window):
        down += mask[k : k + height]
    sums = np.zeros((height, width), dtype=kind)
    for k in range(window):
        sums += down[:, k : k + width]
    return sums


@dataclass(frozen=True)
class InstanceCounts(Counts):
    """How many buildings found each other, and the sum of the pairs' IoU."""

    iou_sum: float = 0.0

    @property
    def mean_iou(self) -> float:
        """Mean intersection over union of the pairs; NaN without any."""
        return ratio(self.iou_sum, self.tp)


@dataclass(frozen=True)
class Match:
    """A one-to-one pairing of predicted with true buildings.

    Attributes:
        predictions: (M,) index of the prediction of each pair, best pair first.
        truths: (M,) index of its true building.
        ious: (M,) its intersection over union, falling.
        predicted: number of predictions, paired or not.
        true: number of true buildings, paired or not.
    """

    predictions: NDArray[np.int64]
    truths: NDArray[np.int64]
    ious: NDArray[np.float64]
    predicted: int
    true: int

    def __len__(self) -> int:
        return len(self.ious)

    @property
    def counts(self) -> InstanceCounts:
        """The unpaired are false: without truth every prediction is a false positive."""
        n = len(self)
        return InstanceCounts(n, self.predicted - n, self.true - n, float(self.ious.sum()))


def match(
    pairs: tuple[ArrayLike, ArrayLike, ArrayLike],
    predicted: int,
    true: int,
    threshold: float = 0.5,
) -> Match:
    """Pair predictions with true buildings, best first (SpaceNet; Van Etten et al. 2018).

    Where neither side overlaps itself a building has one partner above an IoU of 0.5, and
    this is the optimal assignment. Ties go to the lower indices.

    Args:
        pairs: arrays (K,) i, j, IoU: prediction i overlaps true building j; others have IoU 0.
        predicted: number of predictions.
        true: number of true buildings.
        threshold: least IoU of a pair, which may equal it.
    """
    i, j = (np.asarray(index, dtype=np.int64).ravel() for index in pairs[:2])
    iou = np.asarray(pairs[2], dtype=np.float64).ravel()
    enough = iou >= threshold
    i, j, iou = i[enough], j[enough], iou[enough]
    order = np.lexsort((j, i, -iou))
    free_i, free_j = np.ones(predicted, dtype=bool), np.ones(true, dtype=bool)
    taken = []
    for k in order.tolist():
        if free_i[i[k]] and free_j[j[k]]:
            free_i[i[k]] = free_j[j[k]] = False
            taken.append(k)
    keep = np.array(taken, dtype=np.int64)
    return Match(i[keep], j[keep], iou[keep], predicted, true)


def polis(a: Rings, b: Rings) -> float:
    """PoLiS distance of two polygons (Avbelj, Mueller and Bamler 2015, eq. 4).

    1/(2q) sum over a's q vertices of the distance to b's boundary + 1/(2r) the other way.
    Vertices are distinct; those of holes count, and a boundary includes its holes.
    """
    return 0.5 * (_mean_distance(a, b) + _mean_distance(b, a))


def _mean_distance(a: Rings, b: Rings) -> float:
    return float(boundary_distances(np.concatenate(a), b).mean())


def vertex_count(rings: Rings) -> int:
    """Number of vertices of a polygon, those of its holes included."""
    return sum(len(ring) for ring in rings)

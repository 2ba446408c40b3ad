"""What kind of mistake each building is: split, merged, badly drawn, missed, made up.

A true building is *split* where two predictions or more lie mostly on it; a prediction has
*merged* where two true buildings or more lie mostly under it. Mostly is at least half of
the area. The kinds explain the counts and do not change them: every missed building and
every false prediction has one cause.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from buildex.geo.matching import HALF, Overlaps, Pairing

UNLABELLED = 0.2  # of a prediction's area, at most, lies on labels: nobody has drawn it
SPLIT, MERGED, SHAPE, ALONE = "split", "merged", "shape", "alone"


class Blame(NamedTuple):
    """Causes, for P predictions and T true buildings.

    Attributes:
        parts: (T,) predictions that lie mostly on each true building.
        welded: (P,) true buildings that lie mostly under each prediction.
        best_p: (P,) highest IoU with a true building.
        best_t: (T,) highest IoU with a prediction.
        cause_p: (P,) why it would be false.
        cause_t: (T,) why it would be missed.
        unlabelled: (P,) hardly any of it lies on a label.
    """

    parts: NDArray[np.int64]
    welded: NDArray[np.int64]
    best_p: NDArray[np.float64]
    best_t: NDArray[np.float64]
    cause_p: NDArray[np.str_]
    cause_t: NDArray[np.str_]
    unlabelled: NDArray[np.bool_]


def blame(found: Overlaps, areas: tuple[NDArray[np.float64], NDArray[np.float64]]) -> Blame:
    """Find the cause of what could go wrong with each building.

    Args:
        found: which predictions (i) overlap which true buildings (j).
        areas: of the predictions (P,) and of the true buildings (T,), as compared.
    """
    i, j, common, iou = found
    (p, t), (n_p, n_t) = areas, (len(areas[0]), len(areas[1]))
    on_truth, under = common >= HALF * p[i], common >= HALF * t[j]
    parts = np.bincount(j[on_truth], minlength=n_t)
    welded = np.bincount(i[under], minlength=n_p)
    best_p, best_t, covered = np.zeros(n_p), np.zeros(n_t), np.zeros(n_p)
    np.maximum.at(best_p, i, iou)
    np.maximum.at(best_t, j, iou)
    np.add.at(covered, i, common)
    part_of_split = np.bincount(i[on_truth & (parts[j] > 1)], minlength=n_p) > 0
    under_merged = np.bincount(j[under & (welded[i] > 1)], minlength=n_t) > 0
    unlabelled = covered <= UNLABELLED * p
    touched = np.bincount(j, common, minlength=n_t) > UNLABELLED * t
    return Blame(
        parts,
        welded,
        best_p,
        best_t,
        np.select([welded > 1, part_of_split, ~unlabelled], [MERGED, SPLIT, SHAPE], ALONE),
        np.select([under_merged, parts > 1, touched], [MERGED, SPLIT, SHAPE], ALONE),
        unlabelled,
    )


def split_buildings(causes: Blame, pairing: Pairing) -> NDArray[np.int64]:
    """(S,) true buildings that count and that several predictions share."""
    return np.flatnonzero((causes.parts > 1) & pairing.counted)


def merged_predictions(causes: Blame, pairing: Pairing) -> NDArray[np.int64]:
    """(M,) predictions that weld several true buildings, inside the area."""
    inside = pairing.judged.copy()
    inside[pairing.predictions] = True
    return np.flatnonzero((causes.welded > 1) & inside)

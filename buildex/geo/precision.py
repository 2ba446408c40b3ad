"""Average precision and recall, as COCO defines them, for any weights of the buildings.

Predictions go in order of their score, best first; each takes the true building of the
highest IoU that is still free (Lin et al. 2014 and the reference code `cocoeval`, whose
figures these equal to 1e-6 on the same input). Unlike the reference, there is no limit of
100 predictions, which truncates a dense town, and areas are square metres.

Evidence is kept per building, with the block of ground that it lies in: a bootstrap draws
blocks again and again and needs no new pairing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Index = NDArray[np.int64]
Flags = NDArray[np.bool_]

AP_IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
EPSILON = float(np.spacing(1))
RANKS = 1000


class Candidates(NamedTuple):
    """K pairs of a prediction and a true building that overlap."""

    i: Index  # (K,) the prediction
    j: Index  # (K,) the true building
    iou: Floats  # (K,)

    def take(self, index: Index | Flags) -> Candidates:
        """The pairs at the given positions, or where a mask is true."""
        return Candidates(self.i[index], self.j[index], self.iou[index])


@dataclass(frozen=True)
class Detections:
    """How D predictions did at T IoUs, and how much truth there was in B blocks.

    Attributes:
        found: (T, D) a true building that counts was found.
        counted: (T, D) the prediction counts, found or not.
        score: (D,) what ranks them.
        block: (D,) the block that each lies in.
        truths: (B,) true buildings that count in each block.
        ranked: whether the scores mean anything; if not, all have one rank.
    """

    found: Flags
    counted: Flags
    score: Floats
    block: Index
    truths: Floats
    ranked: bool = True

    def summary(self) -> Summary:
        """Average precision and recall of all blocks."""
        hits, slips, _ = self._ranked()
        return _summary(hits, slips, float(self.truths.sum()), self.ranked)

    def summaries(self, weights: Floats, ranks: int = RANKS) -> Iterator[Summary]:
        """One summary for each row of weights (R, B): how often each block counts.

        Predictions of neighbouring rank are put together where there are more than `ranks`:
        for intervals, which a thousandth does not change.
        """
        hits, slips, block = self._ranked()
        depth = hits.shape[1]
        first = np.unique(np.linspace(0, depth, min(ranks, depth), endpoint=False).astype(int))
        for row in weights.astype(np.float32):
            own = row[block]
            some_hits, some_slips = hits * own, slips * own
            if depth > ranks:
                some_hits, some_slips = (
                    np.add.reduceat(flags, first, axis=1) for flags in (some_hits, some_slips)
                )
            yield _summary(some_hits, some_slips, float(self.truths @ row), self.ranked)

    def _ranked(self) -> tuple[NDArray[np.float32], NDArray[np.float32], Index]:
        """Hits and slips (T, D) in order of the score, best first, and their blocks (D,)."""
        order = np.argsort(-self.score, kind="stable")
        hits = (self.found & self.counted)[:, order].astype(np.float32)
        slips = (~self.found & self.counted)[:, order].astype(np.float32)
        return hits, slips, self.block[order]

    def curve(self, level: int) -> Floats:
        """Precision (101,) at the recalls `RECALLS`, at the IoU `AP_IOUS[level]`."""
        one = replace(self, found=self.found[[level]], counted=self.counted[[level]])
        return np.asarray(one.summary().precision[0])


class Summary(NamedTuple):
    """Average precision and recall at each IoU; NaN without truth."""

    precision: Floats  # (T, 101) at the recalls `RECALLS`
    recall: Floats  # (T,) that all predictions together reach

    @property
    def ap(self) -> float:
        """Mean precision over all IoUs and recalls."""
        return float(self.precision.mean())

    def ap_at(self, level: int) -> float:
        """Mean precision over the recalls at one IoU."""
        return float(self.precision[level].mean())

    @property
    def ar(self) -> float:
        """Mean recall over all IoUs."""
        return float(self.recall.mean())


def _summary(hits: NDArray[np.float32], slips: NDArray[np.float32], truths: float,
             ranked: bool) -> Summary:  # fmt: skip
    """Precision and recall of weighted hits and slips (T, D), best score first."""
    levels = len(hits)
    if not truths:
        return Summary(np.full((levels, len(RECALLS)), np.nan), np.full(levels, np.nan))
    tp, fp = (np.cumsum(v, axis=1, dtype=np.float64) for v in (hits, slips))
    if not ranked:
        tp, fp = tp[:, -1:], fp[:, -1:]
    precision, recall = np.zeros((levels, len(RECALLS))), np.zeros(levels)
    if tp.shape[1]:
        falling = np.maximum.accumulate((tp / (tp + fp + EPSILON))[:, ::-1], axis=1)[:, ::-1]
        recall = tp[:, -1] / truths
        for level in range(levels):
            at = np.searchsorted(tp[level] / truths, RECALLS, side="left")
            reached = at < tp.shape[1]
            precision[level, reached] = falling[level, at[reached]]
    return Summary(precision, recall)


def pooled(parts: Sequence[Detections]) -> Detections:
    """The detections of several scenes, whose blocks stand one after the other.

    They are ranked where those of each scene that has any are.
    """
    shifts = np.cumsum([0, *(len(part.truths) for part in parts[:-1])])
    return Detections(
        found=np.concatenate([part.found for part in parts], axis=1),
        counted=np.concatenate([part.counted for part in parts], axis=1),
        score=np.concatenate([part.score for part in parts]),
        block=np.concatenate([part.block + n for part, n in zip(parts, shifts, strict=True)]),
        truths=np.concatenate([part.truths for part in parts]),
        ranked=all(part.ranked for part in parts if len(part.score)),
    )


class Field(NamedTuple):
    """Predictions (D,) and true buildings (G,) as average precision sees them.

    A building that does not count (`excused`, `ignored`, or of another size than is asked
    for) is no error; a prediction that finds one does not count either.
    """

    score: Floats  # (D,)
    area: Floats  # (D,)
    excused: Flags  # (D,) not false where it finds nothing
    truth_area: Floats  # (G,)
    ignored: Flags  # (G,) true buildings that do not count

    def of_size(self, least: float, most: float) -> Field:
        """Only true buildings of an area in the range count, and only misses of that size."""
        other = (self.area < least) | (self.area > most)
        other_truth = (self.truth_area < least) | (self.truth_area > most)
        return self._replace(excused=self.excused | other, ignored=self.ignored | other_truth)


def found_at(field: Field, candidates: Candidates, ious: Floats = AP_IOUS) -> tuple[Flags, Flags]:
    """Which predictions find a true building, and which count, at each IoU.

    Args:
        field: the buildings.
        candidates: pairs that overlap.
        ious: (T,) least IoUs.

    Returns:
        Found (T, D) and counted (T, D).
    """
    rank = np.empty(len(field.score), dtype=np.int64)
    rank[np.argsort(-field.score, kind="stable")] = np.arange(len(rank))
    order = np.lexsort((candidates.j, rank[candidates.i]))
    sorted_ = candidates.take(order)
    partner = np.stack([_partners(field, sorted_, float(iou)) for iou in ious])
    found = partner >= 0
    counted = np.where(found, ~field.ignored[partner] if len(field.ignored) else False,
                       ~field.excused)  # fmt: skip
    return found, counted


def _partners(field: Field, candidates: Candidates, iou: float) -> Index:
    """The true building (D,) that each prediction takes, -1 for none; candidates by rank."""
    enough = candidates.iou >= min(iou, 1 - 1e-10)
    i, j, ious = candidates.take(enough)
    partner = np.full(len(field.score), -1, dtype=np.int64)
    winner = np.full(len(field.truth_area), -1, dtype=np.int64)
    # Who has a choice, and who stands in the way of such a one, must wait for their turn.
    choosy = np.bincount(i, minlength=len(partner)) > 1
    contested = np.zeros(len(winner), dtype=bool)
    contested[j[choosy[i]]] = True
    plain = ~contested[j]
    winner[j[plain][::-1]] = i[plain][::-1]  # the first of the order is written last
    taken = np.flatnonzero(winner >= 0)
    partner[winner[taken]] = taken
    _take_turns(partner, field.ignored, i[~plain], j[~plain], ious[~plain])
    return partner


def _take_turns(partner: Index, ignored: Flags, i: Index, j: Index, iou: Floats) -> None:
    """Give each prediction with a choice its best free true building, one after the other.

    Buildings that count go before ignored ones; of equal IoUs the last goes, as in the
    reference code.
    """
    free = dict.fromkeys(j.tolist(), True)
    start = 0
    for stop in [*(np.flatnonzero(np.diff(i)) + 1).tolist(), len(i)]:
        options = [k for k in range(start, stop) if free[int(j[k])]]
        if options:
            best = max(options, key=lambda k: (not ignored[j[k]], iou[k], k))
            partner[i[best]] = j[best]
            free[int(j[best])] = False
        start = stop

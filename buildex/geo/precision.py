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
        (only,) = self.summaries(np.ones((1, len(self.truths))))
        return only

    def summaries(self, weights: Floats) -> Iterator[Summary]:
        """One summary for each row of weights (R, B): how often each block counts."""
        order = np.argsort(-self.score, kind="stable")
        block, counted = self.block[order], self.counted[:, order]
        hits = [np.flatnonzero(level) for level in self.found[:, order] & counted]
        for row in weights:
            own, truths = row[block], float(self.truths @ row)
            levels = []
            for found, counts in zip(hits, counted, strict=True):
                # Precision falls from one find to the next: only that at finds can be the highest.
                tp, all_ = np.cumsum(own[found]), np.cumsum(own * counts)
                if self.ranked:
                    levels.append(_level(tp, all_[found], truths))
                else:
                    levels.append(_level(tp[-1:], all_[-1:], truths))
            precision, recall = zip(*levels, strict=True)
            yield Summary(np.stack(precision), np.array(recall))

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


def _level(tp: Floats, all_: Floats, truths: float) -> tuple[Floats, float]:
    """Precision (101,) at the recalls `RECALLS`, and the recall reached; NaN without truth.

    Args:
        tp: (H,) weight of what was found up to each find, best score first.
        all_: (H,) weight of the predictions that count up to there.
        truths: weight of all true buildings.
    """
    if not truths:
        return np.full(len(RECALLS), np.nan), float("nan")
    precision = np.zeros(len(RECALLS))
    if not len(tp):
        return precision, 0.0
    at = np.searchsorted(tp / truths, RECALLS, side="left")
    at = at[at < len(tp)]
    best = np.maximum.reduceat(tp / (all_ + EPSILON), at)
    precision[: len(at)] = np.maximum.accumulate(best[::-1])[::-1]
    return precision, float(tp[-1] / truths)


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

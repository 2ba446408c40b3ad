"""From a detector's scores to chances: what score of .5 means that every second one is right.

Platt's logistic (1999): chance = 1 / (1 + exp(-(slope * logit(score) + offset))), fitted to
detections that were compared with labels, so two numbers carry it in a model's card. The slope
is positive: order never changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
STEPS = 100  # of Newton's method, at most; it needs about ten
HALVINGS = 40  # of one step: it is made shorter until what happened is no less likely
RIDGE = 1e-3  # pull towards the identity: keeps separable data finite
LEAST = 1e-6  # scores are kept so far from 0 and 1


@dataclass(frozen=True)
class Calibration:
    """A map of scores 0..1 to chances 0..1; the identity by default."""

    slope: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not self.slope > 0:
            raise ValueError(f"slope {self.slope}: it is more than 0")

    def chances(self, scores: Scores) -> Scores:
        """What scores (N,) mean."""
        if self == IDENTITY:
            return scores
        return _logistic(self.slope * _logit(scores) + self.offset)

    def scores(self, chances: Scores) -> Scores:
        """Which scores (N,) mean these chances; the inverse."""
        if self == IDENTITY:
            return chances
        return _logistic((_logit(chances) - self.offset) / self.slope)


IDENTITY = Calibration()


def calibrated(scores: Scores, right: NDArray[np.bool_]) -> Calibration:
    """The map that makes what happened likeliest, by Newton's method with steps that never lose.

    Args:
        scores: (N,) of detections, 0..1.
        right: (N,) whether each was right.

    Returns:
        The identity where the scores do not rise with being right, or where there are fewer
        than two of either kind: then there is nothing to learn from.
    """
    if min(right.sum(), (~right).sum()) < 2:
        return IDENTITY
    # Platt's targets: as if one more of each kind had been seen.
    n_right, n_wrong = int(right.sum()), int((~right).sum())
    target = np.where(right, (n_right + 1) / (n_right + 2), 1 / (n_wrong + 2))
    x = np.stack([_logit(scores), np.ones(len(scores))], axis=1)
    start = np.array([1.0, 0.0])

    def loss(weights: Scores) -> float:
        z = x @ weights
        pull = 0.5 * RIDGE * ((weights - start) ** 2).sum()
        return float((np.logaddexp(0, z) - target * z).sum() + pull)

    weights, best = start, loss(start)
    for _ in range(STEPS):
        chance = _logistic(x @ weights)
        gradient = x.T @ (chance - target) + RIDGE * (weights - start)
        curvature = (x * (chance * (1 - chance))[:, None]).T @ x + RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        # Far from the best, where chances are all but 0 or 1, a whole step leads farther away.
        tried = (weights - step * 0.5**halved for halved in range(HALVINGS))
        better = next(((loss(one), one) for one in tried if loss(one) < best), None)
        if better is None:
            break
        best, weights = better
    slope, offset = weights.tolist()
    return Calibration(slope, offset) if slope > 0 and np.isfinite(offset) else Calibration()


def _logit(p: Scores) -> Scores:
    clipped = np.clip(np.asarray(p, dtype=np.float64), LEAST, 1 - LEAST)
    return np.log(clipped / (1 - clipped))


def _logistic(x: Scores) -> Scores:
    return np.asarray(1 / (1 + np.exp(-x)))

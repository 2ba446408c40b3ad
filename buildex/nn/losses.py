"""Losses: pure functions from tensors to a scalar, finite where there is nothing to learn.

The whole network learns (Park et al., eq. 2, weights 0.2 and 1):

    L = Lcls + Lreg + 0.2 Lmask + 1.0 Lpolygon

Lcls and Lreg are the detector's (`nn.detectors`); Lpolygon is the focal loss of the corner
heatmap plus the L1 distance of the corner's place in its cell, of the cells that hold one.
U-Net learns two maps of whole tiles with the loss of masks. Shapes: R frames with M x M
cells; R may be 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def focal_loss(
    logits: Tensor,
    target: Tensor,
    alpha: float = 2.0,
    beta: float = 4.0,
    count: int | None = None,
) -> Tensor:
    """Penalty-reduced focal loss of keypoint heatmaps (Law and Deng 2018, eq. 1).

    Args:
        logits: (R, 1, M, M), before the sigmoid.
        target: same shape; 1 at a keypoint, a Gaussian around it, 0 far away.
        alpha: how fast easy cells fade.
        beta: how much cells near a keypoint are forgiven.
        count: what the sum is divided by, at least 1; the number of keypoints by default.

    Returns:
        Scalar.
    """
    at = target >= 1
    log_p, log_not_p = F.logsigmoid(logits), F.logsigmoid(-logits)
    missed = log_not_p.exp() ** alpha * log_p * at
    false = (1 - target) ** beta * log_p.exp() ** alpha * log_not_p * ~at
    divisor = at.sum().clamp(min=1) if count is None else max(count, 1)
    return -(missed.sum() + false.sum()) / divisor


def offset_loss(offset: Tensor, target: Tensor, at: Tensor) -> Tensor:
    """L1 distance between places in a cell, per keypoint (Law and Deng 2018, eq. 2).

    Args:
        offset: (R, 2, M, M) predicted place, in cells, x then y.
        target: same shape.
        at: (R, 1, M, M) bool, cells that hold a keypoint.

    Returns:
        Scalar; |dx| + |dy| averaged over the keypoints, 0 without any.
    """
    gap = (offset - target).abs() * at
    return gap.sum() / at.sum().clamp(min=1)


def mask_loss(
    logits: Tensor, target: Tensor, dice: float = 1.0, counted: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy of mask cells (He et al. 2017) plus Dice, with sums in its divisor.

    Milletari et al. (2016) divide by sums of squares; these networks learnt with plain sums.

    Args:
        logits: (R, 1, M, M), before the sigmoid; or maps of whole tiles.
        target: same shape, share of each cell that is building, 0..1.
        dice: weight of the Dice term 1 - 2 sum(p t) / (sum p + sum t), taken per frame.
        counted: same shape, bool; the cells that count, all by default.

    Returns:
        Scalar; mean over cells and over frames, 0 without any.
    """
    if len(logits) == 0:
        return logits.sum()
    weight = torch.ones_like(target) if counted is None else counted.to(target)
    each = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
    p = (logits.sigmoid() * weight).flatten(1)
    t = (target * weight).flatten(1)
    overlap = 2 * (p * t).sum(1) / (p.sum(1) + t.sum(1)).clamp(min=1e-6)
    # A share t drawn as p = t scores sum(2 t^2) / sum(2 t) < 1; that is Dice's own bound.
    return each / weight.sum().clamp(min=1) + dice * (1 - overlap).mean()

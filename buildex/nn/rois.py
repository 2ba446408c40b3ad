"""Which frames the RoI heads learn from, and what they should answer there.

Frames come from true boxes, jittered, and from the detector's own boxes that lie on a
building: what the heads see later. Shapes: B images, R frames of all of them, M cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from buildex.geo.keypoints import RoiCodec
from buildex.nn.batch import Shape
from buildex.nn.targets import RoiMapsTruth, draw

CENTRE_JITTER = 0.08  # of the box's side, standard deviation
SIZE_JITTER = 0.12  # of the logarithm of the side, standard deviation
SAME_BUILDING = 0.5  # box IoU from which a detection is of that building


class RoiTruth(NamedTuple):
    """Frames and the perfect answer for each."""

    frames: list[Tensor]  # B of (R_i, 4)
    maps: RoiMapsTruth


def sample_rois(
    boxes: Sequence[Tensor],
    shapes: Sequence[Sequence[Shape]],
    found: Sequence[Tensor],
    codec: RoiCodec,
    limit: int,
    rng: np.random.Generator,
) -> RoiTruth:
    """Choose frames and draw their targets.

    Args:
        boxes: the truth, B of (N, 4).
        shapes: the truth, B of N.
        found: the detector's boxes, B of (K, 4), best first.
        codec: draws.
        limit: frames per image, at most.
        rng: chance.
    """
    owners, turns, proposed = _belonging(found, boxes)
    frames, buildings, places = [], list[Shape](), list[NDArray[np.float64]]()
    for index, (truth, mine) in enumerate(zip(boxes, shapes, strict=True)):
        of_each = _in_turns(owners[index], turns[index], rng)[: limit // 2]
        pick = rng.permutation(len(truth))[: limit - len(of_each)]
        true = truth.cpu().numpy().astype(np.float64)[pick]
        chosen = np.vstack([_jittered(true, rng), proposed[index][of_each]])
        owner = np.concatenate([pick, owners[index][of_each]])
        places.append(codec.frames(chosen))
        frames.append(torch.from_numpy(places[-1]).to(truth))
        buildings += [mine[k] for k in owner]
    sketch = codec.sketch(
        [shape.rings for shape in buildings],
        np.vstack(places),
        [shape.corners for shape in buildings],
    )
    return RoiTruth(frames, draw(sketch, codec, boxes[0].device))


def _belonging(
    found: Sequence[Tensor], boxes: Sequence[Tensor]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Which building each of the detector's boxes lies on.

    Args:
        found: the detector's boxes, B of (K, 4), best first.
        boxes: the truth, B of (N, 4).

    Returns:
        The building (B, K) that a box lies on more than on any other, -1 for none; the how many-th
        of that building's boxes it is, from 1; and the boxes (B, K, 4).
    """
    true = pad_sequence(list(boxes), batch_first=True)
    proposed = pad_sequence(list(found), batch_first=True).float()
    if not true.shape[1] or not proposed.shape[1]:
        none = np.full((len(boxes), 0), -1, np.int64)
        return none, none, np.zeros((len(boxes), 0, 4))
    a, b = proposed[:, :, None], true[:, None]
    common = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    shared = common.clamp(min=0).prod(dim=-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(dim=-1) for box in (a, b)]
    overlap = shared / (areas[0] + areas[1] - shared).clamp(min=1e-6)  # (B, K, N)
    best, building = overlap.max(dim=2)
    owner = building.where(best > SAME_BUILDING, -1)
    mine = owner[..., None] == torch.arange(true.shape[1], device=owner.device)
    turn = (mine.cumsum(dim=1) * mine).sum(dim=2)
    return owner.cpu().numpy(), turn.cpu().numpy(), proposed.cpu().numpy().astype(np.float64)


def _in_turns(
    owner: NDArray[np.int64], turn: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Positions of boxes on a building: the best of each in any order, then the second, ..."""
    good = rng.permutation(np.flatnonzero(owner >= 0))
    return good[np.argsort(turn[good], kind="stable")]


def _jittered(boxes: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Boxes (N, 4) as a detector would err."""
    side = boxes[:, 2:] - boxes[:, :2]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + side * rng.normal(0, CENTRE_JITTER, side.shape)
    side = side * np.exp(rng.normal(0, SIZE_JITTER, side.shape))
    return np.hstack([centre - side / 2, centre + side / 2])

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
    proposed, known = _best_of_each(found, boxes)
    frames, buildings, places = [], list[Shape](), list[NDArray[np.float64]]()
    for index, (truth, mine) in enumerate(zip(boxes, shapes, strict=True)):
        chosen, owner = _choose(truth, proposed[index], known[index], limit, rng)
        places.append(codec.frames(chosen))
        frames.append(torch.from_numpy(places[-1]).to(truth))
        buildings += [mine[k] for k in owner]
    sketch = codec.sketch(
        [shape.rings for shape in buildings],
        np.vstack(places),
        [shape.corners for shape in buildings],
    )
    return RoiTruth(frames, draw(sketch, codec, boxes[0].device))


def _best_of_each(
    found: Sequence[Tensor], boxes: Sequence[Tensor]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """For each building the first box that lies on it more than on any other, if there is one.

    Args:
        found: the detector's boxes, B of (K, 4), best first.
        boxes: the truth, B of (N, 4).

    Returns:
        Boxes (B, max N, 4), and (B, max N) whether there is one.
    """
    true = pad_sequence(list(boxes), batch_first=True)
    proposed = pad_sequence(list(found), batch_first=True).float()
    if not true.shape[1] or not proposed.shape[1]:
        return np.zeros((*true.shape[:2], 4)), np.zeros(tuple(true.shape[:2]), bool)
    a, b = proposed[:, :, None], true[:, None]
    common = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    shared = common.clamp(min=0).prod(dim=-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(dim=-1) for box in (a, b)]
    overlap = shared / (areas[0] + areas[1] - shared).clamp(min=1e-6)  # (B, K, N)
    fits = (overlap > SAME_BUILDING) & (overlap == overlap.amax(dim=2, keepdim=True))
    first = fits.int().argmax(dim=1)
    best = proposed.gather(1, first[..., None].expand(-1, -1, 4))
    return best.cpu().numpy().astype(np.float64), fits.any(dim=1).cpu().numpy()


def _choose(
    truth: Tensor,
    proposed: NDArray[np.float64],
    known: NDArray[np.bool_],
    limit: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Boxes (R, 4) and the index (R,) of the building each is of; half may be the detector's."""
    true = truth.cpu().numpy().astype(np.float64)
    take = rng.permutation(np.flatnonzero(known))[: limit // 2]
    pick = rng.permutation(len(true))[: limit - len(take)]
    joined = np.vstack([_jittered(true[pick], rng), proposed[take]])
    return joined, np.concatenate([pick, take])


def _jittered(boxes: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Boxes (N, 4) as a detector would err."""
    side = boxes[:, 2:] - boxes[:, :2]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + side * rng.normal(0, CENTRE_JITTER, side.shape)
    side = side * np.exp(rng.normal(0, SIZE_JITTER, side.shape))
    return np.hstack([centre - side / 2, centre + side / 2])

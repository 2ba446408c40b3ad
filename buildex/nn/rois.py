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
from torchvision.ops import box_iou

from buildex.geo.keypoints import RoiCodec
from buildex.nn.batch import Shape
from buildex.nn.detectors import Detections
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
    found: Sequence[Detections],
    codec: RoiCodec,
    limit: int,
    rng: np.random.Generator,
) -> RoiTruth:
    """Choose frames and draw their targets.

    Args:
        boxes: the truth, B of (N, 4).
        shapes: the truth, B of N.
        found: the detector's answer, B.
        codec: draws.
        limit: frames per image, at most.
        rng: chance.
    """
    frames, buildings, places = [], list[Shape](), list[NDArray[np.float64]]()
    for truth, mine, detections in zip(boxes, shapes, found, strict=True):
        chosen, owner = _choose(truth, detections, limit, rng)
        places.append(codec.frames(chosen))
        frames.append(torch.from_numpy(places[-1]).to(truth))
        buildings += [mine[k] for k in owner]
    sketch = codec.sketch(
        [shape.rings for shape in buildings],
        np.vstack(places),
        [shape.corners for shape in buildings],
    )
    return RoiTruth(frames, draw(sketch, codec, boxes[0].device))


def _choose(
    truth: Tensor, found: Detections, limit: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Boxes (R, 4) and the index (R,) of the building each is of; half of them detections."""
    if len(truth) == 0:
        return np.zeros((0, 4)), np.zeros(0, np.int64)
    true = truth.cpu().numpy().astype(np.float64)
    proposed, owner = np.zeros((0, 4)), np.zeros(0, np.int64)
    if len(found.boxes):
        best, building = box_iou(found.boxes.float(), truth).max(dim=1)
        good = (best > SAME_BUILDING).cpu().numpy()
        proposed = found.boxes.float().cpu().numpy().astype(np.float64)[good]
        owner = building.cpu().numpy()[good]
    take = rng.permutation(len(proposed))[: limit // 2]
    pick = rng.permutation(len(true))[: limit - len(take)]
    joined = np.vstack([_jittered(true[pick], rng), proposed[take]])
    return joined, np.concatenate([pick, owner[take]])


def _jittered(boxes: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Boxes (N, 4) as a detector would err."""
    side = boxes[:, 2:] - boxes[:, :2]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + side * rng.normal(0, CENTRE_JITTER, side.shape)
    side = side * np.exp(rng.normal(0, SIZE_JITTER, side.shape))
    return np.hstack([centre - side / 2, centre + side / 2])

"""What U-Net learns from, and what is made of its answer: `geo.regions`, with tensors.

Shapes: B samples of H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from buildex.geo.instances import RoiMaps
from buildex.geo.keypoints import RoiCodec
from buildex.geo.regions import drawn, instances
from buildex.nn.batch import Batch, Shape
from buildex.nn.losses import mask_loss
from buildex.nn.unet import PixelLogits, UNet


def dense_losses(network: UNet, batch: Batch, dice: float) -> dict[str, Tensor]:
    """The parts of the loss: of the building map and of the boundary map.

    Args:
        network: learns.
        batch: pixels that are not valid do not count.
        dice: weight of the Dice terms.
    """
    logits = network(batch.images, batch.valid)
    building, boundary = _targets(batch.shapes, logits.building)
    counted = batch.valid[:, None]
    return {
        "mask": mask_loss(logits.building, building, dice, counted),
        "boundary": mask_loss(logits.boundary, boundary, dice, counted),
    }


def _targets(shapes: Sequence[Sequence[Shape]], like: Tensor) -> tuple[Tensor, Tensor]:
    """Building and boundary maps, (B, 1, H, W) each, on the device of `like`."""
    height, width = like.shape[-2:]
    maps = [drawn([shape.rings for shape in some], height, width) for some in shapes]
    building, boundary = (torch.from_numpy(np.stack(part)) for part in zip(*maps, strict=True))
    return building[:, None].to(like), boundary[:, None].to(like)


def dense_answers(
    logits: PixelLogits, valid: Tensor, codec: RoiCodec, score: float, most: int
) -> list[RoiMaps]:
    """The instances of each tile, best first.

    Args:
        logits: of the network.
        valid: (B, H, W) bool; nothing is built where it is false.
        codec: makes frames.
        score: instances below it are left out.
        most: as many per tile, at most.
    """
    building = (logits.building.sigmoid()[:, 0] * valid).float().cpu().numpy()
    boundary = logits.boundary.sigmoid()[:, 0].float().cpu().numpy()
    found = [instances(a, b, codec, most) for a, b in zip(building, boundary, strict=True)]
    return [RoiMaps(*(part[maps.scores >= score] for part in maps)) for maps in found]

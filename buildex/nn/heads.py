"""What one building looks like: features cut out along its frame, a mask and its corners.

A frame (x0, y0, x1, y1, in pixels of the input; see `geo.keypoints`) is cut out of the
pyramid in K x K cells; mask and keypoint maps have twice as many, M = 2 K.
Shapes: R frames of all images together, C channels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from buildex.nn.backbone import Pyramid

ROI_LEVELS = {"p2": 4, "p3": 8, "p4": 16, "p5": 32}
PRIOR = 0.01  # share of cells that hold a corner, where training starts
GROUP = 16  # frames are filled up to a multiple: oneDNN compiles for each new number, slowly


class RoiLogits(NamedTuple):
    """The maps of R frames, before thresholds and decoding."""

    mask: Tensor  # (R, 1, M, M) logits
    heatmap: Tensor  # (R, 1, M, M) logits
    offset: Tensor  # (R, 2, M, M) in cells, 0..1, x then y


class RoiFeatures(nn.Module):
    """RoIAlign (He et al. 2017) out of the level whose pixels fit the frame's cells.

    torchvision's `MultiScaleRoIAlign` shifts by half a feature pixel (its `aligned` is
    False), which corners do not forgive; hence this one. Channels are reduced before the
    cut: a 1x1 convolution and bilinear sampling commute, and so the cut is cheaper.

    Args:
        pyramid_channels: channels of the pyramid.
        channels: C.
        cells: K.
    """

    def __init__(self, pyramid_channels: int, channels: int, cells: int) -> None:
        super().__init__()
        self.cells = cells
        self.reduce = nn.Conv2d(pyramid_channels, channels, 1)

    def forward(self, pyramid: Pyramid, frames: list[Tensor]) -> Tensor:
        """Cut the frames of each image, B of (R_i, 4), to features (R, C, K, K)."""
        boxes = torch.cat(frames)
        image = torch.cat([f.new_full((len(f), 1), i) for i, f in enumerate(frames)])
        rois = torch.cat([image, boxes], dim=1).float()
        level = self.levels(boxes)
        first = self.reduce(pyramid["p2"])
        out: Tensor = first.new_zeros((len(rois), first.shape[1], self.cells, self.cells))
        for index, (name, stride) in enumerate(ROI_LEVELS.items()):
            features = first if index == 0 else self.reduce(pyramid[name])
            chosen = torch.nonzero(level == index)[:, 0]
            cut = roi_align(features, rois[chosen], self.cells, 1 / stride, 2, aligned=True)
            out = out.index_copy(0, chosen, cut.to(out.dtype))
        return out

    def levels(self, frames: Tensor) -> Tensor:
        """Index (R,) of the level for frames (R, 4): a cell spans 1 to 2 of its pixels.

        A frame of side K * stride has cells as large as a feature pixel; smaller frames
        than the finest level serves stay there.
        """
        side = (frames[:, 2:] - frames[:, :2]).clamp(min=1).prod(dim=1).sqrt()
        level = torch.floor(torch.log2(side / (4 * self.cells)) + 1e-6)
        return level.clamp(0, len(ROI_LEVELS) - 1).long()


def conv_stack(inputs: int, channels: int, count: int) -> nn.Sequential:
    """`count` times 3x3 convolution, group norm, ReLU."""
    layers: list[nn.Module] = []
    for index in range(count):
        source = inputs if index == 0 else channels
        layers.append(nn.Conv2d(source, channels, 3, padding=1, bias=False))
        layers += [nn.GroupNorm(max(1, channels // 8), channels), nn.ReLU()]
    return nn.Sequential(*layers)


def doubled(inputs: int, outputs: int) -> nn.Sequential:
    """Twice the resolution: each cell becomes 2 x 2 by a learned linear map, then ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 1), nn.PixelShuffle(2), nn.ReLU())


class MaskBranch(nn.Module):
    """RoI features (R, C, K, K) to mask logits (R, 1, M, M)."""

    def __init__(self, channels: int, convs: int = 3) -> None:
        super().__init__()
        self.stack = conv_stack(channels, channels, convs)
        self.up = doubled(channels, channels // 2)
        self.predict = nn.Conv2d(channels // 2, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits of each cell being the building."""
        out: Tensor = self.predict(self.up(self.stack(features)))
        return out


class KeypointBranch(nn.Module):
    """RoI features and the predicted mask to a corner heatmap and offsets (Park et al.).

    The mask tells corners of this building from its neighbours'. It is laid over the cells
    of the features as four channels, one per quarter of a cell. No gradient runs back
    through it: the mask has its own loss and stays a mask.
    """

    def __init__(self, channels: int, convs: int = 3) -> None:
        super().__init__()
        self.stack = conv_stack(channels + 4, channels, convs)
        self.up = doubled(channels, channels // 2)
        self.fine = conv_stack(channels // 2, channels // 2, 1)
        self.predict = nn.Conv2d(channels // 2, 3, 1)
        first = torch.tensor([-math.log((1 - PRIOR) / PRIOR), 0.0, 0.0])
        self.predict.bias = nn.Parameter(first)

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmap logits (R, 1, M, M) and offsets (R, 2, M, M), of mask logits (R, 1, M, M)."""
        quarters = F.pixel_unshuffle(mask.detach().sigmoid(), 2)
        joined = torch.cat([features, quarters.to(features.dtype)], dim=1)
        out = self.predict(self.fine(self.up(self.stack(joined)))).float()
        return out[:, :1], out[:, 1:].sigmoid()


class RoiHeads(nn.Module):
    """Everything that is said about a frame: its features, its mask, its corners."""

    def __init__(self, pyramid_channels: int, channels: int, cells: int) -> None:
        super().__init__()
        self.features = RoiFeatures(pyramid_channels, channels, cells)
        self.mask = MaskBranch(channels)
        self.keypoints = KeypointBranch(channels)

    def forward(self, pyramid: Pyramid, frames: list[Tensor]) -> RoiLogits:
        """The maps of the frames of each image, B of (R_i, 4), one after another.

        R may be 0; every parameter has a gradient then, too, and it is 0.
        """
        count = sum(map(len, frames))
        spare = -count % GROUP if count else GROUP
        filling = frames[-1].new_tensor([[0.0, 0.0, 32.0, 32.0]]).expand(spare, 4)
        features = self.features(pyramid, [*frames[:-1], torch.cat([frames[-1], filling])])
        mask = self.mask(features).float()
        heatmap, offset = self.keypoints(features, mask)
        return RoiLogits(mask[:count], heatmap[:count], offset[:count])

"""What one building looks like: features cut out along its frame, a mask and its corners.

A frame (x0, y0, x1, y1, in pixels of the input; see `geo.keypoints`) is cut out of the
pyramid in K x K cells; mask and keypoint maps have M x M, as many or twice as many.
Shapes: R frames of all images together, C channels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from buildex.card import NetworkSpec
from buildex.nn.backbone import Pyramid

ROI_LEVELS = {"p2": 4, "p3": 8, "p4": 16, "p5": 32}
PRIOR = 0.01  # share of cells that hold a corner, where training starts
GROUP = 16  # frames are filled up to a multiple: oneDNN compiles for each new number, slowly


class RoiLogits(NamedTuple):
    """The maps of R frames, before thresholds and decoding; M = K times the scale."""

    mask: Tensor  # (R, 1, M, M) logits
    heatmap: Tensor | None  # (R, 1, M, M) logits; None without a keypoint branch
    offset: Tensor | None  # (R, 2, M, M) in cells, 0..1, x then y


class RoiFeatures(nn.Module):
    """RoIAlign (He et al. 2017) out of the level whose pixels fit the frame's cells.

    torchvision's `MultiScaleRoIAlign` shifts by half a feature pixel (its `aligned` is
    False), which corners do not forgive; hence this one. Where fewer channels are wanted,
    they are reduced before the cut: a 1x1 convolution and bilinear sampling commute, and so
    the cut is cheaper.

    Args:
        pyramid_channels: channels of the pyramid.
        channels: C.
        cells: K.
        span: pixels of its level that a cell is to span, at least, where levels allow it. With
            K span = 14 this is the choice of Lin et al. (2017, eq. 1).
    """

    def __init__(self, pyramid_channels: int, channels: int, cells: int, span: int = 1) -> None:
        super().__init__()
        self.cells, self.span = cells, span
        same = channels == pyramid_channels
        self.reduce = nn.Identity() if same else nn.Conv2d(pyramid_channels, channels, 1)

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
        """Index (R,) of the level for frames (R, 4): a cell spans 1 to 2 `span` of its pixels.

        A frame of side K * stride has cells as large as a feature pixel; smaller frames
        than the finest level serves stay there.
        """
        side = (frames[:, 2:] - frames[:, :2]).clamp(min=1).prod(dim=1).sqrt()
        level = torch.floor(torch.log2(side / (4 * self.cells * self.span)) + 1e-6)
        return level.clamp(0, len(ROI_LEVELS) - 1).long()


def conv_stack(inputs: int, channels: int, count: int, norm: bool = True) -> nn.Sequential:
    """`count` times 3x3 convolution, group norm if wanted, ReLU."""
    layers: list[nn.Module] = []
    for index in range(count):
        source = inputs if index == 0 else channels
        layers.append(nn.Conv2d(source, channels, 3, padding=1, bias=not norm))
        if norm:
            layers.append(nn.GroupNorm(max(1, channels // 8), channels))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def upscaled(inputs: int, outputs: int, scale: int = 2) -> nn.Sequential:
    """`scale` times the resolution: each cell becomes its own by a learned linear map, then ReLU.

    The same map as a transposed convolution whose kernel is as wide as its stride.
    """
    cells = nn.Conv2d(inputs, scale**2 * outputs, 1)
    return nn.Sequential(cells, nn.PixelShuffle(scale), nn.ReLU())


class SpatialAttention(nn.Module):
    """Features weighed by where in the frame they are (Lee and Park 2020, eq. 3).

    The mean and the largest channel of each cell say, through a 3x3 convolution, how much
    the cell counts.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (R, C, K, K), each cell times 0..1."""
        pooled = torch.cat([features.mean(1, keepdim=True), features.amax(1, keepdim=True)], 1)
        weights: Tensor = self.weigh(pooled).sigmoid()
        return features * weights


class MaskBranch(nn.Module):
    """RoI features (R, C, K, K) to mask logits (R, 1, M, M).

    Args:
        spec: its widths, and by `parts` whether cells are weighed, as in CenterMask.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        channels, half = spec.roi_channels, spec.roi_channels // 2
        self.stack = conv_stack(channels, channels, spec.roi_convs, spec.roi_norm)
        self.attend = SpatialAttention() if spec.parts.attention else nn.Identity()
        self.up = upscaled(channels, half, spec.roi_scale)
        self.predict = nn.Conv2d(half, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits of each cell being the building."""
        out: Tensor = self.predict(self.up(self.attend(self.stack(features))))
        return out


class KeypointBranch(nn.Module):
    """RoI features, and the predicted mask if wanted, to a corner heatmap and offsets.

    The mask tells corners of this building from its neighbours' (Park et al.). It is laid
    over the cells of the features, one channel for each of a cell's maps' cells. No gradient
    runs back through it: the mask has its own loss and stays a mask.

    Args:
        spec: its widths, and by `corners` whether it sees the mask.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        channels, half = spec.roi_channels, spec.roi_channels // 2
        self.scale = spec.roi_scale
        self.sees_mask = spec.corners == "features-and-mask"
        seen = channels + (self.scale**2 if self.sees_mask else 0)
        self.stack = conv_stack(seen, channels, spec.roi_convs, spec.roi_norm)
        self.up = upscaled(channels, half, self.scale)
        self.fine = conv_stack(half, half, 1, spec.roi_norm)
        self.predict = nn.Conv2d(half, 3, 1)
        first = torch.tensor([-math.log((1 - PRIOR) / PRIOR), 0.0, 0.0])
        self.predict.bias = nn.Parameter(first)

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmap logits (R, 1, M, M) and offsets (R, 2, M, M), of mask logits (R, 1, M, M)."""
        if self.sees_mask:
            laid = F.pixel_unshuffle(mask.detach().sigmoid(), self.scale)
            features = torch.cat([features, laid.to(features.dtype)], dim=1)
        out = self.predict(self.fine(self.up(self.stack(features)))).float()
        return out[:, :1], out[:, 1:].sigmoid()


class RoiHeads(nn.Module):
    """Everything that is said about a frame: its features, its mask, its corners if wanted."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.features = RoiFeatures(spec.pyramid_channels, spec.roi_channels, spec.roi_cells)
        self.mask = MaskBranch(spec)
        self.keypoints = None if spec.corners == "mask-only" else KeypointBranch(spec)

    def forward(self, pyramid: Pyramid, frames: list[Tensor]) -> RoiLogits:
        """The maps of the frames of each image, B of (R_i, 4), one after another.

        R may be 0; every parameter has a gradient then, too, and it is 0.
        """
        count = sum(map(len, frames))
        spare = -count % GROUP if count else GROUP
        filling = frames[-1].new_tensor([[0.0, 0.0, 32.0, 32.0]]).expand(spare, 4)
        features = self.features(pyramid, [*frames[:-1], torch.cat([frames[-1], filling])])
        mask = self.mask(features).float()
        if self.keypoints is None:
            return RoiLogits(mask[:count], None, None)
        heatmap, offset = self.keypoints(features, mask)
        return RoiLogits(mask[:count], heatmap[:count], offset[:count])

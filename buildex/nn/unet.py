"""U-Net: what every pixel is, without looking for buildings first (Ronneberger et al. 2015).

Two maps leave it: building, and the boundary that keeps touching buildings apart (see
`nn.dense` for what is made of them). Shapes: B images of height H and width W.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from buildex.card import NetworkSpec
from buildex.nn.backbone import ImageNetwork, Stages
from buildex.nn.heads import conv_stack, upscaled

PRIOR = 0.1  # share of pixels that are building, and of those that are boundary, at first


class PixelLogits(NamedTuple):
    """What is said of every pixel, before thresholds."""

    building: Tensor  # (B, 1, H, W) logits
    boundary: Tensor  # (B, 1, H, W) logits of lying in a building, near its outline


class UNet(ImageNetwork):
    """An encoder, and a decoder that joins its features from the coarsest to the finest.

    Args:
        spec: its shape.
        pretrained: the encoder's first weights, see `backbone.create_encoder`.
    """

    backbone: Stages

    def __init__(self, spec: NetworkSpec, pretrained: str = "") -> None:
        super().__init__(spec)
        self.backbone = Stages(spec.encoder, pretrained)
        *widths, last = spec.decoder_channels
        coarsest, *skips = reversed(self.backbone.channels)
        before = [coarsest, *widths]
        self.blocks = nn.ModuleList(
            conv_stack(before[i] + skip, widths[i], 2) for i, skip in enumerate(skips)
        )
        self.up = upscaled(before[len(skips)], last, self.backbone.strides[0])
        self.predict = nn.Conv2d(last, 2, 3, padding=1)
        self.predict.bias = nn.Parameter(torch.full((2,), math.log(PRIOR / (1 - PRIOR))))

    def forward(self, images: Tensor, valid: Tensor) -> PixelLogits:
        """uint8 RGB images (B, 3, H, W) to logits; pixels not `valid` (B, H, W) are the mean."""
        *skips, features = self.backbone(self.normalised(images, valid))
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            risen = F.interpolate(features, size=skip.shape[-2:], mode="nearest")
            features = block(torch.cat([risen, skip], dim=1))
        out = self.predict(self.up(features)).float()
        out = out[..., : images.shape[-2], : images.shape[-1]]  # odd sides are rounded up
        return PixelLogits(out[:, :1], out[:, 1:])

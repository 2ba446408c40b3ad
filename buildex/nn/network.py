"""The whole network: shared pyramid, detector, RoI heads. Parts that combine.

Shapes: B images of height H and width W, D channels of the pyramid, R frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from buildex.nn.backbone import Backbone, Pyramid, normalisation
from buildex.nn.detectors import DetectorOutput, FcosDetector
from buildex.nn.heads import RoiHeads, RoiLogits
from buildex.nn.settings import NetworkSpec


class Network(nn.Module):
    """Images to a pyramid, the pyramid to detections, frames to maps.

    Args:
        spec: its shape.
        pretrained: the encoder's first weights, see `backbone.create_encoder`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: NetworkSpec, pretrained: str = "") -> None:
        super().__init__()
        self.spec = spec
        self.backbone = Backbone(spec.encoder, spec.pyramid_channels, pretrained)
        self.detector = FcosDetector(
            spec.pyramid_channels, spec.detector_convs, spec.score, spec.overlap, spec.detections
        )
        self.roi = RoiHeads(spec.pyramid_channels, spec.roi_channels, spec.roi_cells)
        mean, std = normalisation(spec.encoder)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def pyramid(self, images: Tensor, valid: Tensor) -> Pyramid:
        """Levels of uint8 RGB images (B, 3, H, W); pixels not `valid` (B, H, W) become the mean."""
        scaled = (images.float() / 255 - self.mean) / self.std
        scaled = scaled * valid[:, None].to(scaled.dtype)
        levels: Pyramid = self.backbone(scaled.contiguous(memory_format=torch.channels_last))
        return levels

    def forward(self, images: Tensor, valid: Tensor) -> tuple[Pyramid, DetectorOutput]:
        """The pyramid and the detector's answer; frames are chosen outside, see `maps`."""
        pyramid = self.pyramid(images, valid)
        height, width = images.shape[-2:]
        output: DetectorOutput = self.detector(pyramid, (height, width))
        return pyramid, output

    def maps(self, pyramid: Pyramid, frames: list[Tensor]) -> RoiLogits:
        """Mask, heatmap and offsets of the frames of each image, B of (R_i, 4)."""
        logits: RoiLogits = self.roi(pyramid, frames)
        return logits

"""The whole network: shared pyramid, detector, RoI heads. Parts that combine.

Shapes: B images of height H and width W, D channels of the pyramid, R frames.
"""

from __future__ import annotations

from torch import Tensor

from buildex.card import NetworkSpec
from buildex.nn.backbone import Backbone, ImageNetwork, Pyramid
from buildex.nn.detectors import DetectorOutput, FcosDetector
from buildex.nn.heads import RoiHeads, RoiLogits
from buildex.nn.rcnn import RcnnDetector, RcnnOutput
from buildex.nn.unet import UNet


class Network(ImageNetwork):
    """Images to a pyramid, the pyramid to detections, frames to maps.

    Args:
        spec: its shape.
        pretrained: the encoder's first weights, see `backbone.create_encoder`.
    """

    backbone: Backbone

    def __init__(self, spec: NetworkSpec, pretrained: str = "") -> None:
        super().__init__(spec)
        self.backbone = Backbone(spec.encoder, spec.pyramid_channels, pretrained, spec.top_stride)
        self.detector = new_detector(spec)
        self.roi = RoiHeads(spec)

    def pyramid(self, images: Tensor, valid: Tensor) -> Pyramid:
        """Levels of uint8 RGB images (B, 3, H, W); pixels not `valid` (B, H, W) become the mean."""
        levels: Pyramid = self.backbone(self.normalised(images, valid))
        return levels

    def forward(self, images: Tensor, valid: Tensor) -> tuple[Pyramid, DetectorOutput | RcnnOutput]:
        """The pyramid and the detector's answer; frames are chosen outside, see `maps`."""
        pyramid = self.pyramid(images, valid)
        height, width = images.shape[-2:]
        output: DetectorOutput | RcnnOutput = self.detector(pyramid, (height, width))
        return pyramid, output

    def maps(self, pyramid: Pyramid, frames: list[Tensor]) -> RoiLogits:
        """Mask, heatmap and offsets of the frames of each image, B of (R_i, 4)."""
        logits: RoiLogits = self.roi(pyramid, frames)
        return logits


def new_detector(spec: NetworkSpec) -> FcosDetector | RcnnDetector:
    """The part that finds boxes."""
    if spec.parts.detector == "rcnn":
        return RcnnDetector(spec)
    return FcosDetector(
        spec.pyramid_channels, spec.detector_convs, spec.score, spec.overlap, spec.detections,
        spec.candidates,
    )  # fmt: skip


def new_network(spec: NetworkSpec, pretrained: str = "") -> Network | UNet:
    """The network of a spec, of either kind.

    Args:
        spec: its shape.
        pretrained: the encoder's first weights, see `backbone.create_encoder`.

    Raises:
        ModelError: for an unknown encoder or weights that cannot be had.
    """
    return Network(spec, pretrained) if spec.parts.detector else UNet(spec, pretrained)

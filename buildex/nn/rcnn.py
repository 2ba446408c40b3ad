"""Mask R-CNN's detector: proposals from anchors, then a box head that sees each (Ren et al. 2015).

Proposal network, target assignment, sampling, losses and selection are torchvision's; the
features of a proposal are cut out by `heads.RoiFeatures`, as those of all heads are.
Shapes: B images, A anchors over all levels, P proposals, N truths or detections of an image.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import (
    RegionProposalNetwork,
    RPNHead,
    concat_box_prediction_layers,
)

from buildex.card import NetworkSpec
from buildex.nn.anchors import SteadyAnchors
from buildex.nn.backbone import Pyramid
from buildex.nn.detectors import Detections
from buildex.nn.heads import RoiFeatures

BOX_CELLS = 7  # along the side of a proposal's features
ANCHOR_SAMPLES, BOX_SAMPLES = 256, 512  # per image, from which the two losses are taken


class RcnnOutput(NamedTuple):
    """What the proposal network says, and what the box head needs to look closer."""

    objectness: Tensor  # (B, A) logits
    deltas: Tensor  # (B, A, 4) from anchor to box
    anchors: list[Tensor]  # B of (A, 4)
    proposals: list[Tensor]  # B of (P, 4), best first
    pyramid: Pyramid
    sizes: list[tuple[int, int]]  # B of (height, width)


class RcnnDetector(nn.Module):
    """Anchors to proposals, proposals to boxes with a score; the class building is 1, ground 0.

    Args:
        spec: anchors, limits and widths.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.levels = [f"p{stride.bit_length() - 1}" for stride in spec.anchor_strides]
        channels, kinds = spec.pyramid_channels, len(spec.anchor_ratios)
        self.rpn = RegionProposalNetwork(
            SteadyAnchors(spec.anchor_sizes, spec.anchor_ratios, spec.anchor_strides),
            RPNHead(channels, kinds),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=ANCHOR_SAMPLES,
            positive_fraction=0.5,
            pre_nms_top_n=dict.fromkeys(("training", "testing"), spec.candidates),
            post_nms_top_n=dict.fromkeys(("training", "testing"), spec.proposals),
            nms_thresh=spec.proposal_overlap,
        )
        self.features = RoiFeatures(channels, channels, BOX_CELLS, span=2)
        self.head = TwoMLPHead(channels * BOX_CELLS**2, spec.box_channels)
        self.predict = FastRCNNPredictor(spec.box_channels, num_classes=2)
        self.boxes = RoIHeads(  # for its sampling and selection; it holds no parameters
            None, None, None, 0.5, 0.5, BOX_SAMPLES, 0.25, None,
            spec.score, spec.overlap, spec.detections,
        )  # fmt: skip

    def forward(self, pyramid: Pyramid, size: tuple[int, int]) -> RcnnOutput:
        """Propose boxes; `size` is the images' (height, width)."""
        levels = [pyramid[name] for name in self.levels]
        batch = levels[0].shape[0]  # not `len`: the graph is for any number of tiles
        sizes = [size] * batch
        objectness, deltas = self.rpn.head(levels)
        per_level = [one[0].numel() for one in objectness]
        flat, deltas = (t.float() for t in concat_box_prediction_layers(objectness, deltas))
        blank = levels[0].new_zeros((batch, 1, 1, 1), dtype=torch.float32).expand(-1, 1, *size)
        anchors = self.rpn.anchor_generator(ImageList(blank, sizes), levels)
        # Boxes are targets of another stage: no gradient runs through them.
        decoded = self.rpn.box_coder.decode(deltas.detach(), anchors).view(batch, -1, 4)
        proposals, _ = self.rpn.filter_proposals(decoded, flat, sizes, per_level)
        by_image = flat.view(batch, -1), deltas.view(batch, -1, 4)
        return RcnnOutput(*by_image, anchors, proposals, pyramid, sizes)

    def losses(self, output: RcnnOutput, boxes: list[Tensor]) -> dict[str, Tensor]:
        """Lcls (cross-entropy of anchors and of proposals) and Lreg (smooth L1 of both).

        Args:
            output: of `forward`.
            boxes: the truth, B of (N, 4); N may be 0.
        """
        targets = [{"boxes": b, "labels": b.new_ones(len(b), dtype=torch.int64)} for b in boxes]
        labels, matched = self.rpn.assign_targets_to_anchors(output.anchors, targets)
        wanted = self.rpn.box_coder.encode(matched, output.anchors)
        found: tuple[Tensor, Tensor] = self.rpn.compute_loss(
            output.objectness.flatten(), output.deltas.flatten(0, 1), labels, wanted
        )
        chosen, _, kinds, shifts = self.boxes.select_training_samples(output.proposals, targets)
        logits, regression = self._look(output.pyramid, chosen)
        closer: tuple[Tensor, Tensor] = fastrcnn_loss(logits, regression, kinds, shifts)
        return {"cls": found[0] + closer[0], "reg": found[1] + closer[1]}

    def propose(self, output: RcnnOutput) -> list[Tensor]:
        """The boxes (K, 4) found in each image, best first, for heads to learn from."""
        return [found.boxes for found in self.detect(output)]

    @torch.no_grad()
    def detect(self, output: RcnnOutput) -> list[Detections]:
        """The boxes left after thresholds and non-maximum suppression, for each image."""
        logits, regression = self._look(output.pyramid, output.proposals)
        answer: Any = self.boxes.postprocess_detections(
            logits, regression, output.proposals, output.sizes
        )
        return [Detections(boxes, scores) for boxes, scores, _ in zip(*answer, strict=True)]

    def _look(self, pyramid: Pyramid, proposals: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Class logits (sum P, 2) and shifts (sum P, 8) of proposals, B of (P, 4)."""
        logits, regression = self.predict(self.head(self.features(pyramid, proposals)))
        return logits.float(), regression.float()

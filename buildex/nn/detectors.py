"""Where buildings are: detectors on a shared feature pyramid.

A detector answers with boxes x0, y0, x1, y1 in pixels of the network's input. There is one
class, building, with label 0.
Shapes: B images, A anchor points over all levels, N truths or detections of an image.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.models.detection.image_list import ImageList

from buildex.card import CANDIDATES
from buildex.nn.anchors import SteadyAnchors
from buildex.nn.backbone import Pyramid

FCOS_LEVELS = {"p3": 8, "p4": 16, "p5": 32, "p6": 64, "p7": 128}
PROPOSED = 400  # points per image whose boxes the heads may learn from
FEWEST_POSITIVE = 8  # points per image by which the class loss is divided at least


class Detections(NamedTuple):
    """The buildings found in one image, best first."""

    boxes: Tensor  # (N, 4)
    scores: Tensor  # (N,) 0..1


class DetectorOutput(NamedTuple):
    """What the detector's head says at every anchor point."""

    head: dict[str, Tensor]  # cls_logits (B, A, 1), bbox_regression (B, A, 4), bbox_ctrness
    anchors: list[Tensor]  # B of (A, 4)
    per_level: list[int]  # anchor points of each level
    sizes: list[tuple[int, int]]  # B of (height, width)


class _NoBackbone(nn.Identity):
    """Stands where torchvision's FCOS wants a backbone; ours is shared with other heads."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = channels


class _Head(FCOSHead):  # type: ignore[misc]  # torchvision has no types
    """torchvision's head; its class loss stays small where a batch shows hardly any building.

    The focal loss is divided by the number of positive points; without any, the loss of all
    the background would be divided by 1 and outweigh a hundred other batches.
    """

    def compute_loss(
        self, targets: Any, head_outputs: Any, anchors: Any, matched_idxs: list[Tensor]
    ) -> dict[str, Tensor]:
        """The parts of the loss; `matched_idxs` is B of (A,), below 0 at background."""
        parts: dict[str, Tensor] = super().compute_loss(
            targets, head_outputs, anchors, matched_idxs
        )
        positive = (torch.stack(matched_idxs) >= 0).sum().clamp(min=1)  # nobody waits for it
        floor = FEWEST_POSITIVE * len(matched_idxs)
        parts["classification"] = parts["classification"] * positive / positive.clamp(min=floor)
        return parts


class FcosDetector(nn.Module):
    """FCOS (Tian et al. 2019): each point of the pyramid says how far the box's sides are.

    Head, target assignment, losses and selection are torchvision's, on levels P3 .. P7.

    Args:
        channels: of the pyramid.
        convs: 3x3 convolutions of each of the two towers.
        score: detections below it are dropped (root of class score times centreness).
        overlap: box IoU above which the weaker of two detections is dropped.
        limit: detections kept per image.
        candidates: points of a level, the best, that they are chosen from.
    """

    def __init__(
        self, channels: int, convs: int = 4, score: float = 0.05, overlap: float = 0.6,
        limit: int = 1000, candidates: int = CANDIDATES["fcos"],
    ) -> None:  # fmt: skip
        super().__init__()
        strides = FCOS_LEVELS.values()
        anchors = SteadyAnchors(tuple(strides), (1.0,), tuple(strides))
        self.fcos = FCOS(
            _NoBackbone(channels),
            num_classes=1,
            anchor_generator=anchors,
            head=_Head(channels, 1, 1, num_convs=convs),
            score_thresh=score,
            nms_thresh=overlap,
            topk_candidates=candidates,
            detections_per_img=limit,
        )

    def forward(self, pyramid: Pyramid, size: tuple[int, int]) -> DetectorOutput:
        """Run the towers on the levels; `size` is the images' (height, width)."""
        levels = [pyramid[name] for name in FCOS_LEVELS]
        head = {name: value.float() for name, value in self.fcos.head(levels).items()}
        batch = levels[0].shape[0]
        sizes = [size] * batch
        blank = levels[0].new_zeros((batch, 1, 1, 1), dtype=torch.float32).expand(-1, 1, *size)
        anchors = self.fcos.anchor_generator(ImageList(blank, sizes), levels)
        per_level = [level.shape[2] * level.shape[3] for level in levels]
        return DetectorOutput(head, anchors, per_level, sizes)

    def losses(self, output: DetectorOutput, boxes: list[Tensor]) -> dict[str, Tensor]:
        """Lcls (focal) and Lreg (GIoU and centreness), each per positive point.

        Args:
            output: of `forward`.
            boxes: the truth, B of (N, 4); N may be 0.
        """
        targets: list[dict[str, Tensor]] = [
            {"boxes": b, "labels": b.new_zeros(len(b), dtype=torch.int64)} for b in boxes
        ]
        parts: dict[str, Any] = self.fcos.compute_loss(
            targets, output.head, output.anchors, output.per_level
        )
        return {
            "cls": parts["classification"],
            "reg": parts["bbox_regression"] + parts["bbox_ctrness"],
        }

    @torch.no_grad()
    def propose(self, output: DetectorOutput) -> list[Tensor]:
        """The boxes (K, 4) of the surest points of each image, best first, for heads to learn from.

        Neither thresholds nor non-maximum suppression: all images at once, in a few operations.
        """
        head = output.head
        sure = (head["cls_logits"].sigmoid() * head["bbox_ctrness"].sigmoid())[..., 0]
        points = sure.topk(min(PROPOSED, sure.shape[1]), dim=1).indices[..., None].expand(-1, -1, 4)
        anchors = torch.stack(output.anchors).gather(1, points)
        boxes: Tensor = self.fcos.box_coder.decode(
            head["bbox_regression"].gather(1, points), anchors
        )
        return list(boxes)

    @torch.no_grad()
    def detect(self, output: DetectorOutput) -> list[Detections]:
        """The boxes left after thresholds and non-maximum suppression, for each image."""
        levels = output.per_level
        head = {k: list(torch.split_with_sizes(v, levels, 1)) for k, v in output.head.items()}
        anchors = [list(torch.split_with_sizes(a, levels)) for a in output.anchors]
        found = self.fcos.postprocess_detections(head, anchors, output.sizes)
        return [Detections(one["boxes"], one["scores"]) for one in found]

"""Anchors that stand where the pyramid's cells are, on images of any side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList


class SteadyAnchors(AnchorGenerator):  # type: ignore[misc]  # torchvision has no types
    """torchvision's anchors with strides that are told and not taken from the image.

    torchvision divides the image's side by the number of cells along it: of 352 pixels and
    stride 64 there are 6 cells, which would stand 58 pixels apart.

    Args:
        sizes: sides of the anchors of each level.
        ratios: heights by widths of the anchors.
        strides: of the levels, in pixels.
    """

    def __init__(
        self, sizes: Sequence[float], ratios: Sequence[float], strides: Sequence[int]
    ) -> None:
        super().__init__(tuple((size,) for size in sizes), (tuple(ratios),) * len(sizes))
        self.strides = tuple(strides)

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """The anchors (A, 4) of all levels (B, D, h, w), for each image the same."""
        first = feature_maps[0]
        self.set_cell_anchors(first.dtype, first.device)
        steps = [[first.new_tensor(one, dtype=torch.int64)] * 2 for one in self.strides]
        anchors = torch.cat(self.grid_anchors([level.shape[-2:] for level in feature_maps], steps))
        return [anchors] * len(image_list.image_sizes)

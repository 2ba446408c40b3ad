from __future__ import annotations

import math

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from buildex.nn.anchors import SteadyAnchors

STRIDES = (8, 16, 32, 64, 128)


def anchors(kind, side, images=2):
    levels = [torch.zeros(images, 1, n, n) for n in (math.ceil(side / s) for s in STRIDES)]
    return kind(ImageList(torch.zeros(images, 3, side, side), [(side, side)] * images), levels)


def test_where_strides_divide_the_side_they_are_torchvision_s():
    ours = anchors(SteadyAnchors((16, 32, 64, 128, 256), (0.5, 2.0), STRIDES), 256)
    theirs = anchors(
        AnchorGenerator(tuple((s,) for s in (16, 32, 64, 128, 256)), ((0.5, 2.0),) * 5), 256
    )
    assert len(ours) == len(theirs) == 2
    assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("side", [96, 352, 384, 512])
def test_anchors_stand_a_stride_apart_on_images_of_any_side(side):
    (found,) = anchors(SteadyAnchors(STRIDES, (1.0,), STRIDES), side, images=1)
    centres = ((found[:, :2] + found[:, 2:]) / 2).tolist()
    expected = [
        [float(column * s), float(row * s)]
        for s in STRIDES
        for row in range(math.ceil(side / s))
        for column in range(math.ceil(side / s))
    ]
    assert centres == expected

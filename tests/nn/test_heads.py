from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from buildex.geo.keypoints import RoiCodec
from buildex.nn.heads import (
    GROUP,
    ROI_LEVELS,
    KeypointBranch,
    MaskBranch,
    RoiFeatures,
    RoiHeads,
    SpatialAttention,
    upscaled,
)
from tests.nn.made import tiny_spec

CELLS = 4
IMAGE = 512


def ramps() -> dict[str, torch.Tensor]:
    """A pyramid whose two channels say where each feature pixel's centre lies: x and y."""
    levels = {}
    for name, stride in ROI_LEVELS.items():
        centres = (torch.arange(IMAGE // stride) + 0.5) * stride
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        levels[name] = torch.stack([x, y])[None]
    return levels


def plain_features() -> RoiFeatures:
    """Features that are cut out as they are."""
    return RoiFeatures(2, 2, CELLS)


def spec(**changes):
    usual = {"architecture": "mask-rcnn-keypoint", "pyramid_channels": 6}
    return tiny_spec(2 * CELLS, **usual | changes)


@pytest.mark.parametrize("side", [18.0, 25.3, 40.0, 70.1, 130.0, 200.0])
def test_a_frame_over_a_ramp_gives_the_ramp_at_the_centres_of_its_cells(side):
    frame = np.array([101.3, 77.7, 101.3 + side, 77.7 + 1.2 * side])
    cut = plain_features()(ramps(), [torch.tensor(frame[None], dtype=torch.float32)])
    steps = np.arange(CELLS) + 0.5
    cells = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    centres = RoiCodec(cells=CELLS).to_pixels(cells, frame)
    found = cut[0].detach().flatten(1).T.numpy()
    assert found == pytest.approx(centres, abs=1e-3)


def test_a_frame_is_cut_from_the_level_whose_pixels_fit_its_cells():
    features = RoiFeatures(1, 1, CELLS)
    sides = torch.tensor([2.0, 15.9, 16.0, 31.9, 32.0, 64.0, 128.0, 9000.0])
    frames = torch.stack([sides * 0, sides * 0, sides, sides], dim=1)
    assert features.levels(frames).tolist() == [0, 0, 0, 0, 1, 2, 3, 3]


def test_with_14_cells_per_span_levels_are_those_of_the_feature_pyramid_s_authors():
    """Lin et al. 2017, eq. 1: k = floor(4 + log2(side / 224)), here as P2 .. P5."""
    sides = torch.tensor([20.0, 111.0, 113.0, 223.0, 225.0, 447.0, 449.0, 2000.0])
    frames = torch.stack([sides * 0, sides * 0, sides, sides], dim=1)
    expected = torch.floor(4 + torch.log2(sides / 224)).clamp(2, 5).long() - 2
    for cells, span in ((7, 2), (14, 1)):
        assert torch.equal(RoiFeatures(1, 1, cells, span).levels(frames), expected)


def test_channels_are_reduced_before_the_cut_as_after_it():
    features, pyramid = RoiFeatures(6, 3, CELLS), pyramid_of(6)
    frames = [torch.tensor([[20.0, 30.0, 60.0, 90.0]]), torch.zeros(0, 4)]
    whole = RoiFeatures(6, 6, CELLS)(pyramid, frames)
    after = F.conv2d(whole, features.reduce.weight, features.reduce.bias)
    assert torch.allclose(features(pyramid, frames), after, atol=1e-5)


def test_frames_keep_their_order_and_their_image():
    pyramid = {name: torch.cat([level, -level]) for name, level in ramps().items()}
    large, small = [100.0, 100.0, 300.0, 300.0], [40.0, 40.0, 60.0, 60.0]
    cut = plain_features()(pyramid, [torch.tensor([large, small]), torch.tensor([small])])
    middle = cut.detach().mean(dim=(2, 3))
    expected = torch.tensor([[200.0, 200.0], [50.0, 50.0], [-50.0, -50.0]])
    assert torch.allclose(middle, expected, atol=1e-3)


def pyramid_of(channels: int) -> dict[str, torch.Tensor]:
    return {n: torch.randn(2, channels, 256 // s, 256 // s) for n, s in ROI_LEVELS.items()}


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (3, 2), (0, GROUP + 1)])
def test_maps_have_the_shapes_they_say_for_any_number_of_frames(counts):
    frames = [torch.tensor([[10.0, 10.0, 60.0, 50.0]]).expand(count, 4) for count in counts]
    maps = RoiHeads(spec())(pyramid_of(6), frames)
    total = sum(counts)
    assert maps.mask.shape == maps.heatmap.shape == (total, 1, 2 * CELLS, 2 * CELLS)
    assert maps.offset.shape == (total, 2, 2 * CELLS, 2 * CELLS)
    assert ((maps.offset >= 0) & (maps.offset <= 1)).all()


def test_without_any_frame_every_parameter_has_a_gradient_of_zero():
    heads = RoiHeads(spec())
    maps = heads(pyramid_of(6), [torch.zeros(0, 4), torch.zeros(0, 4)])
    (maps.mask.sum() + maps.heatmap.sum() + maps.offset.sum()).backward()
    assert all(p.grad is not None and (p.grad == 0).all() for p in heads.parameters())


def test_what_other_frames_are_asked_for_changes_no_answer():
    heads, pyramid = RoiHeads(spec()).eval(), pyramid_of(6)
    one = torch.tensor([[20.0, 30.0, 60.0, 90.0]])
    more = torch.cat([one, torch.rand(GROUP, 4).cumsum(dim=1) * 60])
    alone = heads(pyramid, [one, one[:0]])
    among = heads(pyramid, [more, one])
    for a, b in zip(alone, among, strict=True):
        assert torch.allclose(a[0], b[0], atol=1e-5)


def test_the_mask_learns_nothing_from_corners():
    mask = torch.randn(1, 1, 2 * CELLS, 2 * CELLS, requires_grad=True)
    heatmap, offset = KeypointBranch(spec())(torch.randn(1, 16, CELLS, CELLS), mask)
    (heatmap.sum() + offset.sum()).backward()
    assert mask.grad is None


def test_corners_see_the_mask():
    branch, features = KeypointBranch(spec()), torch.randn(1, 16, CELLS, CELLS)
    mask = torch.randn(1, 1, 2 * CELLS, 2 * CELLS)
    assert not torch.allclose(branch(features, mask)[0], branch(features, -mask)[0])


def test_where_corners_come_from_features_alone_they_do_not_see_the_mask():
    branch, features = KeypointBranch(spec(corners="features")), torch.randn(1, 16, CELLS, CELLS)
    mask = torch.randn(1, 1, 2 * CELLS, 2 * CELLS)
    assert torch.equal(branch(features, mask)[0], branch(features, -mask)[0])


def test_without_corners_there_is_no_keypoint_branch():
    heads = RoiHeads(spec(corners="mask-only"))
    maps = heads(pyramid_of(6), [torch.zeros(0, 4), torch.tensor([[8.0, 8.0, 60.0, 60.0]])])
    assert heads.keypoints is maps.heatmap is maps.offset is None
    assert maps.mask.shape == (1, 1, 2 * CELLS, 2 * CELLS)


@pytest.mark.parametrize("corners", ["features", "features-and-mask"])
def test_maps_may_have_as_many_cells_as_the_features(corners):
    heads = RoiHeads(spec(corners=corners, roi_scale=1, roi_cells=CELLS))
    maps = heads(pyramid_of(6), [torch.zeros(0, 4), torch.tensor([[8.0, 8.0, 60.0, 60.0]])])
    assert maps.mask.shape == maps.heatmap.shape == (1, 1, CELLS, CELLS)


def test_plain_branches_have_biases_and_no_norms():
    heads = RoiHeads(spec(roi_norm=False, roi_convs=2))
    assert not [part for part in heads.modules() if isinstance(part, nn.GroupNorm)]
    kernels = [part for part in heads.mask.stack if isinstance(part, nn.Conv2d)]
    assert len(kernels) == 2
    assert all(kernel.bias is not None for kernel in kernels)


def test_attention_by_hand():
    """Weights 1 for the mean and 2 for the largest of the channels, at the cell itself."""
    attention = SpatialAttention()
    nn.init.zeros_(attention.weigh.weight)
    nn.init.zeros_(attention.weigh.bias)
    attention.weigh.weight.data[0, :, 1, 1] = torch.tensor([1.0, 2.0])
    features = torch.tensor([1.0, -3.0]).view(1, 2, 1, 1)
    weight = 1 / (1 + math.exp(-(1.0 * -1.0 + 2.0 * 1.0)))
    assert attention(features).flatten().tolist() == pytest.approx([weight, -3 * weight])


def test_only_center_mask_weighs_cells():
    weighing = RoiHeads(tiny_spec(architecture="center-mask"))
    assert isinstance(weighing.mask.attend, SpatialAttention)
    assert not list(RoiHeads(spec()).mask.attend.parameters())


def test_scaling_up_is_a_transposed_convolution():
    up = upscaled(3, 2)
    weight = up[0].weight.view(2, 2, 2, 3).permute(3, 0, 1, 2)  # in, out, row, column
    features = torch.randn(1, 3, 5, 5)
    nn.init.zeros_(up[0].bias)
    expected = F.conv_transpose2d(features, weight, stride=2).relu()
    assert torch.allclose(up(features), expected, atol=1e-5)


def test_before_training_a_corner_in_a_cell_is_as_seldom_as_it_should_be():
    heatmap, _ = KeypointBranch(spec())(torch.randn(8, 16, 14, 14), torch.randn(8, 1, 28, 28))
    assert 0.001 < heatmap.sigmoid().mean() < 0.05


def test_a_mask_branch_doubles_the_cells():
    assert MaskBranch(spec())(torch.randn(3, 16, CELLS, CELLS)).shape == (3, 1, 8, 8)


def test_doubling_gives_each_cell_its_own_four():
    up, features = upscaled(3, 2), torch.zeros(1, 3, 4, 4)
    before = up(features)
    features[0, :, 1, 2] = 5.0
    changed = (up(features) != before).any(dim=1)[0].nonzero()
    assert {tuple(cell) for cell in changed.tolist()} <= {(2, 4), (2, 5), (3, 4), (3, 5)}
    assert len(changed) > 0

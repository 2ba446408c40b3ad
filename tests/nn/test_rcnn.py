from __future__ import annotations

import math

import pytest
import torch
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import fastrcnn_loss

from buildex.nn.rcnn import RcnnDetector
from tests.nn.made import tiny_spec

SIZE, CHANNELS = 128, 8
BOX = torch.tensor([40.0, 44.0, 74.0, 72.0])
STRIDES, SIDES = (8, 16, 32), (24, 48, 96)


def spec(**changes):
    usual = {
        "architecture": "mask-rcnn", "pyramid_channels": CHANNELS, "anchor_strides": STRIDES,
        "anchor_sizes": SIDES, "proposals": 40,
    }  # fmt: skip
    return tiny_spec(**usual | changes)


@pytest.fixture
def detector():
    torch.manual_seed(1)
    return RcnnDetector(spec()).eval()


def pyramid(images=1):
    return {f"p{k}": torch.randn(images, CHANNELS, SIZE // 2**k, SIZE // 2**k) for k in range(2, 8)}


def test_anchors_stand_on_their_levels_in_three_shapes(detector):
    output = detector(pyramid(2), (SIZE, SIZE))
    count = 3 * sum((SIZE // stride) ** 2 for stride in STRIDES)
    assert output.objectness.shape == (2, count)
    assert output.deltas.shape == (2, count, 4)
    first = output.anchors[0][:3]
    width, height = (first[:, 2:] - first[:, :2]).T
    # torchvision rounds them to whole pixels.
    assert (height / width).tolist() == pytest.approx([0.5, 1, 2], rel=0.07)
    assert (height * width).sqrt().tolist() == pytest.approx([24, 24, 24], rel=0.05)


def test_the_paper_s_anchors_are_32_to_512_at_strides_8_to_128():
    usual = RcnnDetector(tiny_spec(architecture="mask-rcnn", pyramid_channels=CHANNELS))
    assert usual.levels == ["p3", "p4", "p5", "p6", "p7"]
    assert usual.rpn.anchor_generator.sizes == ((32,), (64,), (128,), (256,), (512,))
    assert set(usual.rpn.anchor_generator.aspect_ratios) == {(0.5, 1.0, 2.0)}


def test_there_are_never_more_proposals_than_asked_for_and_they_lie_in_the_image(detector):
    for boxes in detector(pyramid(2), (SIZE, SIZE)).proposals:
        assert 0 < len(boxes) <= 40
        assert (boxes >= 0).all()
        assert (boxes <= SIZE).all()


def test_the_right_anchor_and_class_are_found(detector):
    """Deltas and logits set to the truth by hand: the one box comes out with score one."""
    output = detector(pyramid(), (SIZE, SIZE))
    proposals = [BOX[None] + torch.tensor([[2.0, -1.0, 3.0, 1.0]])]
    coded = detector.boxes.box_coder.encode([BOX[None]], proposals)[0]
    shifts = torch.cat([torch.zeros(1, 4), coded], dim=1)
    detector._look = lambda *_: (torch.tensor([[-20.0, 20.0]]), shifts)
    (found,) = detector.detect(output._replace(proposals=proposals))
    assert torch.allclose(found.boxes, BOX[None], atol=1e-3)
    assert found.scores.item() == pytest.approx(1)


def test_no_more_is_found_than_is_proposed():
    """So `NetworkSpec` says of `detections`."""
    many = RcnnDetector(spec(detections=1000, score=0.0, overlap=1.0)).eval()
    (found,) = many.detect(many(pyramid(), (SIZE, SIZE)))
    assert len(found.boxes) == 40


def test_where_no_proposal_is_a_building_nothing_is_found(detector):
    detector._look = lambda _, boxes: (
        torch.tensor([[20.0, -20.0]]).expand(sum(map(len, boxes)), 2),
        torch.zeros(sum(map(len, boxes)), 8),
    )
    found = detector.detect(detector(pyramid(2), (SIZE, SIZE)))
    assert [one.boxes.shape for one in found] == [(0, 4), (0, 4)]


def test_the_losses_are_torchvision_s(detector):
    """Same weights, same features, same chance: torchvision's own forward pass and its losses."""
    features, boxes = pyramid(2), [BOX[None], BOX[None] + 20]
    output = detector(features, (SIZE, SIZE))
    torch.manual_seed(5)
    ours = detector.losses(output, boxes)
    rpn, heads = detector.rpn, detector.boxes
    targets = [{"boxes": b, "labels": torch.ones(1, dtype=torch.int64)} for b in boxes]
    levels = {name: features[name] for name in detector.levels}
    images = ImageList(torch.zeros(2, 3, SIZE, SIZE), [(SIZE, SIZE)] * 2)
    rpn.train()
    torch.manual_seed(5)
    proposals, first = rpn(images, levels, targets)
    chosen, _, labels, shifts = heads.select_training_samples(proposals, targets)
    second = fastrcnn_loss(*detector._look(features, chosen), labels, shifts)
    assert ours["cls"].item() == pytest.approx((first["loss_objectness"] + second[0]).item())
    assert ours["reg"].item() == pytest.approx((first["loss_rpn_box_reg"] + second[1]).item())


def test_the_class_loss_of_knowing_nothing_is_two_logarithms_of_two(detector):
    output = detector(pyramid(), (SIZE, SIZE))
    blank = output._replace(objectness=torch.zeros_like(output.objectness))
    detector._look = lambda _, boxes: (
        torch.zeros(sum(map(len, boxes)), 2), torch.zeros(sum(map(len, boxes)), 8)
    )  # fmt: skip
    found = detector.losses(blank, [BOX[None]])
    assert found["cls"].item() == pytest.approx(2 * math.log(2), rel=1e-5)


def test_an_empty_image_has_no_box_to_learn(detector):
    losses = detector.losses(detector(pyramid(), (SIZE, SIZE)), [torch.zeros(0, 4)])
    assert losses["reg"].item() == 0
    assert torch.isfinite(losses["cls"])


def test_settings_reach_torchvision_s_parts():
    made = RcnnDetector(spec(proposal_overlap=0.5, overlap=0.4, score=0.2, detections=9))
    assert (made.rpn.nms_thresh, made.rpn.post_nms_top_n()) == (0.5, 40)
    assert (made.boxes.nms_thresh, made.boxes.score_thresh) == (0.4, 0.2)
    assert made.boxes.detections_per_img == 9


def test_the_rest_is_set_as_torchvision_sets_it():
    """What the paper does not say is Mask R-CNN's own: IoUs of truth, samples, box coding."""
    from torchvision.models.resnet import resnet18

    body = resnet18()
    body.out_channels = CHANNELS
    theirs, ours = MaskRCNN(body, num_classes=2), RcnnDetector(spec())
    for a, b in ((theirs.rpn, ours.rpn), (theirs.roi_heads, ours.boxes)):
        assert a.box_coder.weights == b.box_coder.weights
        assert a.proposal_matcher.high_threshold == b.proposal_matcher.high_threshold
        assert a.proposal_matcher.low_threshold == b.proposal_matcher.low_threshold
        assert a.fg_bg_sampler.batch_size_per_image == b.fg_bg_sampler.batch_size_per_image
        assert a.fg_bg_sampler.positive_fraction == b.fg_bg_sampler.positive_fraction

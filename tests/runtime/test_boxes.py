from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms

from buildex.card import NetworkSpec
from buildex.nn.backbone import Pyramid
from buildex.nn.detectors import FcosDetector
from buildex.nn.heads import RoiFeatures
from buildex.nn.rcnn import RcnnDetector
from buildex.runtime.boxes import (
    best,
    detections,
    levels_of,
    looked_at,
    proposals,
)
from tests.nn.made import tiny_spec

SIZE = 128


def some_boxes(count, seed=0, side=60.0):
    chance = np.random.default_rng(seed)
    corner = chance.uniform(-20, SIZE, (count, 2))
    boxes = np.hstack([corner, corner + chance.uniform(0, side, (count, 2))])
    return boxes.astype(np.float32), chance.random(count).astype(np.float32)


def test_the_best_are_taken_in_order_and_only_above_the_bound():
    scores = np.array([0.1, 0.9, 0.5, 0.7], np.float32)
    assert best(scores, 2).tolist() == [1, 3]
    assert best(scores, 9, 0.5).tolist() == [1, 3, 2]
    assert best(scores, 9, 0.95).tolist() == []


def pyramid(channels, seed=0, size=SIZE):
    chance = torch.Generator().manual_seed(seed)
    return Pyramid(
        (f"p{k}", torch.randn(1, channels, size >> k, size >> k, generator=chance))
        for k in range(2, 8)
    )


@torch.inference_mode()
@pytest.mark.parametrize("score", [0.05, 0.3])
def test_detections_are_those_of_the_torch_detector(score):
    torch.manual_seed(1)
    detector = FcosDetector(64, convs=1, overlap=0.4, limit=40).eval()
    torch.nn.init.normal_(detector.fcos.head.classification_head.cls_logits.weight, std=0.5)
    torch.nn.init.constant_(detector.fcos.head.classification_head.cls_logits.bias, 0)
    output = detector(pyramid(64), (SIZE, SIZE))
    (theirs,) = detector.detect(output)
    chances = output.head["cls_logits"].sigmoid() * output.head["bbox_ctrness"].sigmoid()
    boxes = detector.fcos.box_coder.decode(output.head["bbox_regression"][0], output.anchors[0])
    ours = detections(
        boxes.numpy(), chances.sqrt()[0, :, 0].numpy(), output.per_level, SIZE, score, 0.4, 40, 4096
    )
    wanted = theirs.scores >= score
    assert 5 < len(ours.scores) == int(wanted.sum())
    assert ours.scores == pytest.approx(theirs.scores[wanted].numpy(), abs=1e-6)
    assert ours.boxes == pytest.approx(theirs.boxes[wanted].numpy(), abs=1e-4)


@torch.inference_mode()
def test_a_tile_of_nine_hundred_buildings_loses_none_in_either_runtime():
    """Each is 12 pixels wide, and four points of the finest level are sure of it."""
    detector = FcosDetector(64, convs=1).eval()
    output = detector(pyramid(64, size=512), (512, 512))
    place = torch.arange(60) * 8  # two points along each side of a building, 16 pixels apart
    corner = (place // 16 * 16 - 2)[:, None].expand(60, 60)
    boxes = torch.stack([corner.T, corner, corner.T + 12, corner + 12], dim=-1).view(-1, 4)
    points = (torch.arange(60)[:, None] * 64 + torch.arange(60)).flatten()
    head = {name: torch.zeros_like(value) for name, value in output.head.items()}
    head["cls_logits"] -= 20
    head["cls_logits"][0, points], head["bbox_ctrness"][0, points] = 9.0, 9.0
    coder = detector.fcos.box_coder
    head["bbox_regression"][0, points] = coder.encode(output.anchors[0][points], boxes.float())
    (theirs,) = detector.detect(output._replace(head=head))
    decoded = coder.decode(head["bbox_regression"][0], output.anchors[0])
    chances = (head["cls_logits"].sigmoid() * head["bbox_ctrness"].sigmoid()).sqrt()[0, :, 0]
    usual = NetworkSpec()
    ours = detections(
        decoded.numpy(), chances.numpy(), output.per_level, 512, usual.score, usual.overlap,
        usual.detections, usual.candidates,
    )  # fmt: skip
    assert len(ours.scores) == len(theirs.scores) == 900
    both = (np.unique(some.round(), axis=0) for some in (ours.boxes, theirs.boxes.numpy()))
    assert np.array_equal(*both)


@torch.inference_mode()
def test_proposals_and_what_is_made_of_them_are_those_of_the_torch_detector():
    torch.manual_seed(2)
    spec = tiny_spec(architecture="mask-rcnn", score=0.4, overlap=0.3, detections=20)
    detector = RcnnDetector(spec).eval()
    for part in detector.rpn.head.parameters():
        torch.nn.init.normal_(part, std=0.05)
    output = detector(pyramid(64), (SIZE, SIZE))
    decoded = detector.rpn.box_coder.decode(output.deltas.flatten(0, 1), output.anchors)[:, 0]
    kinds = len(spec.anchor_ratios)
    counts = [kinds * (SIZE // stride) ** 2 for stride in spec.anchor_strides]
    ours = proposals(
        decoded.numpy(), output.objectness[0].numpy(), counts, SIZE, spec.proposal_overlap,
        spec.proposals, spec.candidates,
    )  # fmt: skip
    assert len(ours) == spec.proposals
    assert ours == pytest.approx(output.proposals[0].numpy(), abs=1e-3)

    logits, shifts = detector._look(output.pyramid, output.proposals)
    (theirs,) = detector.detect(output)
    boxes = detector.boxes.box_coder.decode_single(shifts, output.proposals[0])[:, 4:]
    scores = logits.softmax(-1)[:, 1]
    found = looked_at(boxes.numpy(), scores.numpy(), SIZE, spec.score, spec.overlap, 20)
    assert 0 < len(found.scores) == len(theirs.scores)
    assert found.boxes == pytest.approx(theirs.boxes.numpy(), abs=1e-4)
    assert found.scores == pytest.approx(theirs.scores.numpy(), abs=1e-6)


def test_levels_do_not_compete():
    boxes, logits = some_boxes(200, 3)
    counts = [120, 80]
    level = torch.tensor([0] * 120 + [1] * 80)
    clipped = torch.from_numpy(boxes).clamp(0, SIZE)
    large = ((clipped[:, 2:] - clipped[:, :2]) >= 1e-3).all(dim=1)
    kept = batched_nms(clipped[large], torch.from_numpy(logits)[large], level[large], 0.3)[:50]
    ours = proposals(boxes, logits, counts, SIZE, 0.3, 50, 1000)
    assert ours == pytest.approx(clipped[large][kept].numpy())


@pytest.mark.parametrize(("cells", "span"), [(28, 1), (7, 2), (8, 1)])
def test_frames_are_cut_from_the_level_that_torch_cuts_them_from(cells, span):
    boxes, _ = some_boxes(500, 5, side=600.0)
    edges = [[0, 0, side, side] for side in (4 * cells * span * 2.0**k for k in range(5))]
    boxes = np.vstack([boxes, edges]).astype(np.float32)
    theirs = RoiFeatures(32, 32, cells, span).levels(torch.from_numpy(boxes)).numpy()
    ours = levels_of(boxes, cells, span)
    assert (ours == theirs).all()
    assert len(set(ours.tolist())) == 4

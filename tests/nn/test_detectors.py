from __future__ import annotations

import math

import pytest
import torch
from torchvision.models.detection._utils import BoxLinearCoder

from buildex.nn.detectors import (
    FCOS_LEVELS,
    FEWEST_POSITIVE,
    PROPOSED,
    DetectorOutput,
    FcosDetector,
)

SIZE = 128
CHANNELS = 64  # torchvision's towers have 32 groups of them
BOX = torch.tensor([40.0, 44.0, 74.0, 72.0])


@pytest.fixture
def detector():
    return FcosDetector(CHANNELS, convs=1)


def pyramid(images=1):
    return {
        name: torch.randn(images, CHANNELS, math.ceil(SIZE / stride), math.ceil(SIZE / stride))
        for name, stride in FCOS_LEVELS.items()
    }


def blank(detector, images=1):
    """The output of a detector that is sure that there is nothing."""
    output = detector(pyramid(images), (SIZE, SIZE))
    head = {name: torch.zeros_like(value) for name, value in output.head.items()}
    head["cls_logits"] -= 20
    return output._replace(head=head)


def responsible() -> tuple[torch.Tensor, torch.Tensor]:
    """Points (x, y) of P3 that answer for the box (in it, near its centre), their centreness.

    torchvision's points lie on multiples of the stride; those within 1.5 strides count.
    """
    centre, points = (BOX[:2] + BOX[2:]) / 2, []
    for y in range(0, SIZE, 8):
        for x in range(0, SIZE, 8):
            if abs(x - centre[0]) < 12 and abs(y - centre[1]) < 12:
                points.append((x, y))
    points = torch.tensor(points)
    left_top, right_low = points - BOX[:2], BOX[2:] - points
    shares = torch.minimum(left_top, right_low) / torch.maximum(left_top, right_low)
    return points, shares.prod(dim=1).sqrt()


def perfect(detector) -> tuple[DetectorOutput, torch.Tensor]:
    """The output that says the box and nothing else, and the centreness of its points."""
    output, (points, centreness) = blank(detector), responsible()
    index = points[:, 1] // 8 * (SIZE // 8) + points[:, 0] // 8
    head = output.head
    head["cls_logits"][0, index] = 20.0
    head["bbox_ctrness"][0, index, 0] = torch.logit(centreness)
    coder = BoxLinearCoder(normalize_by_size=True)
    anchors = output.anchors[0][index]
    head["bbox_regression"][0, index] = coder.encode(anchors, BOX.expand(len(index), 4))
    return output, centreness


def test_the_head_answers_for_every_point_of_every_level(detector):
    output = detector(pyramid(2), (SIZE, SIZE))
    points = sum(output.per_level)
    assert output.per_level == [16 * 16, 8 * 8, 4 * 4, 2 * 2, 1]
    assert output.head["cls_logits"].shape == (2, points, 1)
    assert output.head["bbox_regression"].shape == (2, points, 4)
    assert output.head["bbox_ctrness"].shape == (2, points, 1)
    assert [len(a) for a in output.anchors] == [points, points]


def test_the_right_answer_costs_nothing_but_the_entropy_of_centreness(detector):
    output, c = perfect(detector)
    losses = detector.losses(output, [BOX[None]])
    entropy = -(c * c.log() + (1 - c).clamp(min=1e-9).log() * (1 - c)).sum() / len(c)
    assert losses["cls"].item() == pytest.approx(0, abs=1e-6)
    assert losses["reg"].item() == pytest.approx(entropy.item(), abs=1e-4)


def test_the_right_answer_is_found(detector):
    output, _ = perfect(detector)
    (found,) = detector.detect(output)
    assert len(found.boxes) == 1
    assert torch.allclose(found.boxes[0], BOX, atol=1e-3)
    assert found.scores[0] > 0.8


def test_the_surest_points_propose_their_boxes_for_every_image(detector):
    output, _ = perfect(detector)
    twice = output._replace(
        head={name: torch.cat([value, value]) for name, value in output.head.items()},
        anchors=output.anchors * 2,
    )
    for boxes in detector.propose(twice):
        assert len(boxes) == min(PROPOSED, sum(output.per_level))
        assert torch.allclose(boxes[: len(responsible()[0])], BOX, atol=1e-3)


def test_where_nothing_is_said_nothing_is_found(detector):
    found = detector.detect(blank(detector, 2))
    assert [one.boxes.shape for one in found] == [(0, 4), (0, 4)]


def test_the_losses_of_an_empty_image_are_finite_and_small(detector):
    output = detector(pyramid(), (SIZE, SIZE))
    losses = detector.losses(output, [torch.zeros(0, 4)])
    assert all(torch.isfinite(value) for value in losses.values())
    assert losses["reg"].item() == 0


def test_the_background_of_an_empty_batch_counts_as_if_some_points_were_positive(detector):
    output = blank(detector, 2)
    output.head["cls_logits"] += 20.0
    nothing = [torch.zeros(0, 4)] * 2
    points = 2 * sum(output.per_level)
    background = 0.75 * 0.25 * math.log(2) * points  # focal loss at p = 1/2, alpha 1/4, gamma 2
    found = detector.losses(output, nothing)["cls"].item()
    assert found == pytest.approx(background / (2 * FEWEST_POSITIVE), rel=1e-4)


def test_with_many_positive_points_the_class_loss_is_torchvision_s(detector):
    output = blank(detector)
    output.head["cls_logits"] += 20.0
    positive = len(responsible()[0])
    assert positive >= FEWEST_POSITIVE
    background = 0.75 * 0.25 * math.log(2) * (sum(output.per_level) - positive)
    foreground = 0.25 * 0.25 * math.log(2) * positive
    found = detector.losses(output, [BOX[None]])["cls"].item()
    assert found == pytest.approx((background + foreground) / positive, rel=1e-4)


def test_the_weaker_of_two_like_boxes_is_dropped(detector):
    output, _ = perfect(detector)
    index = int(output.head["cls_logits"][0, :, 0].argmax())
    output.head["bbox_regression"][0, index] += 0.05
    found = detector.detect(output)[0]
    assert len(found.boxes) == 1

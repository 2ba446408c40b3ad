from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import maskrcnn_loss
from torchvision.ops import sigmoid_focal_loss

from buildex.nn.losses import focal_loss, mask_loss, offset_loss

LN2 = math.log(2)
SHAPE = (2, 1, 5, 5)


def corners() -> torch.Tensor:
    """Two frames with a corner and a shoulder around it each."""
    target = torch.zeros(SHAPE, dtype=torch.float64)
    target[0, 0, 1, 1] = target[1, 0, 3, 2] = 1
    target[0, 0, 1, 2] = target[1, 0, 2, 2] = 0.6
    return target


def logits_of(target: torch.Tensor, size: float = 40.0) -> torch.Tensor:
    """As sure as can be: 1 where the target is 1, else 0."""
    return torch.where(target >= 1, size, -size)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def test_the_focal_loss_of_the_right_answer_is_zero():
    assert focal_loss(logits_of(corners()), corners()) == pytest.approx(0, abs=1e-12)


def test_the_focal_loss_of_two_cells_by_hand():
    target = torch.tensor([[[[1.0, 0.5]]]])
    missed = 0.5**2 * LN2  # (1 - p)^2 log p at the corner, with p = 1/2
    false = 0.5**4 * 0.5**2 * LN2  # (1 - t)^4 p^2 log(1 - p) beside it
    assert focal_loss(torch.zeros_like(target), target).item() == pytest.approx(missed + false)


def test_the_focal_loss_is_a_mean_over_corners():
    logits, target = random(*SHAPE), corners()
    twice = focal_loss(torch.cat([logits, logits]), torch.cat([target, target]))
    assert twice.item() == pytest.approx(focal_loss(logits, target).item())


def test_without_its_two_exponents_the_focal_loss_is_cross_entropy():
    logits, target = random(*SHAPE), corners()
    entropy = F.binary_cross_entropy_with_logits(logits, (target >= 1).double(), reduction="sum")
    assert focal_loss(logits, target, alpha=0, beta=0).item() == pytest.approx(entropy.item() / 2)


def test_the_paper_divides_the_focal_loss_by_objects_and_not_by_corners():
    logits, target = random(*SHAPE), torch.cat([corners(), corners()], dim=3)
    logits = torch.cat([logits, logits], dim=3)
    assert (target >= 1).sum() == 4
    by_corners = focal_loss(logits, target)
    assert focal_loss(logits, target, count=2).item() == pytest.approx(2 * by_corners.item())
    assert torch.isfinite(focal_loss(logits, target, count=0))


def test_an_easy_cell_counts_less_the_higher_alpha_is():
    logits, target = torch.full(SHAPE, -2.0), torch.zeros(SHAPE)
    gentle, strict = (focal_loss(logits, target, alpha=a) for a in (1.0, 3.0))
    assert strict.item() < 0.1 * gentle.item()


def test_the_offset_loss_of_the_right_answer_is_zero():
    place = torch.rand(2, 2, 5, 5)
    assert offset_loss(place, place, corners() >= 1).item() == 0


def test_the_offset_loss_is_a_mean_over_corners_of_both_directions():
    at = torch.tensor([[[[True, False, True]]]])
    target = torch.full((1, 2, 1, 3), 0.5)
    said = target + torch.tensor([0.1, 9.0, 0.2]) * torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)
    assert offset_loss(said, target, at).item() == pytest.approx((0.2 + 0.4) / 2)


def test_the_mask_loss_of_the_right_answer_is_zero():
    target = (torch.rand(3, 1, 8, 8) > 0.5).float()
    assert mask_loss((target - 0.5) * 80, target).item() == pytest.approx(0, abs=1e-6)


def test_the_mask_loss_of_knowing_nothing_by_hand():
    target = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    overlap = 2 * (2 * 0.5) / (4 * 0.5 + 2)  # 2 sum(p t) / (sum p + sum t)
    said = mask_loss(torch.zeros_like(target), target).item()
    assert said == pytest.approx(LN2 + 1 - overlap)


def test_between_corners_the_focal_loss_is_torchvision_s():
    """Without shoulders, and where classes weigh the same, both are one focal loss."""
    logits, target = random(*SHAPE), (corners() >= 1).double()
    theirs = sigmoid_focal_loss(logits, target, alpha=0.5, gamma=2.0, reduction="sum")
    assert focal_loss(logits, target).item() == pytest.approx(2 * theirs.item() / 2)


def test_without_dice_the_mask_loss_is_cross_entropy():
    logits, target = random(3, 1, 4, 4), torch.rand(3, 1, 4, 4, dtype=torch.float64)
    entropy = F.binary_cross_entropy_with_logits(logits, target)
    assert mask_loss(logits, target, dice=0).item() == pytest.approx(entropy.item())


def test_the_dice_term_has_plain_sums_in_its_divisor():
    logits, target = torch.zeros(1, 1, 2, 2), torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    term = mask_loss(logits, target, dice=1) - mask_loss(logits, target, dice=0)
    assert term.item() == pytest.approx(1 - 2 * 1 / (2 + 2))  # with squares it were 1 / 3


def test_cells_that_do_not_count_change_no_mask_loss():
    logits, target = torch.randn(2, 1, 4, 6), torch.rand(2, 1, 4, 6)
    counted = torch.zeros(2, 1, 4, 6, dtype=torch.bool)
    counted[..., :4] = True
    alone = mask_loss(logits[..., :4], target[..., :4])
    assert mask_loss(logits, target, counted=counted).item() == pytest.approx(alone.item())
    everything = torch.ones_like(counted)
    assert mask_loss(logits, target, counted=everything) == mask_loss(logits, target)


def test_the_mask_loss_without_dice_is_torchvision_s():
    """Of one class, with proposals that are the truth: no matter how masks are cut out."""
    logits = torch.randn(3, 2, 8, 8)
    masks = torch.zeros(1, 8, 8, dtype=torch.uint8)
    masks[0, 2:6, 1:7] = 1
    boxes = [torch.tensor([[0.0, 0.0, 8.0, 8.0]] * 3)]
    labels, owner = [torch.ones(1, dtype=torch.int64)], [torch.zeros(3, dtype=torch.int64)]
    theirs = maskrcnn_loss(logits, boxes, [masks], labels, owner)
    target = masks[None].float().expand(3, 1, 8, 8)
    assert mask_loss(logits[:, 1:], target, dice=0).item() == pytest.approx(theirs.item(), rel=0.02)


@pytest.mark.parametrize("frames", [0, 2])
def test_every_loss_is_finite_where_there_is_nothing_to_learn(frames):
    maps = torch.randn(frames, 1, 4, 4, requires_grad=True)
    places = torch.randn(frames, 2, 4, 4, requires_grad=True)
    nothing = torch.zeros(frames, 1, 4, 4)
    total = focal_loss(maps, nothing) + mask_loss(maps, nothing)
    total = total + offset_loss(places, torch.zeros_like(places), nothing.bool())
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(maps.grad).all()
    assert (places.grad == 0).all()


def test_losses_of_answers_beyond_all_bounds_are_finite():
    wrong = -logits_of(corners(), 1e4).float()
    assert torch.isfinite(focal_loss(wrong, corners().float()))
    assert torch.isfinite(mask_loss(wrong, corners().float()))


def test_gradients_are_those_of_finite_differences():
    target = corners()[:1, :, :3, :3]
    cover, place = torch.rand_like(target), torch.rand(1, 2, 3, 3, dtype=torch.float64)
    check = torch.autograd.gradcheck
    assert check(lambda x: focal_loss(x, target), random(1, 1, 3, 3))
    assert check(lambda x: mask_loss(x, cover), random(1, 1, 3, 3))
    assert check(lambda x: offset_loss(x, place, target >= 1), random(1, 2, 3, 3))

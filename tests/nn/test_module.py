from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from buildex.errors import TrainingError
from buildex.geo.keypoints import RoiCodec
from buildex.nn.batch import WholeTiles, collate
from buildex.nn.module import MOST_LOST, Clock, TrainingModule
from buildex.nn.network import Network, new_network
from buildex.nn.settings import Learning
from buildex.nn.validation import SUMS, measures
from tests.nn.made import HOUSES, PaintedScene, tiny_spec

SIDE, CELLS = 96, 16
NEIGHBOUR = [[50, 70], [86, 70], [86, 90], [50, 90]]
ALL = {"frozen_stages": 0, "freeze_depthwise": False}


def module(**changes):
    learning = Learning(**{"steps": 80, "warmup": 5, "rois": 8, **changes})
    return TrainingModule(Network(tiny_spec(CELLS)), RoiCodec(cells=CELLS), learning)


def batch(*houses):
    scenes = [PaintedScene(side=SIDE, houses=some) for some in houses]
    return collate([WholeTiles([scene])[0] for scene in scenes])


TWO = (HOUSES[0], NEIGHBOUR)


def test_every_trainable_parameter_has_a_gradient():
    learner = module(**ALL)
    sum(learner.losses(batch(TWO, TWO)).values()).backward()
    for name, parameter in learner.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_what_is_frozen_has_none():
    learner = module(frozen_stages=2, freeze_depthwise=True)
    sum(learner.losses(batch(TWO)).values()).backward()
    frozen = [p for p in learner.parameters() if not p.requires_grad]
    assert frozen
    assert all(p.grad is None for p in frozen)
    assert all(p.grad is not None for p in learner.parameters() if p.requires_grad)


def test_an_empty_batch_has_finite_losses_and_a_gradient_for_every_parameter():
    learner = module(**ALL)
    losses = learner.losses(batch((), ()))
    sum(losses.values()).backward()
    assert losses["mask"] == losses["heatmap"] == losses["offset"] == losses["reg"] == 0
    assert torch.isfinite(losses["cls"])
    assert losses["cls"] < 10
    assert all(torch.isfinite(p.grad).all() for p in learner.parameters())


def test_the_weights_of_the_paper_weigh():
    plain, heavy = module(), module(mask_weight=2.0, polygon_weight=3.0)
    heavy.network.load_state_dict(plain.network.state_dict())
    a, b = plain.losses(batch(TWO)), heavy.losses(batch(TWO))
    factors = {"cls": 1, "reg": 1, "mask": 10, "heatmap": 3, "offset": 3}
    for name, factor in factors.items():
        assert b[name].item() == pytest.approx(factor * a[name].item(), rel=1e-4), name


def test_the_paper_s_settings_of_the_losses_reach_them():
    plain = module()
    bare, by_object = module(dice=0.0), module(heatmap_mean="objects")
    for other in (bare, by_object):
        other.network.load_state_dict(plain.network.state_dict())
    one = batch(TWO)
    a, b, c = (learner.losses(one) for learner in (plain, bare, by_object))
    assert b["mask"] < a["mask"]
    assert b["heatmap"].item() == pytest.approx(a["heatmap"].item(), rel=1e-4)
    corners_of_an_object = 4  # all houses of this batch have four
    ratio = c["heatmap"].item() / a["heatmap"].item()
    assert ratio == pytest.approx(corners_of_an_object, rel=0.15)  # some lie outside a frame


@pytest.mark.parametrize(
    ("architecture", "parts"),
    [
        ("mask-rcnn", {"cls", "reg", "mask"}),
        ("center-mask", {"cls", "reg", "mask"}),
        ("mask-rcnn-keypoint", {"cls", "reg", "mask", "heatmap", "offset"}),
        ("unet", {"mask", "boundary"}),
    ],
)
def test_every_system_has_its_own_losses(architecture, parts):
    spec = tiny_spec(CELLS, architecture=architecture)
    learner = TrainingModule(new_network(spec), RoiCodec(cells=CELLS), Learning(steps=9))
    assert set(learner.losses(batch(TWO))) == parts


def test_adam_is_adam_and_a_constant_rate_stays():
    paper = module(lr=1e-4, optimiser="adam", schedule="constant", warmup=2, weight_decay=1e-7)
    found = paper.configure_optimizers()
    optimizer, schedule = found["optimizer"], found["lr_scheduler"]["scheduler"]
    assert type(optimizer) is torch.optim.Adam
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0, 1e-7}
    assert type(module().configure_optimizers()["optimizer"]) is torch.optim.AdamW
    rates = []
    for _ in range(80):
        rates.append(max(group["lr"] for group in optimizer.param_groups))
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(5e-5)
    assert set(rates[2:]) == {1e-4}


def stepped(learner, value, clip):
    """How far the weights move, together, in a step with gradients of one value."""
    optimizer = torch.optim.SGD(learner.parameters(), lr=1.0)
    before = torch.cat([p.detach().flatten() for p in learner.parameters()])
    for parameter in learner.parameters():
        parameter.grad = torch.full_like(parameter, value)
    learner.configure_gradient_clipping(optimizer, clip)
    optimizer.step()
    return (torch.cat([p.detach().flatten() for p in learner.parameters()]) - before).norm()


def test_a_long_gradient_is_shortened_and_a_short_one_is_not():
    learner = module()
    count = sum(p.numel() for p in learner.parameters())
    assert stepped(learner, 1.0, clip=5.0).item() == pytest.approx(5.0, rel=1e-3)
    assert stepped(learner, 1e-3, clip=5.0).item() == pytest.approx(1e-3 * count**0.5, rel=1e-2)
    assert stepped(learner, 1.0, clip=None).item() == pytest.approx(count**0.5, rel=1e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_step_whose_gradient_is_no_number_is_left_out(value):
    learner = module()
    assert stepped(learner, value, clip=5.0) == 0
    assert stepped(learner, 1.0, clip=5.0) > 4


def test_training_gives_up_where_no_gradient_is_a_number():
    learner = module()
    for _ in range(MOST_LOST - 1):
        stepped(learner, math.nan, clip=5.0)
    with pytest.raises(TrainingError, match="no number") as caught:
        stepped(learner, math.nan, clip=5.0)
    assert "--lr" in caught.value.hint


@pytest.mark.parametrize("frozen", [True, False])
def test_norms_use_their_own_statistics_only_where_that_is_asked_for(frozen):
    learner = module(freeze_norms=frozen)
    norms = [p for p in learner.modules() if isinstance(p, nn.BatchNorm2d)]
    assert norms
    assert all(norm.training != frozen for norm in norms)
    assert not any(norm.training for norm in learner.eval().modules())


def test_the_learning_rate_rises_then_falls_to_a_hundredth():
    learner = module(lr=0.01, steps=100, warmup=10)
    found = learner.configure_optimizers()
    optimizer, schedule = found["optimizer"], found["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(101):
        rates.append(max(group["lr"] for group in optimizer.param_groups))
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.001)
    assert rates[10] == max(rates) == pytest.approx(0.01)
    assert rates[55] == pytest.approx(0.01 * (0.01 + 0.99 / 2))
    assert rates[100] == pytest.approx(0.0001)


def test_the_learning_rate_falls_by_the_clock_where_that_ends_a_run():
    learner = module(lr=0.01, steps=10**6, warmup=1, hours=2.0)
    found = learner.configure_optimizers()
    optimizer, schedule = found["optimizer"], found["lr_scheduler"]["scheduler"]
    rates = []
    for learner.clock.done in (0.0, 0.0, 0.5, 1.0):
        optimizer.step()
        schedule.step()
        rates.append(max(group["lr"] for group in optimizer.param_groups))
    assert rates[1:] == pytest.approx([0.01, 0.01 * (0.01 + 0.99 / 2), 0.0001], rel=1e-4)


def test_a_clock_counts_the_time_of_all_sessions():
    times = iter([100.0, 130.0, 190.0])
    clock = Clock(seconds=120, now=lambda: next(times))
    assert (clock.spent, clock.share) == (0.0, 0.0)
    clock.before = 30.0
    clock.start()
    assert clock.share == 0.5  # at 130: 30 before and 30 since
    assert clock.share == 1.0  # at 190: 120
    assert Clock(seconds=0).share == 0.0


def test_a_checkpoint_keeps_the_time_spent():
    learner, other = module(hours=1.0), module(hours=1.0)
    learner.clock.before = 1800.0
    kept = {}
    learner.on_save_checkpoint(kept)
    other.on_load_checkpoint(kept)
    assert other.clock.spent == 1800.0
    assert other.clock.done == 0.5


def test_the_encoder_learns_slower_and_only_matrices_decay():
    learner = module(lr=0.01, encoder_lr=0.25, warmup=0, weight_decay=0.1)
    groups = learner.configure_optimizers()["optimizer"].param_groups
    encoder = {id(p) for p in learner.network.backbone.encoder.parameters()}
    grouped = 0
    for group in groups:
        grouped += len(group["params"])
        for parameter in group["params"]:
            share = 0.25 if id(parameter) in encoder else 1
            assert group["initial_lr"] == pytest.approx(0.01 * share)
            assert group["weight_decay"] == (0.1 if parameter.ndim > 1 else 0)
    assert grouped == sum(p.requires_grad for p in learner.parameters())


def validated(learner, one):
    learner.eval()
    learner.on_validation_epoch_start()
    learner.validation_step(one, 0)
    return learner._sums.copy()


def test_every_validation_begins_anew():
    learner, one = module(), batch(TWO)
    first, second = validated(learner, one), validated(learner, one)
    assert np.array_equal(first, second)
    assert first[0, SUMS.index("windows")] > 0


def test_two_houses_are_learnt_by_heart():
    learner = module(lr=3e-3, encoder_lr=1.0, mask_weight=1.0, **ALL)
    one, found = batch(TWO), learner.configure_optimizers()
    optimizer, schedule = found["optimizer"], found["lr_scheduler"]["scheduler"]
    for _ in range(80):
        optimizer.zero_grad()
        sum(learner.losses(one).values()).backward()
        optimizer.step()
        schedule.step()
    result = measures(validated(learner, one))
    assert result["iou"] > 0.75
    assert result["instance_f1"] == 1
    assert 0.75 <= result["vertex_ratio"] <= 2

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from buildex.geo.keypoints import RoiCodec
from buildex.geo.regions import drawn
from buildex.nn.batch import WholeTiles, collate
from buildex.nn.dense import dense_answers, dense_losses
from buildex.nn.network import new_network
from buildex.nn.unet import PRIOR, PixelLogits, UNet
from tests.nn.made import HOUSES, PaintedScene, rings_of, tiny_spec

SIDE = 96
CODEC = RoiCodec(cells=28)


def batch(*hidden):
    scene = PaintedScene(side=SIDE, houses=HOUSES[:1], hidden=hidden)
    return collate([WholeTiles([scene])[0]])


def truth():
    building, boundary = drawn([rings_of(HOUSES[0])], SIDE, SIDE)
    return torch.from_numpy(np.stack([building, boundary]))[None]


class Says:
    """Stands for a network that says these logits (B, 2, H, W)."""

    def __init__(self, logits):
        self.logits = logits

    def __call__(self, *_):
        return PixelLogits(self.logits[:, :1], self.logits[:, 1:])


def test_the_right_answer_costs_nothing_and_the_wrong_one_much():
    right, wrong = (sign * (truth() - 0.5) * 80 for sign in (1, -1))
    assert sum(dense_losses(Says(right), batch(), 1.0).values()) == pytest.approx(0, abs=1e-5)
    assert sum(dense_losses(Says(wrong), batch(), 1.0).values()) > 50


def test_knowing_nothing_costs_the_entropy_of_a_coin():
    losses = dense_losses(Says(torch.zeros(1, 2, SIDE, SIDE)), batch(), 0.0)
    assert losses["mask"].item() == pytest.approx(math.log(2))
    assert losses["boundary"].item() == pytest.approx(math.log(2))


def test_what_is_not_valid_counts_for_nothing():
    hidden = np.s_[:, 80:]
    right = (truth() - 0.5) * 80
    right[..., hidden[1]] *= -1
    assert sum(dense_losses(Says(right), batch(hidden), 1.0).values()) == pytest.approx(0, abs=1e-5)
    assert sum(dense_losses(Says(right), batch(), 1.0).values()) > 1


def test_no_building_stands_where_nothing_is_valid_and_none_below_the_score():
    logits = PixelLogits(*((truth()[:, k : k + 1] - 0.5) * 4 for k in (0, 1)))
    seen = torch.ones(1, SIDE, SIDE, dtype=torch.bool)
    (maps,) = dense_answers(logits, seen, CODEC, 0.5, 9)
    assert maps.scores.tolist() == pytest.approx([1 / (1 + math.exp(-2))])
    (none,) = dense_answers(logits, seen, CODEC, 0.95, 9)
    assert len(none.scores) == len(none.masks) == len(none.offsets) == 0
    (unseen,) = dense_answers(logits, ~seen, CODEC, 0.0, 9)
    assert len(unseen.scores) == 0


def test_at_first_a_building_is_as_seldom_as_it_should_be():
    network = new_network(tiny_spec(architecture="unet")).eval()
    one = batch()
    assert isinstance(network, UNet)
    with torch.inference_mode():
        logits = network(one.images, one.valid)
    for said in logits:
        assert PRIOR / 4 < said.sigmoid().mean() < PRIOR * 4


def test_encoders_that_begin_at_stride_4_have_a_decoder_too():
    network = UNet(tiny_spec(architecture="unet", encoder="test_convnext")).eval()
    assert network.backbone.strides[0] == 4
    one = batch()
    with torch.inference_mode():
        assert network(one.images, one.valid).building.shape == (1, 1, SIDE, SIDE)

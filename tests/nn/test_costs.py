from __future__ import annotations

import pytest
import torch
from torch import nn

from buildex.nn.costs import costs_of, run_once
from buildex.nn.network import new_network
from tests.nn.made import SYSTEMS, tiny_spec

SIDE = 96


def by_hand(network):
    """Multiply-adds of every convolution and linear layer, from what comes out of them."""
    found = []

    def count(layer, _, out):
        weights = layer.weight[0].numel()  # for one number of the output
        found.append(out.numel() * weights)

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    run_once(network.eval(), torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8))
    for hook in hooks:
        hook.remove()
    return sum(found)


@pytest.mark.parametrize("architecture", SYSTEMS)
def test_multiply_adds_are_those_of_all_layers(architecture):
    torch.manual_seed(0)
    network = new_network(tiny_spec(architecture=architecture))
    costs = costs_of(network, SIDE, torch.device("cpu"), repeat=1)
    # The box head of Mask R-CNN sees more proposals where pixels are noise than where they are 0.
    tolerance = 0.02 if architecture.startswith("mask-rcnn") else 0
    assert costs.multiply_adds == pytest.approx(by_hand(network), rel=tolerance, abs=0)
    assert costs.parameters == sum(p.numel() for p in network.parameters())
    assert costs.seconds > 0
    assert costs.size == SIDE


def test_counting_changes_no_weight():
    network = new_network(tiny_spec())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    costs_of(network, SIDE, torch.device("cpu"), bf16=True, repeat=1)
    assert all(torch.equal(value, before[n]) for n, value in network.state_dict().items())

from __future__ import annotations

import pytest
import torch

from buildex.nn.backbone import LEVELS
from buildex.nn.network import Network
from tests.nn.made import painted, tiny_spec

SIDE = 96


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return Network(tiny_spec()).eval()


def images(count=1, side=SIDE):
    pixels = torch.from_numpy(painted(256))[:side, :side].permute(2, 0, 1)
    return torch.stack([pixels.roll(20 * i, dims=2) for i in range(count)])


def everywhere(pictures):
    return torch.ones(len(pictures), *pictures.shape[-2:], dtype=torch.bool)


@pytest.mark.parametrize("side", [64, 96, 160])
def test_levels_have_strides_4_to_128(network, side):
    pictures = images(2, side)
    with torch.inference_mode():
        pyramid, output = network(pictures, everywhere(pictures))
    assert tuple(pyramid) == LEVELS
    for power, level in zip(range(2, 8), pyramid.values(), strict=True):
        cells = -(-side // 2**power)
        assert level.shape == (2, 64, cells, cells)
    assert output.sizes == [(side, side)] * 2


def test_maps_have_twice_the_cells_of_the_features(network):
    pictures = images(2)
    frames = [torch.tensor([[8.0, 8.0, 60.0, 60.0]]), torch.zeros(0, 4)]
    with torch.inference_mode():
        pyramid, _ = network(pictures, everywhere(pictures))
        maps = network.maps(pyramid, frames)
    assert maps.mask.shape == maps.heatmap.shape == (1, 1, 16, 16)
    assert maps.offset.shape == (1, 2, 16, 16)


def test_an_image_alone_is_seen_as_among_others(network):
    pictures = images(3)
    frame = torch.tensor([[8.0, 8.0, 60.0, 60.0]])
    with torch.inference_mode():
        many, among = network(pictures, everywhere(pictures))
        one, alone = network(pictures[1:2], everywhere(pictures[1:2]))
        maps_among = network.maps(many, [frame, frame, frame])
        maps_alone = network.maps(one, [frame])
    for name, values in alone.head.items():
        assert torch.allclose(among.head[name][1:2], values, atol=1e-4)
    for several, single in zip(maps_among, maps_alone, strict=True):
        assert torch.allclose(several[1:2], single, atol=1e-4)


def test_what_pixels_hold_where_they_are_not_valid_changes_nothing(network):
    pictures, seen = images(), everywhere(images())
    seen[:, :40] = False
    noisy = pictures.clone()
    noisy[:, :, :40] = 255 - noisy[:, :, :40]
    with torch.inference_mode():
        first, second = (network(p, seen)[1].head for p in (pictures, noisy))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_weight_file_need_not_hold_what_the_encoder_decides(network):
    assert not {"mean", "std"} & set(network.state_dict())
    assert network.mean.shape == network.std.shape == (1, 3, 1, 1)

"""What a network costs: parameters, multiply-adds, seconds for one tile."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from buildex.nn.device import autocast
from buildex.nn.network import Network
from buildex.nn.unet import UNet

BUILDINGS = 32  # in the tile that is paid for: the RoI heads cost the same for each


@dataclass(frozen=True)
class Costs:
    """What a network costs.

    Attributes:
        parameters: weights and biases; statistics of norms are not among them.
        multiply_adds: of convolutions and matrix products, for one tile.
        seconds: for one tile, the shortest of some.
        size: side of the tile in pixels.
        buildings: in it; of a network that answers for every pixel, any number.
    """

    parameters: int
    multiply_adds: int
    seconds: float
    size: int
    buildings: int = BUILDINGS


@torch.inference_mode()
def run_once(network: Network | UNet, images: torch.Tensor) -> None:
    """All that a network computes for one tile, up to where maps become polygons.

    Args:
        network: in evaluation mode.
        images: (1, 3, H, W) uint8.
    """
    valid = torch.ones_like(images[:, 0], dtype=torch.bool)
    if isinstance(network, UNet):
        network(images, valid)
        return
    pyramid, output = network(images, valid)
    network.detector.detect(output)
    corner = torch.linspace(0, images.shape[-1] / 2, BUILDINGS, device=images.device)
    frames = torch.stack([corner, corner, corner + 64, corner + 64], dim=1)
    network.maps(pyramid, [frames])


def costs_of(
    network: Network | UNet, size: int, device: torch.device, bf16: bool = False, repeat: int = 3
) -> Costs:
    """Count and measure, on the device and in the precision in which it would predict.

    Args:
        network: any.
        size: side of the tile in pixels.
        device: where to.
        bf16: whether in mixed precision.
        repeat: runs of which the shortest counts, after one that does not.
    """
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    images = torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8, device=device)
    counter: Any = FlopCounterMode(display=False)
    with counter:
        run_once(network, images)
    seconds = []
    for _ in range(repeat + 1):
        started = time.perf_counter()
        with autocast(device, bf16):
            run_once(network, images)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    flops = counter.get_total_flops()  # two for each multiply-add
    return Costs(parameters, flops // 2, min(seconds[1:]), size)

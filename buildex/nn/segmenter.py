"""From pixels to what `geo.grouping` makes polygons of: the network behind numpy arrays."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from buildex.card import ModelCard
from buildex.geo.instances import RoiMaps, Tile, no_instances
from buildex.geo.keypoints import RoiCodec
from buildex.nn.dense import dense_answers
from buildex.nn.detectors import Detections
from buildex.nn.device import autocast, choose_device, use_bf16
from buildex.nn.heads import RoiLogits
from buildex.nn.network import Network
from buildex.nn.settings import Precision
from buildex.nn.unet import UNet
from buildex.nn.weights import load_model


@torch.inference_mode()
def segment(
    network: Network | UNet, images: Tensor, valid: Tensor, codec: RoiCodec, score: float = 0.0
) -> list[RoiMaps]:
    """What a network of either kind says of some tiles.

    Args:
        network: in evaluation mode.
        images: (B, 3, H, W) uint8 RGB.
        valid: (B, H, W) bool.
        codec: makes frames of the detected boxes.
        score: detections below it get no maps, which saves their time.

    Returns:
        For each tile its instances, best first; B of them.
    """
    if isinstance(network, UNet):
        most = network.spec.detections
        return dense_answers(network(images, valid), valid, codec, score, most)
    pyramid, output = network(images, valid)
    found = [_above(one, score) for one in network.detector.detect(output)]
    frames = [codec.frames(one.boxes.float().cpu().numpy()) for one in found]
    if not sum(map(len, frames)):
        return [no_instances(codec.cells) for _ in found]
    logits = network.maps(pyramid, [torch.from_numpy(f).to(found[0].boxes) for f in frames])
    arrays = _probabilities(logits)
    stops = np.cumsum([len(f) for f in frames])[:-1]
    parts = zip(*(np.split(array, stops) for array in arrays), strict=True)
    return [
        RoiMaps(f.astype(np.float32), one.scores.float().cpu().numpy(), *part)
        for f, one, part in zip(frames, found, parts, strict=True)
    ]


def _above(found: Detections, score: float) -> Detections:
    keep = found.scores >= score
    return Detections(found.boxes[keep], found.scores[keep])


def _probabilities(logits: RoiLogits) -> tuple[NDArray[np.float32], ...]:
    """Masks (R, M, M), heatmaps (R, M, M), offsets (R, 2, M, M) as arrays.

    Without a keypoint branch heatmaps and offsets have no cells.
    """
    mask = logits.mask[:, 0].sigmoid()
    if logits.heatmap is None or logits.offset is None:
        none = mask.new_zeros((len(mask), 3, 0, 0))
        heatmap, offset = none[:, 0], none[:, 1:]
    else:
        heatmap, offset = logits.heatmap[:, 0].sigmoid(), logits.offset
    return tuple(t.float().cpu().numpy() for t in (mask, heatmap, offset))


class TorchSegmenter:
    """A trained network that answers as `predicting` asks.

    Attributes:
        precision: in which it computes: bf16 or fp32.
        size: side of its input in pixels.
        gsd: metres per pixel of its input.
        codec: how its maps are drawn.
        name: the model's name.
        version: its version.
        threshold: score from which its buildings are best drawn, as its card says.
    """

    def __init__(
        self, network: Network | UNet, card: ModelCard, device: torch.device, bf16: bool = False
    ) -> None:
        self.name, self.version = card.name, card.version
        self.size, self.gsd, self.codec = card.size, card.gsd, card.codec
        self.threshold = card.score
        self.precision: Precision = "bf16" if bf16 else "fp32"
        self._device, self._bf16 = device, bf16
        self._most = sys.maxsize  # tiles at once, as far as memory is known to go
        self._network = network.to(device).to(memory_format=torch.channels_last).eval()

    def __call__(self, tiles: Sequence[Tile], score: float = 0.0) -> list[RoiMaps]:
        """Say what is in each tile of side `size`; detections under `score` are left out.

        Where a GPU's memory does not hold all tiles at once, half as many are tried, from
        then on.
        """
        answers: list[RoiMaps] = []
        while len(answers) < len(tiles):
            some = tiles[len(answers) :][: self._most]
            found = self._tried(some, score)
            if found is None:
                self._most = len(some) // 2
                torch.cuda.empty_cache()
            else:
                answers += found
        return answers

    def _tried(self, tiles: Sequence[Tile], score: float) -> list[RoiMaps] | None:
        """The answers, or None where memory does not hold so many tiles, but may hold fewer."""
        try:
            return self._answers(tiles, score)
        except torch.cuda.OutOfMemoryError:
            if len(tiles) == 1:
                raise
            return None

    def _answers(self, tiles: Sequence[Tile], score: float) -> list[RoiMaps]:
        pixels = torch.from_numpy(np.stack([tile.image for tile in tiles])).permute(0, 3, 1, 2)
        seen = torch.from_numpy(np.stack([tile.valid for tile in tiles]))
        if self._device.type == "cuda":  # from pinned memory the copy runs beside the network
            pixels, seen = pixels.pin_memory(), seen.pin_memory()
        pixels = pixels.to(self._device, non_blocking=True)
        seen = seen.to(self._device, non_blocking=True)
        with autocast(self._device, self._bf16):
            return segment(self._network, pixels, seen, self.codec, score)


def load_segmenter(
    folder: Path, device: str = "auto", precision: Precision = "auto"
) -> TorchSegmenter:
    """Open a model folder for prediction.

    Raises:
        ModelError: if the folder is no model, damaged, or of another version.
        ConfigError: if the device is not there.
    """
    place = choose_device(device)
    network, card = load_model(folder)
    return TorchSegmenter(network, card, place, use_bf16(place, precision))

"""From pixels to what `geo.grouping` makes polygons of: the network behind numpy arrays."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from buildex.card import ModelCard
from buildex.geo.calibration import IDENTITY, Calibration
from buildex.geo.instances import Found, RoiMaps, Tile
from buildex.geo.keypoints import RoiCodec
from buildex.geo.views import VIEWS, Looking, Maps, View, stacked, weighed
from buildex.nn.backbone import Pyramid
from buildex.nn.dense import dense_answers
from buildex.nn.device import autocast, choose_device, use_bf16
from buildex.nn.heads import RoiLogits
from buildex.nn.network import Network
from buildex.nn.settings import Precision
from buildex.nn.unet import UNet
from buildex.nn.weights import load_model


@torch.inference_mode()
def segment(
    network: Network | UNet, images: Tensor, valid: Tensor, codec: RoiCodec, score: float = 0.0,
    most: int = sys.maxsize,
) -> list[RoiMaps]:  # fmt: skip
    """What a network of either kind says of some tiles, by one look at each.

    Args:
        network: in evaluation mode.
        images: (B, 3, H, W) uint8 RGB.
        valid: (B, H, W) bool.
        codec: makes frames of the detected boxes.
        score: detections below it get no maps, which saves their time.
        most: as many in a tile, the best, where its spec allows for more.

    Returns:
        For each tile its instances, best first; B of them.
    """
    most = min(most, network.spec.detections)
    if isinstance(network, UNet):
        return dense_answers(network(images, valid), valid, codec, score, most)
    looking = Looking(codec, images.shape[-1], network.spec.overlap, most)
    return looking.instances([(View(), partial(_seen, network, images, valid))], score)


def _seen(network: Network, images: Tensor, valid: Tensor, least: float) -> _Seen:
    """What a network sees of some tiles; boxes that score less than `least` are left out."""
    pyramid, output = network(images, valid)
    found = []
    for one in network.detector.detect(output):
        keep = one.scores >= least
        boxes, scores = one.boxes[keep].float(), one.scores[keep].float()
        found.append(Found(boxes.cpu().numpy(), scores.cpu().numpy()))
    return _Seen(found, network, pyramid)


class _Seen(NamedTuple):
    """What a network saw: `geo.views.Look`."""

    found: list[Found]
    network: Network
    pyramid: Pyramid

    def maps(self, frames: Sequence[NDArray[np.floating]]) -> Maps:
        """The maps of frames (N, 4) of each tile, in their order."""
        device = next(iter(self.pyramid.values())).device
        places = [torch.from_numpy(some.astype(np.float32)).to(device) for some in frames]
        return Maps(*_probabilities(self.network.maps(self.pyramid, places)))


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
        threshold: chance from which its buildings are best drawn, as its card says.
    """

    def __init__(
        self, network: Network | UNet, card: ModelCard, device: torch.device, bf16: bool = False,
        views: int = 1, calibration: Calibration = IDENTITY, size: int = 0,
    ) -> None:  # fmt: skip
        self.name, self.version = card.name, card.version
        self.size, self.gsd, self.codec = size or card.size, card.gsd, card.codec
        self.threshold = float(calibration.chances(np.array([card.score]))[0])
        self.precision: Precision = "bf16" if bf16 else "fp32"
        self._device, self._bf16 = device, bf16
        self._views, self._calibration = VIEWS[views - 1], calibration
        spec = network.spec
        self._looking = Looking(card.codec, self.size, spec.overlap, spec.detections, calibration)
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

    @torch.inference_mode()
    def _answers(self, tiles: Sequence[Tile], score: float) -> list[RoiMaps]:
        network = self._network
        with autocast(self._device, self._bf16):
            if isinstance(network, UNet):
                found = segment(network, *self._shown(tiles, View()), self.codec)
                return [weighed(maps, self._calibration, score) for maps in found]

            def look(view: View, least: float) -> _Seen:
                return _seen(network, *self._shown(tiles, view), least)

            looks = [(view, partial(look, view)) for view in self._views]
            return self._looking.instances(looks, score)

    def _shown(self, tiles: Sequence[Tile], view: View) -> tuple[Tensor, Tensor]:
        """Pixels (B, 3, s, s) and which are ground (B, s, s), as a view has them."""
        images, valid = stacked(tiles, view)
        pixels, ground = torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(valid)
        if self._device.type == "cuda":  # from pinned memory the copy runs beside the network
            pixels, ground = pixels.pin_memory(), ground.pin_memory()
        pixels = pixels.to(self._device, non_blocking=True)
        return pixels, ground.to(self._device, non_blocking=True)


def load_segmenter(
    folder: Path, device: str = "auto", precision: Precision = "auto", views: int = 1,
    calibration: Calibration = IDENTITY, size: int = 0,
) -> TorchSegmenter:  # fmt: skip
    """Open a model folder for prediction.

    Args:
        folder: of the model.
        device: auto, cpu, cuda or mps.
        precision: auto, bf16 or fp32.
        views: how often each tile is looked at (`geo.views.VIEWS`); a U-Net looks once.
        calibration: makes chances of scores.
        size: side in pixels of the tiles that it is to see; 0 for that of those it was taught on.

    Raises:
        ModelError: if the folder is no model, damaged, or of another version.
        ConfigError: if the device is not there.
    """
    place = choose_device(device)
    network, card = load_model(folder, size)
    bf16 = use_bf16(place, precision)
    return TorchSegmenter(network, card, place, bf16, views, calibration, size)

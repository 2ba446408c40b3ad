"""Networks as ONNX graphs: what predicts where torch is not.

A network leaves as one to three files. `dense.onnx` says everything that is said of a whole
tile; `roi.onnx` draws the maps of frames, and Mask R-CNN's `closer.onnx` looks at proposals.
What lies between them, thresholds and non-maximum suppression, is no part of a graph: see
`runtime.boxes`. Shapes: B tiles of side S, A anchors over all levels, R frames or proposals,
sorted by the level of the pyramid that they are cut from; M cells.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import roi_align

from buildex.card import ModelCard
from buildex.errors import ModelError
from buildex.nn.detectors import FcosDetector
from buildex.nn.graph_weights import halve
from buildex.nn.heads import ROI_LEVELS, RoiFeatures
from buildex.nn.network import Network
from buildex.nn.rcnn import RcnnDetector
from buildex.nn.unet import UNet

OPSET = 18
LEVELS = tuple(ROI_LEVELS)
ROIS = tuple(f"rois_{level}" for level in LEVELS)
Tensors = tuple[Tensor, ...]
Pictures = NDArray[Any]


class Part(NamedTuple):
    """A part of a network that becomes a graph, with an example of what it is asked."""

    name: str  # of its file, without the suffix
    module: nn.Module
    inputs: dict[str, Tensor]  # their first axis may have any length
    outputs: tuple[str, ...]

    @torch.no_grad()
    def answers(self) -> dict[str, Tensor]:
        """What it says of its inputs."""
        said = self.module(*self.inputs.values())
        return dict(zip(self.outputs, said, strict=True))


class Dense(nn.Module):
    """All that a detector's network says of whole tiles: pyramids to cut from, scored boxes."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, valid: Tensor) -> Tensors:
        """uint8 RGB (B, S, S, 3) and bool (B, S, S) to boxes, scores and levels.

        Boxes (B, A, 4) are not yet clipped to the tile; scores (B, A) are 0..1 of FCOS,
        logits of proposals. Then come the levels that `roi` cuts from, and those of `closer`.
        """
        network = self.network
        pyramid, output = network(image.permute(0, 3, 1, 2), valid)
        anchors = output.anchors[0]
        levels = [network.roi.features.reduce(pyramid[name]) for name in LEVELS]
        detector = network.detector
        if isinstance(detector, FcosDetector):
            head = output.head
            boxes = detector.fcos.box_coder.decode(head["bbox_regression"], anchors)
            chances = head["cls_logits"].sigmoid() * head["bbox_ctrness"].sigmoid()
            return boxes, chances.sqrt()[..., 0], *levels
        shifts = output.deltas.permute(1, 0, 2).flatten(1)  # (A, B * 4)
        decoded = detector.rpn.box_coder.decode_single(shifts, anchors)
        boxes = decoded.view(-1, image.shape[0], 4).permute(1, 0, 2)  # tiles of any side
        return boxes, output.objectness, *levels, *(pyramid[name] for name in LEVELS)


class Pixels(nn.Module):
    """All that U-Net says."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, valid: Tensor) -> Tensors:
        """uint8 RGB (B, S, S, 3) and bool (B, S, S) to two probabilities (B, S, S)."""
        logits = self.network(image.permute(0, 3, 1, 2), valid)
        return logits.building.sigmoid()[:, 0] * valid, logits.boundary.sigmoid()[:, 0]


class Closer(nn.Module):
    """What Mask R-CNN's box head says of proposals."""

    def __init__(self, detector: RcnnDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, *inputs: Tensor) -> Tensors:
        """Four levels and the rois (R_k, 5) of each to boxes (R, 4) and scores (R,)."""
        detector = self.detector
        rois = torch.cat(inputs[4:])
        logits, shifts = detector.predict(detector.head(_cut(detector.features, *inputs)))
        boxes = detector.boxes.box_coder.decode_single(shifts, rois[:, 1:])[:, 4:]
        return boxes, logits.softmax(-1)[:, 1]


class Roi(nn.Module):
    """Maps of frames."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.heads = network.roi

    def forward(self, *inputs: Tensor) -> Tensors:
        """Four levels and the rois (R_k, 5) of each to masks, heatmaps (R, M, M) and offsets.

        Without a keypoint branch there are masks alone.
        """
        features = _cut(self.heads.features, *inputs)
        mask = self.heads.mask(features)
        if self.heads.keypoints is None:
            return (mask.sigmoid()[:, 0],)
        heatmap, offset = self.heads.keypoints(features, mask)
        return mask.sigmoid()[:, 0], heatmap.sigmoid()[:, 0], offset


def _cut(features: RoiFeatures, *inputs: Tensor) -> Tensor:
    """Cut rois (R_k, 5; number of the tile, x0, y0, x1, y1) from their levels, already reduced."""
    strides = ROI_LEVELS.values()
    cut = [
        roi_align(level, rois, features.cells, 1 / stride, 2, aligned=True)
        for level, rois, stride in zip(inputs[:4], inputs[4:], strides, strict=True)
    ]
    return torch.cat(cut)


def parts_of(network: Network | UNet, image: Pictures, valid: Pictures) -> Iterator[Part]:
    """The parts of a network in evaluation mode, in the order in which they are used.

    Args:
        network: any.
        image: (B, S, S, 3) uint8, the tiles that the parts are shown.
        valid: (B, S, S) bool.
    """
    tiles = {"image": torch.from_numpy(image), "valid": torch.from_numpy(valid)}
    if isinstance(network, UNet):
        yield Part("dense", Pixels(network), tiles, ("building", "boundary"))
        return
    detector = network.detector
    wide = tuple(f"wide_{level}" for level in LEVELS) if isinstance(detector, RcnnDetector) else ()
    dense = Part("dense", Dense(network), tiles, ("boxes", "scores", *LEVELS, *wide))
    yield dense
    said = dense.answers()
    rois = {name: _example_rois(len(image), image.shape[1], k) for k, name in enumerate(ROIS)}
    if isinstance(detector, RcnnDetector):
        shown = {name: said[name] for name in wide} | rois
        yield Part("closer", Closer(detector), shown, ("boxes", "scores"))
    maps = ("mask",) if network.roi.keypoints is None else ("mask", "heatmap", "offset")
    yield Part("roi", Roi(network), {name: said[name] for name in LEVELS} | rois, maps)


def example_tiles(size: int) -> tuple[Pictures, Pictures]:
    """Two tiles of bright squares on grainy ground, one of them partly not valid."""
    chance = np.random.default_rng(0)
    image = chance.integers(60, 100, (2, size, size, 3), dtype=np.uint8)
    for side in range(size // 16, size // 4, max(1, size // 40)):
        x, y = chance.integers(0, size - side, 2)
        image[side % 2, y : y + side, x : x + side] = chance.integers(120, 250, 3)
    valid = np.ones((2, size, size), dtype=bool)
    valid[1, : size // 3] = False
    image[~valid] = 0
    return image, valid


def _example_rois(tiles: int, size: int, level: int) -> Tensor:
    """Four rois of a level, one of which reaches beyond the tile."""
    side = float(size) / 2 ** (4 - level)
    corners = ((0.0, 0.0), (size / 2, 8.0), (9.0, size / 3), (size - side / 2, size - side))
    rois = [[k % tiles, x, y, x + side, y + 0.9 * side] for k, (x, y) in enumerate(corners)]
    return torch.tensor(rois)


def write_graphs(network: Network | UNet, card: ModelCard, folder: Path) -> list[Path]:
    """Write the graphs of a network into a folder, in the place of those that are there.

    Args:
        network: as it was read from a model folder: in half precision, so that graphs lose
            nothing by storing theirs so.
        card: of the same folder.
        folder: where to.

    Raises:
        ModelError: if onnx is not installed, or cannot say what the network does.
    """
    if find_spec("onnx") is None:
        raise ModelError("graphs cannot be written without onnx", hint="pip install onnx")
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[Path, Path] = {}
    for part in parts_of(network.eval(), *example_tiles(card.size)):
        beside = folder / f".{part.name}.onnx.part"
        try:
            _write(part, beside, f"{card.name} {card.version}")
        except RuntimeError as error:  # the exporter's own are, too
            for unfinished in (beside, *written):
                unfinished.unlink(missing_ok=True)
            first = " ".join(str(error).split())[:200]
            raise ModelError(
                f"`{part.name}` of {card.name} cannot be written as a graph: {first}",
                hint="predict with `--runtime torch`",
            ) from None
        written[beside] = folder / f"{part.name}.onnx"
    for beside, path in written.items():
        beside.replace(path)
    return list(written.values())


def _write(part: Part, path: Path, title: str) -> None:
    import onnx

    names = (*part.inputs, *part.outputs)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that lengths which do not vary become constants
        torch.onnx.export(
            part.module.eval(),
            tuple(part.inputs.values()),
            str(path),
            input_names=list(part.inputs),
            output_names=list(part.outputs),
            dynamic_axes={name: {0: _length(part, name)} for name in names},
            opset_version=OPSET,
            # Norms stay apart from convolutions: merged weights would not be half ones.
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            dynamo=False,  # the other exporter takes minutes, and fixes the number of tiles
        )
    graph = onnx.load(str(path))
    halve(graph)
    graph.doc_string = title
    onnx.save(graph, str(path))


def _length(part: Part, name: str) -> str:
    """What the first axis of an input or output counts."""
    if name.startswith("rois_"):
        return name
    return "tiles" if name in part.inputs or part.name == "dense" else "rois"

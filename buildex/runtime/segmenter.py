"""From pixels to what `geo.grouping` makes polygons of, without torch: `nn.segmenter` in graphs."""

from __future__ import annotations

import math
import platform
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from buildex.card import ModelCard, read_card
from buildex.geo.instances import RoiMaps, Tile, no_instances
from buildex.geo.regions import instances
from buildex.runtime import boxes
from buildex.runtime.boxes import Floats, Found
from buildex.runtime.graphs import Arrays, Grafted, Graph

DENSE, CLOSER, ROI = "dense.onnx", "closer.onnx", "roi.onnx"
INT8 = "heads.int8.onnx"  # the last part of the dense graph once more, in integers
MEASURED = ("x86_64", "amd64")  # processors on which integers are known to pay
LEVELS = ("p2", "p3", "p4", "p5")
FCOS_STRIDES = (8, 16, 32, 64, 128)
BOX_CELLS, BOX_SPAN = 7, 2  # how proposals are cut
GROUP = 8  # rois are filled up to a multiple: a number that is new costs planning


def has_graphs(folder: Path) -> bool:
    """Whether a model folder can be used without torch."""
    return (folder / DENSE).is_file()


class OnnxSegmenter:
    """A trained network that answers as `predicting` asks.

    Args:
        folder: a model folder with graphs.
        precision: int8 (the heads; the rest as by auto), bf16 or fp32. auto is int8 where the
            model has such a graph, on x86; else bf16 where the processor multiplies it natively.
        threads: to run on; 0 for what OMP_NUM_THREADS says, else as many as there are cores.

    Attributes:
        precision: in which it computes.
        size: side of its input in pixels.
        gsd: metres per pixel of its input.
        codec: how its maps are drawn.
        name: the model's name.
        version: its version.
        threshold: score from which its buildings are best drawn, as validation found.

    Raises:
        ModelError: if the folder is no model, has no graphs, or is damaged.
    """

    def __init__(self, folder: Path, precision: str = "auto", threads: int = 0) -> None:
        card = read_card(folder)
        self.name, self.version = card.name, card.version
        self.size, self.gsd, self.codec = card.size, card.gsd, card.codec
        self.threshold = card.score
        self._turn = threading.Lock()
        self._dense: Graph | Grafted
        integers = precision == "auto" and (folder / INT8).is_file()
        if precision == "int8" or (integers and platform.machine().lower() in MEASURED):
            precision = "auto"
            self._dense = Grafted(folder / DENSE, folder / INT8, precision, threads)
        else:
            self._dense = Graph(folder / DENSE, precision, threads)
        self.precision = self._dense.precision
        kind = card.network.parts.detector
        self._answer: _Pixels | _Frames
        if not kind:
            self._answer = _Pixels(card)
            return
        roi = Graph(folder / ROI, precision, threads)
        finder: _Points | _Proposals = _Points(card)
        if kind == "rcnn":
            finder = _Proposals(card, Graph(folder / CLOSER, precision, threads))
        self._answer = _Frames(card, finder, roi)

    def __call__(self, tiles: Sequence[Tile], score: float = 0.0) -> list[RoiMaps]:
        """Say what is in each tile of side `size`; detections under `score` are left out."""
        image = np.stack([tile.image for tile in tiles])
        valid = np.stack([tile.valid for tile in tiles])
        with self._turn:  # a graph's answers lie in its own memory
            return self._answer(self._dense({"image": image, "valid": valid}), score)


class _Pixels:
    """Instances of what is said of every pixel."""

    def __init__(self, card: ModelCard) -> None:
        self._codec, self._most = card.codec, card.network.detections

    def __call__(self, said: Arrays, score: float) -> list[RoiMaps]:
        pairs = zip(said["building"], said["boundary"], strict=True)
        found = [instances(a, b, self._codec, self._most) for a, b in pairs]
        return [RoiMaps(*(part[maps.scores >= score] for part in maps)) for maps in found]


class _Points:
    """FCOS: a box of every anchor point."""

    def __init__(self, card: ModelCard) -> None:
        self._spec, self._size = card.network, card.size
        self._counts = _anchors(card.size, FCOS_STRIDES)

    def __call__(self, said: Arrays, score: float) -> list[Found]:
        """The buildings of each tile that score so much."""
        spec = self._spec
        least = max(score, spec.score)
        return [
            boxes.detections(
                where, scores, self._counts, self._size, least, spec.overlap, spec.detections
            )
            for where, scores in zip(said["boxes"], said["scores"], strict=True)
        ]


class _Proposals:
    """Mask R-CNN: proposals, each of which a second graph looks at."""

    def __init__(self, card: ModelCard, closer: Graph) -> None:
        self._spec, self._size, self._closer = card.network, card.size, closer
        kinds = len(card.network.anchor_ratios)
        self._counts = _anchors(card.size, card.network.anchor_strides, kinds)

    def __call__(self, said: Arrays, score: float) -> list[Found]:
        """The buildings of each tile that score so much."""
        spec, size = self._spec, self._size
        overlap, most = spec.proposal_overlap, spec.proposals
        proposed = [
            boxes.proposals(where, scores, self._counts, size, overlap, most)
            for where, scores in zip(said["boxes"], said["scores"], strict=True)
        ]
        rois = Rois(proposed, BOX_CELLS, BOX_SPAN)
        answer = self._closer({**said, **rois.inputs})
        pairs = zip(rois.split(answer["boxes"]), rois.split(answer["scores"]), strict=True)
        least = max(score, spec.score)
        return [
            boxes.looked_at(where, scores, size, least, spec.overlap, spec.detections)
            for where, scores in pairs
        ]


class _Frames:
    """Boxes, and then the maps of their frames."""

    def __init__(self, card: ModelCard, finder: _Points | _Proposals, roi: Graph) -> None:
        self._codec, self._cells = card.codec, card.network.roi_cells
        self._finder, self._roi = finder, roi

    def __call__(self, said: Arrays, score: float) -> list[RoiMaps]:
        found = self._finder(said, score)
        frames = [self._codec.frames(one.boxes) for one in found]
        if not sum(map(len, frames)):
            return [no_instances(self._codec.cells) for _ in found]
        rois = Rois(frames, self._cells)
        maps = self._roi({**said, **rois.inputs})
        masks = maps["mask"]
        none = np.zeros((len(masks), 3, 0, 0), np.float32)
        heatmaps, offsets = maps.get("heatmap", none[:, 0]), maps.get("offset", none[:, 1:])
        parts = zip(*(rois.split(values) for values in (masks, heatmaps, offsets)), strict=True)
        return [
            RoiMaps(frame.astype(np.float32), one.scores, *part)
            for frame, one, part in zip(frames, found, parts, strict=True)
        ]


class Rois:
    """Boxes of several tiles, sorted by the level that they are cut from; and back.

    Args:
        of_tiles: boxes (N, 4) of each tile.
        cells: along the side of what is cut.
        span: see `boxes.levels_of`.

    Attributes:
        inputs: for each level rois (R_k, 5), the number of the tile and the box; never none, and
            in all a multiple of `GROUP`.
    """

    def __init__(self, of_tiles: Sequence[NDArray[np.floating]], cells: int, span: int = 1) -> None:
        joined = np.concatenate(of_tiles).astype(np.float32)
        tile = np.repeat(np.arange(len(of_tiles)), [len(some) for some in of_tiles])
        rois = np.column_stack([tile, joined]).astype(np.float32)
        level = boxes.levels_of(joined, cells, span)
        filling = np.array([0, 0, 0, 32, 32], np.float32)
        self.inputs: Arrays = {}
        self._stops = np.cumsum([len(some) for some in of_tiles])[:-1]
        self._place = np.zeros(len(rois), np.int64)
        counts = np.maximum(np.bincount(level, minlength=len(LEVELS)), 1)
        counts[0] += -counts.sum() % GROUP
        start = 0
        for k, (name, count) in enumerate(zip(LEVELS, counts, strict=True)):
            mine = np.flatnonzero(level == k)
            self._place[mine] = start + np.arange(len(mine))
            self.inputs[f"rois_{name}"] = np.tile(filling, (count, 1))
            self.inputs[f"rois_{name}"][: len(mine)] = rois[mine]
            start += count

    def split(self, values: NDArray[Any]) -> list[Floats]:
        """What a graph said of the rois (R, ...), for each tile, in the order of its boxes."""
        return np.split(values[self._place], self._stops)


def _anchors(size: int, strides: Sequence[int], kinds: int = 1) -> list[int]:
    """How many anchors stand on each level."""
    return [kinds * math.ceil(size / stride) ** 2 for stride in strides]

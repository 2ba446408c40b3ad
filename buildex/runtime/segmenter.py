"""From pixels to what `geo.grouping` makes polygons of, without torch: `nn.segmenter` in graphs."""

from __future__ import annotations

import math
import platform
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from buildex.card import ModelCard, NetworkSpec, read_card
from buildex.geo.calibration import IDENTITY, Calibration
from buildex.geo.instances import Found, RoiMaps, Tile
from buildex.geo.keypoints import RoiCodec
from buildex.geo.regions import instances
from buildex.geo.views import VIEWS, Looking, Maps, View, stacked, weighed
from buildex.runtime import boxes
from buildex.runtime.boxes import Floats
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
        views: how often each tile is looked at (`geo.views.VIEWS`); a network that answers for
            every pixel looks once.
        calibration: makes chances of scores.
        size: side in pixels of the tiles that it is to see; 0 for that of those it was taught on.

    Attributes:
        precision: in which it computes.
        size: side of its input in pixels.
        gsd: metres per pixel of its input.
        codec: how its maps are drawn.
        name: the model's name.
        version: its version.
        threshold: chance from which its buildings are best drawn, as validation found.

    Raises:
        ModelError: if the folder is no model, has no graphs, or is damaged.
    """

    def __init__(
        self, folder: Path, precision: str = "auto", threads: int = 0, views: int = 1,
        calibration: Calibration = IDENTITY, size: int = 0,
    ) -> None:  # fmt: skip
        card = read_card(folder)
        self.name, self.version = card.name, card.version
        self.size, self.gsd, self.codec = size or card.size, card.gsd, card.codec
        self.threshold = float(calibration.chances(np.array([card.score]))[0])
        self._turn = threading.Lock()
        spec = card.network.larger(self.size / card.size)
        graphs = _Graphs(folder, card, spec, precision, threads)
        dense = graphs.dense(self.size)
        self.precision = dense.precision
        self._answer: _Pixels | _Frames
        if spec.parts.detector:
            lookers = graphs.lookers(dense, VIEWS[views - 1], self.size)
            looking = Looking(card.codec, self.size, spec.overlap, spec.detections, calibration)
            self._answer = _Frames(looking, lookers)
        else:
            self._answer = _Pixels(card.codec, spec, dense, calibration)

    def __call__(self, tiles: Sequence[Tile], score: float = 0.0) -> list[RoiMaps]:
        """Say what is in each tile of side `size`; detections under `score` are left out."""
        with self._turn:  # a graph's answers lie in its own memory
            return self._answer(tiles, score)


class _Graphs:
    """The graphs of a model folder, as they are needed."""

    def __init__(
        self, folder: Path, card: ModelCard, spec: NetworkSpec, precision: str, threads: int
    ) -> None:
        self._folder, self._own, self._spec = folder, card.size, spec
        self._integers = precision == "int8" or (
            precision == "auto"
            and (folder / INT8).is_file()
            and platform.machine().lower() in MEASURED
        )
        self._options = ("auto" if self._integers else precision, threads)

    def dense(self, side: int) -> Graph | Grafted:
        """What looks at whole tiles of a side, the card's or another one."""
        shapes = {"image": [None, side, side, 3], "valid": [None, side, side]}
        if side == self._own:
            shapes = {}
        if self._integers:
            return Grafted(self._folder / DENSE, self._folder / INT8, *self._options, shapes)
        return Graph(self._folder / DENSE, *self._options, shapes)

    def lookers(self, dense: Graph | Grafted, views: Sequence[View], size: int) -> list[_Looker]:
        """What looks at tiles with each view; `dense` is the first's, the others have their own."""
        spec = self._spec
        lookers: list[_Looker] = []
        roi = Graph(self._folder / ROI, *self._options, _any_side("", spec.roi_channels))
        closer = None
        if spec.parts.detector == "rcnn":
            wide = _any_side("wide_", spec.pyramid_channels)
            closer = Graph(self._folder / CLOSER, *self._options, wide)
        for view in views:
            side = view.side(size)
            own = self.dense(side) if lookers else dense
            finder: _Points | _Proposals = _Points(spec, side)
            if closer is not None:
                finder = _Proposals(spec, side, closer)
            lookers.append(_Looker(view, own, finder, roi, spec.roi_cells))
        return lookers


def _any_side(prefix: str, channels: int) -> dict[str, list[int | None]]:
    """Shapes of the levels that rois are cut from, whatever the side of the tiles."""
    return {prefix + level: [None, channels, None, None] for level in LEVELS}


class _Pixels:
    """Instances of what is said of every pixel."""

    def __init__(
        self, codec: RoiCodec, spec: NetworkSpec, dense: Graph | Grafted, calibration: Calibration
    ) -> None:
        self._codec, self._most = codec, spec.detections
        self._dense, self._calibration = dense, calibration

    def __call__(self, tiles: Sequence[Tile], score: float) -> list[RoiMaps]:
        image, valid = stacked(tiles, View())
        said = self._dense({"image": image, "valid": valid})
        pairs = zip(said["building"], said["boundary"], strict=True)
        found = [instances(a, b, self._codec, self._most) for a, b in pairs]
        return [weighed(maps, self._calibration, score) for maps in found]


class _Points:
    """FCOS: a box of every anchor point."""

    def __init__(self, spec: NetworkSpec, side: int) -> None:
        self._spec, self._side = spec, side
        self._counts = _anchors(side, FCOS_STRIDES)

    def __call__(self, said: Arrays, score: float) -> list[Found]:
        """The buildings of each tile that score so much."""
        spec = self._spec
        least = max(score, spec.score)
        limits = spec.overlap, spec.detections, spec.candidates
        return [
            boxes.detections(where, scores, self._counts, self._side, least, *limits)
            for where, scores in zip(said["boxes"], said["scores"], strict=True)
        ]


class _Proposals:
    """Mask R-CNN: proposals, each of which a second graph looks at."""

    def __init__(self, spec: NetworkSpec, side: int, closer: Graph) -> None:
        self._spec, self._side, self._closer = spec, side, closer
        self._counts = _anchors(side, spec.anchor_strides, len(spec.anchor_ratios))

    def __call__(self, said: Arrays, score: float) -> list[Found]:
        """The buildings of each tile that score so much."""
        spec, side = self._spec, self._side
        limits = spec.proposal_overlap, spec.proposals, spec.candidates
        proposed = [
            boxes.proposals(where, scores, self._counts, side, *limits)
            for where, scores in zip(said["boxes"], said["scores"], strict=True)
        ]
        rois = Rois(proposed, BOX_CELLS, BOX_SPAN)
        answer = self._closer({**said, **rois.inputs})
        pairs = zip(rois.split(answer["boxes"]), rois.split(answer["scores"]), strict=True)
        least = max(score, spec.score)
        return [
            boxes.looked_at(where, scores, side, least, spec.overlap, spec.detections)
            for where, scores in pairs
        ]


class _Frames:
    """Boxes of one or several views, and then the maps of their frames."""

    def __init__(self, looking: Looking, lookers: Sequence[_Looker]) -> None:
        self._looking, self._lookers = looking, lookers

    def __call__(self, tiles: Sequence[Tile], score: float) -> list[RoiMaps]:
        looks = [(one.view, partial(one, tiles)) for one in self._lookers]
        return self._looking.instances(looks, score)


class _Looker:
    """Looks at tiles with one view.

    Args:
        view: how they are shown.
        dense: the graph that takes tiles of that side.
        finder: finds boxes in what it says.
        roi: the graph that draws maps of frames.
        cells: along the side of what is cut for it.
    """

    def __init__(
        self, view: View, dense: Graph | Grafted, finder: _Points | _Proposals, roi: Graph,
        cells: int,
    ) -> None:  # fmt: skip
        self.view = view
        self._dense, self._finder, self._roi, self._cells = dense, finder, roi, cells

    def __call__(self, tiles: Sequence[Tile], least: float) -> _Seen:
        """What the view shows; boxes that score less than `least` are left out."""
        image, valid = stacked(tiles, self.view)
        said = self._dense({"image": image, "valid": valid})
        return _Seen(self._finder(said, least), said, self._roi, self._cells)


class _Seen(NamedTuple):
    """What a view showed: `geo.views.Look`."""

    found: list[Found]
    said: Arrays
    roi: Graph
    cells: int

    def maps(self, frames: Sequence[NDArray[np.floating]]) -> Maps:
        """The maps of frames (N, 4) of each tile, in their order."""
        rois = Rois(frames, self.cells)
        maps = self.roi({**self.said, **rois.inputs})
        masks = rois.joined(maps["mask"])
        if "heatmap" not in maps:
            none = np.zeros((len(masks), 3, 0, 0), np.float32)
            return Maps(masks, none[:, 0], none[:, 1:])
        return Maps(masks, rois.joined(maps["heatmap"]), rois.joined(maps["offset"]))


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

    def joined(self, values: NDArray[Any]) -> Floats:
        """What a graph said of the rois (R, ...), in the order of the boxes of all tiles."""
        return np.asarray(values[self._place])

    def split(self, values: NDArray[Any]) -> list[Floats]:
        """The same for each tile."""
        return np.split(self.joined(values), self._stops)


def _anchors(size: int, strides: Sequence[int], kinds: int = 1) -> list[int]:
    """How many anchors stand on each level."""
    return [kinds * math.ceil(size / stride) ** 2 for stride in strides]

"""Tiles per second of a model by runtime, against torchvision's maskrcnn_resnet50_fpn.

    python benchmarks/throughput.py ../shared/data/val/zanzibar-val/mosaic.tif
    python benchmarks/throughput.py MOSAIC --clock cpu --threads 1 --tiles 4 --rounds 1

All see the same real tiles in one process, one after another in every round, so that other
work on the machine hits them alike; ratios count, not seconds. Mask R-CNN has random weights;
it is made to keep as many detections per tile as the model finds there, because its mask
head's time follows their number. `--clock cpu` counts processor seconds: on a machine that has
much else to do these are steadier.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from buildex.card import read_card
from buildex.geo.calibration import Calibration
from buildex.geo.instances import Tile
from buildex.geo.tiles import cover
from buildex.io.raster import Mosaic
from buildex.io.zoo import DEFAULT_MODEL, find_model
from buildex.nn.segmenter import load_segmenter
from buildex.predicting import Segmenter
from buildex.runtime import segmenter as graphs
from buildex.runtime.segmenter import INT8, OnnxSegmenter

Run = Callable[[list[Tile]], Any]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mosaic", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--tiles", type=int, default=8, help="a multiple of the batch")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    folder, clock = find_model(given.model), CLOCKS[given.clock]
    named = segmenters(folder, given.threads)
    first = next(iter(named.values()))
    tiles = shown(given.mosaic, first.size, first.gsd, given.tiles)
    found = [len(maps.scores) for maps in first(tiles, first.threshold)]
    runs: dict[str, Run] = {"torchvision Mask R-CNN, fp32": mask_rcnn(found, tiles)}
    for name, one in named.items():
        runs[name] = lambda some, one=one: one(some, one.threshold)
    print(f"{len(tiles)} tiles of {first.size} pixels, {np.mean(found):.1f} buildings each")
    batches = [tiles[k : k + given.batch] for k in range(0, len(tiles), given.batch)]
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(batches[0])  # what is planned once, for each shape
    for _ in range(given.rounds):
        for name, run in runs.items():
            started = clock()
            for batch in batches:
                run(batch)
            spent[name].append((clock() - started) / len(tiles))
            print(f"  {name}: {spent[name][-1]:.4f}", flush=True)
    base = np.median(spent["torchvision Mask R-CNN, fp32"])
    for name, seconds in spent.items():
        middle = np.median(seconds)
        print(f"{name:<32}{middle:>8.4f} s a tile{1 / middle:>8.2f} tiles/s{base / middle:>7.1f} x")


def segmenters(folder: Path, threads: int) -> dict[str, Segmenter]:
    """The model by every runtime and precision, the slowest first."""
    named: dict[str, Segmenter] = {
        "torch fp32, channels last": load_segmenter(folder, "cpu", "fp32"),
        "torch bf16, channels last": load_segmenter(folder, "cpu", "bf16"),
    }
    if find_spec("onnxruntime"):
        named["ONNX Runtime fp32"] = by_onnxruntime(folder, threads)
    named["OpenVINO fp32"] = OnnxSegmenter(folder, "fp32", threads)
    named["OpenVINO bf16"] = OnnxSegmenter(folder, "bf16", threads)
    if (folder / INT8).is_file():
        named["OpenVINO, heads in int8"] = OnnxSegmenter(folder, "int8", threads)
    chances = Calibration(*read_card(folder).calibration)  # two looks average them, as in predict
    named["the fastest, --views 2"] = OnnxSegmenter(folder, "auto", threads, 2, chances)
    return named


def by_onnxruntime(folder: Path, threads: int) -> OnnxSegmenter:
    """The same graphs and the same code between them, run by ONNX Runtime."""
    import onnxruntime

    class Session:
        """Stands in for `runtime.graphs.Graph`."""

        precision = "fp32"

        def __init__(self, path: Path, *_: object) -> None:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            self._inputs = [one.name for one in self._session.get_inputs()]
            self._outputs = [one.name for one in self._session.get_outputs()]

        def __call__(self, inputs: dict[str, Any]) -> dict[str, Any]:
            given = {name: inputs[name] for name in self._inputs}
            return dict(zip(self._outputs, self._session.run(None, given), strict=True))

    ours = graphs.Graph
    graphs.Graph = Session  # type: ignore[assignment, misc]
    try:
        return OnnxSegmenter(folder, "fp32")
    finally:
        graphs.Graph = ours  # type: ignore[misc]


def mask_rcnn(found: list[int], tiles: list[Tile]) -> Run:
    """Torchvision's network, tile by tile as it comes, with so many detections in each."""
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    side = tiles[0].image.shape[0]
    network = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=2, min_size=side, max_size=side,
        box_score_thresh=0.0,
    ).eval()  # fmt: skip
    wanted = {id(tile): count for tile, count in zip(tiles, found, strict=True)}

    @torch.inference_mode()
    def run(some: list[Tile]) -> None:
        for tile in some:
            network.roi_heads.detections_per_img = wanted[id(tile)]
            image = torch.from_numpy(tile.image).permute(2, 0, 1).float() / 255
            (answer,) = network([image])
            assert len(answer["scores"]) == wanted[id(tile)]

    return run


def shown(path: Path, size: int, gsd: float, count: int) -> list[Tile]:
    """Tiles all over a mosaic, of those that are all ground."""
    with Mosaic.open(path, gsd=gsd) as mosaic:
        boxes = [place.box for place in cover(mosaic.grid, size, 128)]
        tiles = [Tile(*mosaic.read(box), box) for box in boxes]
    whole = [tile for tile in tiles if tile.valid.all()]
    if len(whole) < count:
        raise SystemExit(f"{path} has {len(whole)} tiles of ground alone")
    return [whole[k * len(whole) // count] for k in range(count)]


if __name__ == "__main__":
    main()

"""Graphs answer as torch does: all systems, batches of any size, with and without buildings."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from buildex.errors import ModelError
from buildex.geo.boxes import PixelBox
from buildex.geo.instances import Tile
from buildex.nn.segmenter import load_segmenter
from buildex.runtime.graphs import Graph
from buildex.runtime.segmenter import ROI, OnnxSegmenter, Rois, has_graphs
from tests.nn.made import HOUSES, SYSTEMS, painted
from tests.runtime.made import CELLS, SIDE, exported, saved


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.set_num_threads(1)
    return exported("fcos-keypoint", tmp_path_factory.mktemp("fcos"))


def tile(shift=0, hidden=0, side=SIDE):
    houses = [[[x + shift, y] for x, y in ring] for ring in HOUSES[:3]]
    valid = np.ones((side, side), bool)
    valid[:hidden] = False
    image = np.where(valid[..., None], painted(side, houses), 0).astype(np.uint8)
    return Tile(image, valid, PixelBox(0, 0, side, side))


TILES = [tile(), tile(9, hidden=20), tile(-5)]


def same(ours, theirs):
    """Whether answers are the same, but for buildings of equal scores in another order."""
    assert len(ours) == len(theirs)
    for mine, true in zip(ours, theirs, strict=True):
        assert mine.scores == pytest.approx(true.scores, abs=1e-4)
        assert mine.frames == pytest.approx(true.frames, abs=0.01)
        for a, b in zip(mine[2:], true[2:], strict=True):
            assert a.shape == b.shape
            assert a.dtype == np.float32
            assert np.abs(a - b).max(initial=0) < 2e-3


EVERY = [(name, None) for name in SYSTEMS] + [("fcos-keypoint", "features")]


@pytest.mark.parametrize(("architecture", "corners"), EVERY)
def test_graphs_of_every_system_say_what_torch_says(architecture, corners, tmp_path):
    folder = exported(architecture, tmp_path / "model", corners)
    ours = OnnxSegmenter(folder, "fp32", 1)
    theirs = load_segmenter(folder, "cpu", "fp32")
    assert (ours.size, ours.gsd, ours.threshold) == (SIDE, 0.1, 0.35)
    assert (ours.name, ours.version, ours.codec) == ("small", "3", theirs.codec)
    score = 0.0 if architecture == "unet" else 0.2
    for tiles in (TILES, TILES[:1]):
        answers = theirs(tiles, score)
        assert architecture == "unet" or sum(len(maps.scores) for maps in answers) > 0
        same(ours(tiles, score), answers)


@pytest.mark.parametrize("architecture", ["fcos-keypoint", "mask-rcnn"])
def test_graphs_look_twice_as_torch_does(architecture, tmp_path):
    folder = exported(architecture, tmp_path / "model")
    once, twice = OnnxSegmenter(folder, "fp32", 1), OnnxSegmenter(folder, "fp32", 1, views=2)
    theirs = load_segmenter(folder, "cpu", "fp32", views=2)
    ours = twice(TILES, 0.2)
    assert sum(len(maps.scores) for maps in ours) > 0
    same(ours, theirs(TILES, 0.2))
    pairs = zip(ours, once(TILES, 0.2), strict=True)
    assert max(abs(float(a.scores[0] - b.scores[0])) for a, b in pairs) > 2e-3


@pytest.mark.parametrize("architecture", ["fcos-keypoint", "mask-rcnn", "unet"])
@pytest.mark.parametrize("views", [1, 2])
def test_graphs_look_at_larger_tiles_as_torch_does(architecture, views, tmp_path):
    views = 1 if architecture == "unet" else views
    folder = exported(architecture, tmp_path / "model")
    ours = OnnxSegmenter(folder, "fp32", 1, views=views, size=2 * SIDE)
    theirs = load_segmenter(folder, "cpu", "fp32", views=views, size=2 * SIDE)
    assert ours.size == theirs.size == 2 * SIDE
    tiles = [tile(shift, side=2 * SIDE) for shift in (0, 9)]
    score = 0.0 if architecture == "unet" else 0.1
    answers = theirs(tiles, score)
    assert architecture == "unet" or sum(len(maps.scores) for maps in answers) > 0
    same(ours(tiles, score), answers)


def test_what_a_graph_said_does_not_change_with_its_next_answer(model):
    segmenter = OnnxSegmenter(model, "fp32", 1)
    (first,) = segmenter(TILES[:1])
    kept = [part.copy() for part in first]
    segmenter(TILES[1:])
    assert all((a == b).all() for a, b in zip(first, kept, strict=True))


def test_tiles_without_buildings_have_no_instances(model):
    for maps in OnnxSegmenter(model, "fp32", 1)(TILES[:2], score=1.0):
        assert maps.frames.shape == (0, 4)
        assert maps.masks.shape == (0, CELLS, CELLS)
        assert maps.offsets.shape == (0, 2, CELLS, CELLS)


def test_weights_stay_in_half_precision_on_the_disk(model):
    weights = (model / "model.safetensors").stat().st_size
    graphs = sum(path.stat().st_size for path in model.glob("*.onnx"))
    assert graphs < 1.2 * weights + 200_000


def test_rois_find_their_way_back():
    chance = np.random.default_rng(0)
    of_tiles = [chance.uniform(0, 400, (count, 4)) for count in (5, 0, 40)]
    for some in of_tiles:
        some[:, 2:] += some[:, :2] + 1
    rois = Rois(of_tiles, 28)
    assert all(len(part) for part in rois.inputs.values())
    assert sum(map(len, rois.inputs.values())) in range(48, 57, 8)
    for number, (mine, back) in enumerate(
        zip(of_tiles, rois.split(np.concatenate(list(rois.inputs.values()))), strict=True)
    ):
        assert back[:, 1:] == pytest.approx(mine, rel=1e-6)
        assert (back[:, 0] == number).all()


def test_a_model_whose_weights_are_replaced_has_no_graphs(model, tmp_path):
    folder = exported("unet", tmp_path / "model")
    assert has_graphs(folder)
    saved("unet", folder)
    assert not has_graphs(folder)
    with pytest.raises(ModelError, match="has no `dense"):
        OnnxSegmenter(folder)


def test_a_damaged_graph_is_one_clear_error(model, tmp_path):
    folder = exported("unet", tmp_path / "model")
    (folder / "dense.onnx").write_bytes((folder / "dense.onnx").read_bytes()[:1000])
    with pytest.raises(ModelError, match="is damaged") as caught:
        OnnxSegmenter(folder)
    assert "buildex export" in caught.value.hint


WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(("torch", "torchvision", "timm", "lightning", "onnx")))
from pathlib import Path
from buildex.predicting import open_model, predict, PredictConfig
opened = open_model(sys.argv[1])
config = PredictConfig(threshold=0.2, overlap=32)
report = predict(sys.argv[2], Path(sys.argv[3]), opened.segmenter, config)
print(opened.runtime, report.tiles)
"""


def test_prediction_needs_no_torch(model, tmp_path):
    import rasterio
    from rasterio.transform import from_origin

    with rasterio.open(
        tmp_path / "mosaic.tif", "w", driver="GTiff", width=SIDE, height=SIDE, count=3,
        dtype="uint8", crs="EPSG:32737", transform=from_origin(530000, 9320000, 0.1, 0.1),
    ) as out:  # fmt: skip
        out.write(TILES[0].image.transpose(2, 0, 1))
    command = [sys.executable, "-c", WITHOUT, model, tmp_path / "mosaic.tif", tmp_path / "out.gpkg"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["onnx", "1"]
    assert (tmp_path / "out.gpkg").is_file()


DROPPED = """
import gc, os, signal, sys
from buildex.predicting import open_model
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
for _ in range(2):
    open_model(sys.argv[1])
    gc.collect()
try:
    os.kill(os.getpid(), signal.SIGINT)
    gc.collect()
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
def test_a_process_that_is_done_with_a_model_can_still_be_interrupted(model):
    done = subprocess.run(
        [sys.executable, "-c", DROPPED, str(model)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


def test_rois_are_cut_where_they_are_in_every_precision(model):
    # Coordinates beyond 64 pixels are rounded to half a pixel in bf16.
    shifts = np.linspace(0, 0.4, 8)
    boxes = np.array([[70.0 + s, 66.0 + s, 100.0 + s, 97.0 + s] for s in shifts], np.float32)
    chance = np.random.default_rng(0)
    said = {f"p{k}": chance.normal(size=(1, 16, SIDE >> k, SIDE >> k)) for k in (2, 3, 4, 5)}
    inputs = {name: np.float32(level) for name, level in said.items()}
    inputs |= Rois([boxes], CELLS).inputs
    exact, fast = (Graph(model / ROI, name, 1) for name in ("fp32", "bf16"))
    if fast.precision != "bf16":
        pytest.skip(f"this processor computes in {fast.precision} where bf16 is asked for")
    true = {name: answer.copy() for name, answer in exact(inputs).items()}
    for name, answer in fast(inputs).items():
        assert answer == pytest.approx(true[name], abs=0.02), name

from __future__ import annotations

import numpy as np
import pytest
import torch

from buildex.card import ModelCard
from buildex.errors import ModelError
from buildex.geo.boxes import PixelBox
from buildex.geo.instances import Tile
from buildex.geo.keypoints import RoiCodec
from buildex.nn.detectors import Detections
from buildex.nn.network import Network
from buildex.nn.segmenter import TorchSegmenter, load_segmenter, segment
from buildex.nn.weights import save_model
from tests.nn.made import painted, tiny_spec

SIDE, CELLS = 96, 16
CARD = ModelCard(
    name="small", version="3", gsd=0.1, size=SIDE, network=tiny_spec(CELLS),
    codec=RoiCodec(cells=CELLS), score=0.35,
)  # fmt: skip
BOXES = torch.tensor([[10.0, 10.0, 50.0, 40.0], [30.0, 50.0, 90.0, 90.0]])
SCORES = torch.tensor([0.9, 0.3])


@pytest.fixture
def network():
    return Network(CARD.network).eval()


def finding(network, monkeypatch, *counts):
    """Let the detector find so many of the boxes in each image."""
    found = [Detections(BOXES[:n], SCORES[:n]) for n in counts]
    monkeypatch.setattr(network.detector, "detect", lambda _: found)


def pictures(count):
    images = torch.from_numpy(painted(SIDE)).permute(2, 0, 1)[None].repeat(count, 1, 1, 1)
    return images, torch.ones(count, SIDE, SIDE, dtype=torch.bool)


def test_every_tile_gets_the_maps_of_its_own_instances(network, monkeypatch):
    finding(network, monkeypatch, 2, 0, 1)
    answers = segment(network, *pictures(3), CARD.codec)
    assert [len(maps.scores) for maps in answers] == [2, 0, 1]
    two, none, one = answers
    assert two.masks.shape == two.heatmaps.shape == (2, CELLS, CELLS)
    assert two.offsets.shape == (2, 2, CELLS, CELLS)
    assert none.masks.shape == (0, CELLS, CELLS)
    assert np.allclose(two.masks[0], one.masks[0], atol=1e-5)
    assert two.frames == pytest.approx(CARD.codec.frames(BOXES.numpy()))
    assert two.scores.tolist() == pytest.approx([0.9, 0.3])
    for values in (two.masks, two.heatmaps, two.offsets):
        assert ((values >= 0) & (values <= 1)).all()


def test_instances_below_a_score_get_no_maps(network, monkeypatch):
    finding(network, monkeypatch, 2, 0)
    first, second = segment(network, *pictures(2), CARD.codec, score=0.5)
    assert first.scores.tolist() == pytest.approx([0.9])
    assert len(second.scores) == 0


def test_no_more_instances_are_drawn_than_are_asked_for(network, monkeypatch):
    finding(network, monkeypatch, 2, 1)
    answers = segment(network, *pictures(2), CARD.codec, most=1)
    assert [maps.scores.tolist() for maps in answers] == [pytest.approx([0.9])] * 2


def test_tiles_without_instances_have_empty_maps_of_the_right_shape(network, monkeypatch):
    finding(network, monkeypatch, 0, 0)
    for maps in segment(network, *pictures(2), CARD.codec):
        assert maps.frames.shape == (0, 4)
        assert maps.masks.shape == (0, CELLS, CELLS)
        assert maps.offsets.shape == (0, 2, CELLS, CELLS)


def test_a_segmenter_says_what_its_card_says(network):
    segmenter = TorchSegmenter(network, CARD, torch.device("cpu"))
    assert (segmenter.size, segmenter.gsd, segmenter.threshold) == (SIDE, 0.1, 0.35)
    assert (segmenter.name, segmenter.version) == ("small", "3")


@pytest.mark.parametrize("bf16", [False, True])
def test_a_segmenter_answers_tiles_with_arrays_of_single_precision(network, bf16, monkeypatch):
    finding(network, monkeypatch, 2, 2)
    segmenter = TorchSegmenter(network, CARD, torch.device("cpu"), bf16)
    tile = Tile(painted(SIDE), np.ones((SIDE, SIDE), bool), PixelBox(0, 0, SIDE, SIDE))
    first, second = segmenter([tile, tile])
    assert [len(maps.scores) for maps in segmenter([tile, tile], score=0.5)] == [1, 1]
    for a, b in zip(first, second, strict=True):
        assert a.dtype == np.float32
        assert np.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("views", [1, 2])
def test_where_memory_is_short_fewer_tiles_are_tried_and_all_are_answered(
    network, monkeypatch, views
):
    def every(output):
        return [Detections(BOXES, SCORES)] * len(output.anchors)

    monkeypatch.setattr(network.detector, "detect", every)
    whole, tried = network.forward, []

    def scarce(images, valid):
        tried.append(len(images))
        if len(images) > 2:
            raise torch.cuda.OutOfMemoryError("full")
        return whole(images, valid)

    valid, box = np.ones((SIDE, SIDE), bool), PixelBox(0, 0, SIDE, SIDE)
    tiles = [Tile(np.roll(painted(SIDE), 9 * k, axis=1), valid, box) for k in range(7)]
    segmenter = TorchSegmenter(network, CARD, torch.device("cpu"), views=views)
    expected = segmenter(tiles)
    monkeypatch.setattr(network, "forward", scarce)
    found = segmenter(tiles)
    assert len(found) == 7
    for mine, true in zip(found, expected, strict=True):
        assert mine.masks == pytest.approx(true.masks, abs=1e-4)
    assert np.ptp([maps.masks[0] for maps in expected], axis=0).max() > 1e-3  # each has its own
    assert tried == [7, 3] + [1] * 7 * views
    assert len(segmenter(tiles[:2])) == 2


def test_one_tile_that_does_not_fit_is_an_error(network, monkeypatch):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("full")

    monkeypatch.setattr(network, "forward", full)
    tile = Tile(painted(SIDE), np.ones((SIDE, SIDE), bool), PixelBox(0, 0, SIDE, SIDE))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        TorchSegmenter(network, CARD, torch.device("cpu"))([tile, tile])


def test_a_model_folder_opens_as_a_segmenter(network, tmp_path):
    save_model(network, CARD, tmp_path / "model")
    segmenter = load_segmenter(tmp_path / "model", "cpu")
    assert segmenter.threshold == 0.35
    with pytest.raises(ModelError):
        load_segmenter(tmp_path)

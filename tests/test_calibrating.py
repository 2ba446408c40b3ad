"""What a model's card says of its scores and its looks, and what is made of it."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from buildex.card import CARD, NetworkSpec, card_text, read_card
from buildex.errors import ConfigError, ModelError
from buildex.geo.calibration import Calibration
from buildex.io.zoo import DEFAULT_MODEL, find_model
from buildex.nn.network import new_network
from buildex.predicting import ModelOpener, open_model
from tests.runtime.made import SIDE, exported
from tests.runtime.test_segmenter import TILES


def test_a_model_s_card_says_what_its_scores_mean(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(find_model(DEFAULT_MODEL), folder)
    with_card(folder, calibration=(4.0, -0.5), score=0.45)
    assert open_model(str(folder)).segmenter.threshold == pytest.approx(
        Calibration(4.0, -0.5).chances(np.array([0.45]))[0]
    )
    raw = open_model(str(folder), calibrated=False)
    assert raw.segmenter.threshold == 0.45
    assert raw.identity != open_model(str(folder)).identity
    assert ModelOpener.of(str(folder), "cpu", raw)().threshold == 0.45  # on a worker, too


@pytest.mark.parametrize("numbers", [(0.0, 0.0), (-1.0, 0.0), (2.0, float("nan"))])
def test_a_card_whose_chances_do_not_rise_is_damaged(tmp_path, numbers):
    folder = tmp_path / "model"
    folder.mkdir()
    text = (find_model(DEFAULT_MODEL) / CARD).read_text(encoding="utf-8")
    line = next(one for one in text.splitlines() if one.startswith("calibration"))
    (folder / CARD).write_text(text.replace(line, f"calibration = {list(numbers)}"), "utf-8")
    with pytest.raises(ModelError, match="is damaged: calibration"):
        open_model(str(folder))


def with_card(folder, **changes):
    card = dataclasses.replace(read_card(folder), **changes)
    (folder / CARD).write_text(card_text(card), encoding="utf-8")
    return str(folder)


def test_a_model_looks_as_often_as_its_card_says_or_it_is_told(tmp_path):
    model = str(exported("fcos-keypoint", tmp_path / "model"))
    assert open_model(model).views == 1
    with_card(tmp_path / "model", views=2)
    twice, once = open_model(model), open_model(model, views=1)
    assert (twice.views, once.views) == (2, 1)
    assert twice.identity != once.identity  # a run is not gone on with by the other
    opener = ModelOpener.of(model, "cpu", twice)
    assert opener.views == 2
    assert opener().threshold == twice.segmenter.threshold
    for wrong in (0, 3):
        with pytest.raises(ConfigError, match=f"views is {wrong}") as caught:
            open_model(model, views=wrong)
        assert caught.value.hint == "use 1 to 2"


def test_tiles_are_as_large_as_those_of_training_or_as_is_said(tmp_path):
    model = str(exported("fcos-keypoint", tmp_path / "model"))
    own, large = open_model(model), open_model(model, tile_size=2 * SIDE)
    assert (own.segmenter.size, large.segmenter.size) == (SIDE, 2 * SIDE)
    assert large.identity != own.identity  # a run is not gone on with by the other
    assert ModelOpener.of(model, "cpu", large)().size == 2 * SIDE
    for wrong in (0, 100, -128):
        with pytest.raises(ConfigError, match=f"tiles of {wrong} pixels") as caught:
            open_model(model, tile_size=wrong)
        assert caught.value.hint == "use a multiple of 128"


def test_larger_tiles_may_show_more_buildings():
    for architecture, candidates in (("fcos-keypoint", 4096), ("mask-rcnn", 1000)):
        spec = NetworkSpec(architecture=architecture)
        twice = spec.larger(2)
        counts = spec.candidates, spec.proposals, spec.detections
        assert counts == (candidates, 256, 1000)
        assert (twice.candidates, twice.proposals, twice.detections) == tuple(4 * n for n in counts)
        assert new_network(twice).state_dict().keys() == new_network(spec).state_dict().keys()


def test_a_network_that_answers_for_every_pixel_looks_once(tmp_path):
    model = exported("unet", tmp_path / "model")
    assert open_model(str(model)).views == 1
    with pytest.raises(ConfigError, match="every pixel"):
        open_model(str(model), views=2)


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_both_runtimes_answer_with_chances(runtime, tmp_path):
    model = exported("fcos-keypoint", tmp_path / "model")
    with_card(model, calibration=(4.0, -0.5))
    raw = open_model(str(model), "cpu", runtime, "fp32", calibrated=False).segmenter
    chance = open_model(str(model), "cpu", runtime, "fp32").segmenter
    (found,), (weighed,) = raw(TILES[:1], 0.2), chance(TILES[:1], 0.0)
    assert len(found.scores) > 0
    expected = Calibration(4.0, -0.5).chances(found.scores.astype(float))
    assert weighed.scores[: len(expected)] == pytest.approx(expected, abs=1e-4)

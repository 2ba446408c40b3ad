"""Scores that are chances, whatever computes them."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from buildex.card import CARD, card_text, read_card
from buildex.errors import ConfigError
from buildex.geo.calibration import Calibration
from buildex.geo.instances import RoiMaps
from buildex.geo.keypoints import RoiCodec
from buildex.io.zoo import DEFAULT_MODEL, find_model
from buildex.predicting import ModelOpener, open_model
from buildex.predicting.calibrating import Calibrated

STEEP = Calibration(4.0, -0.5)


class Sure:
    """A segmenter that says the same of every tile, and notes what it was asked for."""

    size, gsd, codec, threshold = 512, 0.1, RoiCodec(cells=8), 0.45

    def __init__(self) -> None:
        self.asked = []

    def __call__(self, tiles, score=0.0):
        self.asked.append(score)
        none = np.zeros((2, 8, 8), np.float32)
        frames, scores = np.zeros((2, 4), np.float32), np.array([0.7, 0.45], np.float32)
        return [RoiMaps(frames, scores, none, none, np.zeros((2, 2, 8, 8), np.float32))] * len(
            tiles
        )


def test_answers_and_threshold_are_chances_and_the_network_is_asked_in_its_own_scores():
    network = Sure()
    chances = Calibrated(network, STEEP)
    (maps,) = chances(["tile"], chances.threshold)
    assert network.asked == [pytest.approx(0.45)]
    assert maps.scores == pytest.approx(STEEP.chances(np.array([0.7, 0.45])))
    assert maps.scores[1] == pytest.approx(chances.threshold)
    assert (chances.size, chances.gsd, chances.codec) == (512, 0.1, network.codec)


def test_all_are_asked_for_where_all_are_wanted():
    network = Sure()
    Calibrated(network, STEEP)([])
    assert network.asked == [0.0]


def test_a_model_s_card_says_what_its_scores_mean(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(find_model(DEFAULT_MODEL), folder)
    card = dataclasses.replace(read_card(folder), calibration=(4.0, -0.5), score=0.45)
    (folder / CARD).write_text(card_text(card), encoding="utf-8")
    assert open_model(str(folder)).segmenter.threshold == pytest.approx(
        STEEP.chances(np.array([0.45]))[0]
    )
    assert open_model(str(folder), calibrated=False).segmenter.threshold == 0.45


def test_a_model_looks_as_often_as_its_card_says_or_it_is_told(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(find_model(DEFAULT_MODEL), folder)
    assert open_model(str(folder)).views == 1
    card = dataclasses.replace(read_card(folder), views=2)
    (folder / CARD).write_text(card_text(card), encoding="utf-8")
    twice, once = open_model(str(folder)), open_model(str(folder), views=1)
    assert (twice.views, once.views) == (2, 1)
    assert twice.identity != once.identity  # a run is not gone on with by the other
    assert ModelOpener.of(str(folder), "cpu", twice).views == 2
    for wrong in (0, 3):
        with pytest.raises(ConfigError, match=f"views is {wrong}") as caught:
            open_model(str(folder), views=wrong)
        assert caught.value.hint == "use 1 to 2"

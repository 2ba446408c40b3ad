"""The benchmark that labels a mosaic by what a model sees in it, without a model."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

import numpy as np
import pytest
import shapely

from buildex.card import CARD, UNCALIBRATED, card_text, read_card
from buildex.errors import ModelError
from buildex.geo.footprints import Footprints
from buildex.io.zoo import find_model

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
FRAME = shapely.box(0, 0, 100, 100)


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("pseudo_labels")


def seen(*buildings: tuple[shapely.Polygon, float]) -> Footprints:
    shapes, scores = zip(*buildings, strict=True)
    return Footprints(np.array(shapes, dtype=object), "EPSG:32737", {"score": np.array(scores)})


def test_the_sure_are_labels_the_doubtful_are_cut_out_and_the_rest_is_ground(bench):
    sure, doubtful, unlikely = (shapely.box(x, 10, x + 10, 20) for x in (10, 40, 70))
    labels, area = bench.parted(
        seen((sure, 0.9), (doubtful, 0.4), (unlikely, 0.1)), FRAME, 0.6, 0.2
    )
    assert labels.polygons.tolist() == [sure]
    assert area.covers(sure)
    assert area.covers(unlikely)
    assert area.intersection(doubtful).area == 0


def test_a_label_beside_something_doubtful_stays_whole(bench):
    sure, doubtful = shapely.box(10, 10, 20, 20), shapely.box(20, 10, 30, 20)
    labels, area = bench.parted(seen((sure, 0.9), (doubtful, 0.3)), FRAME, 0.6, 0.2)
    assert len(labels) == 1
    assert area.covers(sure)
    assert not area.contains(shapely.Point(25, 15))


def test_scores_that_are_no_chances_label_nothing(bench, tmp_path):
    card = dataclasses.replace(read_card(find_model()), calibration=UNCALIBRATED)
    model = tmp_path / "model"
    model.mkdir()
    (model / CARD).write_text(card_text(card), encoding="utf-8")
    with pytest.raises(ModelError, match="what its scores mean") as caught:
        bench.label("mosaic.tif", tmp_path / "town", str(model))
    assert "benchmarks/calibrate.py" in caught.value.hint
    assert not (tmp_path / "town").exists()

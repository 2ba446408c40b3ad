"""The model that is shipped, as `buildex predict` opens it, in a rendered town it has not seen."""

from __future__ import annotations

import pytest

from buildex.card import read_card
from buildex.io.vector import read_footprints
from buildex.io.zoo import find_model
from buildex.predicting import PredictConfig, open_model, predict
from buildex.rendering import RenderConfig, render_town, write_town
from buildex.scoring import ScoreConfig, score

SEED = 4711  # no town of `benchmarks/make_model.py` has it


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    folder = tmp_path_factory.mktemp("released") / "town"
    write_town(folder, render_town(RenderConfig(seed=SEED, width=90, height=60)))
    return folder


def drawn(town, name, threshold=None, **opening):
    out = town / f"{name}.gpkg"
    predict(str(town / "mosaic.tif"), out, open_model(**opening).segmenter,
            PredictConfig(threshold=threshold))  # fmt: skip
    return out


@pytest.fixture(scope="module")
def shipped(town):
    return drawn(town, "shipped")


def test_the_densest_towns_have_no_more_buildings_in_a_tile_than_it_may_find():
    card = read_card(find_model("drone-lite2"))
    assert card.network.detections >= 2 * 350  # 350: Dhaka, shown at 15 cm


def test_it_draws_most_buildings_and_they_are_sound(town, shipped):
    figures = score(
        shipped, town / "buildings.geojson", ScoreConfig(bootstrap=0), town / "aoi.geojson"
    ).figures
    assert figures["f1_50"] > 0.8
    assert figures["pixel_iou"] > 0.8
    assert figures["polis_m"] < 0.4
    assert figures["invalid"] == figures["overlap_m2"] == 0


def test_its_heads_in_integers_draw_what_single_precision_draws(town, shipped):
    exact = drawn(town, "exact", precision="fp32")
    figures = score(shipped, exact, ScoreConfig(bootstrap=0), town / "aoi.geojson").figures
    assert figures["f1_50"] > 0.9
    assert figures["pixel_iou"] > 0.95


def test_a_higher_threshold_draws_less(town, shipped):
    few = read_footprints(drawn(town, "few", threshold=0.97))[0]
    assert 0 < len(few) < len(read_footprints(shipped)[0])

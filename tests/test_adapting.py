"""The benchmark that adapts a network to a corner of a town, with nothing trained."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import shapely

from buildex.config import from_table
from buildex.errors import ModelError
from buildex.io.dataset import Dataset
from buildex.io.vector import read_area, read_footprints
from buildex.nn.presets import ADAPT
from buildex.nn.recipe import TrainConfig
from buildex.rendering import RenderConfig, render_town, write_town

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
CRS = "EPSG:32737"  # that of rendered towns


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("adapting")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A rendered town of 80 m in the place of Kampala."""
    folder = tmp_path_factory.mktemp("data")
    scene = folder / "train" / "kampala"
    scene.mkdir(parents=True)
    config = RenderConfig(seed=2, width=80, height=80, style="town")
    write_town(scene, render_town(config), overwrite=True)
    return folder


def test_what_is_learnt_from_holds_so_many_buildings_and_lies_apart(bench, data, tmp_path):
    scene = data / "train" / "kampala"
    areas = bench.divided(scene, 7, tmp_path)
    taught, rest = read_area(areas.taught, CRS), read_area(areas.rest, CRS)
    found, _ = read_footprints(scene / "buildings.geojson", target_crs=CRS)
    middles = shapely.centroid(found.polygons)
    assert shapely.within(middles, taught).sum() == 7
    assert shapely.within(middles, rest).sum() > 3
    assert taught.distance(rest) == pytest.approx(bench.GUARD, abs=0.01)
    whole = read_area(scene / "aoi.geojson", CRS)
    assert (taught | rest).difference(whole).area < 0.01
    west, south, east, north = taught.bounds
    assert east - west == pytest.approx(north - south)
    assert (west, north) == pytest.approx((whole.bounds[0], whole.bounds[3]))


def test_a_town_of_too_few_buildings_is_named(bench, data, tmp_path):
    with pytest.raises(SystemExit, match=r"kampala.* buildings, 1000 to learn from"):
        bench.divided(data / "train" / "kampala", 1000, tmp_path)


def test_it_learns_from_the_taught_area_alone_by_the_preset(bench, data, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(bench, "train", lambda config, **_: asked.append(config) or config)
    scene = data / "train" / "kampala"
    areas = bench.divided(scene, 7, tmp_path)
    given = argparse.Namespace(steps=3, device="cpu")
    dataset = bench.taught(scene, areas.taught, tmp_path / "dataset")
    bench.adapted(dataset, tmp_path / "before", tmp_path / "run", given)
    (config,) = asked
    usual = from_table(TrainConfig, dict(ADAPT))
    assert (config.init, config.steps, config.lr) == (str(tmp_path / "before"), 3, usual.lr)
    (scenery,) = Dataset.open(tmp_path / "dataset").scenes
    assert not scenery.tiles("val")
    found, _ = read_footprints(scene / "buildings.geojson", target_crs=CRS)
    touching = shapely.intersects(found.polygons, read_area(areas.taught, CRS)).sum()
    assert 7 <= len(scenery.buildings("train")) <= touching < len(found)
    assert np.isclose(scenery.gsd, 0.1)


def test_figures_that_are_there_are_kept_and_those_of_another_network_apart(
    bench, tmp_path, monkeypatch
):
    given = argparse.Namespace(work=tmp_path, buildings=30, threshold=0.5, steps=None)
    monkeypatch.setattr(bench, "digest", lambda _: "a" * 64)
    with pytest.raises(ModelError, match="kampala"):
        bench.figures_of("kampala", given)
    monkeypatch.setattr(bench, "find_model", Path)
    done = bench.folder_of(tmp_path / "kampala", "a" * 64, "adapted-30", None) / "figures-0.5.json"
    done.parent.mkdir(parents=True)
    kept = {"before": {"f1_50": 0.1}, "after": {"f1_50": 0.2}}
    done.write_text(json.dumps(kept), encoding="utf-8")
    assert bench.figures_of("kampala", given) == kept
    others = [
        bench.folder_of(tmp_path, *of)
        for of in (("a", "x-30", None), ("b", "x-30", None), ("a", "x-60", None), ("a", "x-30", 9))
    ]
    assert len(set(others)) == 4
    monkeypatch.setattr(bench, "ADAPT", {**ADAPT, "lr": 1e-5})
    another = bench.folder_of(tmp_path, "a", "x-30", None)
    assert another not in others

"""The benchmark that lets a network learn from its own drawing, with nothing trained."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from buildex.errors import ModelError
from buildex.geo.footprints import Footprints
from buildex.io.dataset import Dataset
from buildex.io.vector import read_footprints, write_footprints
from buildex.rendering import RenderConfig, render_town, write_town

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("self_taught")


@pytest.fixture
def given(tmp_path):
    return argparse.Namespace(
        work=tmp_path, data=tmp_path / "data", sure=0.6, unsure=0.25, threshold=0.5, steps=3,
        device="cpu",
    )  # fmt: skip


def test_the_dataset_holds_what_the_network_was_sure_of_and_no_label(bench, given, tmp_path):
    scene = given.data / "train" / "kampala"
    scene.mkdir(parents=True)
    config = RenderConfig(seed=2, width=80, height=80, style="town")
    write_town(scene, render_town(config), overwrite=True)
    truth, _ = read_footprints(scene / "buildings.geojson", target_crs="EPSG:32737")
    seen = truth.polygons[:6]
    scores = np.array([0.9, 0.9, 0.9, 0.4, 0.4, 0.4])
    drawn = Footprints(seen, truth.crs, {"score": scores})
    write_footprints(tmp_path / "seen-0.25.gpkg", drawn)
    folder = bench.own("kampala", tmp_path / "never opened", tmp_path, given)
    (taught,) = Dataset.open(folder).scenes
    assert len(taught.buildings("train")) == 3
    assert not taught.tiles("val")
    assert bench.own("kampala", tmp_path / "never opened", tmp_path, given) == folder


def test_figures_that_are_there_are_kept(bench, given, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="kampala"):
        bench.figures_of("kampala", given)
    monkeypatch.setattr(bench, "find_model", Path)
    monkeypatch.setattr(bench, "digest", lambda _: "a" * 64)
    work = bench.folder_of(tmp_path / "kampala", "a" * 64, "self-taught-0.6-0.25", 3)
    work.mkdir(parents=True)
    kept = {"kampala, before": {"f1_50": 0.1}, "kampala, after": {"f1_50": 0.2}}
    (work / "figures-0.5.json").write_text(json.dumps(kept), encoding="utf-8")
    assert bench.figures_of("kampala", given) == kept
    asked = []
    monkeypatch.setattr(bench, "own", lambda *a: asked.append(a[2]) or a[2])
    monkeypatch.setattr(bench, "adapted", lambda *a: a[1])
    monkeypatch.setattr(bench, "open_model", lambda *a: a[0])
    monkeypatch.setattr(bench, "TOWNS", {"kampala": ("kampala",)})
    (given.data / "train" / "kampala").mkdir(parents=True)
    (given.data / "train" / "kampala" / "mosaic.tif").touch()
    drawn = []
    monkeypatch.setattr(bench, "drawn_and_scored", lambda *a: drawn.append(a) or {"f1_50": 0.3})
    given.unsure = 0.4  # another recipe: drawn, learnt and scored anew, in a folder of its own
    figures = bench.figures_of("kampala", given)
    assert list(figures) == ["kampala, before", "kampala, after"]
    assert asked[0] != work
    scene = given.data / "train" / "kampala"
    assert [a[:2] for a in drawn] == [(scene, scene / "aoi.geojson")] * 2
    assert json.loads((asked[0] / "figures-0.5.json").read_text(encoding="utf-8")) == figures

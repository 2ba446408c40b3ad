"""The script that makes the released model, run whole: small towns, one step for each stage."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from buildex.card import read_card
from buildex.config import read_toml
from buildex.geo.calibration import Calibration
from buildex.io.vector import read_footprints
from buildex.io.zoo import find_model
from buildex.nn.backbone import create_encoder
from buildex.rendering import RenderConfig, render_town, write_town
from tests.nn.made import SMALLEST

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = {
    "encoder": SMALLEST, "size": 96, "cells": 8, "rois": 4, "workers": 0, "samples_per_epoch": 1,
    "batch_size": 1, "warmup": 1, "log_every": 1, "device": "cpu", "precision": "fp32", "steps": 1,
}  # fmt: skip
STAGES = ("first", "second", "third", "fourth", "self-run", "yards-run", "terraces-run")


@pytest.fixture
def bench(monkeypatch):
    """The script with towns and networks that a test has time for."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    bench = importlib.import_module("make_model")
    real = bench.settings
    monkeypatch.setattr(bench, "settings", lambda name: {**real(name), **SMALL, "hours": 0.0})
    monkeypatch.setattr(bench, "SIDE", 40)
    few = [towns._replace(seeds=towns.seeds[:1]) for towns in bench.RENDERED]
    monkeypatch.setattr(bench, "RENDERED", few)
    # A network of one step sees no building to learn from or to label: the released model does.
    released, open_model = find_model(), bench.open_model

    def the_released(model):
        assert read_card(Path(model)).calibration == (4.0, -0.5)
        return open_model(str(released))

    def as_calibrated(model, scene):
        assert (model.parent.name, scene.name) == ("second", "zanzibar-val")
        return Calibration(4.0, -0.5), 0.45

    monkeypatch.setattr(bench, "fitted", as_calibrated)
    monkeypatch.setattr(bench, "open_model", the_released)
    torch.set_num_threads(1)
    return bench


@pytest.fixture
def data(tmp_path):
    """Folders as `../shared/data` has them."""
    town = tmp_path / "data" / "train" / "kampala"
    write_town(town, render_town(RenderConfig(seed=2, width=40, height=40)))
    shutil.copytree(town, tmp_path / "data" / "val" / "zanzibar-val")
    without = tmp_path / "data" / "unlabelled" / "banepa-town"
    without.mkdir(parents=True)
    shutil.copy(town / "mosaic.tif", without)
    return tmp_path / "data"


def test_all_stages_run_one_from_the_other_and_what_is_done_is_kept(
    bench, data, tmp_path, monkeypatch
):
    encoder, work = tmp_path / "encoder.safetensors", tmp_path / "work"
    save_file(create_encoder(SMALLEST).state_dict(), encoder)
    given = [str(work), "--data", str(data), "--encoder", str(encoder), "--further"]
    monkeypatch.setattr(sys, "argv", ["make_model.py", *given])
    bench.main()
    cards = {name: read_toml(work / name / "model" / "model.toml") for name in STAGES}
    begun = {name: card["provenance"]["init"] for name, card in cards.items()}
    assert begun["first"] == ""
    assert cards["first"]["provenance"]["encoder_weights"] == encoder.name
    signed = {name: f"{card['name']} version {card['version']}" for name, card in cards.items()}
    before = {
        "second": "first", "third": "second", "self-run": "second", "yards-run": "self-run",
        "terraces-run": "third", "fourth": "third",
    }  # fmt: skip
    assert {name: begun[name] for name in before} == {k: signed[v] for k, v in before.items()}
    made = {path: path.stat().st_mtime_ns for path in work.glob("*/model/*")}
    bench.main()
    assert {path: path.stat().st_mtime_ns for path in work.glob("*/model/*")} == made


def test_towns_of_a_kind_are_of_its_styles_and_named_after_it(bench, tmp_path):
    for towns in bench.RENDERED:
        town = bench.rendered(tmp_path, towns.seeds[0], towns.styles, towns.kind)
        assert town.name == f"{towns.kind}-{towns.seeds[0]}"
        assert len(read_footprints(town / "buildings.geojson")[0])

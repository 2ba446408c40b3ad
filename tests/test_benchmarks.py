"""The scripts of `benchmarks/` fit the code that they call: they load, say how, and run.

Those that need no network run on a rendered town, with an oracle in its place.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely

from buildex.card import CARD, UNCALIBRATED, card_text, read_card
from buildex.config import from_table, read_toml
from buildex.geo.footprints import to_rings
from buildex.geo.oracle import Oracle
from buildex.io.raster import Mosaic
from buildex.io.vector import read_area, read_footprints
from buildex.io.zoo import find_model
from buildex.predicting import OpenModel, PredictConfig
from buildex.predicting.settings import OWN_SHARE
from buildex.rendering import RenderConfig, render_town, write_town
from buildex.training import TrainConfig
from tests.nn.made import write_dataset

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.stem for path in BENCHMARKS.glob("*.py"))
SETTINGS = sorted(path.name for path in BENCHMARKS.glob("*.toml") if path.stem != "failures")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_loads_and_says_how_it_is_called(name, monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as left:
        importlib.import_module(name).main()
    assert left.value.code == 0
    assert f"{name}.py" in capsys.readouterr().out


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_a_training_are_such(name):
    settings = read_toml(BENCHMARKS / name)
    if settings.get("init_share"):  # `make_model.py` hands in the model of the stage before
        settings["init"] = "before"
    from_table(TrainConfig, settings)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A rendered town of 60 m, as a folder of `../shared/data`."""
    folder = tmp_path_factory.mktemp("scene")
    config = RenderConfig(seed=2, width=60, height=60, style="town")
    write_town(folder, render_town(config), overwrite=True)
    return folder


@pytest.fixture
def script(monkeypatch):
    """A script as a module, by its name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def labels(scene, gsd):
    """The buildings of a scene in pixels of so many metres."""
    with Mosaic.open(scene / "mosaic.tif", gsd=gsd) as mosaic:
        grid = mosaic.grid
    found, _ = read_footprints(scene / "buildings.geojson", target_crs=grid.crs)
    return [to_rings(one) for one in shapely.transform(found.polygons, grid.to_pixel)]


@pytest.mark.parametrize("gsd", [0.1, 0.2])
def test_a_model_is_calibrated_on_the_pixels_that_it_was_taught_on(script, scene, gsd):
    oracle = Oracle(labels(scene, gsd), size=256, gsd=gsd, smallest=0.6 / gsd**2)
    scores, right, count = script("calibrate").detections(oracle, scene)
    assert len(scores) == len(right) > 10
    assert right.all()
    assert len(right) > 0.9 * count


def test_a_coarse_mosaic_is_calibrated_and_compared_as_predict_shows_it(script, tmp_path):
    coarse = RenderConfig(seed=2, width=60, height=60, gsd=0.3, style="town")
    write_town(tmp_path, render_town(coarse))
    gsd = 0.3 * OWN_SHARE
    oracle = Oracle(labels(tmp_path, gsd), gsd=0.1, smallest=0.6 / gsd**2)
    _, right, _ = script("calibrate").detections(oracle, tmp_path)
    assert right.sum() > 10
    assert right.all()
    polygons, _ = script("runtimes").drawn(oracle, tmp_path / "mosaic.tif")
    assert len(polygons) >= right.sum()
    shown = shapely.union_all(polygons)
    truth, _ = read_footprints(tmp_path / "buildings.geojson", target_crs="EPSG:32737")
    true = shapely.union_all(truth.polygons) & read_area(tmp_path / "aoi.geojson", truth.crs)
    assert (shown & true).area > 0.85 * (shown | true).area


def test_regularizing_is_judged_as_predict_does_it(script, monkeypatch):
    judged = []
    bench = script("regularize")
    house = bench.as_array([shapely.box(0, 0, 9, 7)])
    monkeypatch.setattr(bench, "labels", lambda *_: (house, np.array(["a"])))
    monkeypatch.setattr(bench, "methods", lambda *settings: judged.append(settings) or {})
    for more in ([], ["--tolerance", "0.5", "--step", "0.3"]):
        monkeypatch.setattr(sys, "argv", ["regularize.py", "--noise", "corners", *more])
        bench.main()
    shipped = PredictConfig().finishing(0.1).regularizing
    assert judged == [(shipped.tolerance, shipped.step), (0.5, 0.3)]


def called(bench, monkeypatch, capsys, *given):
    """What a script prints that is called so."""
    monkeypatch.setattr(sys, "argv", [f"{bench.__name__}.py", *map(str, given)])
    bench.main()
    return capsys.readouterr().out


def test_calibrating_writes_what_it_finds_into_the_card(
    script, scene, tmp_path, monkeypatch, capsys
):
    bench = script("calibrate")
    card = dataclasses.replace(read_card(find_model()), calibration=(9.0, 9.0), score=0.9)
    (tmp_path / CARD).write_text(card_text(card), encoding="utf-8")
    model = OpenModel(Oracle(labels(scene, 0.1)), "oracle", "1")
    monkeypatch.setattr(bench, "open_model", lambda *_, **__: model)
    printed = called(bench, monkeypatch, capsys, tmp_path, "--scene", scene, "--write")
    assert "100% of them right" in printed
    written = read_card(tmp_path)
    assert written.calibration == UNCALIBRATED  # an oracle that is never wrong teaches nothing
    assert written.score == pytest.approx(0.5, abs=0.03)


def test_memory_is_measured_on_a_mosaic_repeated(script, scene, tmp_path, monkeypatch, capsys):
    bench, mosaic = script("memory"), scene / "mosaic.tif"
    repeated = bench.repeated(mosaic, 1.5e6, tmp_path)
    with Mosaic.open(repeated) as shown:
        assert (shown.grid.width, shown.grid.height) == (1200, 1200)
    figures = json.loads(called(bench, monkeypatch, capsys, mosaic, "--one", repeated))
    assert figures["buildings"] > 4
    assert figures["peak_mib"] > 10


def test_the_machine_that_asks_workers_is_weighed(script, scene, monkeypatch, capsys):
    bench = script("workers")
    printed = called(bench, monkeypatch, capsys, scene / "mosaic.tif", "--client")
    assert int(printed.split(" buildings", 1)[0]) > 10
    printed = called(bench, monkeypatch, capsys, scene / "mosaic.tif", "--reading")
    assert "one worker: 2 blocks, 4 tiles" in printed


def test_labels_have_nothing_to_correct(script, scene, monkeypatch, capsys):
    bench = script("corrections")
    layer = scene / "buildings.geojson"
    table = called(bench, monkeypatch, capsys, f"{scene}={layer}").splitlines()
    row = next(line for line in table if line.startswith(f"| {scene.name} |"))
    _, count, fine, *others = (cell.strip() for cell in row.strip("|").split("|"))
    assert int(count) > 10
    assert fine == "100"
    assert set(others) == {"0"}


def test_cutting_and_drawing_samples_is_timed(script, tmp_path, monkeypatch, capsys):
    dataset = write_dataset(tmp_path / "dataset", splits=("train",))
    given = (dataset, "--samples", 2, "--rounds", 1)
    printed = called(script("feeding"), monkeypatch, capsys, *given)
    assert [line.split(" ")[0] for line in printed.splitlines()] == [
        "decode",
        "cut",
        "draw",
        "draw",
    ]


def test_reading_is_measured_against_one_uncompressed_file_of_the_same_grid(
    script, scene, tmp_path, monkeypatch, capsys
):
    bench = script("reading")
    compressed, out = tmp_path / "jpeg.tif", tmp_path / "warped.tif"
    with rasterio.open(scene / "mosaic.tif") as source:
        jpeg = {**source.profile, "compress": "jpeg", "photometric": "ycbcr"}
        with rasterio.open(compressed, "w", **jpeg) as copy:
            copy.write(source.read())
    monkeypatch.setattr("subprocess.Popen", None)  # a process's start would count
    bench.rio(compressed, out)
    with Mosaic.open(compressed) as mosaic, rasterio.open(out) as warped:
        assert (warped.width, warped.height) == (mosaic.grid.width, mosaic.grid.height)
        assert warped.transform.almost_equals(mosaic.grid.transform, 1e-6)
        assert warped.compression is None
    printed = called(bench, monkeypatch, capsys, compressed, "--rounds", 1)
    assert printed.splitlines()[-1].startswith("4 tiles")

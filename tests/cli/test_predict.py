from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from rasterio.transform import from_origin

from buildex.cli import predict as module
from buildex.cli.main import main
from buildex.predicting import OpenModel
from tests.killed import Slow


@pytest.fixture
def mosaic(tmp_path, monkeypatch):
    path = tmp_path / "mosaic.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=300, height=200, count=3, dtype="uint8",
        crs="EPSG:32737", transform=from_origin(530000, 9320000, 0.1, 0.1),
    ) as out:  # fmt: skip
        out.write(np.full((3, 200, 300), 90, np.uint8))
    monkeypatch.setattr(module, "open_model", lambda *_: OpenModel(Slow(0), "slow", "1", "d"))
    return path


def call(*arguments):
    return CliRunner().invoke(main, ["predict", "--overlap", "48", *map(str, arguments)])


def test_a_dry_run_needs_no_output_and_speaks_json(mosaic, tmp_path):
    done = call(mosaic, "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout[done.stdout.index("{") :])
    assert (told["tiles"], told["width"], told["gsd"]) == (8, 300, 0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["mosaic.tif"]


def test_a_preview_that_cannot_be_written_is_told_before_the_work(mosaic, tmp_path):
    done = call(mosaic, "-o", tmp_path / "out.gpkg", "--preview", tmp_path / "no" / "p.png")
    assert done.exit_code == 1
    assert "does not exist" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mosaic.tif"]


def test_only_so_many_views_are_known(mosaic, tmp_path):
    done = call(mosaic, "-o", tmp_path / "out.gpkg", "--views", "3")
    assert done.exit_code == 2
    assert "1<=x<=2" in done.stderr


def test_without_an_output_there_is_no_run(mosaic):
    done = call(mosaic)
    assert done.exit_code == 2
    assert "--output" in done.output


def test_the_report_has_rates_and_seconds_by_stage(mosaic, tmp_path):
    done = call(mosaic, "-o", tmp_path / "out.gpkg", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout[done.stdout.index("{") :])
    assert told["tiles"] == 8
    assert told["tiles_per_second"] > 0
    assert told["km2_per_hour"] > 0
    assert told["buildings"] > 0
    stages = ("reading", "network", "geometry", "writing")
    assert all(0 < told[f"seconds_{stage}"] <= told["seconds"] for stage in stages)
    assert "km2/h" in done.stderr
    assert "buildings" in done.stderr


def test_ctrl_c_is_one_line_that_says_how_to_go_on(mosaic, tmp_path, monkeypatch):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "predict", stopped)
    done = call(mosaic, "-o", tmp_path / "out.gpkg")
    assert done.exit_code == 130
    (line,) = done.stderr.splitlines()
    assert "the same command goes on" in line

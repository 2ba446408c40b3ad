from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
import rasterio.env
from click.testing import CliRunner
from rasterio.transform import from_origin

from buildex.cli import predict as module
from buildex.cli.main import main
from buildex.geo.boxes import PixelBox
from buildex.io.journal import Journal
from buildex.io.raster import CACHE_MB, Mosaic, small_cache
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
    monkeypatch.setattr(module, "open_model", lambda *_, **__: OpenModel(Slow(0), "slow", "1", "d"))
    return path


def call(*arguments):
    return CliRunner().invoke(main, ["predict", "--overlap", "48", *map(str, arguments)])


def test_a_dry_run_needs_no_output_and_speaks_json(mosaic, tmp_path):
    done = call(mosaic, "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout[done.stdout.index("{") :])
    assert (told["tiles"], told["width"], told["gsd"]) == (8, 300, 0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["mosaic.tif"]


def cache_for(path):
    """How many MB GDAL may keep while a mosaic is read."""
    with small_cache(), Mosaic.open(path) as mosaic:
        mosaic.read(PixelBox(0, 0, 20, 20))
        return rasterio.env.get_gdal_config("GDAL_CACHEMAX") >> 20


def test_a_worker_keeps_the_rows_of_strips_as_one_process_does(tmp_path, monkeypatch):
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    path = tmp_path / "wide.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=40_000, height=3000, count=3, dtype="uint8", blockysize=1,
        crs="EPSG:32737", transform=from_origin(530000, 9320000, 0.1, 0.1), SPARSE_OK=True,
    ):  # fmt: skip
        pass
    model = OpenModel(Slow(0), "slow", "1", "d")
    with module._Staff(workers=1, scheduler=None).crew(None, "cpu", model) as crew:
        found = [kept for _, kept in crew.cluster.map(cache_for, [path])]
    assert found == [cache_for(path)]
    assert found[0] > CACHE_MB


def test_a_preview_that_cannot_be_written_is_told_before_the_work(mosaic, tmp_path):
    done = call(mosaic, "-o", tmp_path / "out.gpkg", "--preview", tmp_path / "no" / "p.png")
    assert done.exit_code == 1
    assert "does not exist" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mosaic.tif"]


def test_only_so_many_views_are_known(mosaic, tmp_path):
    done = call(mosaic, "-o", tmp_path / "out.gpkg", "--views", "3")
    assert done.exit_code == 2
    assert "1<=x<=2" in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--threshold", "7", "threshold is 7.0; use more than 0"),
        ("--overlap", "0", "overlap is 0 pixels; use 8 or more"),
    ],
)
def test_a_value_that_no_option_has_is_wrong_usage(mosaic, tmp_path, option, value, told):
    done = call(mosaic, "-o", tmp_path / "out.gpkg", option, value)
    assert done.exit_code == 2
    assert told in done.stderr


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


def test_ctrl_c_does_not_promise_that_restart_goes_on(mosaic, tmp_path, monkeypatch):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "predict", stopped)
    done = call(mosaic, "-o", tmp_path / "out.gpkg", "--restart")
    assert "the same command without `--restart` goes on" in done.stderr


def test_a_run_that_was_stopped_at_its_preview_only_draws_that(mosaic, tmp_path, monkeypatch):
    out, picture = tmp_path / "out.gpkg", tmp_path / "p.png"

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "draw_preview", stopped)
        done = call(mosaic, "-o", out, "--preview", picture)
    assert done.exit_code == 130
    assert "the same command goes on" in done.stderr
    assert not picture.exists()
    drawn = out.stat().st_mtime_ns
    done = call(mosaic, "-o", out, "--preview", picture, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout[done.stdout.index("{") :])
    assert told["resumed"] == told["tiles"] == 8
    assert picture.exists()
    assert out.stat().st_mtime_ns == drawn
    assert not Journal.of(out).exists()


@pytest.mark.parametrize("given", ["mosaic", "output", "aoi"])
def test_a_preview_writes_over_nothing_of_the_run(mosaic, tmp_path, given):
    png = mosaic.rename(tmp_path / "mosaic.png")  # GDAL does not mind
    area = tmp_path / "aoi.png"
    area.write_bytes(b"area")
    paths = {"mosaic": png, "output": tmp_path / "out.png", "aoi": area}
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    done = call(png, "-o", paths["output"], "--aoi", area, "--preview", paths[given], "--overwrite")
    assert done.exit_code == 1
    assert "is needed by this run itself" in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_layer_is_not_written_over_its_area(mosaic, tmp_path):
    area = tmp_path / "area.gpkg"
    area.write_bytes(b"area")
    done = call(mosaic, "-o", area, "--aoi", tmp_path / "." / "area.gpkg", "--overwrite")
    assert done.exit_code == 1
    assert "is needed by this run itself" in done.stderr
    assert area.read_bytes() == b"area"


def test_nor_over_the_file_of_which_its_area_is_one_layer(mosaic, tmp_path):
    area = tmp_path / "area.gpkg"
    area.write_bytes(b"area")
    done = call(mosaic, "-o", area, "--aoi", f"{area}|layername=aoi", "--overwrite")
    assert done.exit_code == 1
    assert "is needed by this run itself" in done.stderr
    assert area.read_bytes() == b"area"


def test_a_preview_is_a_png_and_one_that_is_there_is_kept(mosaic, tmp_path):
    done = call(mosaic, "-o", tmp_path / "out.gpkg", "--preview", tmp_path / "p.jpg")
    assert done.exit_code == 1
    assert ".png" in done.stderr
    (tmp_path / "p.png").write_bytes(b"mine")
    done = call(mosaic, "-o", tmp_path / "out.gpkg", "--preview", tmp_path / "p.png")
    assert done.exit_code == 1
    assert "exists already" in done.stderr
    assert (tmp_path / "p.png").read_bytes() == b"mine"


def test_an_empty_path_is_no_folder_of_mosaics(mosaic, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call("", "-o", "out")
    assert done.exit_code == 2
    assert "is empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mosaic.tif"]


@pytest.mark.parametrize("name", ["out.gpkg", "out.GPKG"])
def test_several_mosaics_need_a_folder(mosaic, tmp_path, name):
    done = call(mosaic, mosaic, "-o", tmp_path / name)
    assert done.exit_code == 2
    assert "FOLDER" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mosaic.tif"]


def test_a_shapefile_s_short_names_are_no_warning(mosaic, tmp_path, recwarn):
    done = call(mosaic, "-o", tmp_path / "out.shp")
    assert done.exit_code == 0, done.output
    assert not [w for w in recwarn if "laundered" in str(w.message)]


def test_pixels_that_no_mosaic_has_are_refused(mosaic, tmp_path):
    done = call(mosaic, "-o", tmp_path / "out.gpkg", "--gsd", "1e-6")
    assert done.exit_code == 1
    assert "coarser `--gsd`" in done.stderr


def test_a_crs_that_is_none_is_told_even_where_it_is_not_needed(mosaic, tmp_path):
    done = call(mosaic, "-o", tmp_path / "out.gpkg", "--crs", "nonsense")
    assert done.exit_code == 1
    assert "`nonsense`" in done.stderr


def test_a_layer_in_capitals_has_its_preview(mosaic, tmp_path):
    done = call(mosaic, "-o", tmp_path / "out.PARQUET", "--preview", tmp_path / "p.png")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "p.png").exists()

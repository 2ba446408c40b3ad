"""Several mosaics are one job: a layer for each, and what is complete is not drawn again."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from click.testing import CliRunner
from rasterio.transform import from_origin

from buildex.cli import predict as module
from buildex.cli.main import main
from buildex.errors import ConfigError
from buildex.predicting import (
    OpenModel,
    PredictConfig,
    PredictReport,
    mosaics_in,
    predict_all,
)
from buildex.predicting.record import RECORD, Record
from buildex.predicting.several import _Shared
from tests.killed import Slow
from tests.test_resume import features

CONFIG = PredictConfig(overlap=48)


def write(path, east):
    with rasterio.open(
        path, "w", driver="GTiff", width=300, height=200, count=3, dtype="uint8",
        crs="EPSG:32737", transform=from_origin(530000 + east, 9320000, 0.1, 0.1),
    ) as out:  # fmt: skip
        out.write(np.full((3, 200, 300), 90, np.uint8))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    flown = tmp_path / "flown"
    flown.mkdir()
    for k, name in enumerate("ab"):
        write(flown / f"{name}.tif", 1000 * k)
    (flown / "notes.txt").write_text("no mosaic")
    monkeypatch.setattr(module, "open_model", lambda *_, **__: OpenModel(Slow(0), "slow", "1", "d"))
    return flown


def names(folder):
    """What a folder holds, but for the empty lock."""
    return sorted(path.name for path in folder.iterdir() if path.name != f".{RECORD}.lock")


def call(*arguments):
    done = CliRunner().invoke(main, ["predict", "--overlap", "48", *map(str, arguments)])
    told = json.loads(done.stdout[done.stdout.index("{") : done.stdout.rindex("}") + 1])
    return done, told


def test_a_folder_of_mosaics_makes_a_folder_of_layers(folder, tmp_path):
    out = tmp_path / "drawn"
    done, told = call(folder, "-o", out, "--json")
    assert done.exit_code == 0, done.output
    assert names(out) == ["a.gpkg", "b.gpkg", RECORD]
    assert [one["mosaic"] for one in told["mosaics"]] == ["a.tif", "b.tif"]
    counts = [len(features(out / f"{name}.gpkg")) for name in "ab"]
    assert [one["buildings"] for one in told["mosaics"]] == counts
    assert told["sum"]["buildings"] == sum(counts) > 0
    assert told["sum"]["tiles"] == 16


def test_what_is_complete_is_not_drawn_again(folder, tmp_path):
    out = tmp_path / "drawn"
    call(folder / "a.tif", folder / "b.tif", "-o", out, "--json")
    stamp = (out / "a.gpkg").stat().st_mtime_ns
    (out / "b.gpkg").unlink()
    done, told = call(folder, "-o", out, "--json")
    assert done.exit_code == 0, done.output
    assert (told["drawn_before"], len(told["mosaics"])) == (["a.tif"], 2)
    assert (out / "a.gpkg").stat().st_mtime_ns == stamp
    assert (out / "b.gpkg").exists()


def test_a_mosaic_that_changed_is_drawn_again_only_over_a_layer_that_may_go(folder, tmp_path):
    out = tmp_path / "drawn"
    call(folder, "-o", out, "--json")
    write(folder / "a.tif", 5000)
    done, told = call(folder, "-o", out, "--json")
    assert done.exit_code == 1
    assert "a.gpkg` exists already" in done.stderr.splitlines()[-1]
    done, told = call(folder, "-o", out, "--json", "--overwrite")
    assert done.exit_code == 0
    assert told["drawn_before"] == ["b.tif"]


def test_a_broken_mosaic_is_told_in_one_line_and_the_others_are_drawn(folder, tmp_path):
    (folder / "a.tif").write_bytes(b"no raster")
    out = tmp_path / "drawn"
    done, told = call(folder, "-o", out, "--json")
    assert done.exit_code == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("buildex:")]
    assert "1 of 2 mosaics could not be drawn" in line
    assert "a.tif" in line
    assert list(told["failed"]) == [str(folder / "a.tif")]
    assert names(out) == ["b.gpkg", RECORD]


def test_another_format_may_be_chosen_and_a_mosaic_outside_the_area_is_no_fault(folder, tmp_path):
    area = tmp_path / "area.gpkg"
    west = shapely.box(530000, 9319980, 530030, 9320000)
    geopandas.GeoDataFrame(geometry=[west], crs="EPSG:32737").to_file(area)
    out = tmp_path / "drawn"
    done, told = call(folder, "-o", out, "--json", "--aoi", area, "--format", "fgb")
    assert done.exit_code == 0, done.output
    assert told["outside"] == ["b.tif"]
    assert names(out) == ["a.fgb", RECORD]


def test_a_dry_run_counts_what_the_run_would_not_draw_and_goes_on(folder, tmp_path):
    area = tmp_path / "area.gpkg"
    west = shapely.box(530000, 9319980, 530030, 9320000)
    geopandas.GeoDataFrame(geometry=[west], crs="EPSG:32737").to_file(area)
    write(folder / "0.tif", 5000)
    (folder / "1.tif").write_bytes(b"no raster")
    done, told = call(folder, "--dry-run", "--json", "--aoi", area)
    assert done.exit_code == 1
    assert [one["mosaic"] for one in told["mosaics"]] == ["a.tif"]
    assert told["outside"] == ["0.tif", "b.tif"]
    assert list(told["failed"]) == [str(folder / "1.tif")]
    (line,) = done.stderr.splitlines()
    assert "1 of 4 mosaics could not be drawn" in line
    (folder / "1.tif").unlink()
    done = CliRunner().invoke(
        main, ["predict", "--overlap", "48", str(folder), "--dry-run", "--aoi", str(area)]
    )
    assert done.exit_code == 0
    assert "1 mosaics to draw, 0 are complete, 2 outside the area, 0 failed" in done.stdout


def test_a_dry_run_knows_what_is_complete_and_tells_the_sum_of_the_rest(folder, tmp_path):
    out = tmp_path / "drawn"
    call(folder / "a.tif", folder / "a.tif", "-o", out, "--json")
    write(folder / "c.tif", 5000)
    held = {path: path.read_bytes() for path in out.iterdir()}
    _, told = call(folder, "-o", out, "--dry-run", "--json")
    assert ([one["mosaic"] for one in told["mosaics"]], told["before"]) == (
        ["b.tif", "c.tif"], ["a.tif"],
    )  # fmt: skip
    seconds = sum(one["seconds"] for one in told["mosaics"])
    assert told["sum"] == {"tiles": 16, "seconds": pytest.approx(seconds)}
    arguments = ["predict", "--overlap", "48", str(folder), "-o", str(out), "--dry-run"]
    said = CliRunner().invoke(main, arguments).stdout
    assert "2 mosaics to draw, 1 are complete, 0 outside the area, 0 failed\n16 tiles" in said
    assert {path: path.read_bytes() for path in out.iterdir()} == held
    _, told = call(folder, "-o", out, "--dry-run", "--json", "--restart")
    assert (len(told["mosaics"]), told["before"]) == (3, [])
    call(folder, "-o", tmp_path / "nowhere", "--dry-run", "--json")
    assert not (tmp_path / "nowhere").exists()


def test_layers_of_other_options_are_refused_and_what_differs_is_named(folder, tmp_path):
    out = tmp_path / "drawn"
    call(folder, "-o", out, "--json")
    done = CliRunner().invoke(main, ["predict", str(folder), "-o", str(out)])
    assert done.exit_code == 1
    assert "holds layers of another options overlap (48, now None); write elsewhere" in done.stderr


def test_layers_of_another_buildex_are_refused(folder, tmp_path, monkeypatch):
    out = tmp_path / "drawn"
    call(folder, "-o", out, "--json")
    monkeypatch.setattr("buildex.io.edition._sources", lambda: "pulled")
    done = CliRunner().invoke(main, ["predict", "--overlap", "48", str(folder), "-o", str(out)])
    assert done.exit_code == 1
    assert re.search(r"another buildex \(.*, now .*\+pulled\)", done.stderr)


def test_two_mosaics_of_one_name_and_an_empty_folder_are_refused(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(ConfigError, match="has no mosaic"):
        mosaics_in([str(other)])
    write(other / "a.tif", 0)
    with pytest.raises(ConfigError, match=r"flown/a.tif` and `.*other/a.tif` would have one layer"):
        mosaics_in([str(folder), str(other)])


def test_a_job_stopped_while_a_layer_is_noted_goes_on(folder, tmp_path, monkeypatch):
    out = tmp_path / "drawn"
    add = Record.add

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Record, "add", stop)
    command = ["predict", "--overlap", "48", str(folder), "-o", str(out)]
    assert CliRunner().invoke(main, command).exit_code == 130
    monkeypatch.setattr(Record, "add", add)
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert names(out) == ["a.gpkg", "b.gpkg", RECORD]


def test_two_jobs_in_one_folder_keep_each_others_records(folder, tmp_path):
    out = tmp_path / "drawn"

    class Meanwhile(Slow):
        """Another job is done while this one works."""

        other = str(folder / "b.tif"), OpenModel(Slow(0), "slow", "1", "d")

        def __call__(self, tiles, score=0.0):
            if not (out / "b.gpkg").exists():
                predict_all(self.other[:1], out, self.other[1], CONFIG)
            return super().__call__(tiles, score)

    predict_all([str(folder / "a.tif")], out, OpenModel(Meanwhile(0), "slow", "1", "d"), CONFIG)
    done, told = call(folder, "-o", out, "--json")
    assert done.exit_code == 0, done.output
    assert told["drawn_before"] == ["a.tif", "b.tif"]


def test_progress_passes_the_tiles_of_mosaics_that_others_draw_and_of_those_that_break():
    passed = []

    def bar(items, **_):
        for item in items:
            yield passed.append(item)

    shared = _Shared(bar, 9)
    shared.expect(4)  # drawn meanwhile
    shared.done()
    assert len(passed) == 4
    shared.expect(5)
    tiles = shared.track(range(3), total=3)  # two were seen before
    next(tiles)
    next(tiles)
    shared.done()
    assert len(passed) == 9


def test_two_jobs_with_the_same_mosaics_share_them_and_none_fails(folder, tmp_path):
    out, mosaics, others = tmp_path / "drawn", mosaics_in([str(folder)]), []

    class Meanwhile(Slow):
        """Another job comes and goes while this one is at its first mosaic."""

        came = False

        def __call__(self, tiles, score=0.0):
            if not self.came:
                self.came = True
                opened = OpenModel(Slow(0), "slow", "1", "d")
                others.append(predict_all(mosaics, out, opened, CONFIG))
            return super().__call__(tiles, score)

    report = predict_all(mosaics, out, OpenModel(Meanwhile(0), "slow", "1", "d"), CONFIG)
    (other,) = others
    assert (other.elsewhere, other.failed) == (("a.tif",), {})
    assert [one.mosaic for one in other.done] == ["b.tif"]
    assert "1 being drawn by another run" in other.text()
    assert [one.mosaic for one in report.done] == ["a.tif"]
    assert [one.mosaic for one in report.before] == ["b.tif"]
    assert (report.elsewhere, report.failed) == ((), {})
    _, told = call(folder, "-o", out, "--json")
    assert told["drawn_before"] == ["a.tif", "b.tif"]
    assert told["elsewhere"] == []


def test_layers_that_are_noted_at_one_moment_are_all_kept(folder, tmp_path):
    out = tmp_path / "drawn"
    _, told = call(folder / "a.tif", folder / "a.tif", "-o", out, "--json")
    report = PredictReport(**told["mosaics"][0])
    plan = json.loads((out / RECORD).read_text())["plan"]

    def note(job):
        record = Record(out, plan, restart=False)
        for k in range(10):
            record.add(replace(report, output=f"{job}-{k}.gpkg"), "it")

    with ThreadPoolExecutor(4) as jobs:
        list(jobs.map(note, range(4)))
    assert len(json.loads((out / RECORD).read_text())["layers"]) == 1 + 40


def test_a_job_that_began_anew_and_was_stopped_goes_on_without_restart(folder, tmp_path):
    out = tmp_path / "drawn"
    call(folder, "-o", out, "--json")

    class Stopped(Slow):
        def __call__(self, tiles, score=0.0):
            raise KeyboardInterrupt

    config = replace(CONFIG, restart=True, overwrite=True)
    with pytest.raises(KeyboardInterrupt):
        predict_all(mosaics_in([str(folder)]), out, OpenModel(Stopped(0), "slow", "1", "d"), config)
    done, told = call(folder, "-o", out, "--json", "--overwrite")
    assert done.exit_code == 0, done.output
    assert told["drawn_before"] == []


def test_a_restart_that_may_replace_no_layer_forgets_none(folder, tmp_path):
    out = tmp_path / "drawn"
    call(folder, "-o", out, "--json")
    done, _ = call(folder, "-o", out, "--json", "--restart")
    assert done.exit_code == 1
    assert "2 of 2 mosaics" in done.stderr
    _, told = call(folder, "-o", out, "--json")
    assert told["drawn_before"] == ["a.tif", "b.tif"]

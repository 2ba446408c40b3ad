"""A run that is killed goes on where it stopped, and ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

from buildex.errors import OutputError, VectorError
from buildex.io.journal import Journal
from buildex.predicting import PredictConfig, predict
from tests.killed import Slow

KILLS = int(os.environ.get("BUILDEX_KILLS", "3"))
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory):
    path = tmp_path_factory.mktemp("mosaic") / "mosaic.tif"
    write(path, 120)
    return path


def write(path, value):
    with rasterio.open(
        path, "w", driver="GTiff", width=600, height=600, count=3, dtype="uint8",
        crs="EPSG:32737", transform=from_origin(530000, 9320000, 0.1, 0.1),
    ) as out:  # fmt: skip
        out.write(np.full((3, 600, 600), value, np.uint8))


@pytest.fixture(scope="module")
def undisturbed(mosaic, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out.gpkg"
    run(mosaic, out)
    layer = features(out)
    assert len(layer) > 60
    return layer


def features(path):
    """Every feature of a layer, in order: all its values, and its outline to the last bit."""
    _, _, shapes, columns = pyogrio.raw.read(path)
    return list(zip(shapes.tolist(), *(column.tolist() for column in columns), strict=True))


def run(mosaic, out, **options):
    """A whole run in this process."""
    config = PredictConfig(overlap=48, **options)
    return predict(str(mosaic), out, Slow(0.0), config, model=("slow", "1"))


def child(mosaic, out, *options):
    """A run of its own process."""
    command = [sys.executable, "-m", "tests.killed", str(mosaic), str(out), *options]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def killed_after(process, batches, delay):
    """Kill a run some time after so many batches; whether it was still at work."""
    said = [process.stdout.readline() for _ in range(batches)]
    time.sleep(delay)
    process.kill()
    _, complaint = process.communicate()
    assert said[0].startswith(("batch", "resumed")), complaint
    assert process.returncode in (-signal.SIGKILL, 0), complaint
    return process.returncode != 0


def rows_kept(out, aside):
    """How many rows the journal of a killed run holds; a copy is asked, and it stays as it is."""
    aside.mkdir()
    for file in out.parent.glob(f"{Journal.of(out).name}*"):
        shutil.copy(file, aside)
    if not any(aside.iterdir()):
        return 0
    with closing(sqlite3.connect(aside / Journal.of(out).name)) as journal:
        return journal.execute("SELECT COUNT(*) FROM rows").fetchone()[0]


def test_killed_at_random_moments_it_ends_as_if_nothing_had_happened(
    mosaic, undisturbed, tmp_path, tmp_path_factory
):
    rng = random.Random(7)
    out, aside = tmp_path / "out.gpkg", tmp_path_factory.mktemp("aside")
    kills = kept = 0
    for number in range(10 * KILLS):
        process = child(mosaic, out, "--pause", "0.1")
        kills += killed_after(process, rng.randint(1, 5), rng.uniform(0, 0.3))
        kept = rows_kept(out, aside / str(number))
        if kills >= KILLS and kept:
            break
        if out.exists() and not Journal.of(out).exists():  # it came to its end: begin anew
            assert features(out) == undisturbed
            out.unlink()
    assert kills >= KILLS
    assert kept
    assert run(mosaic, out).resumed == 7 * kept
    assert features(out) == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["out.gpkg"]


def interrupted(mosaic, out, batches=8, **options):
    """A run in this process that is stopped as by Ctrl-C."""

    class Stopped(Slow):
        left = batches

        def __call__(self, tiles, score=0.0):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().__call__(tiles, score)

    config = PredictConfig(overlap=48, **options)
    with pytest.raises(KeyboardInterrupt):
        predict(str(mosaic), out, Stopped(0.0), config, model=("slow", "1"))


def test_after_ctrl_c_the_same_command_goes_on(mosaic, undisturbed, tmp_path):
    out = tmp_path / "out.gpkg"
    interrupted(mosaic, out)
    assert not out.exists()
    assert Journal.of(out).exists()
    report = run(mosaic, out, batch_size=3)
    assert 0 < report.resumed < report.tiles
    assert features(out) == undisturbed
    assert not Journal.of(out).exists()


@pytest.mark.parametrize("size", [1, 7])
def test_the_size_of_batches_changes_neither_features_nor_their_order(
    mosaic, undisturbed, tmp_path, size
):
    run(mosaic, tmp_path / "out.gpkg", batch_size=size)
    assert features(tmp_path / "out.gpkg") == undisturbed


def test_other_options_another_model_and_another_mosaic_are_refused(mosaic, undisturbed, tmp_path):
    out = tmp_path / "out.gpkg"
    interrupted(mosaic, out)
    with pytest.raises(OutputError, match=r"options min_area \(1.5, now 9.0\).*--restart"):
        run(mosaic, out, min_area=9.0)
    with pytest.raises(OutputError, match="another model version"):
        predict(str(mosaic), out, Slow(0), PredictConfig(overlap=48), model=("slow", "2"))
    other = tmp_path / mosaic.name
    write(other, 90)
    with pytest.raises(OutputError, match="another mosaic"):
        run(other, out)
    other.unlink()
    assert run(mosaic, out, restart=True).resumed == 0
    assert features(out) == undisturbed


def lay(area, west, layer=None, order=1):
    """An area of two parts: east of an easting, and the ground beside the mosaic."""
    parts = [shapely.box(west, 9319940, 530060, 9320000), shapely.box(530060, 9319940, 530061, 9e6)]
    parts = geopandas.GeoDataFrame(geometry=parts[::order], crs="EPSG:32737")
    parts.to_file(area, layer=layer)


def test_an_area_that_changed_is_another_whether_its_layer_is_named_or_not(mosaic, tmp_path):
    out, area = tmp_path / "out.gpkg", tmp_path / "area.gpkg"
    lay(area, 530000, "here")
    lay(area, 530010, "there")
    named = Path(f"{area}|layername=here")
    interrupted(mosaic, out, aoi=named)
    with pytest.raises(OutputError, match="another options aoi"):
        run(mosaic, out, aoi=Path(f"{area}|layername=there"))
    lay(area, 530030, "here")
    with pytest.raises(OutputError, match="another options aoi"):
        run(mosaic, out, aoi=named)


def test_an_area_is_the_same_in_another_file_and_another_in_another_crs(mosaic, tmp_path):
    out, area = tmp_path / "out.gpkg", tmp_path / "area.shp"
    lay(area, 530000)
    interrupted(mosaic, out, aoi=area)
    there = (tmp_path / "area.prj").read_text()
    (tmp_path / "area.prj").write_text(there.replace("37S", "38S").replace("39.0", "45.0"))
    with pytest.raises(VectorError, match="does not touch"):
        run(mosaic, out, aoi=area)
    (tmp_path / "area.prj").write_text(there.replace("0.9996", "0.9997"))
    with pytest.raises(OutputError, match="another options aoi"):
        run(mosaic, out, aoi=area)
    lay(tmp_path / "same.gpkg", 530000, order=-1)
    assert run(mosaic, out, aoi=tmp_path / "same.gpkg").resumed > 0


EDITS = """
import sqlite3, sys
area, other = (sqlite3.connect(path) for path in sys.argv[1:])
moved = other.execute("SELECT geom FROM other").fetchone()
area.execute("UPDATE area SET geom=? WHERE fid=1", moved)
area.commit()
print("edited", flush=True)
sys.stdin.read()
"""


def test_an_edit_of_an_area_counts_though_it_is_not_in_its_file_yet(mosaic, tmp_path):
    out, area, other = (tmp_path / f"{name}.gpkg" for name in ("out", "area", "other"))
    lay(area, 530000)
    lay(other, 530030)
    with closing(sqlite3.connect(area)) as made:
        made.execute("PRAGMA journal_mode=WAL")
        triggers = made.execute("SELECT name FROM sqlite_master WHERE type='trigger'").fetchall()
        for (name,) in triggers:  # they call functions of GDAL
            made.execute(f"DROP TRIGGER {name}")
    interrupted(mosaic, out, aoi=area)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", EDITS, area, other], **pipes) as editor:
        assert editor.stdout.readline() == "edited\n"
        assert (tmp_path / "area.gpkg-wal").stat().st_size > 0
        with pytest.raises(OutputError, match="another options aoi"):
            run(mosaic, out, aoi=area)
        editor.stdin.close()


def test_rows_of_another_version_are_not_stitched(mosaic, tmp_path, monkeypatch):
    out = tmp_path / "out.gpkg"
    interrupted(mosaic, out)
    monkeypatch.setattr("buildex.__version__", "99.0")
    with pytest.raises(OutputError, match=r"another buildex \(.*, now 99\.0\+"):
        run(mosaic, out)


def test_rows_on_another_grid_are_not_stitched(mosaic, tmp_path, monkeypatch):
    out = tmp_path / "out.gpkg"
    interrupted(mosaic, out)
    monkeypatch.setattr("buildex.predicting.opening.OWN_SHARE", 1.5)
    with pytest.raises(OutputError, match=r"another grid"):
        run(mosaic, out)


@pytest.mark.parametrize(
    ("limit", "full"), [(40_000, r"/out\.gpkg\.journal"), (90_000, r"`out\.gpkg")],
    ids=["journal", "layer"],
)  # fmt: skip
def test_a_full_disk_is_told_and_nothing_is_lost(mosaic, undisturbed, tmp_path, limit, full):
    out = tmp_path / "out.gpkg"
    process = child(mosaic, out, "--pause", "0", "--limit", str(limit))
    _, said = process.communicate()
    assert process.returncode == 1
    (line,) = [line for line in said.splitlines() if line.startswith("buildex:")]
    assert re.search(rf"{full}` cannot be written", line)
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["out.gpkg.journal"]
    assert run(mosaic, out).resumed > 0
    assert features(out) == undisturbed


def test_two_runs_do_not_write_one_output(mosaic, tmp_path):
    out = tmp_path / "out.gpkg"
    process = child(mosaic, out, "--pause", "5")
    assert process.stdout is not None
    deadline = time.monotonic() + 60
    while not Journal.of(out).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    try:
        with pytest.raises(OutputError, match="in use by another run"):
            run(mosaic, out)
    finally:
        process.kill()
        process.communicate()


def test_an_output_that_was_there_is_not_replaced_for_a_journal_s_sake(mosaic, tmp_path):
    out = tmp_path / "out.gpkg"
    interrupted(mosaic, out)
    out.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        run(mosaic, out)
    assert out.read_text() == "mine"


def test_what_was_put_in_its_place_before_the_end_is_known_again(
    mosaic, undisturbed, tmp_path, monkeypatch
):
    out = tmp_path / "out.gpkg"

    def dies(journal):
        journal._database.close()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "remove", dies)
        with pytest.raises(KeyboardInterrupt):
            run(mosaic, out)
    assert out.exists()
    assert Journal.of(out).exists()
    report = run(mosaic, out)
    assert report.buildings == len(undisturbed)
    assert features(out) == undisturbed
    assert not Journal.of(out).exists()


def test_final_features_are_valid_and_apart(undisturbed):
    shapes = shapely.from_wkb([row[0] for row in undisturbed])
    assert shapely.is_valid(shapes).all()
    i, j = shapely.STRtree(shapes).query(shapes, predicate="dwithin", distance=0.001)
    assert (i < j).sum() > 10, "neighbours share walls"
    once = i < j
    assert shapely.area(shapely.intersection(shapes[i[once]], shapes[j[once]])).max() < 1e-6


def test_after_a_row_that_could_not_be_kept_none_is(mosaic, undisturbed, tmp_path, monkeypatch):
    out = tmp_path / "out.gpkg"
    put, said = Journal.put, []

    def fails_once(journal, row, buildings):
        if row.number == 3 and not said:
            said.append(row.number)
            raise OutputError("the disk is full")
        put(journal, row, buildings)

    monkeypatch.setattr(Journal, "put", fails_once)
    with pytest.raises(OutputError, match="full"):
        run(mosaic, out)
    assert said
    assert run(mosaic, out).resumed == 3 * 7
    assert features(out) == undisturbed


def test_a_run_that_died_when_its_layer_was_in_place_has_nothing_left(
    mosaic, undisturbed, tmp_path, monkeypatch
):
    out = tmp_path / "out.gpkg"

    def dies(**_):
        raise OutputError("the lights are out")

    with monkeypatch.context() as patch:
        patch.setattr("buildex.predicting.running.PredictReport", dies)
        with pytest.raises(OutputError, match="lights"):
            run(mosaic, out)
    assert features(out) == undisturbed
    report = run(mosaic, out)
    assert report.resumed == report.tiles > 0
    assert features(out) == undisturbed

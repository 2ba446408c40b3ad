from __future__ import annotations

import csv
import io
import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import shapely
from click.testing import CliRunner, Result

from buildex.cli.main import main
from buildex.geo.footprints import Footprints
from buildex.io.crs import reprojected
from buildex.io.vector import write_footprints

UTM = "EPSG:32737"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    """Two squares 1 m apart, and the area around them."""
    layers = {
        "predictions.gpkg": shapely.box(500_001, 9_300_000, 500_011, 9_300_010),
        "truth.geojson": shapely.box(500_000, 9_300_000, 500_010, 9_300_010),
        "aoi.geojson": shapely.box(499_990, 9_299_990, 500_040, 9_300_040),
    }
    for name, polygon in layers.items():
        write_footprints(tmp_path / name, Footprints(np.array([polygon]), UTM))
    predictions, truth, aoi = (str(tmp_path / name) for name in layers)
    return predictions, truth, aoi


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["score", *arguments])


def test_score_prints_a_table(files):
    predictions, truth, aoi = files
    done = run(predictions, truth, "--aoi", aoi)
    assert done.exit_code == 0
    assert "1 predicted and 1 true buildings in 2,500 m2 (EPSG:32737)" in done.stdout
    assert "PoLiS of pairs" in done.stdout
    assert "0.500 m" in done.stdout


def test_score_prints_json_alone_on_stdout(files):
    predictions, truth, aoi = files
    done = run(predictions, truth, "--aoi", aoi, "--json", "--gsd", "0.5", "--iou", "0.75")
    data = json.loads(done.stdout)
    assert done.exit_code == 0
    assert (data["gsd_m"], data["iou"]) == (0.5, [0.75])
    assert data["figures"]["f1_75"] == 1
    assert data["figures"]["polis_m"] == pytest.approx(0.5, abs=1e-3)


def test_score_exits_with_3_where_a_figure_is_too_low(files):
    predictions, truth, aoi = files
    limits = ("--fail-under", "f1_50=.6", "--fail-under", "pixel_iou=.99")
    done = run(predictions, truth, "--aoi", aoi, *limits)
    assert done.exit_code == 3
    assert "pixel_iou is 0.8182, below 0.99" in done.stderr
    assert "f1_50 is" not in done.stderr
    assert "F1" in done.stdout


def test_score_exits_with_0_where_all_figures_are_high_enough(files):
    predictions, truth, aoi = files
    assert run(predictions, truth, "--aoi", aoi, "--fail-under", "f1_50=1").exit_code == 0


def test_score_names_the_figures_when_one_is_unknown(files):
    predictions, truth, _ = files
    done = run(predictions, truth, "--fail-under", "f1=.6")
    assert done.exit_code == 2
    assert "no figure `f1`" in done.stderr
    assert "f1_50" in done.stderr


def test_score_says_in_one_line_what_file_is_missing(files, tmp_path):
    done = run(str(tmp_path / "none.gpkg"), files[1])
    assert done.exit_code == 1
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("buildex: ")
    assert "none.gpkg" in line


def test_score_without_truth_is_wrong_usage(files):
    assert run(files[0]).exit_code == 2


def test_score_has_help_with_an_example():
    done = run("--help")
    assert done.exit_code == 0
    assert "Example: buildex score" in done.stdout
    assert "--fail-under" in done.stdout
    assert "without it, the box around all layers" in " ".join(done.stdout.split())


def test_score_prints_csv_alone_on_stdout(files):
    predictions, truth, aoi = files
    done = run(predictions, truth, "--aoi", aoi, "--csv", "--gsd", "0.5")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert done.exit_code == 0
    values = {row["figure"]: row["value"] for row in rows}
    assert float(values["polis_m"]) == pytest.approx(0.5, abs=1e-3)
    assert values["ap_large"] != ""
    assert values["ap_small"] == ""  # nothing of that size
    assert {row["scene"] for row in rows} == {"predictions"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--json", "--csv"),
        ("--gsd", "0"),
        ("--iou", "1.5"),
        ("--sizes", "100"),
        ("--scenes", "scenes.csv"),
        ("--compare", "a.gpkg", "b.gpkg"),
        ("--block", "inf"),
        ("--block", "nan"),
        ("--boundary", "inf"),
        ("--seed", "-1"),
        ("--mosaic", "mosaic.tif"),
    ],
)
def test_score_says_with_2_that_it_was_used_wrongly(files, arguments):
    done = run(files[0], files[1], *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""


def test_score_takes_several_scenes_from_a_list(files, tmp_path):
    predictions, truth, aoi = (Path(name).name for name in files)
    listed = tmp_path / "scenes.csv"
    listed.write_text(
        "scene,predictions,truth,aoi\n"
        f"moved,{predictions},{truth},{aoi}\nsame,{truth},{truth},{aoi}\n"
    )
    done = run("--scenes", str(listed), "--gsd", "0.5", "--json", "--fail-under", "f1_50=1")
    data = json.loads(done.stdout)
    assert done.exit_code == 0
    assert data["scenes"]["moved"]["figures"]["polis_m"] == pytest.approx(0.5, abs=1e-3)
    assert data["scenes"]["same"]["figures"]["polis_m"] == 0
    assert data["figures"]["polis_m"] == pytest.approx(0.25, abs=1e-3)


def test_score_compares_two_files_with_one_truth(files):
    predictions, truth, aoi = files
    done = run("--compare", predictions, truth, truth, "--aoi", aoi, "--gsd", "0.5")
    assert done.exit_code == 0
    assert f"A: {predictions}" in done.stdout
    assert "cannot tell" in done.stdout  # one block of ground says nothing about chance
    as_json = run("--compare", predictions, truth, truth, "--aoi", aoi, "--gsd", "0.5", "--json")
    row = json.loads(as_json.stdout)["differences"]["polis_m"]
    assert row["difference"] == pytest.approx(-0.5, abs=1e-3)
    assert row["larger_than_chance"] is False
    wrong = run("--compare", predictions, truth, truth, "--aoi", aoi, "--report", "page.html")
    assert wrong.exit_code == 2


def test_score_writes_a_page_and_layers_once(files, tmp_path):
    predictions, truth, aoi = files
    page, layers = tmp_path / "report.html", tmp_path / "errors.gpkg"
    written = ("--report", str(page), "--layers", str(layers), "--gsd", "0.5")
    assert run(predictions, truth, "--aoi", aoi, *written).exit_code == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    again = run(predictions, truth, "--aoi", aoi, *written)
    assert again.exit_code == 1
    assert "`--overwrite`" in again.stderr
    assert run(predictions, truth, "--aoi", aoi, *written, "--overwrite").exit_code == 0
    wrong = run(predictions, truth, "--layers", str(tmp_path / "errors.shp"))
    assert wrong.exit_code == 1
    assert "no GeoPackage" in wrong.stderr


def test_score_lists_what_nobody_drew(files, tmp_path):
    _, truth, aoi = files
    drawn, nobody = (
        (500_001, 9_300_000, 500_011, 9_300_010),
        (500_020, 9_300_020, 500_030, 9_300_026),
    )
    found = tmp_path / "found.gpkg"
    write_footprints(found, Footprints(shapely.box(*np.transpose([drawn, nobody])), UTM))
    done = run(str(found), truth, "--aoi", aoi, "--incomplete-truth", "--gsd", "0.5")
    assert "the truth has holes" in done.stdout
    assert "  precision" not in done.stdout
    _, listed = done.stdout.split("predictions without a label: candidates to map\n")
    (line,) = listed.splitlines()
    latitude, longitude, area, unit, scene = line.replace(",", "").split()
    middle = reprojected(np.array([[500_025, 9_300_023]]), UTM, "EPSG:4326")[0]
    assert (float(longitude), float(latitude)) == pytest.approx(middle, abs=1e-6)
    assert (area, unit, scene) == ("60", "m2", "found")
    nothing = run(truth, truth, "--aoi", aoi, "--incomplete-truth", "--gsd", "0.5")
    assert "0 predictions without a label" in nothing.stdout


def test_score_gives_published_figures_only_when_asked(files):
    predictions, truth, aoi = files
    more = run(predictions, truth, "--aoi", aoi, "--as-published", "--gsd", "0.5")
    assert "as published code has it" in more.stdout
    assert "published" not in run(predictions, truth, "--aoi", aoi, "--gsd", "0.5").stdout


@pytest.mark.parametrize("given", ["truth", "aoi", "predictions", "report"])
def test_score_writes_over_nothing_that_it_reads_or_writes(files, tmp_path, given):
    truth = tmp_path / "truth.gpkg"
    shutil.copy(files[0], truth)
    paths = {
        "truth": truth, "aoi": files[2], "predictions": files[0], "report": tmp_path / "a.gpkg",
    }  # fmt: skip
    place = str(paths[given])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    report = ("--report", place) if given in ("report", "aoi") else ()
    layers = () if given == "aoi" else ("--layers", place)
    done = run(files[0], str(truth), "--aoi", files[2], *report, *layers, "--overwrite")
    assert done.exit_code == 1
    assert "is needed by this run itself" in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_score_shows_its_figures_where_the_disk_is_full(files, tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise sqlite3.OperationalError("disk is full")

    monkeypatch.setattr("buildex.io.styled.sqlite3.connect", full)
    done = run(*files[:2], "--layers", str(tmp_path / "layers.gpkg"), "--gsd", "0.5")
    assert done.exit_code == 1
    assert "PoLiS of pairs" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("buildex: `layers.gpkg` cannot be written")
    assert not (tmp_path / "layers.gpkg").exists()


def test_score_never_replaces_the_mosaic_of_the_offset(files, tmp_path):
    mosaic = tmp_path / "mosaic.tif"
    mosaic.write_bytes(b"imagery")
    offset = ("--estimate-offset", str(mosaic), "--report", str(mosaic), "--overwrite")
    done = run(*files[:2], *offset)
    assert done.exit_code == 1
    assert "is needed by this run itself" in done.stderr
    assert mosaic.read_bytes() == b"imagery"


def test_score_says_beside_csv_what_a_table_has_no_room_for(files, tmp_path):
    elsewhere = tmp_path / "elsewhere.geojson"
    there = shapely.box(501_000, 9_300_000, 501_050, 9_300_050)
    write_footprints(elsewhere, Footprints(np.array([there]), UTM))
    found = tmp_path / "found.gpkg"
    write_footprints(found, Footprints(np.array([there.buffer(-20)]), UTM))
    done = run(str(found), files[1], "--aoi", str(elsewhere), "--csv", "--gsd", "0.5")
    assert done.exit_code == 0
    assert "none of 1 true buildings lies in the area" in done.stderr
    assert "none of" not in done.stdout


def test_score_looks_at_the_mosaic_before_the_work(files, tmp_path):
    report, layers = tmp_path / "page.html", tmp_path / "layers.gpkg"
    done = run(
        *files[:2], "--report", str(report), "--layers", str(layers), "--mosaic", "missing.tif"
    )
    assert done.exit_code == 1
    assert "no file `missing.tif`" in done.stderr
    assert not report.exists()
    assert not layers.exists()


def test_score_s_list_of_scenes_is_no_folder(tmp_path):
    done = run("--scenes", str(tmp_path))
    assert done.exit_code == 1
    assert "cannot be read" in done.stderr

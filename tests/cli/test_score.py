from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from click.testing import CliRunner, Result

from buildex.cli.main import main
from buildex.geo.footprints import Footprints
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

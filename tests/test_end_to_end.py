"""The whole way on a tiny rendered town: demo, tile, train, predict, score."""

from __future__ import annotations

import json

import pyogrio
import pytest
from click.testing import CliRunner

from buildex.cli.main import main
from tests.nn.made import SMALLEST

# As few steps as it takes to be surer of a building than the network's lowest score.
TINY = [
    "--steps", "24", "--samples-per-epoch", "24", "--batch-size", "1", "--size", "256",
    "--lr", "3e-3", "--warmup", "2", "--average", "0", "--schedule", "constant",
    "--encoder", SMALLEST, "--pyramid-channels", "32", "--roi-channels", "16", "--cells", "16",
]  # fmt: skip


def run(*arguments, code=0):
    answer = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    assert answer.exit_code == code, answer.output
    return answer


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    folder = tmp_path_factory.mktemp("town") / "town"
    folder.parent.mkdir(exist_ok=True)
    run("demo", folder, "--render-only", "--seed", "3", "--width", "40", "--height", "40")
    return folder


@pytest.fixture(scope="module")
def trained(town, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    run(
        "tile", town / "mosaic.tif", "--labels", town / "buildings.geojson",
        "--aoi", town / "aoi.geojson", "--size", "256", "--overlap", "0", "--workers", "1",
        "-o", work / "dataset",
    )  # fmt: skip
    run(
        "train", work / "dataset", "-o", work / "run", "--pretrained", "none",
        "--workers", "0", *TINY,
    )  # fmt: skip
    return work / "run" / "model"


def test_a_model_that_was_just_trained_predicts_and_is_scored(town, trained, tmp_path):
    out = tmp_path / "buildings.gpkg"
    run(
        "predict", town / "mosaic.tif", "-o", out, "--model", trained, "--threshold", "0.05",
        "--overlap", "64", "--preview", tmp_path / "preview.png",
    )  # fmt: skip
    layer = pyogrio.read_dataframe(out)
    assert len(layer) > 0
    assert layer.geometry.is_valid.all()
    assert (tmp_path / "preview.png").stat().st_size > 10_000
    answer = run(
        "score", out, town / "buildings.geojson", "--aoi", town / "aoi.geojson", "--json"
    )  # fmt: skip
    figures = json.loads(answer.stdout)["figures"]
    assert 0 <= figures["f1_50"] <= 1
    assert figures["invalid"] == 0
    assert figures["overlap_m2"] == 0


def test_truth_scores_one_against_itself(town):
    truth = town / "buildings.geojson"
    answer = run("score", truth, truth, "--aoi", town / "aoi.geojson", "--json")
    assert json.loads(answer.stdout)["figures"]["f1_50"] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "no-such-model"], "unknown model `no-such-model`"),
        (["--model", "/"], "is not a model"),
    ],
)
def test_an_unknown_model_is_one_line_and_leaves_nothing(town, tmp_path, arguments, says):
    answer = run("predict", town / "mosaic.tif", "-o", tmp_path / "out.gpkg", *arguments, code=1)
    assert says in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_another_version_is_refused(town, trained, tmp_path):
    copy = tmp_path / "model"
    copy.mkdir()
    for file in trained.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    card = copy / "model.toml"
    text = card.read_text()
    assert "format = 1" in text
    card.write_text(text.replace("format = 1", "format = 99"))
    out = tmp_path / "out.gpkg"
    answer = run("predict", town / "mosaic.tif", "-o", out, "--model", copy, code=1)
    assert "99" in answer.stderr
    assert not out.exists()

"""`buildex export`, and which runtime opens a model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner

from buildex import exporting
from buildex.card import WEIGHTS
from buildex.cli.main import main
from buildex.errors import ConfigError, ModelError
from buildex.geo.instances import Tile
from buildex.geo.tiles import cover
from buildex.io.raster import Mosaic
from buildex.io.zoo import find_model, model_names
from buildex.nn.export import example_tiles, parts_of
from buildex.nn.segmenter import TorchSegmenter
from buildex.nn.weights import load_model
from buildex.predicting import open_model
from buildex.rendering import RenderConfig, render_town, write_town
from buildex.runtime.segmenter import INT8, OnnxSegmenter
from tests.runtime.made import exported, saved


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.set_num_threads(1)
    return saved("fcos-keypoint", tmp_path_factory.mktemp("model"))


def run(*arguments):
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_of_graphs_is_a_model_that_agrees_with_torch(model, tmp_path):
    done = run(model, tmp_path / "graphs", "--json")
    assert done.exit_code == 0, done.output
    assert names(tmp_path / "graphs") == ["dense.onnx", "model.toml", "roi.onnx"]
    told = json.loads(done.stdout)
    assert told["model"] == "small 3"
    assert 0 <= told["difference"] <= told["tolerance"] == exporting.TOLERANCE
    opened = open_model(str(tmp_path / "graphs"))
    assert (opened.runtime, opened.name) == ("onnx", "small")
    assert run(model, tmp_path / "graphs").exit_code == 1
    assert run(model, tmp_path / "graphs", "--overwrite").exit_code == 0


def test_graphs_that_do_not_agree_are_not_written(model, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    done = run(model, tmp_path / "graphs")
    assert done.exit_code == 1
    assert "are off by" in done.stderr
    assert names(tmp_path / "graphs") == []


def test_a_graph_whose_answer_is_no_number_does_not_agree(model, tmp_path, monkeypatch):
    class Broken(exporting.Graph):
        def __call__(self, given):
            answers = super().__call__(given)
            return {name: answer * float("nan") for name, answer in answers.items()}

    monkeypatch.setattr(exporting, "Graph", Broken)
    done = run(model, tmp_path / "graphs")
    assert done.exit_code == 1
    assert "are off by nan" in done.stderr


def test_nothing_of_another_model_stays_beside_what_is_written(model, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(model, other)
    for left in ("closer.onnx", INT8):
        (other / left).write_bytes(b"of another model")
    assert run(model, other, "--overwrite").exit_code == 0
    assert names(other) == ["dense.onnx", "model.toml", "roi.onnx"]


def test_graphs_are_compared_on_a_mosaic_where_one_is_named(model, tmp_path):
    write_town(tmp_path / "town", render_town(RenderConfig(seed=3, width=20, height=20)))
    done = run(model, tmp_path / "graphs", "--mosaic", tmp_path / "town" / "mosaic.tif")
    assert done.exit_code == 0, done.output
    assert "on mosaic.tif" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", model_names())
def test_the_graphs_of_released_models_are_those_of_their_weights(name):
    folder = find_model(name)
    network, card = load_model(folder)
    parts = parts_of(network, *example_tiles(card.size))
    worst = max(exporting._difference(part, folder / f"{part.name}.onnx") for part in parts)
    assert worst <= exporting.TOLERANCE


def test_one_file_is_not_enough(model, tmp_path):
    done = run(model, tmp_path / "model.onnx")
    assert done.exit_code == 1
    assert "name a folder" in done.stderr
    assert names(tmp_path) == []


def test_graphs_are_taken_where_there_are_some_and_no_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr("buildex.predicting.model._maybe_gpu", lambda: False)
    folder = exported("unet", tmp_path / "model")
    assert isinstance(open_model(str(folder)).segmenter, OnnxSegmenter)
    assert isinstance(open_model(str(folder), runtime="torch").segmenter, TorchSegmenter)
    with pytest.raises(ConfigError, match="graphs do not run on `cuda`"):
        open_model(str(folder), "cuda", "onnx")
    (folder / "dense.onnx").unlink()
    assert open_model(str(folder)).runtime == "torch"
    with pytest.raises(ModelError, match="has no `dense"):
        open_model(str(folder), runtime="onnx")


BARE = """
import sys
sys.modules.update(dict.fromkeys(("torch", "torchvision", "timm", "lightning")))
from buildex.cli.main import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["models", "info", "unet"],
        ["export", "MODEL", "FOLDER"],
        ["predict", "no.tif", "-o", "FOLDER/out.gpkg", "--model", "MODEL"],
        ["predict", "no.tif", "-o", "FOLDER/out.gpkg", "--model", "MODEL", "--runtime", "torch"],
    ],
)
def test_what_needs_torch_says_so_in_one_line(model, tmp_path, arguments):
    places = {"MODEL": str(model), "FOLDER": str(tmp_path / "out")}
    for name, place in places.items():
        arguments = [argument.replace(name, place) for argument in arguments]
    done = subprocess.run([sys.executable, "-c", BARE, *arguments], capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "buildex[train]" in line
    assert names(tmp_path) == []


def test_heads_in_integers_find_what_the_others_find(model, tmp_path, monkeypatch):
    write_town(tmp_path / "town", render_town(RenderConfig(seed=3, width=40, height=30)))
    mosaic = str(tmp_path / "town" / "mosaic.tif")
    folder = tmp_path / "graphs"
    done = run(model, folder, "--int8", mosaic)
    assert done.exit_code == 0, done.output
    assert INT8 in names(folder)
    opened, exact = open_model(str(folder)), open_model(str(folder), precision="fp32")
    assert (opened.precision, exact.precision) == ("int8", "fp32")
    assert opened.identity != exact.identity
    twice = open_model(str(folder), views=2)
    assert twice.precision == "int8"
    with Mosaic.open(mosaic, gsd=0.1) as town:
        boxes = [place.box for place in cover(town.grid, opened.segmenter.size, 0)][:3]
        tiles = [Tile(*town.read(box), box) for box in boxes]
    for some in (tiles[:1], tiles, tiles[1:]):  # batches of any length
        for mine, true in zip(opened.segmenter(some), exact.segmenter(some), strict=True):
            best = true.scores.max()
            assert mine.scores.max() == pytest.approx(best, abs=0.1)
            assert (mine.scores != true.scores[: len(mine.scores)]).any()
    exactly_twice = open_model(str(folder), precision="fp32", views=2)
    for some in (tiles[:1], tiles, tiles[1:]):
        answers = zip(twice.segmenter(some), exactly_twice.segmenter(some), strict=True)
        for mine, true in answers:
            assert mine.scores.max() == pytest.approx(true.scores.max(), abs=0.1)
    monkeypatch.setattr("platform.machine", lambda: "arm64")  # where integers were not measured
    assert open_model(str(folder)).precision != "int8"
    with pytest.raises(ConfigError, match="torch does not run in int8"):
        open_model(str(model), runtime="torch", precision="int8")
    kept = names(folder)
    shutil.copyfile(model / WEIGHTS, folder / WEIGHTS)
    refused = run(folder)
    assert refused.exit_code == 1
    assert "would be lost" in refused.output
    assert names(folder) == sorted([*kept, WEIGHTS])
    assert run(folder, "--overwrite").exit_code == 0
    assert INT8 not in names(folder)

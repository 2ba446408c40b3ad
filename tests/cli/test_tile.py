import json

import pytest
from click.testing import CliRunner

from buildex.cli.main import main
from buildex.io.dataset import Dataset
from buildex.tiling import TileConfig
from tests.cli.helped import named_in
from tests.io.made import write_scene


def run(*args: object):
    return CliRunner().invoke(main, ["tile", *map(str, args)])


@pytest.fixture
def scene(tmp_path):
    return write_scene(tmp_path / "village")


def test_a_dataset_is_made_from_the_command_line(scene, tmp_path):
    labels, out = scene.parent / "buildings.gpkg", tmp_path / "out"
    done = run(scene, "--labels", labels, "-o", out, "--size", 128, "--workers", 1)
    assert done.exit_code == 0, done.output
    assert "tiles in `train`" in done.stdout
    assert len(Dataset.open(out).tiles("train")) > 0


def test_the_report_is_the_same_as_json(scene, tmp_path):
    labels = scene.parent / "buildings.gpkg"
    done = run(
        scene, "--labels", labels, "-o", tmp_path / "out", "--size=128", "--workers=1", "--json"
    )
    table = json.loads(done.stdout)
    assert table["buildings"] == 5
    assert table["labels"]["read"] == 5
    assert sum(table["labels"].values()) == 5
    assert set(table["skipped"]) == {"nodata", "guard", "surplus_background"}


def test_what_cannot_be_done_is_one_line_and_exit_1(scene, tmp_path):
    done = run(scene, "--labels", tmp_path / "none.gpkg", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("buildex: no file `")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_wrong_usage_is_exit_2(scene):
    assert run(scene).exit_code == 2
    assert run(scene, "-o", "x", "--size", "wide").exit_code == 2


def test_help_tells_every_option():
    text = run("--help").stdout
    assert named_in(text, TileConfig) >= {"--labels", "--output", "--json"}
    assert "Example: buildex tile" in text

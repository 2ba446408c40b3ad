from __future__ import annotations

import pytest
import shapely
from click.testing import CliRunner

from buildex.cli import demo as module
from buildex.cli.main import main
from buildex.geo.footprints import to_rings
from buildex.geo.oracle import Oracle
from buildex.io.journal import Journal
from buildex.predicting import OpenModel
from buildex.rendering.town import FILES


class Stopped(Oracle):
    """Sees a house; is stopped as by Ctrl-C after so many batches."""

    left = 1000

    def __call__(self, tiles, score=0.0):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().__call__(tiles, score)


@pytest.fixture
def segmenter(monkeypatch):
    one = Stopped([to_rings(shapely.box(20, 20, 90, 80))], size=512)
    monkeypatch.setattr(module, "open_model", lambda *_: OpenModel(one, "oracle", "1", "d"))
    return one


def call(folder, *arguments):
    size = "--width", "20", "--height", "60"  # two rows of tiles
    return CliRunner().invoke(main, ["demo", str(folder), *size, *arguments])


def test_the_town_is_rendered_drawn_and_scored(segmenter, tmp_path):
    done = call(tmp_path / "town")
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "town").iterdir()} == {*FILES, *module.FILES}


def test_a_demo_that_was_interrupted_can_be_repeated(segmenter, tmp_path):
    found = tmp_path / "buildings.gpkg"
    segmenter.left = 1
    assert call(tmp_path).exit_code == 130
    assert Journal.of(found).exists()
    segmenter.left = 1000
    done = call(tmp_path, "--overwrite")
    assert done.exit_code == 0, done.output
    assert found.exists()
    assert not Journal.of(found).exists()


@pytest.mark.parametrize("name", module.FILES)
def test_no_file_is_replaced_unasked_and_that_is_told_before_the_work(segmenter, tmp_path, name):
    (tmp_path / name).write_text("mine")
    done = call(tmp_path)
    assert done.exit_code == 1
    assert f"{name}` exists already" in done.stderr
    assert "rendering" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_what_only_drawing_writes_is_not_in_the_way_of_a_town_alone(segmenter, tmp_path):
    (tmp_path / "score.txt").write_text("mine")
    assert call(tmp_path, "--render-only").exit_code == 0
    assert (tmp_path / "score.txt").read_text() == "mine"

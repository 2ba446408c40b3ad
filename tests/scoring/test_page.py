from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import shapely
from PIL import Image

from buildex.geo.bootstrap import Interval
from buildex.geo.footprints import Footprints
from buildex.io.vector import write_footprints
from buildex.scoring import SceneFiles, ScoreConfig, score_scenes
from buildex.scoring.charts import Line, bar, line_chart, whisker
from tests.io.made import UTM, houses, write_scene

CONFIG = ScoreConfig(gsd=0.2, block=12.8, bootstrap=50)
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Balanced(HTMLParser):
    """Fails on a tag that is closed out of turn; remembers what a page would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("href", "src", "xlink:href") and v]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("href", "src", "xlink:href") and v]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> SceneFiles:
    folder = tmp_path_factory.mktemp("scene")
    mosaic = write_scene(folder)
    truth = houses()
    moved = shapely.transform(truth.polygons[1:], lambda points: points + np.array([0.8, 0]))
    stray = shapely.transform(truth.polygons[:1], lambda points: points + np.array([0, -9]))
    found = np.concatenate([moved, stray])
    scores = np.linspace(0.9, 0.3, len(found))
    write_footprints(folder / "found.gpkg", Footprints(found, UTM, {"score": scores}))
    return SceneFiles(
        name="<town> & co",
        predictions=folder / "found.gpkg",
        truth=folder / "buildings.gpkg",
        mosaic=mosaic,
    )


def page(scene: SceneFiles, tmp_path: Path, config: ScoreConfig = CONFIG, more=()) -> str:
    path = tmp_path / "report.html"
    score_scenes([scene, *more], config, page=path, credit="imagery: <nobody>")
    return path.read_text(encoding="utf-8")


def test_the_page_holds_all_it_needs(scene, tmp_path):
    text = page(scene, tmp_path)
    found = Balanced(text)
    assert "script" not in found.tags
    assert "link" not in found.tags
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in found.links)
    assert not re.search(r"https?://|@import|url\(", text)
    heads = ["Curves", "Errors by size of building", "Why", "Worst tiles", "Every figure"]
    assert re.findall("<h2>(.+?)</h2>", text) == heads


def test_names_are_text_and_not_markup(scene, tmp_path):
    text = page(scene, tmp_path)
    assert "<town>" not in text
    assert "&lt;town&gt; &amp; co" in text
    assert "imagery: &lt;nobody&gt;" in text


def test_the_worst_tiles_show_the_mosaic_once_each(scene, tmp_path):
    text = page(scene, tmp_path)
    pictures = re.findall(r'href="data:image/jpeg;base64,([^"]+)"', text)
    tiles = text.count('<figure class="tile">')
    assert 1 <= tiles == len(pictures) <= 6
    assert text.count('<use href="#ground0"/>') == 3  # truth, prediction, both
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[0]))))
    assert image.shape == (384, 384, 3)
    assert image.std() > 5  # the ground, not an empty square


def test_pictures_lie_where_the_polygons_do(scene, tmp_path):
    # The mosaic is painted white where the first house stands.
    import rasterio
    from rasterio.features import geometry_mask

    painted = tmp_path / "painted.tif"
    with rasterio.open(scene.mosaic) as source:
        values, profile = source.read(), source.profile
        inside = geometry_mask(
            houses().polygons[:1], values.shape[1:], source.transform, invert=True
        )
    values[:, inside], values[:, ~inside] = 255, 0
    with rasterio.open(painted, "w", **profile) as target:
        target.write(values)
    text = page(replace(scene, mosaic=painted), tmp_path)
    figure = next(f for f in text.split("<figure")[1:] if "1 missed" in f)
    uri = re.search(r"base64,([^\"]+)", figure).group(1)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri)))).mean(axis=2) > 128
    path = re.search(r'<path class="missed" d="M([^Z]+)Z', figure).group(1)
    ring = np.array([point.split() for point in path.split("L")], dtype=float) * 384 / 512
    x0, y0 = np.clip(ring.min(axis=0), 0, 384).round().astype(int)
    x1, y1 = np.clip(ring.max(axis=0), 0, 384).round().astype(int)
    assert image[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3].mean() > 0.97
    assert image.sum() < 1.15 * (x1 - x0) * (y1 - y0)


def test_a_page_needs_neither_mosaic_nor_scores_nor_errors(scene, tmp_path):
    truth = replace(scene, predictions=scene.truth, mosaic=None)
    text = page(truth, tmp_path)
    Balanced(text)
    assert "No tile has a wrong pixel." in text
    assert "data:image" not in text
    assert "best score first" not in text


def test_an_empty_prediction_still_makes_a_page(scene, tmp_path):
    empty = tmp_path / "empty.gpkg"
    write_footprints(empty, Footprints(np.empty(0, dtype=object), UTM, {"score": np.empty(0)}))
    text = page(replace(scene, predictions=empty), tmp_path)
    Balanced(text)
    assert "nan" not in re.sub(r"base64,[^\"]+", "", text)


def test_several_scenes_stand_in_a_table(scene, tmp_path):
    other = replace(scene, name="other", predictions=scene.truth)
    text = page(scene, tmp_path, more=[other])
    assert "<h1>2 scenes</h1>" in text
    assert "<h2>Each scene</h2>" in text
    assert "all scenes" in text


def test_an_incomplete_truth_does_not_call_finds_errors(scene, tmp_path):
    text = page(scene, tmp_path, replace(CONFIG, incomplete_truth=True))
    assert "The truth has holes" in text
    assert "best score first" not in text
    assert "<h3>precision</h3>" not in text


def test_the_sizes_add_up_to_the_counts(scene, tmp_path):
    text = page(scene, tmp_path)
    rows = re.findall(r"<small>(\d+) / (\d+)</small>", text)
    found, missed = (sum(int(row[k]) for row in rows) for k in (0, 1))
    assert (found, missed) == (4, 1)


def test_lines_leave_out_what_is_no_number():
    x = np.array([0.0, 0.5, 1.0])
    chart = line_chart("t", [Line("a", "first", x, np.array([1.0, np.nan, 0.0]))], ("x", "y"))
    assert "nan" not in chart
    assert re.search(r'd="M40\.0 10\.0L348\.0 212\.0"', chart)
    assert "<path" not in line_chart("t", [Line("a", "first", x, x * np.nan)], ("x", "y"))


def test_bars_and_whiskers_are_to_scale():
    assert 'style="width:25.00%"' in bar([(1, "found"), (3, "missed")], 4)
    assert bar([(0, "found")], 0) == '<span class="bar"></span>'
    shown = whisker(0.5, Interval(0.4, 0.7))
    assert 'x="40.0"' in shown
    assert 'width="30.0"' in shown
    assert "rect" not in whisker(0.5, Interval(np.nan, np.nan))
    assert whisker(np.nan, Interval(0, 1)) == ""

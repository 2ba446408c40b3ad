from __future__ import annotations

from pathlib import Path

import pytest

from buildex.errors import ConfigError
from buildex.io.scene_list import SceneFiles, read_scenes

HEAD = "scene,predictions,truth,aoi,mosaic,compare\n"


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_csv_and_toml_say_the_same(tmp_path):
    rows = "harbour,out/a.gpkg,a.geojson,a_aoi.geojson,,\nhill,out/b.gpkg,b.geojson,,b.tif,c.gpkg\n"
    tables = """
        [harbour]
        predictions = "out/a.gpkg"
        truth = "a.geojson"
        aoi = "a_aoi.geojson"
        [hill]
        predictions = "out/b.gpkg"
        truth = "b.geojson"
        mosaic = "b.tif"
        compare = "c.gpkg"
    """
    from_csv = read_scenes(written(tmp_path, "scenes.csv", HEAD + rows))
    assert from_csv == read_scenes(written(tmp_path, "scenes.toml", tables))
    assert from_csv[0] == SceneFiles(
        name="harbour",
        predictions=tmp_path / "out" / "a.gpkg",
        truth=tmp_path / "a.geojson",
        aoi=tmp_path / "a_aoi.geojson",
    )
    assert from_csv[1].compare == tmp_path / "c.gpkg"


def test_paths_may_be_absolute(tmp_path):
    (scene,) = read_scenes(written(tmp_path, "s.csv", HEAD + "a,/p.gpkg,/t.gpkg,,,\n"))
    assert scene.predictions == Path("/p.gpkg")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.csv", HEAD, "lists no scene"),
        ("s.toml", "", "lists no scene"),
        ("s.csv", "predictions,truth\na,b\n", "no column `scene`"),
        ("s.csv", HEAD + ",p.gpkg,t.gpkg,,,\n", "a scene without a name"),
        ("s.csv", HEAD + "a,p.gpkg,t.gpkg,,,\na,q.gpkg,u.gpkg,,,\n", "`a` twice"),
        ("s.csv", HEAD + "a,p.gpkg,,,,\n", "`truth` is missing in scene `a`"),
        ("s.csv", "scene,predictions,truth,colour\na,p,t,red\n", "unknown key `colour`"),
        ("s.csv", HEAD + "a,p.gpkg,t.gpkg,,,,more\n", "scene `a` of .* more cells"),
        ("s.toml", 'predictions = "p"\n', "`predictions` in"),
        ("s.toml", "[a\n", "is not TOML"),
    ],
)
def test_a_list_that_is_wrong_says_what_and_where(tmp_path, name, text, message):
    path = written(tmp_path, name, text)
    with pytest.raises(ConfigError, match=message) as error:
        read_scenes(path)
    assert name in str(error.value)


@pytest.mark.parametrize("name", ["none.csv", "none.toml"])
def test_a_list_that_is_missing_is_one_line(tmp_path, name):
    with pytest.raises(ConfigError, match="no file"):
        read_scenes(tmp_path / name)


def test_spaces_after_commas_are_no_part_of_names(tmp_path):
    path = written(tmp_path, "s.csv", "scene, predictions, truth\na, p.gpkg, t.gpkg\n")
    (scene,) = read_scenes(path)
    assert (scene.name, scene.predictions.name, scene.truth.name) == ("a", "p.gpkg", "t.gpkg")

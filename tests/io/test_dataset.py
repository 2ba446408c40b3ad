import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

from buildex.errors import DatasetError
from buildex.geo.boxes import PixelBox
from buildex.io.dataset import INDEX, Dataset
from buildex.io.raster import Mosaic
from buildex.tiling import TileConfig, tile
from tests.io.made import write_scene

BOXES = [PixelBox(0, 0, 128, 128), PixelBox(37, 51, 300, 222), PixelBox(-40, -9, 500, 400)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The path of a dataset of one scene, and its mosaic."""
    root = tmp_path_factory.mktemp("dataset")
    mosaic = write_scene(root / "village")
    config = TileConfig(size=128, overlap=28, negatives=1.0, workers=1)
    tile([mosaic], root / "village" / "buildings.gpkg", root / "out", config)
    return root / "out", Mosaic.open(mosaic, step=100)


def test_training_machines_need_no_geographic_library(made):
    banned = ["shapely", "affine", "rasterio", "pyogrio", "geopandas", "pyproj", "scipy"]
    code = (
        "import sys\n"
        f"for name in {banned}: sys.modules[name] = None\n"
        "from buildex.io.dataset import Dataset\n"
        f"dataset = Dataset.open({str(made[0])!r})\n"
        "scene = dataset.scenes[0]\n"
        "box = dataset.tiles('train')[0].box\n"
        "print(scene.read(box, 'train')[1].any(), len(scene.buildings('train')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "5"]


def test_tiles_know_their_place(made):
    dataset = Dataset.open(made[0])
    (scene,) = dataset.scenes
    assert (dataset.splits, scene.name) == (("train",), "village")
    assert (scene.width, scene.height) == (made[1].grid.width, made[1].grid.height)
    assert scene.gsd == pytest.approx(0.1)
    for record in dataset.tiles("train"):
        assert (record.x, record.y) == (record.col * 100, record.row * 100)
        assert record.image.is_file()
        assert (record.valid is None) == (record.valid_fraction == 1)
        _, valid = scene.read(record.box, "train")
        assert valid.mean() == pytest.approx(record.valid_fraction, abs=1e-6)
    assert scene.tiles("train") == dataset.tiles("train")


@pytest.mark.parametrize("box", BOXES)
def test_tiles_put_together_are_the_mosaic_again(made, box):
    (scene,) = Dataset.open(made[0]).scenes
    image, valid = scene.read(box, "train")
    wanted, known = made[1].read(box)
    np.testing.assert_array_equal(valid, known)
    np.testing.assert_array_equal(image, wanted)


def test_a_split_sees_nothing_of_another(made):
    (scene,) = Dataset.open(made[0]).scenes
    image, valid = scene.read(BOXES[0], "val")
    assert not valid.any()
    assert not image.any()
    assert scene.buildings("val") == []


def test_buildings_are_uncut_and_on_the_pixels_of_the_scene(made):
    (scene,) = Dataset.open(made[0]).scenes
    buildings = scene.buildings("train")
    assert [b.id for b in buildings] == [1, 2, 3, 4, 5]
    assert [len(b.rings) for b in buildings] == [1, 1, 1, 2, 1]
    corner = np.array([[made[1].grid.transform.c, made[1].grid.transform.f]])
    offset = (np.array([530_000.0, 9_320_000.0]) - corner[0]) * [10, -10]
    np.testing.assert_allclose(buildings[0].rings[0].min(axis=0) - offset, [30, 30], atol=0.01)


def test_a_pickled_scene_reads_the_same_with_an_empty_cache(made):
    (scene,) = Dataset.open(made[0]).scenes
    image, _ = scene.read(BOXES[1], "train")
    content = pickle.dumps(scene)
    assert len(content) < image.nbytes
    np.testing.assert_array_equal(pickle.loads(content).read(BOXES[1], "train")[0], image)


def test_few_tiles_are_held_at_once(made):
    (scene,) = Dataset.open(made[0]).scenes
    scene._cache.capacity = 2
    image, _ = scene.read(BOXES[2], "train")
    assert len(scene._cache._tiles) == 2
    np.testing.assert_array_equal(scene.read(BOXES[2], "train")[0], image)


def damaged(made, tmp_path, name: str):
    import shutil

    shutil.copytree(made[0], tmp_path / "copy")
    return tmp_path / "copy" / name


@pytest.mark.parametrize("what", ["annotations/train.json", "buildings/village.json", "image"])
def test_a_missing_file_is_told_at_once(made, tmp_path, what):
    if what == "image":
        what = Dataset.open(made[0]).tiles("train")[3].image.relative_to(made[0]).as_posix()
    damaged(made, tmp_path, what).unlink()
    with pytest.raises(DatasetError, match=f"is incomplete: `{what}` is missing; copy"):
        Dataset.open(tmp_path / "copy")


def test_another_version_is_told(made, tmp_path):
    index = damaged(made, tmp_path, INDEX)
    index.write_text(json.dumps({**json.loads(index.read_text()), "version": 99}))
    with pytest.raises(DatasetError, match="has version 99, this is for 1; make it again"):
        Dataset.open(tmp_path / "copy")


def test_a_damaged_file_is_told_by_name(made, tmp_path):
    damaged(made, tmp_path, "annotations/train.json").write_text("{")
    with pytest.raises(DatasetError, match=r"train.json` cannot be read"):
        Dataset.open(tmp_path / "copy")


def test_a_damaged_image_is_told_when_it_is_read(made, tmp_path):
    damaged(made, tmp_path, INDEX)
    dataset = Dataset.open(tmp_path / "copy")
    first = dataset.tiles("train")[0]
    first.image.write_bytes(first.image.read_bytes()[:200])
    with pytest.raises(DatasetError, match=first.image.name):
        dataset.scenes[0].read(first.box, "train")


def test_a_folder_that_is_no_dataset_is_told(tmp_path):
    with pytest.raises(DatasetError, match=r"is no dataset: it has no `dataset.json`; make one"):
        Dataset.open(tmp_path)


def test_an_unknown_split_is_told(made):
    with pytest.raises(DatasetError, match="has no split `test`; it has `train`"):
        Dataset.open(made[0]).tiles("test")


def test_the_fingerprint_tells_datasets_apart(made, tmp_path):
    index = damaged(made, tmp_path, INDEX)
    assert Dataset.open(tmp_path / "copy").fingerprint == Dataset.open(made[0]).fingerprint
    index.write_text(index.read_text() + "\n")
    assert Dataset.open(tmp_path / "copy").fingerprint != Dataset.open(made[0]).fingerprint


def test_tiles_decoded_ahead_are_not_read_again_and_show_the_same(made, tmp_path):
    folder = shutil.copytree(made[0], tmp_path / "copy")
    plain, ahead = Dataset.open(made[0]), Dataset.open(folder)
    scene = ahead.scenes[0]
    (split, *_) = ahead.splits
    scene.decode(split)
    tile = scene.tiles(split)[0]
    wanted = plain.scenes[0].read(tile.box, split)
    tile.image.unlink()
    image, valid = scene.read(tile.box, split)
    assert np.array_equal(image, wanted[0])
    assert np.array_equal(valid, wanted[1])

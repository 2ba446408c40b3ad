import json
import math
import re
from pathlib import Path

import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from buildex.errors import (
    BuildexError,
    ConfigError,
    CrsError,
    OutputError,
    RasterError,
    VectorError,
)
from buildex.geo.boxes import PixelBox
from buildex.geo.footprints import Footprints
from buildex.io import cutter, scenes
from buildex.io.dataset import Dataset
from buildex.io.raster import CACHE_MB, Mosaic
from buildex.io.vector import read_footprints, write_footprints
from buildex.tiling import TileConfig, _quota, tile
from tests.io.made import HOUSES, ORIGIN, UTM, houses, picture, write_raster, write_scene

SMALL = {"size": 128, "overlap": 28, "negatives": 1.0, "workers": 1}


@pytest.fixture
def scene(tmp_path) -> Path:
    return write_scene(tmp_path / "village")


def labels_of(mosaic: Path) -> Path:
    return mosaic.parent / "buildings.gpkg"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def annotations(folder: Path, split: str = "train") -> dict:
    return json.loads((folder / "annotations" / f"{split}.json").read_text())


def ground(entry: dict, image: dict) -> shapely.Polygon:
    place = Affine(*image["transform"])
    ring = np.array(entry["segmentation"][0]).reshape(-1, 2)
    return shapely.Polygon([place @ (x, y) for x, y in ring.tolist()])


def write_area(path: Path, *metres: float) -> Path:
    """An area of interest in metres east and south of the origin."""
    polygon = np.array([shapely.box(*metres)], dtype=object)
    area = houses(polygon.tolist())
    write_footprints(path, area)
    return path


def test_annotations_lie_on_the_houses(scene, tmp_path):
    report = tile([scene], labels_of(scene), tmp_path / "out", TileConfig(**SMALL))
    assert report.buildings == 5
    table = annotations(tmp_path / "out")
    images = {image["id"]: image for image in table["images"]}
    true = houses().polygons
    for entry in table["annotations"]:
        if isinstance(entry["segmentation"], dict):
            assert entry["building_id"] == 4
            continue
        image = images[entry["image_id"]]
        frame = shapely.Polygon(
            [Affine(*image["transform"]) @ p for p in ((0, 0), (128, 0), (128, 128), (0, 128))]
        )
        wanted = true[entry["building_id"] - 1].intersection(frame)
        part = ground(entry, image)
        assert part.symmetric_difference(wanted).area < 0.01 * wanted.area + 0.01
        assert entry["kept"] == pytest.approx(
            wanted.area / true[entry["building_id"] - 1].area, abs=0.01
        )


def test_every_building_is_annotated_somewhere(scene, tmp_path):
    tile([scene], labels_of(scene), tmp_path / "out", TileConfig(**SMALL))
    found = {entry["building_id"] for entry in annotations(tmp_path / "out")["annotations"]}
    assert found == {1, 2, 3, 4, 5}


def test_pycocotools_loads_what_is_written(scene, tmp_path, capsys):
    tile([scene], labels_of(scene), tmp_path / "out", TileConfig(**SMALL))
    coco = COCO(str(tmp_path / "out" / "annotations" / "train.json"))
    assert coco.loadCats([1])[0]["name"] == "building"
    for entry in coco.loadAnns(coco.getAnnIds()):
        shown = coco.annToMask(entry)
        assert shown.shape == (128, 128)
        assert shown.sum() == pytest.approx(entry["area"], rel=0.1, abs=40)
    holed = [a for a in coco.anns.values() if isinstance(a["segmentation"], dict)]
    assert holed


def test_corners_are_told_from_points_of_the_cut(scene, tmp_path):
    tile([scene], labels_of(scene), tmp_path / "out", TileConfig(**SMALL))
    for entry in annotations(tmp_path / "out")["annotations"]:
        points = np.array(entry["keypoints"]).reshape(-1, 3)
        assert entry["num_keypoints"] == len(points)
        assert entry["num_corners"] == (points[:, 2] == 2).sum()
        on_edge = ((points[:, :2] <= 0) | (points[:, :2] >= 128)).any(axis=1)
        assert (on_edge | (points[:, 2] == 2)).all()
        if entry["kept"] == 1:
            assert entry["num_corners"] == entry["num_keypoints"]


def test_jpegs_of_less_quality_have_fewer_bytes(scene, tmp_path):
    sizes = []
    for quality in (95, 70):
        out = tmp_path / str(quality)
        tile([scene], labels_of(scene), out, TileConfig(**SMALL, format="jpg", quality=quality))
        sizes.append(sum(path.stat().st_size for path in out.glob("images/*/*.jpg")))
    assert 0 < sizes[1] < 0.7 * sizes[0]


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_images_show_the_ground(scene, tmp_path, suffix):
    tile([scene], labels_of(scene), tmp_path / "out", TileConfig(**SMALL, format=suffix))
    dataset = Dataset.open(tmp_path / "out")
    record = max(dataset.tiles("train"), key=lambda t: t.valid_fraction)
    (image,) = (i for i in annotations(tmp_path / "out")["images"] if i["id"] == record.id)
    wanted = np.moveaxis(picture(Affine(*image["transform"]), 128, 128), 0, 2)
    got, valid = dataset.scenes[0].read(record.box, "train")
    assert valid.all()
    assert np.abs(got - wanted).max() <= (4 if suffix == "jpg" else 1)
    if suffix == "tif":
        with rasterio.open(record.image) as file:
            assert file.transform.almost_equals(Affine(*image["transform"]))
            assert file.crs == UTM


def test_the_bytes_depend_on_no_number_of_workers(scene, tmp_path):
    found = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        tile([scene], labels_of(scene), out, TileConfig(**{**SMALL, "workers": workers}))
        found.append(contents(out))
    assert found[0] == found[1]


def test_a_stopped_run_is_continued(scene, tmp_path, monkeypatch):
    config = TileConfig(**SMALL)
    tile([scene], labels_of(scene), tmp_path / "whole", config)
    cut, done = cutter.Cutter._cut, []

    def stop_at(limit):
        def cut_or_stop(self, scene, job):
            if len(done) == limit:
                raise KeyboardInterrupt
            done.append(job)
            return cut(self, scene, job)

        return cut_or_stop

    monkeypatch.setattr(cutter.Cutter, "_cut", stop_at(5))
    with pytest.raises(KeyboardInterrupt):
        tile([scene], labels_of(scene), tmp_path / "out", config)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.partial").is_dir()
    monkeypatch.setattr(cutter.Cutter, "_cut", stop_at(None))
    tile([scene], labels_of(scene), tmp_path / "out", config)
    assert len(done) == len(set(done))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not (tmp_path / "out.partial").exists()


def test_a_connection_that_breaks_costs_no_finished_tile(scene, tmp_path, monkeypatch):
    config = TileConfig(**SMALL)
    cut, done = cutter.Cutter._cut, []

    def cut_or_break(self, scene, job):
        if len(done) == 5:
            done.append(None)
            raise RasterError("the connection broke", hint="run the same command again")
        done.append(job)
        return cut(self, scene, job)

    monkeypatch.setattr(cutter.Cutter, "_cut", cut_or_break)
    with pytest.raises(RasterError, match="connection broke"):
        tile([scene], labels_of(scene), tmp_path / "out", config)
    report = tile([scene], labels_of(scene), tmp_path / "out", config)
    cut_jobs = [job for job in done if job is not None]
    assert len(cut_jobs) == len(set(cut_jobs)) == report.tiles["train"]


def test_a_stopped_run_with_other_options_starts_clean(scene, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("buildex.tiling.write_dataset", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tile([scene], labels_of(scene), tmp_path / "out", TileConfig(**SMALL))
    other = TileConfig(**{**SMALL, "size": 100})
    tile([scene], labels_of(scene), tmp_path / "out", other)
    tile([scene], labels_of(scene), tmp_path / "whole", other)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_cropped_mosaic_gives_the_same_tiles(scene, tmp_path):
    (tmp_path / "crop").mkdir()
    with rasterio.open(scene) as file:
        bands, place = file.read()[:, 45:], file.transform @ Affine.translation(0, 45)
    crop = write_raster(tmp_path / "crop" / "mosaic.tif", bands, place)
    for name, mosaic in (("whole", scene), ("part", crop)):
        tile([mosaic], labels_of(scene), tmp_path / name, TileConfig(**SMALL))
    tiles = []
    for name in ("whole", "part"):
        table = annotations(tmp_path / name)
        tiles.append({})
        for image in table["images"]:
            if image["valid"] is None:
                pixels = np.asarray(Image.open(tmp_path / name / image["file_name"]))
                own = [
                    a["segmentation"] for a in table["annotations"] if a["image_id"] == image["id"]
                ]
                tiles[-1][tuple(image["transform"])] = pixels.tobytes(), own
    assert len(tiles[1]) >= 3
    for place, content in tiles[1].items():
        assert content == tiles[0][place]


def test_outside_the_area_nothing_is_seen(scene, tmp_path):
    area = write_area(tmp_path / "aoi.gpkg", 0, 0, 20, 27)
    tile([scene], labels_of(scene), tmp_path / "out", TileConfig(**SMALL, aoi=(area,)))
    dataset = Dataset.open(tmp_path / "out")
    (inside,) = dataset.scenes
    place = Affine(*inside.info["transform"])
    edge = round((~place @ (ORIGIN[0] + 20, ORIGIN[1]))[0])
    image, valid = inside.read(PixelBox(0, 0, 500, 300), "train")
    assert not valid[:, edge:].any()
    assert not image[:, edge:].any()
    assert valid[100:200, edge - 50 : edge].all()
    table = annotations(tmp_path / "out")
    assert {a["building_id"] for a in table["annotations"]} == {1, 2, 3}
    cut = [a for a in table["annotations"] if a["building_id"] == 2]
    assert max(a["kept"] for a in cut) <= 0.6  # six of ten metres
    assert len(inside.buildings("train")[1].rings[0]) == 4  # uncut


def drawn_by_a_model(path: Path, scores: list[float]) -> Path:
    """The scene's houses as `buildex predict` would write them."""
    plain = houses(HOUSES)
    write_footprints(path, Footprints(plain.polygons, plain.crs, {"score": np.array(scores)}))
    return path


def test_of_what_a_model_drew_only_the_sure_is_learnt_and_the_rest_by_nobody(scene, tmp_path):
    labels = drawn_by_a_model(tmp_path / "seen.gpkg", [0.9, 0.3, 0.9, 0.9, 0.9])
    report = tile([scene], labels, tmp_path / "out", TileConfig(**SMALL, sure=0.6))
    assert report.doubtful == 1
    assert "doubtful buildings that nobody learns: 1" in report.text()
    dataset = Dataset.open(tmp_path / "out")
    (inside,) = dataset.scenes
    assert len(inside.buildings("train")) == len(HOUSES) - 1
    image, valid = inside.read(PixelBox(0, 0, 500, 300), "train")
    place = Affine(*inside.info["transform"])
    for index, house in enumerate(houses(HOUSES).polygons):
        x, y = ~place @ (house.centroid.x, house.centroid.y)
        assert valid[int(y), int(x)] == (index != 1), f"house {index}"
    assert not image[~valid].any()


def test_what_is_ragged_is_learnt_by_nobody_however_sure(scene, tmp_path):
    plain = houses(HOUSES)
    shapes = plain.polygons.copy()
    shapes[1] = shapes[1].centroid.buffer(3, quad_segs=6)
    ragged = Footprints(shapes, plain.crs, {"score": np.full(len(shapes), 0.95)})
    write_footprints(tmp_path / "seen.gpkg", ragged)
    report = tile([scene], tmp_path / "seen.gpkg", tmp_path / "out", TileConfig(**SMALL, sure=0.6))
    assert (report.buildings, report.doubtful) == (len(HOUSES) - 1, 1)


def test_a_scene_of_which_all_is_doubtful_is_not_called_bare(scene, tmp_path):
    other = write_scene(tmp_path / "hamlet")
    labels = [
        drawn_by_a_model(tmp_path / f"{score}.gpkg", [score] * len(HOUSES)) for score in (0.9, 0.1)
    ]
    config = TileConfig(**SMALL, sure=0.6)
    report = tile([scene, other], labels, tmp_path / "out", config)
    assert (report.unlabelled, report.doubtful) == ((), len(HOUSES))


def test_what_a_mapper_added_to_a_drawing_is_learnt(scene, tmp_path):
    labels = drawn_by_a_model(tmp_path / "seen.gpkg", [0.9, math.nan, 0.1, 0.1, 0.1])
    report = tile([scene], labels, tmp_path / "out", TileConfig(**SMALL, sure=0.6))
    assert report.buildings == 2


def test_a_drawing_without_scores_or_anything_sure_is_refused(scene, tmp_path):
    config = TileConfig(**SMALL, sure=0.6)
    with pytest.raises(VectorError, match="no numbers in a column `score`") as caught:
        tile([scene], labels_of(scene), tmp_path / "out", config)
    assert "tile what mappers drew without it" in caught.value.hint
    labels = drawn_by_a_model(tmp_path / "seen.gpkg", [0.5] * len(HOUSES))
    with pytest.raises(VectorError, match="none of the 5 buildings") as caught:
        tile([scene], labels, tmp_path / "out", config)
    assert "--sure" in caught.value.hint
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="`--sure` is 60"):
        TileConfig(sure=60)


def test_labels_of_mappers_make_the_dataset_that_they_made_before_there_was_sure(scene, tmp_path):
    tile([scene], labels_of(scene), tmp_path / "out", TileConfig(**SMALL))
    assert "sure" not in (tmp_path / "out" / "dataset.json").read_text()


def test_an_area_may_be_most_of_the_world(scene, tmp_path):
    polygon = np.array([shapely.box(-180, -85, 180, 85)], dtype=object)
    write_footprints(tmp_path / "world.gpkg", Footprints(polygon, "EPSG:4326"))
    config = TileConfig(**SMALL, aoi=(tmp_path / "world.gpkg",))
    tile([scene], labels_of(scene), tmp_path / "out", config)
    tile([scene], labels_of(scene), tmp_path / "whole", TileConfig(**SMALL))
    assert annotations(tmp_path / "out") == annotations(tmp_path / "whole")


def test_a_building_over_missing_pixels_is_judged_by_what_shows(scene, tmp_path):
    with rasterio.open(scene) as file:
        bands, place = file.read(), file.transform
    mask = np.ones(bands.shape[1:], dtype=bool)
    mask[:, 30:87] = False  # all but three decimetres of the first house
    write_raster(scene, bands, place, mask=mask)
    tile([scene], labels_of(scene), tmp_path / "out", TileConfig(**SMALL))
    found = {entry["building_id"] for entry in annotations(tmp_path / "out")["annotations"]}
    assert found == {2, 3, 4, 5}


def test_no_more_background_than_its_share(scene, tmp_path):
    write_footprints(tmp_path / "one.gpkg", houses(HOUSES[:1]))
    counts = {}
    for share in (0.0, 0.5, 1.0):
        config = TileConfig(**{**SMALL, "negatives": share, "overwrite": True})
        report = tile([scene], tmp_path / "one.gpkg", tmp_path / "out", config)
        counts[share] = report.tiles["train"], report.background["train"]
        found = [t for t in Dataset.open(tmp_path / "out").tiles("train") if t.background]
        assert len(found) == report.background["train"]
    built = counts[0.0][0]
    assert counts[0.0][1] == 0
    assert counts[0.5] == (2 * built, built)
    assert counts[1.0][0] > counts[0.5][0]


@given(st.integers(0, 200), st.floats(0, 0.99))
def test_background_never_exceeds_its_share(others, share):
    drawn = _quota(others, share, 10**6)
    assert drawn <= share * (others + drawn) + 1e-6
    assert drawn + 1 > share * (others + drawn + 1) - 1e-6  # one more would be too many


def test_splits_share_no_pixel_and_no_building(tmp_path):
    mosaic = write_scene(tmp_path / "village", metres=(80, 40))
    config = TileConfig(**SMALL, split="block:0.3", block=20.0, guard=3.0)
    report = tile([mosaic], labels_of(mosaic), tmp_path / "out", config)
    dataset = Dataset.open(tmp_path / "out")
    assert dataset.splits == ("train", "val")
    assert report.skipped["guard"] > 0
    train, val = (
        shapely.union_all([shapely.box(t.x, t.y, t.x + t.width, t.y + t.height) for t in tiles])
        for tiles in (dataset.tiles("train"), dataset.tiles("val"))
    )
    assert train.distance(val) >= 30
    (scene,) = dataset.scenes
    own, other = ({b.id for b in scene.buildings(split)} for split in ("train", "val"))
    assert own.isdisjoint(other)


@pytest.mark.parametrize("crs", ["EPSG:32737+5773", "EPSG:32736", "EPSG:21037"])
def test_a_flight_over_the_same_houses_does_not_leak_whatever_its_crs(tmp_path, crs):
    here, there = write_scene(tmp_path / "here"), tmp_path / "there.tif"
    name = "EPSG:32737" if "+" in crs else crs
    move = pyproj.Transformer.from_crs(UTM, name, always_xy=True)
    place = Affine.translation(*move.transform(*ORIGIN)) @ Affine.scale(0.1, -0.1)
    pixels = np.rint(picture(place, 400, 270, name)).astype(np.uint8)
    write_raster(there, pixels, place, crs)
    far = write_scene(tmp_path / "far")
    with rasterio.open(far, "r+") as file:
        file.transform = Affine.translation(1000, 0) @ file.transform
    config = TileConfig(**SMALL, split="scene:here")
    report = tile([here, there, far], labels_of(here), tmp_path / "out", config)
    dataset = Dataset.open(tmp_path / "out")
    assert {t.scene for t in dataset.tiles("val")} == {"here"}
    assert {t.scene for t in dataset.tiles("train")} == {"far"}
    assert report.skipped["guard"] > 0


@pytest.mark.parametrize("crs", ["EPSG:32737", "EPSG:32736", "EPSG:21037"])
def test_a_building_is_the_same_in_any_crs(tmp_path, crs):
    write_footprints(tmp_path / "houses.gpkg", houses())
    keys = [
        scenes._keys(read_footprints(tmp_path / "houses.gpkg", target_crs=target)[0])
        for target in (UTM, crs)
    ]
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == len(HOUSES)


def test_a_scene_without_labels_beside_others_is_told(tmp_path):
    here = write_scene(tmp_path / "here")
    there = write_scene(tmp_path / "there")
    with rasterio.open(there, "r+") as file:
        file.transform = Affine.translation(1000, 0) @ file.transform
    report = tile([here, there], labels_of(here), tmp_path / "out", TileConfig(**SMALL))
    assert report.unlabelled == ("there",)
    assert "no label lies on there: " in report.text()
    assert (
        "no label lies on"
        not in tile([here], labels_of(here), tmp_path / "one", TileConfig(**SMALL)).text()
    )


def test_memory_does_not_grow_with_the_number_of_scenes(tmp_path, monkeypatch):
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    mosaics = [write_scene(tmp_path / name) for name in "abc"]
    held, read = {}, Mosaic.read

    def noted(mosaic, box):
        held[mosaic.path] = mosaic
        assert rasterio.env.getenv()["GDAL_CACHEMAX"] == CACHE_MB * 2**20
        found = read(mosaic, box)
        assert [path for path, other in held.items() if other._blocks] == [mosaic.path]
        assert [path for path, other in held.items() if other._dataset] == [mosaic.path]
        return found

    monkeypatch.setattr(Mosaic, "read", noted)
    tile(mosaics, labels_of(mosaics[0]), tmp_path / "out", TileConfig(**SMALL))
    assert len(held) == 3


def test_scenes_are_named_and_split_by_name(tmp_path):
    here = write_scene(tmp_path / "here")
    there = write_scene(tmp_path / "x" / "here")
    with rasterio.open(there, "r+") as file:
        file.transform = Affine.translation(1000, 0) @ file.transform
    moved = houses()
    write_footprints(
        tmp_path / "all.gpkg",
        Footprints(
            np.concatenate(
                [
                    moved.polygons,
                    shapely.transform(moved.polygons, lambda c: c + np.array([1000.0, 0.0])),
                ]
            ),
            UTM,
        ),
    )
    config = TileConfig(**SMALL, split="scene:here-2")
    report = tile([here, there], tmp_path / "all.gpkg", tmp_path / "out", config)
    assert report.scenes == 2
    dataset = Dataset.open(tmp_path / "out")
    assert [scene.name for scene in dataset.scenes] == ["here", "here-2"]
    assert {t.scene for t in dataset.tiles("val")} == {"here-2"}
    assert {t.scene for t in dataset.tiles("train")} == {"here"}


def test_the_index_tells_where_all_came_from(scene, tmp_path):
    tile([scene], labels_of(scene), tmp_path / "out", TileConfig(**SMALL))
    text = (tmp_path / "out" / "dataset.json").read_text()
    table = json.loads(text)
    assert str(tmp_path) not in text
    entry = table["scenes"][0]
    assert (entry["mosaic"], entry["labels"], entry["crs"]) == ("mosaic.tif", "buildings.gpkg", UTM)
    assert len(entry["mosaic_sha256"]) == 64
    assert entry["tiles"] == table["splits"]["train"]["tiles"]
    assert table["options"]["size"] == 128
    assert set(table["files"]) == set(contents(tmp_path / "out")) - {"dataset.json"}


def test_the_design_lists_all_that_the_index_tells_of_a_scene(scene, tmp_path):
    tile([scene], labels_of(scene), tmp_path / "out", TileConfig(**SMALL))
    entry = json.loads((tmp_path / "out" / "dataset.json").read_text())["scenes"][0]
    design = (Path(__file__).parents[1] / "DESIGN.md").read_text(encoding="utf-8")
    listed = re.search(r'`dataset\.json\["scenes"\]\[i\]`: `([^`]+)`', design)[1]
    assert re.findall(r"\w+", re.sub(r"\(.*?\)", "", listed)) == list(entry)


def test_labels_in_several_files_are_known_by_all_of_them(scene, tmp_path):
    shapes = tmp_path / "labels.shp"
    geopandas.read_file(labels_of(scene)).to_file(shapes)
    before = scenes._sha256(str(shapes))
    assert before == scenes._sha256(str(shapes))
    columns = shapes.with_suffix(".dbf")
    columns.write_bytes(columns.read_bytes()[:-3] + b"xyz")
    assert scenes._sha256(str(shapes)) != before
    folder = tmp_path / "labels.gdb"
    folder.mkdir()
    (folder / "a").write_bytes(b"1")
    first = scenes._sha256(str(folder))
    (folder / "b").write_bytes(b"2")
    assert None not in (before, first)
    assert scenes._sha256(str(folder)) != first
    assert scenes._sha256("https://example.org/labels.geojson") is None


def write_grey(folder: Path) -> Path:
    bands = np.full((1, 50, 50), 99, np.uint8)
    with rasterio.open(folder / "mosaic.tif") as file:
        place = file.transform
    return write_raster(folder / "grey.tif", bands, place)


def write_short(folder: Path) -> Path:
    content = (folder / "mosaic.tif").read_bytes()
    (folder / "short.tif").write_bytes(content[: len(content) // 20])
    return folder / "short.tif"


def write_nameless(folder: Path) -> Path:
    with rasterio.open(folder / "mosaic.tif") as file:
        return write_raster(folder / "nameless.tif", file.read(), file.transform, None)


def write_far(folder: Path) -> Path:
    far = houses()
    write_footprints(
        folder / "far.gpkg", far.moved(shapely.transform(far.polygons, lambda c: c + 5000.0), UTM)
    )
    return folder / "far.gpkg"


def write_untagged(folder: Path) -> Path:
    there = houses()
    columns = {"osm_id": np.arange(5), "building": np.array(["no"] * 5, dtype=object)}
    write_footprints(folder / "untagged.gpkg", Footprints(there.polygons, UTM, columns))
    return folder / "untagged.gpkg"


def write_points(folder: Path) -> Path:
    middles = shapely.centroid(houses().polygons)
    geopandas.GeoDataFrame(geometry=middles, crs=UTM).to_parquet(folder / "points.parquet")
    return folder / "points.parquet"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"mosaics": write_grey}, RasterError, "has 1 band"),
        ({"mosaics": write_short}, RasterError, "cut short"),
        ({"mosaics": write_nameless}, CrsError, "name it with `--crs"),
        ({"mosaics": lambda _: "none.tif"}, RasterError, "no file"),
        ({"mosaics": lambda _: None}, ConfigError, "no mosaic is given"),
        ({"labels": lambda _: None}, ConfigError, "no labels are given; add `--labels"),
        ({"labels": lambda _: "none.gpkg"}, VectorError, "no file"),
        ({"labels": write_far}, VectorError, "do not overlap the mosaic; check"),
        ({"labels": write_untagged}, VectorError, "have no building .*tag `building` counts"),
        ({"labels": write_points}, VectorError, "have no polygons on the mosaic; give a layer"),
        ({"aoi": write_far}, VectorError, "does not overlap"),
        ({"name": ("a", "b")}, ConfigError, "`--name` is given 2 times for 1 mosaics"),
        ({"split": "scene:nowhere"}, ConfigError, "not there; scenes are village"),
        ({"split": "block:0.5", "block": 1000.0}, ConfigError, "no tile to train on"),
        ({"min_valid": 1.0, "size": 1024}, RasterError, "no tile has"),
    ],
)
def test_bad_input_is_told_in_one_line_and_nothing_is_left(scene, change, error, message):
    folder = scene.parent
    given = {"mosaics": lambda _: scene, "labels": lambda _: labels_of(scene), **change}
    mosaic, labels = given.pop("mosaics")(folder), given.pop("labels")(folder)
    if "aoi" in given:
        given["aoi"] = (given["aoi"](folder),)
    before = sorted(folder.iterdir())
    with pytest.raises(error, match=message) as caught:
        tile(
            [] if mosaic is None else [mosaic],
            labels,
            folder / "out",
            TileConfig(**{**SMALL, **given}),
        )
    assert isinstance(caught.value, BuildexError)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    assert sorted(folder.iterdir()) == before


def test_only_a_dataset_is_replaced(scene, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").touch()
    with pytest.raises(OutputError, match="exists already"):
        tile([scene], labels_of(scene), out, TileConfig(**SMALL))
    with pytest.raises(OutputError, match="exists and is no dataset"):
        tile([scene], labels_of(scene), out, TileConfig(**SMALL, overwrite=True))
    assert (out / "thesis.txt").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 8},
        {"gsd": 0.0},
        {"overlap": 512},
        {"negatives": 1.5},
        {"workers": 0},
        {"split": "random"},
        {"guard": -1.0},
        {"gsd": math.inf},
        {"size": 1_000_000},
        {"block": math.inf},
        {"name": ("../../elsewhere",)},
        {"name": ("a/b",)},
        {"name": (".hidden",)},
        {"name": ("",)},
    ],
)
def test_settings_check_themselves(wrong):
    with pytest.raises(ConfigError):
        TileConfig(**wrong)

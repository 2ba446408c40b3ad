from __future__ import annotations

import math
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from PIL import Image
from rasterio.enums import Resampling
from rasterio.transform import from_origin

from buildex.errors import BuildexError, ConfigError, OutputError, RasterError, VectorError
from buildex.geo.finishing import finish
from buildex.geo.footprints import Footprints, object_array
from buildex.geo.grid import Grid
from buildex.geo.instances import no_instances
from buildex.geo.keypoints import RoiCodec
from buildex.geo.oracle import Oracle
from buildex.io.crs import reprojected
from buildex.io.raster import CACHE_MB, Mosaic, small_cache
from buildex.io.vector import read_footprints
from buildex.predicting import (
    PredictConfig,
    buildings_of,
    draw_preview,
    look,
    predict,
    rehearse,
)
from buildex.predicting.running import to_crs
from buildex.predicting.settings import LEAST_OVERLAP, OWN_SHARE
from buildex.predicting.survey import Survey
from buildex.scoring import ScoreConfig, score

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="no real scenes beside the project")

# Pixels of a mosaic of 100 x 70 m at 10 cm: one across two tiles, one across four, a row.
HOUSES = [
    shapely.box(60, 80, 160, 170),
    shapely.box(420, 100, 560, 220),
    shapely.Polygon([(300, 300), (980, 340), (960, 660), (280, 600)]),
    shapely.box(700, 60, 760, 140),
    shapely.box(760, 60, 820, 150),
    shapely.Polygon([(60, 400), (200, 400), (200, 460), (130, 460), (130, 560), (60, 560)]),
]


class Nothing:
    """A segmenter that sees no building."""

    size, gsd, codec, threshold = 512, 0.10, RoiCodec(), 0.5

    def __call__(self, tiles, score=0.0):
        return [no_instances(56) for _ in tiles]


def write_mosaic(path: Path, *, crs="EPSG:32737", bands=3, width=1000, height=700, gsd=0.1) -> Path:
    profile = {"driver": "GTiff", "width": width, "height": height, "count": bands}
    transform = from_origin(530000, 9320000, gsd, gsd)
    with rasterio.open(path, "w", dtype="uint8", crs=crs, transform=transform, **profile) as out:
        out.write(np.full((bands, height, width), 120, np.uint8))
    return path


@pytest.fixture
def mosaic(tmp_path):
    return write_mosaic(tmp_path / "mosaic.tif")


def oracle_of(mosaic: Path) -> Oracle:
    transform = from_origin(530000, 9320000, 0.1, 0.1)
    with Mosaic.open(mosaic) as opened:
        grid = opened.grid

    def moved(points):
        return grid.to_pixel(np.column_stack(transform @ points.T))

    return Oracle.of_polygons([shapely.transform(house, moved) for house in HOUSES])


def test_every_building_comes_back_once_whole_and_signed(mosaic, tmp_path):
    out = tmp_path / "buildings.gpkg"
    report = predict(str(mosaic), out, oracle_of(mosaic), model=("oracle", "1"))
    layer = pyogrio.read_dataframe(out)
    assert len(layer) == report.buildings == len(HOUSES)
    truth = sorted(house.area / 100 for house in HOUSES)
    assert sorted(layer.area_m2) == pytest.approx(truth, rel=0.01)
    assert list(layer.columns[:-1]) == [
        "score", "area_m2", "n_vertices", "orientation", "squareness", "regularized",
        "tile", "joined", "edge", "model", "model_version",
    ]  # fmt: skip
    assert set(layer.model) == {"oracle"}
    assert layer.crs.to_epsg() == 32737
    assert report.joined >= 1
    pieces = layer.geometry.values
    for i in range(len(pieces)):
        for j in range(i):
            assert pieces[i].intersection(pieces[j]).area < 1e-6


@pytest.mark.parametrize("suffix", ["geojson", "fgb", "parquet", "shp"])
def test_the_extension_chooses_the_format(mosaic, tmp_path, suffix):
    out = tmp_path / f"buildings.{suffix}"
    predict(str(mosaic), out, oracle_of(mosaic))
    drawn, _ = read_footprints(out, target_crs="EPSG:32737")
    assert len(drawn) == len(HOUSES)


def test_a_mosaic_without_buildings_gives_an_empty_layer_and_says_so(mosaic, tmp_path):
    out = tmp_path / "buildings.gpkg"
    report = predict(str(mosaic), out, Nothing())
    assert report.buildings == 0
    assert "no buildings found" in report.text()
    info = pyogrio.read_info(out)
    assert info["features"] == 0
    assert info["geometry_type"] == "Polygon"
    assert {"score", "area_m2", "n_vertices", "tile", "model", "model_version"} <= set(
        info["fields"]
    )


@pytest.mark.parametrize(
    ("gsd", "options", "corners"),
    [(0.1, {}, 6), (0.3, {}, 4), (0.3, {"step": 0.5}, 6)],
    ids=["fine", "coarse", "coarse-by-hand"],
)
def test_a_step_that_the_mosaics_own_pixels_hardly_show_is_not_drawn(
    tmp_path, gsd, options, corners
):
    mosaic = write_mosaic(tmp_path / "mosaic.tif", gsd=gsd, width=210, height=210)
    stepped = shapely.Polygon([(40, 40), (100, 40), (100, 48), (180, 48), (180, 140), (40, 140)])
    config = PredictConfig(gsd=0.1, grouping="mask", **options)
    out = tmp_path / "buildings.gpkg"
    predict(str(mosaic), out, Oracle.of_polygons([stepped]), config)
    assert pyogrio.read_dataframe(out).n_vertices.tolist() == [corners]
    with Mosaic.open(mosaic) as pixels:
        drawn = buildings_of(look(pixels, Oracle.of_polygons([stepped]), config), config)
    assert drawn.columns["n_vertices"].tolist() == [corners]


@pytest.mark.parametrize(
    ("own", "asked", "shown"),
    [(0.05, None, 0.1), (0.15, None, 0.1), (0.3, None, 0.165), (0.6, None, 0.2), (0.3, 0.1, 0.1)],
)
def test_a_coarse_mosaic_is_not_blown_up_to_the_pixels_that_the_model_was_taught_on(
    tmp_path, own, asked, shown
):
    mosaic = write_mosaic(tmp_path / "mosaic.tif", gsd=own, width=210, height=210)
    outlook = rehearse(str(mosaic), Nothing(), PredictConfig(gsd=asked))
    assert outlook.gsd == pytest.approx(shown, rel=1e-3)
    assert outlook.width == pytest.approx(210 * own / shown, abs=2)


def test_a_building_of_a_coarse_mosaic_lies_where_it_is(tmp_path):
    mosaic = write_mosaic(tmp_path / "mosaic.tif", gsd=0.3, width=400, height=400)
    house = shapely.box(530030, 9319930, 530042, 9319938)
    with Mosaic.open(mosaic, share=OWN_SHARE) as pixels:
        seen = shapely.transform(house, pixels.grid.to_pixel)
    out = tmp_path / "buildings.gpkg"
    predict(str(mosaic), out, Oracle.of_polygons([seen]))
    drawn, _ = read_footprints(out)
    assert drawn.polygons[0].hausdorff_distance(house) < 0.15


def test_a_step_of_the_network_has_four_tiles_and_fewer_of_large_ones():
    assert [PredictConfig().batch(size) for size in (128, 512, 768, 1024, 2048)] == [4, 4, 1, 1, 1]
    assert PredictConfig(batch_size=3).batch(1024) == 3


def test_batches_do_not_change_the_answer(mosaic, tmp_path):
    layers = []
    for size in (1, 3):
        out = tmp_path / f"batch{size}.gpkg"
        predict(str(mosaic), out, oracle_of(mosaic), PredictConfig(batch_size=size))
        layers.append(pyogrio.read_dataframe(out))
    assert layers[0].equals(layers[1])


def test_only_buildings_centred_in_the_area_of_interest_are_drawn(mosaic, tmp_path):
    aoi = tmp_path / "aoi.gpkg"
    area = shapely.box(530000, 9319980, 530020, 9320000)
    geopandas.GeoDataFrame(geometry=[area], crs="EPSG:32737").to_file(aoi)
    out = tmp_path / "buildings.gpkg"
    report = predict(str(mosaic), out, oracle_of(mosaic), PredictConfig(aoi=aoi))
    assert report.buildings == 1


def test_two_areas_that_part_a_mosaic_give_every_building_once_and_whole(mosaic, tmp_path):
    # The long one reaches from x = 280 to 980 pixels: over three tiles of the western area.
    found = []
    for name, west, east in (("west", 529990, 530052), ("east", 530052, 530110)):
        aoi = tmp_path / f"{name}.gpkg"
        area = shapely.box(west, 9319900, east, 9320010)
        geopandas.GeoDataFrame(geometry=[area], crs="EPSG:32737").to_file(aoi)
        out = tmp_path / f"{name}.geojson"
        predict(str(mosaic), out, oracle_of(mosaic), PredictConfig(aoi=aoi, gap=0))
        found += read_footprints(out, target_crs="EPSG:32737")[0].polygons.tolist()
    areas = sorted(polygon.area * 100 for polygon in found)
    assert areas == pytest.approx(sorted(house.area for house in HOUSES), rel=0.03)


def test_an_area_may_be_the_globe(mosaic, tmp_path):
    aoi = tmp_path / "aoi.geojson"
    globe = shapely.box(-180, -90, 180, 90)
    geopandas.GeoDataFrame(geometry=[globe], crs="EPSG:4326").to_file(aoi)
    config = PredictConfig(aoi=aoi)
    report = predict(str(mosaic), tmp_path / "out.gpkg", oracle_of(mosaic), config)
    assert report.buildings == len(HOUSES)


def test_an_area_of_interest_beside_the_mosaic_is_refused(mosaic, tmp_path):
    aoi = tmp_path / "aoi.gpkg"
    area = shapely.box(531000, 9319980, 531020, 9320000)
    geopandas.GeoDataFrame(geometry=[area], crs="EPSG:32737").to_file(aoi)
    with pytest.raises(VectorError, match=r"`aoi\.gpkg` does not touch the mosaic"):
        predict(str(mosaic), tmp_path / "out.gpkg", Nothing(), PredictConfig(aoi=aoi))
    assert not (tmp_path / "out.gpkg").exists()


def test_a_web_mercator_mosaic_gets_its_own_crs_and_true_square_metres(tmp_path):
    path = tmp_path / "mercator.tif"
    # 27.6 degrees north: a mercator metre is 0.886 of a ground metre.
    transform = from_origin(9_500_000, 3_200_000, 0.1, 0.1)
    with rasterio.open(
        path, "w", driver="GTiff", width=600, height=600, count=3, dtype="uint8",
        crs="EPSG:3857", transform=transform,
    ) as out:  # fmt: skip
        out.write(np.full((3, 600, 600), 90, np.uint8))
    with Mosaic.open(path) as opened:
        grid = opened.grid
    square = shapely.box(100, 100, 300, 300)
    out = tmp_path / "buildings.gpkg"
    predict(str(path), out, Oracle.of_polygons([square]), PredictConfig(overlap=64))
    layer = pyogrio.read_dataframe(out)
    assert layer.crs.to_epsg() == 3857
    assert layer.geometry.is_valid.all()
    assert layer.area_m2[0] == pytest.approx(400, rel=0.01)
    assert layer.geometry[0].area == pytest.approx(400 / 0.886**2, rel=0.02)
    assert grid.gsd == pytest.approx(0.1)


def test_what_rounding_makes_invalid_in_the_mosaic_s_crs_is_mended():
    # A neck of no width: valid in no CRS, as rounding leaves it in one.
    crossed = shapely.Polygon([(0, 0), (10, 0), (10, 10), (5, 0), (0, 10)])
    ground = shapely.transform(crossed, lambda p: p + np.array([530000, 9320000]))
    polygons = np.array([ground], dtype=object)
    moved = to_crs(Footprints(polygons, "EPSG:32737"), "EPSG:4326")
    assert moved.polygons[0].is_valid
    assert moved.crs == "EPSG:4326"


def test_a_building_across_the_180th_meridian_is_whole_in_degrees():
    corner = reprojected(np.array([[180.0, -17.0]]), "EPSG:4326", "EPSG:32701")[0]
    angle = shapely.Polygon([(-9, 0), (4, 0), (4, 6), (9, 6), (9, 12), (1, 12), (1, 7), (-9, 7)])
    ground = shapely.transform(angle, lambda points: points + corner)
    moved = to_crs(Footprints(np.array([ground], dtype=object), "EPSG:32701"), "EPSG:4326")
    west, _, east, _ = moved.polygons[0].bounds
    assert west == pytest.approx(-180, abs=1e-3)
    assert east == pytest.approx(180, abs=1e-3)
    back = reprojected(shapely.get_coordinates(moved.polygons), "EPSG:4326", "EPSG:32701")
    assert np.abs(back - shapely.get_coordinates(ground)).max() < 1e-6


def test_a_preview_shows_the_outlines(mosaic, tmp_path):
    out, picture = tmp_path / "buildings.gpkg", tmp_path / "preview.png"
    predict(str(mosaic), out, oracle_of(mosaic))
    draw_preview(picture, str(mosaic), out)
    pixels = np.asarray(Image.open(picture))
    assert (pixels == (255, 64, 160)).all(axis=2).sum() > 1000


def test_a_coarse_mosaic_is_shown_too_and_not_blown_up_beyond_sense(tmp_path):
    mosaic = write_mosaic(tmp_path / "mosaic.tif", gsd=8.0, width=50, height=40)
    out, picture = tmp_path / "buildings.gpkg", tmp_path / "preview.png"
    predict(str(mosaic), out, Nothing(), PredictConfig(gsd=4.0))
    draw_preview(picture, str(mosaic), out)
    assert Image.open(picture).size == (200, 160)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"threshold": 0.0}, ConfigError),
        ({"batch_size": 0}, ConfigError),
        ({"gsd": 0.0}, ConfigError),
        ({"gsd": math.inf}, ConfigError),
        ({"overlap": 400}, ConfigError),
        ({"overlap": 0}, ConfigError),
        ({"gap": math.inf}, ConfigError),
        ({"gap": math.nan}, ConfigError),
        ({"min_area": math.inf}, ConfigError),
    ],
)
def test_wrong_settings_are_refused(mosaic, tmp_path, change, error):
    with pytest.raises(error):
        predict(str(mosaic), tmp_path / "out.gpkg", Nothing(), PredictConfig(**change))
    assert not (tmp_path / "out.gpkg").exists()


@pytest.mark.parametrize(("gap", "apart"), [(1.9, 2), (2.1, 0)])
@pytest.mark.parametrize("scores", [(0.9, 0.9), (0.9, 0.3)])
def test_neighbours_share_a_wall_across_any_gap_that_is_asked_for(gap, apart, scores):
    houses = object_array([shapely.box(0, 0, 20, 10), shapely.box(22, 0, 40, 10)])
    done = finish(houses, np.array(scores), PredictConfig(gap=gap).finishing(0.1))
    assert shapely.distance(*done.polygons) == pytest.approx(apart)


def test_the_least_overlap_is_enough_to_put_the_parts_of_a_building_together(mosaic, tmp_path):
    out = tmp_path / "out.gpkg"
    predict(str(mosaic), out, Oracle.of_polygons(HOUSES), PredictConfig(overlap=LEAST_OVERLAP))
    assert len(read_footprints(out)[0]) == len(HOUSES)


@pytest.mark.parametrize(("size", "shared"), [(512, 128), (256, 128), (128, 64), (96, 48)])
def test_tiles_share_128_pixels_or_half_of_themselves(size, shared):
    grid = Grid("EPSG:32737", from_origin(530000, 9320000, 0.1, 0.1), 1000, 1000)
    first, second = (place.box for place in list(Survey.of(grid, size, None).cover)[:2])
    assert first.x1 - second.x0 == shared


def _truncated(path: Path) -> Path:
    write_mosaic(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3])
    return path


def _text(path: Path) -> Path:
    path.write_text("no raster")
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: write_mosaic(p, crs=None), "coordinate reference system"),
        (lambda p: write_mosaic(p, bands=1), "band"),
        (_truncated, "mosaic.tif"),
        (_text, "mosaic.tif"),
        (lambda p: p, "mosaic.tif"),
    ],
)
def test_bad_mosaics_give_one_line_and_leave_nothing(tmp_path, make, says):
    path = make(tmp_path / "mosaic.tif")
    before = set(tmp_path.iterdir())
    with pytest.raises(BuildexError) as caught:
        predict(str(path), tmp_path / "out.gpkg", Nothing())
    assert says in str(caught.value)
    assert caught.value.hint
    assert set(tmp_path.iterdir()) == before


def test_outputs_are_checked_before_the_work(mosaic, tmp_path):
    taken = tmp_path / "taken.gpkg"
    taken.write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        predict(str(mosaic), taken, Nothing())
    assert taken.read_text() == "mine"
    with pytest.raises(OutputError, match="does not exist"):
        predict(str(mosaic), tmp_path / "nowhere" / "out.gpkg", Nothing())
    with pytest.raises(VectorError, match="format"):
        predict(str(mosaic), tmp_path / "out.docx", Nothing())
    with pytest.raises(RasterError):
        predict(str(tmp_path / "absent.tif"), tmp_path / "out.gpkg", Nothing())


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("scene", ["train/zanzibar", "train/banepa-centre"])
def test_real_labels_survive_decoding_and_stitching(scene, tmp_path):
    folder = SHARED / scene
    with Mosaic.open(folder / "mosaic.tif") as opened:
        grid = opened.grid
    labels, _ = read_footprints(folder / "buildings.geojson", target_crs=grid.crs)
    oracle = Oracle.of_polygons(shapely.transform(labels.polygons, grid.to_pixel))
    out = tmp_path / "buildings.gpkg"
    predict(str(folder / "mosaic.tif"), out, oracle)
    report = score(out, folder / "buildings.geojson", ScoreConfig(), folder / "aoi.geojson")
    print(f"\n{scene}\n{report.text()}")
    assert report.figures["f1_50"] >= 0.97


def test_a_rehearsal_tells_tiles_time_and_memory_and_writes_nothing(mosaic, tmp_path):
    before = set(tmp_path.iterdir())
    outlook = rehearse(str(mosaic), oracle_of(mosaic))
    report = predict(str(mosaic), tmp_path / "out.gpkg", oracle_of(mosaic))
    assert outlook.tiles == report.tiles
    assert (outlook.width, outlook.height) == (1000, 700)
    assert outlook.probed == 6
    assert 0 < outlook.seconds < 600
    assert outlook.memory_mib > 256
    assert "nothing was written" in outlook.text()
    assert set(tmp_path.iterdir()) - before == {tmp_path / "out.gpkg"}


def test_tiles_that_an_overview_knows_to_be_empty_are_not_read(tmp_path, monkeypatch):
    path = tmp_path / "half.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=2048, height=600, count=3, dtype="uint8", nodata=0,
        crs="EPSG:32737", transform=from_origin(530000, 9320000, 0.1, 0.1), tiled=True,
    ) as out:  # fmt: skip
        image = np.zeros((3, 600, 2048), np.uint8)
        image[:, :, :700] = 120
        out.write(image)
    houses = Oracle.of_polygons([shapely.box(100, 100, 260, 300)])
    plain = predict(str(path), tmp_path / "plain.gpkg", houses)
    with rasterio.open(path, "r+") as out:
        out.build_overviews([2, 4, 8, 16], Resampling.average)
    read = []
    original = Mosaic.read
    monkeypatch.setattr(Mosaic, "read", lambda self, box: read.append(box) or original(self, box))
    report = predict(str(path), tmp_path / "out.gpkg", houses)
    assert (report.tiles, report.skipped) == (plain.tiles, plain.skipped)
    assert report.buildings == 1
    assert report.skipped > 0
    assert len(read) == report.tiles


def test_gdal_keeps_as_many_bytes_as_it_is_told(monkeypatch):
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    with small_cache():
        assert rasterio.env.get_gdal_config("GDAL_CACHEMAX") == CACHE_MB * 2**20


def test_a_mosaic_that_is_too_coarse_is_drawn_and_told(mosaic, tmp_path):
    coarse = tmp_path / "coarse.tif"
    with (
        rasterio.open(mosaic) as source,
        rasterio.open(
            coarse, "w", **source.profile | {"transform": from_origin(530000, 9320000, 1.0, 1.0)}
        ) as out,
    ):
        out.write(source.read())
    report = predict(str(coarse), tmp_path / "out.gpkg", Nothing())
    assert "10.0 times as large" in report.text()
    report = predict(str(mosaic), tmp_path / "fine.gpkg", Nothing())
    assert "times as large" not in report.text()


def test_control_points_and_local_coordinates_are_told_apart(mosaic, tmp_path):
    local = tmp_path / "local.tif"
    with rasterio.open(mosaic) as source:
        profile, pixels = source.profile, source.read()
    profile["crs"] = rasterio.CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')
    with rasterio.open(local, "w", **profile) as out:
        out.write(pixels)
    with pytest.raises(BuildexError, match="has no coordinate reference system"):
        predict(str(local), tmp_path / "out.gpkg", Nothing())
    report = predict(str(local), tmp_path / "out.gpkg", Nothing(), PredictConfig(crs="EPSG:32737"))
    assert report.tiles > 0

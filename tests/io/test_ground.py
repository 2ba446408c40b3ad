from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import rasterio

from buildex.geo.boxes import PixelBox
from buildex.io import ground
from buildex.io.raster import Mosaic
from tests.io.made import UTM, transform_of, write_raster

SIDE = 2000
BOXES = [PixelBox(x, y, x + 60, y + 60) for x in range(0, SIDE, 50) for y in range(0, SIDE, 50)]


@pytest.fixture(scope="module")
def patchy(tmp_path_factory):
    """200 x 200 m with a strip of ground and a few patches, and an overview of 8 pixels."""
    shown = np.zeros((SIDE, SIDE), bool)
    shown[300:420] = True
    for x, y in np.random.default_rng(3).integers(600, SIDE - 100, (6, 2)):
        shown[y : y + 80, x : x + 40] = True
    bands = np.where(shown, 99, 0).astype(np.uint8)[None].repeat(3, axis=0)
    path = tmp_path_factory.mktemp("ground") / "patchy.tif"
    write_raster(path, bands, transform_of(0.1), nodata=0)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([8], rasterio.enums.Resampling.nearest)
    with Mosaic.open(path) as mosaic:
        yield mosaic, shown


def told(mosaic: Mosaic) -> np.ndarray:
    told = mosaic.ground_map()
    return np.array([told(box) for box in BOXES])


def test_no_ground_is_missed_and_empty_boxes_are_known(patchy):
    mosaic, shown = patchy
    true = np.array([shown[box.slices].any() for box in BOXES])
    assert told(mosaic)[true].all()
    assert told(mosaic).mean() < true.mean() + 0.15


@pytest.mark.parametrize("part", [16, 40, 10_000])
def test_a_map_that_is_read_in_parts_is_the_same(patchy, monkeypatch, part):
    whole = told(patchy[0])
    monkeypatch.setattr(ground, "PART", part)
    np.testing.assert_array_equal(told(patchy[0]), whole)


@pytest.mark.parametrize(("most", "part"), [(100, 16), (60, 16), (60, 2), (9, 300)])
def test_fewer_and_larger_cells_miss_no_ground(patchy, monkeypatch, most, part):
    fine = told(patchy[0])
    monkeypatch.setattr(ground, "MOST", most)
    monkeypatch.setattr(ground, "PART", part)
    coarse = told(patchy[0])
    assert coarse[fine].all()
    assert most < 60 or not coarse.all()


def test_a_map_of_a_vast_mosaic_is_small(tmp_path):
    """An overview of 8 000 x 8 000 pixels, whose mask alone would be 64 MB."""
    write_raster(tmp_path / "small.tif", np.full((3, 8, 8), 9, np.uint8), transform_of(0.1))
    side = 64_000
    sources = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">small.tif</SourceFilename>'
        f'<SourceBand>{band}</SourceBand><SrcRect xOff="0" yOff="0" xSize="8" ySize="8"/>'
        f'<DstRect xOff="0" yOff="0" xSize="{side}" ySize="{side}"/>'
        "</SimpleSource></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    place = ", ".join(str(value) for value in transform_of(0.1).to_gdal())
    (tmp_path / "vast.vrt").write_text(
        f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}"><SRS>{UTM}</SRS>'
        f"<GeoTransform>{place}</GeoTransform>{sources}"
        '<OverviewList resampling="nearest">8</OverviewList></VRTDataset>'
    )
    mosaic = Mosaic.open(tmp_path / "vast.vrt")
    tracemalloc.start()
    there = mosaic.ground_map()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 48 * 2**20
    assert there(PixelBox(63_000, 63_000, 63_500, 63_500))
    assert not there(PixelBox(64_500, 63_000, 65_000, 63_500))

import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.env
import rasterio.shutil
import shapely
from affine import Affine
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile
from rasterio.rio.main import main_group
from rasterio.rpc import RPC

from buildex.errors import BuildexError, CrsError, RasterError
from buildex.geo.boxes import PixelBox
from buildex.io import raster, source
from buildex.io.raster import Mosaic, Stretch, write_mosaic
from tests.io.made import ORIGIN, UTM, colours, picture, transform_of, write_raster

MIDDLE = PixelBox(120, 80, 200, 150)  # well inside every mosaic here, at 10 cm


def as_bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(values).astype(np.uint8)


def truth(mosaic: Mosaic, box: PixelBox) -> np.ndarray:
    """The colours of the ground at the centres of a box's pixels."""
    x, y = np.meshgrid(np.arange(box.x0, box.x1) + 0.5, np.arange(box.y0, box.y1) + 0.5)
    ground = mosaic.grid.to_ground(np.stack([x.ravel(), y.ravel()], axis=1))
    return colours(ground).reshape(box.height, box.width, 3)


def far_off(mosaic: Mosaic, box: PixelBox) -> float:
    image, valid = mosaic.read(box)
    assert valid.all()
    return float(np.abs(image - truth(mosaic, box)).max())


def north_up(mosaic: Mosaic) -> bool:
    """Whether its grid's rows run east and its columns south."""
    t = mosaic.grid.transform
    return t.b == 0 and t.d == 0 and t.a > 0 and t.e < 0


@pytest.fixture
def plain(tmp_path):
    """26 x 20 m at 5 cm: two source pixels for each pixel of the grid."""
    transform = transform_of(0.05)
    return write_raster(tmp_path / "plain.tif", as_bytes(picture(transform, 520, 400)), transform)


def test_pixels_lie_where_the_ground_is(plain):
    with Mosaic.open(plain) as mosaic:
        assert mosaic.grid.crs == UTM
        assert mosaic.grid.gsd == pytest.approx(0.1)
        assert mosaic.native_gsd == pytest.approx(0.05, rel=1e-3)
        assert far_off(mosaic, MIDDLE) <= 1


@pytest.mark.parametrize(
    ("share", "coarsest", "gsd"),
    [(0.0, 1, 0.02), (0.3, 1, 0.02), (0.6, 1, 0.03), (0.6, 0.025, 0.025), (0.6, 0.01, 0.02)],
)
def test_a_share_of_its_own_pixels_keeps_a_mosaic_from_being_blown_up(plain, share, coarsest, gsd):
    with Mosaic.open(plain, gsd=0.02, share=share, coarsest=coarsest) as mosaic:
        assert mosaic.grid.gsd == pytest.approx(gsd, rel=1e-3)
        assert far_off(mosaic, MIDDLE) <= 0.1 / gsd


def test_a_mosaic_on_the_grid_is_read_as_it_is(tmp_path):
    bands = np.random.default_rng(0).integers(0, 256, (3, 60, 80), dtype=np.uint8)
    path = write_raster(tmp_path / "same.tif", bands, transform_of(0.1))
    image, valid = Mosaic.open(path).read(PixelBox(0, 0, 80, 60))
    assert valid.all()
    np.testing.assert_array_equal(image, np.moveaxis(bands, 0, 2))


def test_finer_pixels_are_averaged_and_halves_rounded_up(tmp_path):
    bands = np.random.default_rng(0).integers(0, 256, (3, 60, 80), dtype=np.uint8)
    path = write_raster(tmp_path / "fine.tif", bands, transform_of(0.05))
    image, _ = Mosaic.open(path).read(PixelBox(0, 0, 40, 30))
    mean = bands.reshape(3, 30, 2, 40, 2).mean(axis=(2, 4))
    np.testing.assert_array_equal(image, np.moveaxis(np.floor(mean + 0.5), 0, 2))


def test_coarser_pixels_are_interpolated(tmp_path):
    transform = transform_of(0.3)
    path = write_raster(tmp_path / "coarse.tif", as_bytes(picture(transform, 100, 80)), transform)
    with Mosaic.open(path) as mosaic:
        assert far_off(mosaic, MIDDLE) <= 2


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:4326", "EPSG:2278"])
def test_what_is_not_in_ground_metres_is_brought_to_utm(tmp_path, crs):
    """Web mercator, degrees and feet, at 29.5 degrees north where mercator is 15 % too long."""
    place = {
        "EPSG:3857": Affine(0.1, 0, -10610000, 0, -0.1, 3440000),
        "EPSG:4326": Affine(1e-6, 0, -95.31, 0, -1e-6, 29.5),
        "EPSG:2278": Affine(0.3, 0, 3150000, 0, -0.3, 13800000),
    }[crs]
    bands = np.full((3, 300, 400), 90, np.uint8)
    mosaic = Mosaic.open(write_raster(tmp_path / "m.tif", bands, place, crs))
    assert mosaic.grid.crs == "EPSG:32615"
    assert mosaic.source_crs == crs
    metres = {"EPSG:3857": 0.0870, "EPSG:4326": 0.1037, "EPSG:2278": 0.0914}[crs]
    assert mosaic.native_gsd == pytest.approx(metres, rel=5e-3)
    area = shapely.Polygon(mosaic.outline).area
    assert area == pytest.approx(300 * 400 * mosaic.native_gsd**2, rel=1e-3)


def test_web_mercator_shows_the_same_ground(tmp_path):
    east, north = pyproj.Transformer.from_crs(UTM, "EPSG:3857", always_xy=True).transform(*ORIGIN)
    transform = Affine(0.08, 0, east, 0, -0.08, north)
    bands = as_bytes(picture(transform, 400, 300, "EPSG:3857"))
    path = write_raster(tmp_path / "mercator.tif", bands, transform, "EPSG:3857")
    with Mosaic.open(path) as mosaic:
        assert mosaic.grid.crs == UTM
        assert far_off(mosaic, MIDDLE) <= 2


def test_mercator_near_the_equator_is_not_metric_either(tmp_path):
    bands = np.full((3, 20, 20), 90, np.uint8)
    place = Affine(0.1, 0, 3_600_000, 0, -0.1, 40_000)
    assert Mosaic.open(write_raster(tmp_path / "m.tif", bands, place, "EPSG:3857")).grid.crs == (
        "EPSG:32636"
    )


def test_a_rotated_mosaic_is_turned_north_up(tmp_path):
    transform = transform_of(0.05, rotation=30)
    path = write_raster(tmp_path / "turned.tif", as_bytes(picture(transform, 520, 400)), transform)
    with Mosaic.open(path) as mosaic:
        assert north_up(mosaic)
        center = mosaic.grid.to_pixel(mosaic.outline.mean(axis=0)[None])[0].astype(int)
        box = PixelBox(*(center - 40), *(center + 40))
        assert far_off(mosaic, box) <= 1
        assert not mosaic.read(PixelBox(0, 0, 10, 10))[1].any()


def test_a_mosaic_whose_rows_run_north_is_turned_too(tmp_path):
    transform = Affine(0.05, 0, ORIGIN[0], 0, 0.05, ORIGIN[1] - 20)
    path = write_raster(tmp_path / "up.tif", as_bytes(picture(transform, 520, 400)), transform)
    with Mosaic.open(path) as mosaic:
        assert north_up(mosaic)
        assert far_off(mosaic, MIDDLE) <= 1


def test_a_mosaic_is_never_read_as_a_whole(tmp_path):
    """Ninety gigapixels, of which a window is read."""
    path = tmp_path / "vast.tif"
    options = {"width": 300_000, "height": 300_000, "count": 3, "dtype": "uint8"}
    storage = {"tiled": True, "compress": "deflate", "SPARSE_OK": True, "BIGTIFF": "YES"}
    with rasterio.open(path, "w", crs=UTM, transform=transform_of(0.05), **options, **storage):
        pass
    image, valid = Mosaic.open(path).read(PixelBox(90_000, 90_000, 90_100, 90_100))
    assert valid.all()
    assert not image.any()


def test_sixteen_bits_are_stretched_once_for_the_whole_mosaic(tmp_path):
    transform = transform_of(0.1)
    bands = (picture(transform, 260, 200) * 40).astype(np.uint16)
    mosaic = Mosaic.open(write_raster(tmp_path / "deep.tif", bands, transform))
    low, high = np.percentile(bands, [0.5, 99.5])
    assert mosaic.stretch == Stretch(low, high)
    whole, _ = mosaic.read(PixelBox(0, 0, 260, 200))
    wanted = np.clip((np.moveaxis(bands, 0, 2) - low) * 255 / (high - low), 0, 255)
    assert np.abs(whole - wanted).max() <= 1


@pytest.mark.parametrize(
    ("dtype", "scale", "fill"),
    [("uint16", 16, 65535), ("float32", 1 / 255, -10_000), ("int16", 40, -32768)],
)
def test_a_fill_value_that_is_not_declared_does_not_set_the_stretch(tmp_path, dtype, scale, fill):
    transform = transform_of(0.1)
    bands = picture(transform, 260, 200) * scale
    bands[:, :, :50] = fill
    bands[:, ::4, 50] = fill / 2  # where an averaged overview mixes it with ground
    bands = bands.astype(dtype)
    mosaic = Mosaic.open(write_raster(tmp_path / "deep.tif", bands, transform))
    ground = np.percentile(bands[:, :, 50:], [0.5, 99.5])
    assert [mosaic.stretch.low, mosaic.stretch.high] == pytest.approx(ground, rel=1e-6)
    assert mosaic.read(mosaic.grid.box)[1].all()


def test_where_a_saturated_image_ends_its_stretch_ends(tmp_path):
    bands = np.tile(np.linspace(0, 70_000, 260 * 200).clip(0, 65535), (3, 1)).reshape(3, 200, 260)
    path = write_raster(tmp_path / "deep.tif", bands.astype(np.uint16), transform_of(0.1))
    stretch = Mosaic.open(path).stretch
    assert stretch.high == 65535
    assert stretch.low == pytest.approx(350, abs=2)


def test_a_bright_band_is_no_fill(tmp_path):
    bands = (picture(transform_of(0.1), 260, 200) * 16).astype(np.uint16)
    bands[0, :, :50] = 65535
    path = write_raster(tmp_path / "deep.tif", bands, transform_of(0.1))
    assert Mosaic.open(path).stretch.high == 65535


class Watched:
    """A dataset that notes how many pixels each reading of its bands reaches over."""

    def __init__(self, dataset, sizes):
        self._dataset, self._sizes = dataset, sizes

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._dataset.close()

    def __getattr__(self, name):
        return getattr(self._dataset, name)

    def read(self, bands, window=None, **how):
        place = window or self._dataset
        self._sizes.append(place.width * place.height)
        return self._dataset.read(bands, window=window, **how)


@pytest.fixture
def sizes(monkeypatch):
    """How many pixels are looked at for a stretch."""
    noted, opened = [], source.opened
    monkeypatch.setattr(source, "opened", lambda *how: Watched(opened(*how), noted))
    return noted


def test_a_stretch_of_a_vast_mosaic_looks_at_spots(tmp_path, sizes):
    path = tmp_path / "vast.tif"
    options = {"width": 100_000, "height": 20_000, "count": 3, "dtype": "uint16"}
    storage = {"tiled": True, "compress": "deflate", "SPARSE_OK": True, "BIGTIFF": "YES"}
    with rasterio.open(path, "w", crs=UTM, transform=transform_of(0.05), **options, **storage):
        pass
    mosaic = Mosaic.open(path)
    assert sizes == []
    assert mosaic.stretch == mosaic.stretch == Stretch(0, 1)
    assert len(sizes) == 256
    assert sum(sizes) == 1024**2


def deep(path, overviews=(), **options):
    """800 x 640 pixels of 16 bits, and the stretch of all of them."""
    transform = transform_of(0.05)
    bands = (picture(transform, 800, 640) * 40).astype(np.uint16)
    write_raster(path, bands, transform, tiled=True, blockxsize=64, blockysize=64, **options)
    with rasterio.open(path, "r+") as file:
        file.build_overviews(overviews, rasterio.enums.Resampling.nearest)
    return np.percentile(bands, [0.5, 99.5])


@pytest.mark.parametrize("overviews", [(), (2,)])
def test_spots_tell_the_same_as_the_whole(tmp_path, monkeypatch, sizes, overviews):
    whole = deep(tmp_path / "deep.tif", overviews)
    monkeypatch.setattr(source, "WHOLE_SIDE", 300)
    monkeypatch.setattr(source, "SAMPLE_SIDE", 160)
    monkeypatch.setattr(source, "SPOT", 10)
    stretch = Mosaic.open(tmp_path / "deep.tif").stretch
    assert sum(sizes) == 160**2
    np.testing.assert_allclose([stretch.low, stretch.high], whole, rtol=0.03)


def test_where_an_overview_is_small_spots_are_not_needed(tmp_path, monkeypatch, sizes):
    whole = deep(tmp_path / "deep.tif", (2, 4))
    monkeypatch.setattr(source, "WHOLE_SIDE", 300)
    monkeypatch.setattr(source, "SAMPLE_SIDE", 160)
    stretch = Mosaic.open(tmp_path / "deep.tif").stretch
    assert len(sizes) == 1
    np.testing.assert_allclose([stretch.low, stretch.high], whole, rtol=0.03)


def test_where_spots_show_hardly_any_ground_all_of_it_is_sampled(tmp_path, monkeypatch, sizes):
    mask = np.zeros((640, 800), bool)
    mask[300:304, 200:300] = True
    deep(tmp_path / "deep.tif", mask=mask)
    monkeypatch.setattr(source, "WHOLE_SIDE", 300)
    monkeypatch.setattr(source, "SPOT", 10)
    stretch = Mosaic.open(tmp_path / "deep.tif").stretch
    with rasterio.open(tmp_path / "deep.tif") as file:
        known = np.percentile(file.read()[:, mask], [0.5, 99.5])
    assert [stretch.low, stretch.high] == pytest.approx(known.tolist())
    assert sizes[-1] == 640 * 800


@pytest.mark.parametrize(("length", "block"), [(10_000, 256), (9_000, 512), (40, 16), (5_000, 1)])
def test_spots_lie_in_the_file_and_in_one_block_of_it(length, block):
    starts = np.array(source._starts(length, block))
    ends = starts + min(length, source.SPOT)
    assert starts.min() >= 0
    assert ends.max() <= length
    assert (np.diff(starts) >= source.SPOT).all()
    assert block < source.SPOT or (starts // block == (ends - 1) // block).all()


def test_a_copy_of_a_mosaic_brings_its_stretch_along(tmp_path, sizes):
    deep(tmp_path / "deep.tif")
    copy = pickle.dumps(Mosaic.open(tmp_path / "deep.tif"))
    count = len(sizes)
    assert pickle.loads(copy).stretch == Mosaic.open(tmp_path / "deep.tif").stretch
    assert len(sizes) == count + 1


def test_floats_with_holes_are_read(tmp_path):
    transform = transform_of(0.1)
    bands = (picture(transform, 260, 200) / 255).astype(np.float32)
    bands[:, 100:, :] = np.nan
    image, valid = Mosaic.open(write_raster(tmp_path / "f.tif", bands, transform)).read(
        PixelBox(0, 0, 260, 200)
    )
    assert valid[:100].all()
    assert not valid[100:].any()
    assert image[:100].std() > 50
    assert not image[100:].any()


def transparent(kind: str, bands: np.ndarray) -> tuple[np.ndarray, dict]:
    """Bands whose left quarter shows no ground, said in one of four ways."""
    hidden = np.zeros(bands.shape[1:], dtype=bool)
    hidden[:, : bands.shape[2] // 4] = True
    alpha = np.where(hidden, 0, np.iinfo(bands.dtype).max).astype(bands.dtype)
    if kind == "alpha":
        return np.concatenate([bands, alpha[None]]), {"photometric": "RGB", "alpha": "yes"}
    if kind == "nodata":
        return np.where(hidden, 0, bands).astype(bands.dtype), {"nodata": 0}
    if kind == "mask":
        return bands, {"mask": ~hidden}
    jpeg = {"compress": "jpeg", "photometric": "ycbcr", "tiled": True}
    return bands, {"mask": ~hidden, "blockxsize": 128, "blockysize": 128, **jpeg}


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(kind, dtype) for kind in ("alpha", "nodata", "mask") for dtype in ("uint8", "uint16")]
    + [("jpeg", "uint8")],
)
@pytest.mark.parametrize("gsd", [0.05, 0.1])
def test_what_shows_no_ground_is_not_valid(tmp_path, kind, dtype, gsd):
    transform = transform_of(gsd)
    side = round(20 / gsd)
    bands, options = transparent(kind, picture(transform, side, side).astype(dtype))
    mosaic = Mosaic.open(write_raster(tmp_path / "m.tif", bands, transform, **options))
    image, valid = mosaic.read(PixelBox(0, 0, 200, 200))
    assert not valid[:, :50].any()
    assert valid[:, 50:].all()
    assert not image[:, :50].any()
    if dtype == "uint8" and kind != "jpeg":  # next to the edge nothing of the other side shows
        wanted = truth(mosaic, PixelBox(50, 0, 200, 200))
        assert np.abs(image[:, 50:] - wanted).max() <= 2


def with_mask(path, way: str):
    """20 x 20 m at 5 cm with overviews, whose left quarter a mask hides, kept in some way."""
    transform, side = transform_of(0.05), 400
    bands = as_bytes(picture(transform, side, side))
    hidden = np.zeros((side, side), bool)
    hidden[:, : side // 4] = True
    if way == "in bands":
        bands, options = transparent("alpha", bands)
        write_raster(path, bands, transform, **options)
    else:
        mask = {} if way == "made later" else {"mask": ~hidden}
        write_raster(path, bands, transform, **mask)
    beside = way == "overviews beside"
    with rasterio.Env(TIFF_USE_OVR=beside), rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4, 8], rasterio.enums.Resampling.average)
    if way == "made later":
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
            file.write_mask(~hidden)
    return virtual(path) if way == "virtual" else path


def virtual(path):
    """A VRT with a mask band and overviews of its own, without one."""
    with rasterio.open(path) as file:
        width, height, place = file.width, file.height, file.transform.to_gdal()
    one = (
        "<SimpleSource><SourceFilename relativeToVRT='1'>" + path.name + "</SourceFilename>"
        "<SourceBand>{}</SourceBand></SimpleSource></VRTRasterBand>"
    )
    bands = "".join(
        f"<VRTRasterBand dataType='Byte' band='{band}'>{one.format(band)}" for band in (1, 2, 3)
    )
    mask = f"<MaskBand><VRTRasterBand dataType='Byte'>{one.format('mask,1')}</MaskBand>"
    text = f"<VRTDataset rasterXSize='{width}' rasterYSize='{height}'><SRS>{UTM}</SRS>"
    text += f"<GeoTransform>{', '.join(map(str, place))}</GeoTransform>{bands}{mask}</VRTDataset>"
    out = path.with_suffix(".vrt")
    out.write_text(text)
    with rasterio.open(out, "r+") as file:
        file.build_overviews([2, 4, 8], rasterio.enums.Resampling.average)
    assert out.with_suffix(".vrt.ovr").exists()
    return out


@pytest.mark.parametrize(
    "way", ["in bands", "with overviews", "overviews beside", "made later", "virtual"]
)
@pytest.mark.parametrize("gsd", [0.05, 0.2, 0.4])
def test_a_mask_hides_the_same_whatever_overviews_there_are(tmp_path, way, gsd):
    with Mosaic.open(with_mask(tmp_path / "m.tif", way), gsd=gsd) as mosaic:
        side = round(20 / gsd)
        image, valid = mosaic.read(PixelBox(0, 0, side, side))
        there = mosaic.ground_map()
    assert not valid[:, : side // 4].any()
    assert valid[:, side // 4 :].all()
    assert not image[~valid].any()
    if way in ("in bands", "with overviews"):
        assert there is not None
        assert (mosaic._source.overview is not None) == (gsd > 0.05)
    assert there is None or not there(PixelBox(0, 0, side // 8, side))


@pytest.mark.parametrize("nodata", [0, 255])
def test_a_nodata_value_beside_an_alpha_band_turns_nothing_round(tmp_path, nodata):
    bands, options = transparent("alpha", as_bytes(picture(transform_of(0.1), 200, 200)))
    bands[:3, :, 180:] = nodata
    path = write_raster(tmp_path / "m.tif", bands, transform_of(0.1), nodata=nodata, **options)
    _, valid = Mosaic.open(path).read(PixelBox(0, 0, 200, 200))
    assert valid[:, 50:180].all()
    assert not valid[:, :50].any()
    assert not valid[:, 180:].any()
    west, _, east, _ = source.valid_bounds(str(path))
    assert (east - west) * 111_320 * np.cos(np.radians(6)) == pytest.approx(13, abs=0.5)


def test_a_dark_band_is_not_nodata(tmp_path):
    bands = np.full((3, 40, 40), 100, np.uint8)
    bands[0] = 0
    mosaic = Mosaic.open(write_raster(tmp_path / "m.tif", bands, transform_of(0.1), nodata=0))
    assert mosaic.read(PixelBox(0, 0, 40, 40))[1].all()


def test_bands_are_found_by_their_meaning(tmp_path):
    path = tmp_path / "bgr.tif"
    bands = np.stack([np.full((40, 40), v, np.uint8) for v in (30, 20, 10, 99)])
    write_raster(path, bands, transform_of(0.1))
    with rasterio.open(path, "r+") as file:
        meaning = rasterio.enums.ColorInterp
        file.colorinterp = (meaning.blue, meaning.green, meaning.red, meaning.undefined)
    image, _ = Mosaic.open(path).read(PixelBox(5, 5, 6, 6))
    assert image[0, 0].tolist() == [10, 20, 30]


@given(st.data())
@settings(max_examples=25)
def test_a_pixel_depends_on_no_window(reading, data):
    mosaic, whole, known = reading
    x0, y0 = data.draw(st.integers(-40, 640)), data.draw(st.integers(-40, 440))
    box = PixelBox(x0, y0, x0 + data.draw(st.integers(1, 99)), y0 + data.draw(st.integers(1, 99)))
    image, valid = mosaic.read(box)
    inside = box.intersection(mosaic.grid.box)
    if inside is None:
        assert not valid.any()
        return
    here = inside.shift(-box.x0, -box.y0).slices
    np.testing.assert_array_equal(image[here], whole[inside.slices])
    np.testing.assert_array_equal(valid[here], known[inside.slices])
    assert valid.sum() == known[inside.slices].sum()
    assert not image[~valid].any()


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    """A mosaic in web mercator of noise, and all of its pixels."""
    path = tmp_path_factory.mktemp("windows") / "noise.tif"
    bands = np.random.default_rng(1).integers(0, 256, (3, 600, 800), dtype=np.uint8)
    place = Affine(0.08, 0, 4_368_299.7, 0, -0.08, -676_544.1)
    write_raster(path, bands, place, "EPSG:3857")
    mosaic = Mosaic.open(path)
    image, valid = Mosaic.open(path).read(mosaic.grid.box)
    return mosaic, image, valid


def test_a_cropped_mosaic_has_the_same_pixels(tmp_path, reading):
    mosaic, whole, known = reading
    with rasterio.open(mosaic.path) as file:
        bands = file.read()[:, 130:560, 150:]
        place = file.transform @ Affine.translation(150, 130)
    crop = Mosaic.open(write_raster(tmp_path / "crop.tif", bands, place, "EPSG:3857"), step=7)
    corner = mosaic.grid.to_pixel(np.array([[crop.grid.transform.c, crop.grid.transform.f]]))[0]
    shift = np.rint(corner).astype(int)
    np.testing.assert_allclose(corner, shift, atol=1e-6)
    inner = PixelBox(20, 20, crop.grid.width - 20, crop.grid.height - 20)
    image, valid = crop.read(inner)
    there = inner.shift(*shift.tolist()).intersection(mosaic.grid.box)
    here = there.shift(*(-shift).tolist()).shift(-inner.x0, -inner.y0).slices
    both = valid[here] & known[there.slices]
    assert both.mean() > 0.9
    np.testing.assert_array_equal(image[here][both], whole[there.slices][both])


def test_crops_of_a_coarse_mosaic_are_shown_on_one_grid(tmp_path, reading):
    mosaic, _, _ = reading
    with rasterio.open(mosaic.path) as file:
        bands, place = file.read(), file.transform
    grids = []
    for rows in (600, 250):
        path = write_raster(tmp_path / f"{rows}.tif", bands[:, :rows], place, "EPSG:3857")
        grids.append(Mosaic.open(path, gsd=0.01, share=0.55).grid)
    assert grids[0].gsd == grids[1].gsd > 0.04
    corner = grids[0].to_pixel(np.array([[grids[1].transform.c, grids[1].transform.f]]))
    np.testing.assert_allclose(corner, np.rint(corner), atol=1e-6)


def test_a_pickled_mosaic_reads_the_same(plain):
    mosaic = Mosaic.open(plain)
    image, _ = mosaic.read(MIDDLE)
    again, _ = pickle.loads(pickle.dumps(mosaic)).read(MIDDLE)
    np.testing.assert_array_equal(image, again)


def test_overviews_are_read_where_the_mosaic_is_much_finer(tmp_path):
    transform = transform_of(0.05)
    path = write_raster(tmp_path / "o.tif", as_bytes(picture(transform, 600, 600)), transform)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4], rasterio.enums.Resampling.average)
    with Mosaic.open(path, gsd=0.4) as mosaic:
        assert mosaic._source.grid.gsd == pytest.approx(0.2)
        assert far_off(mosaic, PixelBox(10, 10, 60, 60)) <= 3


def test_no_block_needs_more_than_its_share_of_source_pixels(tmp_path, monkeypatch):
    transform = transform_of(0.05)
    path = write_raster(tmp_path / "m.tif", as_bytes(picture(transform, 520, 400)), transform)
    noted, opened = [], raster.opened
    monkeypatch.setattr(raster, "opened", lambda *how: Watched(opened(*how), noted))
    monkeypatch.setattr(raster, "MAX_SOURCE_SIDE", 128)
    with Mosaic.open(path) as mosaic:
        assert far_off(mosaic, MIDDLE) <= 1
        mosaic.read(mosaic.grid.box)
    assert len(noted) > 12
    margin = 7  # source pixels on each side: to interpolate, and to round
    assert 100**2 < max(noted) <= (128 + 2 * margin) ** 2


def test_what_is_written_is_read_back(tmp_path, plain):
    mosaic = Mosaic.open(plain)
    image, valid = mosaic.read(mosaic.grid.box)
    valid[:, :30] = False
    write_mosaic(tmp_path / "out.tif", image, mosaic.grid, valid)
    again = Mosaic.open(tmp_path / "out.tif")
    assert again.grid == mosaic.grid
    pixels, known = again.read(again.grid.box)
    np.testing.assert_array_equal(known, valid)
    np.testing.assert_array_equal(pixels[valid], image[valid])
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_file_without_crs_takes_the_one_that_is_named(tmp_path):
    bands = np.full((3, 30, 30), 99, np.uint8)
    path = write_raster(tmp_path / "m.tif", bands, transform_of(0.1), None)
    assert Mosaic.open(path, crs=UTM).grid.crs == UTM
    with pytest.raises(CrsError, match=r"`--crs` names no known.*EPSG:32737"):
        Mosaic.open(path, crs="EPSG:nonsense")
    with pytest.raises(CrsError, match=r"has no coordinate reference system.* `--crs`, which"):
        Mosaic.open(path)


@pytest.mark.parametrize("crs", [None, UTM])
def test_what_a_hint_says_of_a_crs_any_command_can_do(tmp_path, crs):
    place = Affine(1e-6, 0, 36.8, 0, -1e-6, -1.28)
    path = write_raster(tmp_path / "m.tif", np.full((3, 70, 90), 9, np.uint8), place, crs)
    with pytest.raises(BuildexError) as caught:
        Mosaic.open(path)
    told = re.search("`rio (edit-info .*?)`", caught.value.hint)[1]
    words = told.replace("CODE", "4326").replace("FILE", str(path)).split()
    assert CliRunner().invoke(main_group, words).exit_code == 0
    Mosaic.open(path).close()


def test_each_unusable_raster_is_told_in_one_line(tmp_path):
    grey = np.full((1, 30, 30), 99, np.uint8)
    write_raster(tmp_path / "grey.tif", grey, transform_of(0.1))
    write_raster(tmp_path / "nowhere.tif", np.full((3, 30, 30), 9, np.uint8), None, UTM)
    write_raster(tmp_path / "complex.tif", np.full((3, 30, 30), 9, np.complex64), transform_of(0.1))
    for west, name in ((179.9999, "east.tif"), (-180.0002, "west.tif")):
        degrees = Affine(1e-5, 0, west, 0, -1e-5, -17.0)
        write_raster(tmp_path / name, np.full((3, 30, 30), 9, np.uint8), degrees, "EPSG:4326")
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.tif").write_text("no raster")
    for name, message in {
        "grey.tif": "has 1 band, red, green and blue are needed; give an RGB mosaic",
        "nowhere.tif": "is not georeferenced: it has no geotransform; place it",
        "complex.tif": "holds complex numbers",
        "east.tif": "reaches across the 180th meridian in degrees; bring it to metres",
        "west.tif": "reaches across the 180th meridian",
        "empty.tif": "is empty: 0 bytes; copy",
        "text.tif": "is not a raster that GDAL can open",
        "none.tif": "no file",
    }.items():
        with pytest.raises(RasterError, match=message) as caught:
            Mosaic.open(tmp_path / name)
        assert name in str(caught.value)


def test_pixels_far_finer_than_the_mosaics_are_refused(plain):
    with pytest.raises(RasterError, match="asked for 1e-06 m; give finer pixels, or a coarser"):
        Mosaic.open(plain, gsd=1e-6)


@pytest.mark.parametrize("compress", ["deflate", "jpeg", "lzw", None])
def test_a_truncated_file_is_found_when_it_is_read(tmp_path, compress):
    bands = np.random.default_rng(0).integers(0, 256, (3, 256, 256), dtype=np.uint8)
    options = {} if compress is None else {"compress": compress}
    path = tmp_path / "short.tif"
    write_raster(
        path, bands, transform_of(0.1), tiled=True, blockxsize=64, blockysize=64, **options
    )
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])

    def read() -> None:
        with Mosaic.open(path) as mosaic:
            mosaic.read(mosaic.grid.box)

    with pytest.raises(RasterError, match=r"short.tif` .*cut short"):
        read()


def test_what_lies_elsewhere_is_not_called_damaged_for_a_broken_connection(tmp_path):
    path = tmp_path / "short.tif"
    write_raster(path, np.full((3, 256, 256), 9, np.uint8), transform_of(0.1))
    content = path.read_bytes()
    with (
        MemoryFile(content[: len(content) // 2], filename="short.tif") as far,
        Mosaic.open(far.name) as mosaic,
        pytest.raises(RasterError) as caught,
    ):
        mosaic.read(mosaic.grid.box)
    assert "connection broke" in caught.value.message
    assert "same command" in caught.value.hint


def test_a_mosaic_that_ends_at_the_180th_meridian_is_read(tmp_path):
    degrees = Affine(1e-5, 0, 180 - 30e-5, 0, -1e-5, -17.0)
    path = write_raster(tmp_path / "m.tif", np.full((3, 30, 30), 9, np.uint8), degrees, "EPSG:4326")
    with Mosaic.open(path, gsd=0.5) as mosaic:
        _, valid = mosaic.read(mosaic.grid.box)
    assert valid.mean() > 0.9


@pytest.mark.parametrize("east", [-40, -15, 10])
def test_bounds_in_degrees_may_lie_on_both_sides_of_the_180th_meridian(tmp_path, east):
    move = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32760", always_xy=True)
    edge, north = move.transform(180.0, -17.0)
    place = Affine(1, 0, edge + east, 0, -1, north)
    bands = np.full((3, 30, 30), 9, np.uint8)
    path = write_raster(tmp_path / "m.tif", bands, place, "EPSG:32760")
    west, south, end, top = source.valid_bounds(str(path))
    assert (end < west) == (east == -15)
    assert (end - west) % 360 == pytest.approx(30 / 111_320 / np.cos(np.radians(17)), rel=0.05)
    assert top - south == pytest.approx(30 / 110_600, rel=0.05)


def by_itself(do, *arguments):
    """Do something in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(do, *arguments).result()


@pytest.mark.parametrize(
    ("tiled", "said", "kept"), [(False, None, 15), (True, None, 1), (False, "3", 3)]
)
@pytest.mark.parametrize("how", [lambda do, *arguments: do(*arguments), by_itself])
def test_the_cache_holds_the_rows_of_strips_unless_it_is_set(
    tmp_path, monkeypatch, tiled, said, kept, how
):
    monkeypatch.setattr(raster, "CACHE_MB", 1)
    place = transform_of(0.05)
    options = {"tiled": True, "blockxsize": 256, "blockysize": 256} if tiled else {}
    path = tmp_path / "wide.tif"
    write_raster(path, np.full((3, 1500, 2000), 90, np.uint8), place, **options)
    if said is not None:
        monkeypatch.setenv("GDAL_CACHEMAX", said)
    with rasterio.Env(GDAL_CACHEMAX=3 * 2**20), Mosaic.open(path) as mosaic:
        with raster.small_cache():
            how(mosaic.read, MIDDLE)
            assert rasterio.env.get_gdal_config("GDAL_CACHEMAX") == kept * 2**20
        with raster.small_cache():
            assert rasterio.env.get_gdal_config("GDAL_CACHEMAX") == kept * 2**20
        mosaic.close()
        with raster.small_cache():
            assert rasterio.env.get_gdal_config("GDAL_CACHEMAX") == (3 if said else 1) * 2**20


def test_a_vrt_is_another_mosaic_when_what_it_is_made_of_changes(tmp_path, plain):
    vrt = tmp_path / "whole.vrt"
    rasterio.shutil.copy(plain, vrt, driver="VRT")
    with Mosaic.open(vrt) as mosaic:
        before = mosaic.identity
        (tmp_path / "plain.tif.aux.xml").write_text("<PAMDataset/>")
        assert mosaic.identity == before
    transform = transform_of(0.05)
    write_raster(plain, as_bytes(picture(transform, 520, 400))[::-1], transform, compress="lzw")
    with Mosaic.open(vrt) as mosaic:
        assert mosaic.identity != before


def test_metres_that_are_called_degrees_are_told(tmp_path):
    path = tmp_path / "metres.tif"
    write_raster(path, np.full((3, 70, 90), 9, np.uint8), transform_of(0.1), None)
    for look in (Mosaic.open, source.valid_bounds):
        with pytest.raises(CrsError, match="is no place on the Earth"):
            look(str(path), crs="EPSG:4326")


def test_a_raw_image_of_a_satellite_is_told_how_it_comes_to_its_place(tmp_path):
    write_raster(tmp_path / "rpc.tif", np.full((3, 30, 30), 9, np.uint8), None, None)
    terms = [1.0] + [0.0] * 19
    with rasterio.open(tmp_path / "rpc.tif", "r+") as file:
        file.rpcs = RPC(100, 50, -6, 0.1, terms, terms, 15, 15, 39, 0.1, terms, terms, 15, 15)
    with pytest.raises(RasterError, match="it has no geotransform; warp it by its RPCs"):
        Mosaic.open(tmp_path / "rpc.tif")


def test_degrees_that_are_called_metres_are_told(tmp_path):
    place = Affine(1e-6, 0, 36.8, 0, -1e-6, -1.28)
    path = write_raster(tmp_path / "degrees.tif", np.full((3, 70, 90), 9, np.uint8), place)
    with pytest.raises(RasterError, match="look like degrees"):
        Mosaic.open(path)


@pytest.mark.parametrize(("west", "there"), [(20_037_400.0, True), (20_037_463.0, False)])
def test_a_mosaic_beyond_the_edge_of_web_mercator_is_told(tmp_path, west, there):
    place = Affine(0.1, 0, west, 0, -0.1, -1_900_000.0)
    bands = np.full((3, 70, 900), 9, np.uint8)
    path = write_raster(tmp_path / "fiji.tif", bands, place, crs="EPSG:3857")
    if there:
        Mosaic.open(path).close()
        return
    with pytest.raises(RasterError, match="180th meridian"):
        Mosaic.open(path)

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize

from buildex.errors import BuildexError, ConfigError, VectorError
from buildex.geo.footprints import Footprints, object_array
from buildex.io.vector import read_area, read_footprints, write_footprints
from buildex.scoring import (
    Scene,
    SceneFiles,
    ScoreConfig,
    compare,
    compare_scenes,
    score,
    score_scenes,
)
from buildex.scoring.reading import read_scene

UTM = "EPSG:32645"  # Banepa, Nepal: web-mercator metres are 13 % too long there
EAST, NORTH = 345_000.0, 3_057_000.0
SCENES = Path(__file__).parents[2] / "shared" / "data"
COARSE = ScoreConfig(gsd=0.5, bootstrap=0)
AREA = shapely.box(EAST, NORTH, EAST + 200, NORTH + 150)


def boxes(*corners: tuple[float, float, float, float]) -> np.ndarray:
    """Rectangles x0, y0, x1, y1 in metres from the corner of the test's area."""
    here = [shapely.box(EAST + a, NORTH + b, EAST + c, NORTH + d) for a, b, c, d in corners]
    return np.array(here, dtype=object)


def compared(predictions: np.ndarray, truth: np.ndarray, config: ScoreConfig = COARSE):
    return compare(Scene(predictions, truth, AREA, UTM), config)


def write(path: Path, polygons: np.ndarray, crs: str = UTM) -> Path:
    layer = Footprints(polygons, UTM)
    write_footprints(path, layer)
    if crs != UTM:
        moved, _ = read_footprints(path, target_crs=crs)
        write_footprints(path, moved, overwrite=True)
    return path


TRUTH = boxes((10, 10, 20, 20), (30, 10, 50, 25), (100, 100, 112, 108))
SHIFTED = boxes((11, 10, 21, 20), (30, 11, 50, 26), (60, 60, 65, 65))


def test_truth_against_itself_is_perfect():
    report = compared(TRUTH, TRUTH)
    figures = report.figures
    for name in ("pixel_iou", "pixel_iou_tiles", "pixel_iou_classes", "ssim", "f1_50", "c_iou"):
        assert figures[name] == pytest.approx(1)
    assert figures["polis_m"] == 0
    assert figures["overlap_m2"] == 0
    assert (figures["tp_50"], figures["fp_50"], figures["fn_50"]) == (3, 0, 0)
    assert figures["square_true"] == figures["square_predicted"] == 1


def test_a_scene_worked_by_hand():
    figures = compared(SHIFTED, TRUTH).figures
    assert (figures["tp_50"], figures["fp_50"], figures["fn_50"]) == (2, 1, 1)
    assert figures["f1_50"] == pytest.approx(4 / 6)
    assert figures["matched_iou_50"] == pytest.approx((90 / 110 + 280 / 320) / 2)
    assert figures["polis_m"] == pytest.approx(0.5)
    published = compared(SHIFTED, TRUTH, ScoreConfig(gsd=0.5, block=300, as_published=True)).figures
    assert published["polis_published_m"] == pytest.approx(0.4)
    tp, fp, fn = 90 + 280, 10 + 20 + 25, 10 + 20 + 96
    assert figures["pixel_iou"] == pytest.approx(tp / (tp + fp + fn))
    assert figures["pixel_precision"] == pytest.approx(tp / (tp + fp))
    assert figures["pixel_recall"] == pytest.approx(tp / (tp + fn))
    ground = 200 * 150 - tp - fp - fn
    classes = (tp / (tp + fp + fn) + ground / (ground + fp + fn)) / 2
    assert figures["pixel_iou_classes"] == pytest.approx(classes)


def test_overlaps_between_predictions_are_measured_in_square_metres():
    doubled = np.concatenate([TRUTH, boxes((15, 10, 25, 20))])
    figures = compared(doubled, TRUTH).figures
    assert figures["overlap_m2"] == pytest.approx(50)
    assert figures["fp_50"] == 1


def test_an_area_without_truth_counts_its_false_positives():
    figures = compared(SHIFTED, boxes()).figures
    assert (figures["fp_50"], figures["f1_50"], figures["precision_50"]) == (3, 0, 0)
    assert (figures["pixel_iou"], figures["pixel_iou_tiles"]) == (0, 0)
    assert math.isnan(figures["recall_50"])
    assert math.isnan(figures["polis_m"])


def test_no_prediction_misses_everything():
    figures = compared(boxes(), TRUTH).figures
    assert (figures["fn_50"], figures["f1_50"], figures["recall_50"]) == (3, 0, 0)
    assert math.isnan(figures["precision_50"])
    assert math.isnan(figures["vertex_ratio"])


def test_nothing_in_both_layers_leaves_only_ground():
    figures = compared(boxes(), boxes()).figures
    assert math.isnan(figures["f1_50"])
    assert math.isnan(figures["pixel_iou"])
    assert figures["pixel_iou_classes"] == 1
    assert figures["ssim"] == pytest.approx(1)


def test_only_what_lies_in_the_area_counts():
    outside = boxes((300, 10, 320, 20))
    with_more = compared(np.concatenate([SHIFTED, outside]), np.concatenate([TRUTH, outside]))
    assert with_more.figures == pytest.approx(compared(SHIFTED, TRUTH).figures, nan_ok=True)


def test_a_building_that_the_edge_cuts_counts_with_pixels_but_not_with_its_outline():
    cut_truth = np.concatenate([TRUTH, boxes((185, 10, 210, 20))])
    cut_found = np.concatenate([TRUTH, boxes((185, 10, 200, 20))])  # the mosaic ends there
    figures = compared(cut_found, cut_truth).figures
    assert figures["tp_50"] == 4
    assert figures["pixel_iou"] == 1
    assert figures["polis_m"] == 0
    assert figures["vertices_true"] == 4


def test_outlines_are_compared_whole_where_the_edge_cuts_the_prediction():
    # A true building that touches the edge, and a prediction that runs 2 m over it.
    true, found = boxes((180, 10, 200, 20)), boxes((180, 10, 202, 20))
    config = ScoreConfig(gsd=0.5, bootstrap=0, boundary=1.0)
    figures = compared(
        np.concatenate([TRUTH, found]), np.concatenate([TRUTH, true]), config
    ).figures
    assert figures["matched_iou_50"] == 1  # of what lies in the area
    assert figures["c_iou"] == pytest.approx((3 + 200 / 220) / 4)
    shared = 2 * 20 + 8  # of bands of 1 m: three walls
    band = shared / ((2 * 20 + 2 * 8) + (2 * 22 + 2 * 8) - shared)
    assert figures["boundary_iou"] == pytest.approx((3 + band) / 4)


def test_tiles_weigh_as_much_as_the_area_leaves_of_them():
    # 50 m tiles lie at multiples of 50 m; the area leaves one whole and a tenth of another.
    x0 = np.ceil(EAST / 50) * 50
    y0 = np.ceil(NORTH / 50) * 50
    area = shapely.box(x0, y0, x0 + 55, y0 + 50)
    truth = np.array([shapely.box(x0, y0, x0 + 10, y0 + 10)], dtype=object)
    stray = np.array([shapely.box(x0 + 51, y0, x0 + 54, y0 + 3)], dtype=object)
    config = ScoreConfig(gsd=0.5, block=50)
    report = compare(Scene(np.concatenate([truth, stray]), truth, area, UTM), config)
    assert report.figures["pixel_iou_tiles"] == pytest.approx((1 * 1 + 0 * 0.1) / 1.1)


@given(st.integers(0, 31), st.integers(0, 31), st.sampled_from([10.0, 51.2, 300.0]))
@settings(max_examples=15, deadline=None)
def test_blocks_do_not_change_pooled_pixels(x, y, block):
    # No edge runs through the centre of a pixel, where either answer would be right.
    shift = 0.003 + 0.031 * np.array([x, y])
    moved = shapely.transform(SHIFTED, lambda points: points + shift)
    pixels = compared(moved, TRUTH, ScoreConfig(gsd=0.5, block=block, bootstrap=0)).figures
    whole = Affine(0.5, 0, EAST, 0, -0.5, NORTH + 150)
    p, t = (
        rasterize(layer, out_shape=(300, 400), transform=whole).astype(bool)
        for layer in (moved, TRUTH)
    )
    assert pixels["pixel_iou"] == pytest.approx((p & t).sum() / (p | t).sum())


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32644", UTM])
def test_the_files_systems_do_not_change_the_figures(tmp_path, crs):
    predictions = write(tmp_path / "predictions.gpkg", SHIFTED, crs)
    truth = write(tmp_path / "truth.gpkg", TRUTH, crs)
    aoi = write(tmp_path / "aoi.gpkg", np.array([AREA]), crs)
    report = score(predictions, truth, COARSE, aoi=aoi)
    assert report.pooled.crs == UTM
    assert report.pooled.area == pytest.approx(200 * 150, rel=1e-3)
    for name, value in compared(SHIFTED, TRUTH).figures.items():
        if name == "mta_deg":  # a corner is as near to one edge here as to the next
            continue
        assert report.figures[name] == pytest.approx(value, abs=1e-3, nan_ok=True), name


@pytest.mark.parametrize("drawn_in", ["EPSG:32760", "EPSG:4326"])
def test_an_area_on_the_antimeridian_is_measured_where_it_lies(tmp_path, drawn_in):
    def there(polygons: np.ndarray) -> np.ndarray:  # Taveuni, Fiji: 180 degrees cuts a house
        return shapely.transform(polygons, lambda p: p - (EAST, NORTH) + (819_770, 8_140_000))

    paths = []
    for name, polygons in (("p", SHIFTED), ("t", TRUTH), ("aoi", np.array([AREA]))):
        layer = Footprints(there(polygons), "EPSG:32760")
        write_footprints(tmp_path / f"{name}.gpkg", layer)
        layer, _ = read_footprints(tmp_path / f"{name}.gpkg", target_crs=drawn_in)
        write_footprints(tmp_path / f"{name}.gpkg", layer, overwrite=True)
        paths.append(tmp_path / f"{name}.gpkg")
    for aoi in (None, paths[2]):
        report = score(paths[0], paths[1], COARSE, aoi=aoi)
        assert report.pooled.crs in ("EPSG:32760", "EPSG:32701")
        assert report.figures["tp_50"] == 2
        assert report.figures["offset_east_m"] == pytest.approx(0.5, abs=0.05)


def test_without_an_area_the_box_around_all_layers_is_scored(tmp_path):
    predictions = write(tmp_path / "predictions.gpkg", SHIFTED)
    truth = write(tmp_path / "truth.gpkg", TRUTH)
    report = score(predictions, truth, COARSE)
    assert report.pooled.area == pytest.approx(102 * 98)
    assert report.figures["tp_50"] == 2
    wider = write(tmp_path / "wider.gpkg", boxes((0, 10, 10, 20)))
    read = read_scene(SceneFiles(predictions=predictions, truth=truth, compare=wider), COARSE)
    assert [side.area.area for side in read.sides] == pytest.approx([112 * 98] * 2)


def test_layers_of_two_places_need_an_area(tmp_path):
    found, real = write(tmp_path / "p.gpkg", SHIFTED), tmp_path / "t.gpkg"
    write(real, shapely.transform(TRUTH, lambda points: points + np.array([9000, 0])))
    with pytest.raises(VectorError, match=r"p.gpkg` lies 8,9\d\d m from `.*t.gpkg`") as caught:
        score(found, real, COARSE)
    assert "--aoi" in caught.value.hint
    aoi = write(tmp_path / "aoi.gpkg", np.array([AREA], dtype=object))
    assert score(found, real, COARSE, aoi=aoi).figures["fp_50"] == 3


def test_the_second_of_two_predictions_has_to_be_of_the_place_too(tmp_path):
    found, truth = write(tmp_path / "p.gpkg", SHIFTED), write(tmp_path / "t.gpkg", TRUTH)
    far = shapely.transform(SHIFTED, lambda points: points + np.array([9000, 0]))
    other = write(tmp_path / "far.gpkg", far)
    with pytest.raises(VectorError, match=r"far.gpkg` lies 8,8\d\d m from"):
        compare_scenes([SceneFiles(predictions=found, compare=other, truth=truth)], COARSE)


def test_one_building_far_off_does_not_make_a_country_the_area(tmp_path):
    found = write(tmp_path / "p.gpkg", SHIFTED)
    stray = write(tmp_path / "t.gpkg", np.concatenate([TRUTH, boxes((6e4, 6e4, 60010, 60010))]))
    with pytest.raises(VectorError, match=r"span 3,60. km2, of which 2 hold buildings") as caught:
        score(found, stray, COARSE)
    assert caught.value.hint.startswith("say with `--aoi FILE` where to look")


def test_an_empty_layer_is_an_answer_and_two_need_an_area(tmp_path):
    empty = write(tmp_path / "empty.gpkg", boxes())
    truth = write(tmp_path / "truth.gpkg", TRUTH)
    aoi = write(tmp_path / "aoi.gpkg", np.array([AREA]))
    assert score(empty, truth, COARSE, aoi=aoi).figures["fn_50"] == 3
    assert score(truth, empty, COARSE, aoi=aoi).figures["fp_50"] == 3
    assert math.isnan(score(empty, empty, COARSE, aoi=aoi).figures["f1_50"])
    with pytest.raises(VectorError, match="no buildings in"):
        score(empty, empty, COARSE)


def test_invalid_predictions_are_counted_and_repaired(tmp_path):
    bowtie = [(EAST + a, NORTH + b) for a, b in ((10, 10), (20, 20), (20, 10), (10, 20))]
    broken = np.append(TRUTH[1:], [shapely.Polygon(bowtie)])
    predictions = write(tmp_path / "predictions.gpkg", broken)
    truth = write(tmp_path / "truth.gpkg", TRUTH)
    report = score(predictions, truth, COARSE)
    assert report.figures["invalid"] == 1
    assert report.figures["tp_50"] == 2


def test_invalid_predictions_count_only_inside_the_area(tmp_path):
    bowtie = [(EAST + a, NORTH + b) for a, b in ((10, 10), (20, 20), (20, 10), (10, 20))]
    far = [(x + 500, y) for x, y in bowtie]
    flat = [(EAST + 40, NORTH + 40), (EAST + 50, NORTH + 50), (EAST + 40, NORTH + 40)]
    wrong = object_array([shapely.Polygon(ring) for ring in (bowtie, far, flat)])
    found = write(tmp_path / "found.gpkg", np.concatenate([TRUTH[1:], wrong, [None]]))
    truth = write(tmp_path / "truth.gpkg", TRUTH)
    whole = write(tmp_path / "whole.gpkg", np.array([AREA]))
    west = write(tmp_path / "west.gpkg", boxes((0, 0, 30, 150)))
    for aoi, crs, count in ((whole, UTM, 2), (west, UTM, 1), (whole, "EPSG:4326", 2)):
        moved = tmp_path / f"{aoi.stem}{count}{crs[-4:]}.gpkg"
        frame = pyogrio.read_dataframe(found).to_crs(crs)
        pyogrio.write_dataframe(frame, moved)
        assert score(moved, truth, COARSE, aoi=aoi).figures["invalid"] == count


def test_an_area_elsewhere_is_an_error(tmp_path):
    truth = write(tmp_path / "truth.gpkg", TRUTH)
    aoi = write(tmp_path / "aoi.gpkg", boxes((5000, 5000, 5100, 5100)))
    with pytest.raises(VectorError, match="lies in") as error:
        score(truth, truth, COARSE, aoi=aoi)
    assert "coordinate systems" in error.value.hint


def test_an_area_that_all_labels_miss_is_scored_and_told(tmp_path):
    found = write(tmp_path / "found.gpkg", boxes((5010, 5010, 5020, 5020)))
    truth = write(tmp_path / "truth.gpkg", TRUTH)
    aoi = write(tmp_path / "aoi.gpkg", boxes((5000, 5000, 5100, 5100)))
    report = score(found, truth, COARSE, aoi=aoi)
    assert report.figures["precision_50"] == 0
    assert f"found: none of {len(TRUTH)} true buildings lies in the area" in report.text()
    assert report.as_dict()["true_buildings_outside"] == len(TRUTH)
    assert "none of" not in score(truth, truth, COARSE).text()


def test_empty_ground_where_nothing_was_predicted_is_scored_and_told(tmp_path):
    empty, truth = write(tmp_path / "e.gpkg", boxes()), write(tmp_path / "t.gpkg", TRUTH)
    aoi = write(tmp_path / "aoi.gpkg", boxes((5000, 5000, 5100, 5100)))
    ground = SceneFiles(name="ground", predictions=empty, truth=truth, aoi=aoi)
    town = scene_of(tmp_path, "town", SHIFTED, TRUTH)
    report = score_scenes([ground, town], COARSE)
    assert report.figures["tp_50"] == 2
    assert math.isnan(report.scenes[0].figures["f1_50"])
    doubt = f"ground: none of {len(TRUTH)} true buildings lies in the area"
    assert f"{doubt}: check the files if that is not meant" in report.text().splitlines()


def test_comparing_tells_where_all_labels_miss_an_area(tmp_path):
    empty, found = write(tmp_path / "e.gpkg", boxes()), boxes((5010, 5010, 5020, 5020))
    aoi = write(tmp_path / "aoi.gpkg", boxes((5000, 5000, 5100, 5100)))
    town = scene_of(tmp_path, "town", SHIFTED, TRUTH)
    ground = replace(town, name="ground", predictions=empty, aoi=aoi)
    doubt = f"ground: none of {len(TRUTH)} true buildings lies in the area"
    for second, judged in (
        (empty, ""),
        (write(tmp_path / "f.gpkg", found), ", so all that is predicted there counts as false"),
    ):
        pairs = [replace(ground, compare=second), replace(town, compare=town.predictions)]
        report = compare_scenes(pairs, COARSE)
        assert report.notes == (f"{doubt}{judged}: check the files if that is not meant",)


def test_files_that_cannot_be_used_are_errors_of_one_line(tmp_path):
    truth = write(tmp_path / "truth.gpkg", TRUTH)
    points = tmp_path / "points.geojson"
    feature = {
        "type": "Feature",
        "properties": {},
        "geometry": {"type": "Point", "coordinates": [85.4, 27.6]},
    }
    points.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    for bad in (tmp_path / "missing.gpkg", points):
        with pytest.raises(BuildexError) as error:
            score(bad, truth, COARSE)
        assert bad.name in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gsd": 0.0}, "`gsd` is 0"),
        ({"gsd": math.nan}, "`gsd` is nan"),
        ({"iou": (0.0,)}, "`iou` is 0"),
        ({"iou": (0.5, 1.5)}, "`iou` is 1.5"),
        ({"block": 0.3}, "`block` is 0.3 m, 3 pixels"),
        ({"fail_under": {"f1_75": 0.5}}, "no figure `f1_75`"),
        ({"fail_under": {"polis_m": 0.5}}, "better the lower"),
        ({"iou": ()}, "`iou` is empty"),
        ({"boundary": 0.0}, "`boundary` is 0"),
        ({"sizes": (50.0,)}, "`sizes` is 50"),
        ({"sizes": (90.0, 10.0)}, "`sizes` is 90, 10"),
        ({"bootstrap": -1}, "`bootstrap` is -1"),
    ],
)
def test_settings_that_make_no_sense_are_errors(wrong, message):
    with pytest.raises(ConfigError, match=message):
        ScoreConfig(**wrong)


def test_figures_carry_the_iou_that_they_were_paired_at():
    config = ScoreConfig(gsd=0.5, iou=(0.85,), fail_under={"f1_85": 0.9, "pixel_iou": 0.1})
    report = compared(SHIFTED, TRUTH, config)
    assert report.figures["tp_85"] == 1
    assert report.failures == ["f1_85 is 0.3333, below 0.9"]


def test_what_could_not_be_measured_reaches_no_limit():
    config = ScoreConfig(gsd=0.5, fail_under={"recall_50": 0.0})
    assert compared(SHIFTED, boxes(), config).failures == ["recall_50 is nan, below 0"]


def test_text_and_json_say_the_same():
    report = compared(SHIFTED, boxes())
    table, data = report.text(), json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert data["figures"]["recall_50"] is None
    assert data["figures"]["fp_50"] == 3
    assert list(data["figures"]) == COARSE.figure_names
    assert "3 predicted and 0 true buildings in 30,000 m2 (EPSG:32645)" in table
    assert len([line for line in table.splitlines() if line.startswith("  ")]) == len(
        data["figures"]
    )


@pytest.fixture(scope="module")
def zanzibar() -> Path:
    folder = SCENES / "val" / "zanzibar-val"
    if not folder.exists():
        pytest.skip(f"no scenes in {SCENES}")
    return folder


def test_real_truth_against_itself_is_perfect(zanzibar):
    truth = zanzibar / "buildings.geojson"
    figures = score(truth, truth, COARSE, aoi=zanzibar / "aoi.geojson").figures
    assert figures["f1_50"] == figures["pixel_iou"] == 1
    assert figures["tp_50"] == 74  # 80 less six fragments at the area's edge
    assert figures["ssim"] == pytest.approx(1)


def test_openstreetmap_and_geojson_of_a_scene_are_the_same_buildings(zanzibar):
    osm, truth = zanzibar / "buildings.osm.pbf", zanzibar / "buildings.geojson"
    figures = score(osm, truth, COARSE, aoi=zanzibar / "aoi.geojson").figures
    assert figures["f1_50"] == 1
    assert figures["matched_iou_50"] == pytest.approx(1, abs=1e-3)
    assert figures["polis_m"] == pytest.approx(0, abs=1e-2)


def test_a_real_shift_is_measured_in_ground_metres(zanzibar):
    truth, _ = read_footprints(zanzibar / "buildings.geojson", target_crs="EPSG:32737")
    area = read_area(zanzibar / "aoi.geojson", "EPSG:32737")
    moved = shapely.transform(truth.polygons, lambda points: points + np.array([0.3, 0.4]))
    figures = compare(Scene(moved, truth.polygons, area, "EPSG:32737"), COARSE).figures
    assert 0.2 < figures["polis_m"] < 0.5
    assert figures["f1_50"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_pixel_figures_are_those_of_torchmetrics(seed):
    torch = pytest.importorskip("torch")
    classification = pytest.importorskip("torchmetrics.classification")
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 130, (2, 15, 2))
    layers = [boxes(*((x, y, x + 17, y + 12) for x, y in side.tolist())) for side in corners]
    figures = compared(layers[0], layers[1]).figures
    whole = Affine(0.5, 0, EAST, 0, -0.5, NORTH + 150)
    masks = [
        torch.tensor(rasterize(layer, out_shape=(300, 400), transform=whole)) for layer in layers
    ]
    for name, metric in (
        ("pixel_iou", classification.BinaryJaccardIndex()),
        ("pixel_f1", classification.BinaryF1Score()),
        ("pixel_precision", classification.BinaryPrecision()),
        ("pixel_recall", classification.BinaryRecall()),
        ("pixel_iou_classes", classification.MulticlassJaccardIndex(2)),
    ):
        assert figures[name] == pytest.approx(float(metric(*masks)), abs=1e-6), name


def test_outlines_of_a_scene_worked_by_hand():
    # Two pairs: one a metre east of its truth, one a metre north; a third prediction is stray.
    figures = compared(SHIFTED, TRUTH).figures
    assert figures["hausdorff_m"] == pytest.approx(1, abs=2e-3)
    assert figures["offset_m"] == pytest.approx(1)
    assert figures["offset_east_m"] == figures["offset_north_m"] == pytest.approx(0.5)
    assert figures["n_ratio"] == 1
    assert figures["c_iou"] == pytest.approx((90 / 110 + 280 / 320) / 2)
    assert figures["ap50"] == pytest.approx(2 / 3 * 67 / 101)  # no scores: one point, recall 2/3
    assert figures["ar"] == pytest.approx((7 + 8) / 10 / 3)  # IoU .818 and .875 of three
    assert figures["unlabelled"] == 1


def test_boundary_iou_of_a_scene_by_hand():
    config = ScoreConfig(gsd=0.5, boundary=1.0, bootstrap=0)
    square = boxes((10, 10, 20, 20))
    figures = compared(boxes((11, 10, 21, 20)), square, config).figures
    assert figures["boundary_iou"] == pytest.approx(18 / 54)
    # Bands of two pixels: 20 x 20 - 16 x 16 pixels each, both long strips shared.
    assert figures["pixel_boundary_iou"] == pytest.approx(18 / 54)


def test_pairs_are_counted_at_every_iou_that_is_asked_for():
    config = ScoreConfig(gsd=0.5, iou=(0.5, 0.85, 0.9), bootstrap=0)
    figures = compared(SHIFTED, TRUTH, config).figures
    assert [figures[f"tp_{k}"] for k in (50, 85, 90)] == [2, 1, 0]
    assert [figures[f"fp_{k}"] for k in (50, 85, 90)] == [1, 2, 3]
    assert math.isnan(figures["matched_iou_90"])


def test_buildings_are_parted_by_area_in_square_metres():
    config = ScoreConfig(gsd=0.5, sizes=(97.0, 200.0), bootstrap=0)
    figures = compared(TRUTH, TRUTH, config).figures  # 100, 300 and 96 m2
    assert (figures["ap_small"], figures["ap_medium"], figures["ap_large"]) == pytest.approx(
        (1, 1, 1)
    )
    missed = compared(TRUTH[:2], TRUTH, config).figures
    assert (missed["ar_small"], missed["ar_medium"]) == (0, 1)


def test_scores_rank_the_predictions_of_a_file(tmp_path):
    truth = write(tmp_path / "truth.gpkg", TRUTH)
    for name, scores, precision in (
        ("good", [0.9, 0.8, 0.1], 1.0),
        ("bad", [0.2, 0.3, 0.9], 2 / 3),
    ):
        path = tmp_path / f"{name}.gpkg"
        write_footprints(path, Footprints(SHIFTED, UTM, {"score": np.array(scores)}))
        figures = score(path, truth, COARSE).figures
        assert figures["ap50"] == pytest.approx(precision * 67 / 101)


def test_a_column_that_cannot_rank_is_an_error(tmp_path):
    truth = write(tmp_path / "truth.gpkg", TRUTH)
    named = tmp_path / "named.gpkg"
    columns = {"name": np.array(["a", "b", "c"], dtype=object)}
    write_footprints(named, Footprints(SHIFTED, UTM, columns))
    with pytest.raises(VectorError, match="no column `confidence`"):
        score(named, truth, ScoreConfig(score_field="confidence"))
    with pytest.raises(VectorError, match="holds no numbers"):
        score(named, truth, ScoreConfig(score_field="name"))


OFFSETS = st.tuples(*[st.floats(-1.5, 1.5)] * 2)


@given(OFFSETS, st.lists(st.booleans(), min_size=3, max_size=3))
@settings(max_examples=25, deadline=None)
def test_figures_keep_within_their_bounds(shift, kept):
    moved = shapely.transform(TRUTH, lambda points: points + np.array(shift))
    report = compared(moved[np.array(kept)], TRUTH, ScoreConfig(gsd=1.0, bootstrap=0, iou=(0.1,)))
    for figure in report.config.figures:
        value = report.figures[figure.name]
        if figure.better == 1 and not figure.unit and not math.isnan(value):
            assert -1e-12 <= value <= 1 + 1e-12, figure.name
        if figure.better == -1 and not math.isnan(value):
            assert value >= 0, figure.name


@given(OFFSETS)
@settings(max_examples=15, deadline=None)
def test_what_is_symmetric_stays_when_the_layers_change_places(shift):
    moved = shapely.transform(TRUTH, lambda points: points + np.array(shift))
    config = ScoreConfig(gsd=1.0, bootstrap=0)
    forth, back = (
        compared(moved, TRUTH[:2], config).figures,
        compared(TRUTH[:2], moved, config).figures,
    )
    for name in ("pixel_iou", "pixel_iou_tiles", "pixel_iou_classes", "pixel_f1", "ssim", "f1_50",
                 "pixel_boundary_iou", "boundary_iou", "c_iou", "c_iou_tiles", "polis_m",
                 "offset_m", "matched_iou_50"):  # fmt: skip
        assert back[name] == pytest.approx(forth[name], nan_ok=True), name
    assert back["hausdorff_m"] == pytest.approx(forth["hausdorff_m"], abs=2e-3, nan_ok=True)
    assert back["precision_50"] == pytest.approx(forth["recall_50"])
    assert back["offset_east_m"] == pytest.approx(-forth["offset_east_m"], abs=1e-6, nan_ok=True)


@given(st.integers(0, 5), st.booleans(), st.permutations(range(3)))
@settings(max_examples=15, deadline=None)
def test_order_of_points_and_of_buildings_changes_nothing(start, backwards, order):
    def redrawn(polygon: shapely.Polygon) -> shapely.Polygon:
        ring = np.roll(shapely.get_coordinates(polygon)[:-1], start, axis=0)
        return shapely.Polygon(ring[::-1] if backwards else ring)

    moved = shapely.transform(SHIFTED, lambda points: points + np.array([0.2, 0.3]))
    again = np.array([redrawn(moved[k]) for k in order], dtype=object)
    first, second = compared(moved, TRUTH).figures, compared(again, TRUTH).figures
    assert second == pytest.approx(first, abs=2e-3, nan_ok=True)


def test_a_prediction_without_a_score_comes_last_and_has_none(tmp_path):
    truth = write(tmp_path / "truth.gpkg", TRUTH)
    path, layers = tmp_path / "some.gpkg", tmp_path / "layers.gpkg"
    found = np.array([0.9, 0.8, np.nan])
    write_footprints(path, Footprints(SHIFTED, UTM, {"score": found}))
    config = ScoreConfig(gsd=0.5, bootstrap=0, incomplete_truth=True)
    files = SceneFiles(name="town", predictions=path, truth=truth)
    report = score_scenes([files], config, layers=layers)
    assert [c.score for c in report.candidates] == [None]
    json.dumps(report.as_dict(), allow_nan=False)
    assert "inf" not in report.text()
    false = pyogrio.read_dataframe(layers, layer="false")
    assert false["score"].isna().all()


def test_an_incomplete_truth_leaves_only_fair_figures():
    config = ScoreConfig(gsd=0.5, bootstrap=0, incomplete_truth=True)
    report = compared(SHIFTED, TRUTH, config)
    names = set(report.figures)
    assert {"recall_50", "pixel_recall", "polis_m", "ar", "matched_iou_50"} <= names
    assert not {"precision_50", "f1_50", "fp_50", "pixel_iou", "ap", "ssim", "n_ratio"} & names
    with pytest.raises(ConfigError, match="names no figure `f1_50`"):
        ScoreConfig(incomplete_truth=True, fail_under={"f1_50": 0.5})


def test_fair_figures_do_not_mind_a_find_that_nobody_drew():
    config = ScoreConfig(gsd=0.5, bootstrap=0, incomplete_truth=True)
    extra = np.concatenate([SHIFTED, boxes((150, 100, 162, 110))])
    without, found = compared(SHIFTED, TRUTH, config), compared(extra, TRUTH, config)
    for name in ("recall_50", "pixel_recall", "polis_m", "c_iou", "matched_iou_50", "ar", "tp_50"):
        assert found.figures[name] == pytest.approx(without.figures[name]), name
    assert len(found.candidates) == len(without.candidates) + 1


def test_candidates_to_map_say_where_they_are():
    config = ScoreConfig(gsd=0.5, bootstrap=0, incomplete_truth=True)
    scores = np.array([0.9, 0.8, 0.7])
    report = compare(Scene(SHIFTED, TRUTH, AREA, UTM, scores, name="town"), config)
    (only,) = report.candidates
    assert (only.scene, only.area_m2, only.score) == ("town", 25, 0.7)
    east, north = pyproj.Transformer.from_crs("EPSG:4326", UTM, always_xy=True).transform(
        only.longitude, only.latitude
    )
    assert SHIFTED[2].contains(shapely.Point(east, north))
    assert "1 predictions without a label: candidates to map" in report.text()
    assert report.as_dict()["candidates"][0]["score"] == 0.7


def scene_of(tmp_path: Path, name: str, found: np.ndarray, real: np.ndarray, **more) -> SceneFiles:
    return SceneFiles(
        name=name,
        predictions=write(tmp_path / f"{name}.gpkg", found),
        truth=write(tmp_path / f"{name}_truth.gpkg", real),
        aoi=write(tmp_path / f"{name}_aoi.gpkg", np.array([AREA])),
        **more,
    )


def test_scenes_are_scored_each_and_together(tmp_path):
    scenes = [
        scene_of(tmp_path, "north", SHIFTED, TRUTH), scene_of(tmp_path, "south", TRUTH, TRUTH[:2])
    ]  # fmt: skip
    report = score_scenes(scenes, COARSE)
    north, south = (
        compared(SHIFTED, TRUTH).figures, compared(TRUTH, TRUTH[:2]).figures
    )  # fmt: skip
    for scene, known in zip(report.scenes, (north, south), strict=True):
        assert scene.figures["f1_50"] == pytest.approx(known["f1_50"])
    assert report.figures["tp_50"] == north["tp_50"] + south["tp_50"] == 4
    assert report.figures["f1_50"] == pytest.approx(8 / (8 + 2 + 1))
    assert report.figures["polis_m"] == pytest.approx((0.5 * 2 + 0 * 2) / 4, abs=1e-3)
    rows = [line.split() for line in report.text().split("each scene\n")[1].splitlines()]
    assert rows[0][:2] == ["true", "predicted"]
    assert [row[:3] for row in rows[1:3]] == [["north", "3", "3"], ["south", "2", "3"]]
    assert set(report.as_dict()["scenes"]) == {"north", "south"}
    assert report.csv().count("\n") == 3 * len(COARSE.figures)


def test_scenes_in_two_zones_pool_and_their_layers_meet_in_degrees(tmp_path):
    one = scene_of(tmp_path, "one", TRUTH, TRUTH)
    west = shapely.transform(TRUTH, lambda points: points + np.array([0, 0]))
    path = tmp_path / "west.gpkg"
    write_footprints(path, Footprints(west, "EPSG:32644"))  # the same numbers, another zone
    two = SceneFiles(name="two", predictions=path, truth=path)
    layers = tmp_path / "errors.gpkg"
    report = score_scenes([one, two], COARSE, layers=layers)
    assert report.pooled.crs == "EPSG:32645, EPSG:32644"
    assert report.figures["tp_50"] == 6
    matched, _ = read_footprints(f"{layers}|layername=matched")
    assert matched.crs == "EPSG:4326"
    assert len(matched) == 6


def test_intervals_hold_the_figure_and_narrow_with_more_ground():
    rng = np.random.default_rng(0)

    def town(side: int) -> Scene:
        x, y = (axis.ravel() * 20.0 + 5 for axis in np.meshgrid(range(side), range(side)))
        truth = shapely.box(EAST + x, NORTH + y, EAST + x + 10, NORTH + y + 10)
        found = truth[rng.random(len(truth)) > 0.3]
        area = shapely.box(EAST, NORTH, EAST + side * 20, NORTH + side * 20)
        return Scene(found, truth, area, UTM)

    config = ScoreConfig(gsd=1.0, bootstrap=300)
    widths = []
    for side in (10, 30):
        report = compare(town(side), config)
        interval = report.intervals["recall_50"]
        assert interval.low < report.figures["recall_50"] < interval.high
        widths.append(interval.high - interval.low)
    assert widths[1] < widths[0] / 2


def test_comparing_says_which_predictions_are_better(tmp_path):
    x, y = (axis.ravel() * 25.0 + 2 for axis in np.meshgrid(range(8), range(6)))
    truth = shapely.box(EAST + x, NORTH + y, EAST + x + 12, NORTH + y + 10)
    worse = shapely.transform(truth, lambda points: points + np.array([1.5, 0]))
    better = write(tmp_path / "better.gpkg", truth)
    scene = scene_of(tmp_path, "town", worse, truth, compare=better)
    config = ScoreConfig(gsd=1.0, bootstrap=300, block=25.0)
    report = compare_scenes([scene], config)
    verdicts = {f.name: report.verdict(f) for f in config.figures}
    assert verdicts["pixel_iou"] == verdicts["polis_m"] == "B better"
    assert verdicts["recall_50"] == "within chance"  # both find every building
    assert verdicts["offset_east_m"] == "differs"
    assert "larger than chance: pixel_iou" in report.text()
    assert report.as_dict()["differences"]["polis_m"]["larger_than_chance"] is True
    same = compare_scenes([replace(scene, compare=scene.predictions)], config)
    assert not any(d.real for d in same.differences.values())
    assert same.text().endswith("larger than chance: nothing")


def test_what_is_compared_is_named_by_a_file_only_where_all_scenes_have_it(tmp_path):
    north = scene_of(tmp_path, "north", SHIFTED, TRUTH)
    north = replace(north, compare=write(tmp_path / "all.gpkg", TRUTH))
    south = replace(scene_of(tmp_path, "south", SHIFTED, TRUTH), compare=north.compare)
    own = replace(south, compare=south.predictions)
    for scenes, first, second in (
        ([north], str(north.predictions), str(north.compare)),
        ([north, south], "predictions", str(north.compare)),
        ([north, own], "predictions", "compare"),
    ):
        report = compare_scenes(scenes, COARSE)
        assert report.text().splitlines()[:2] == [f"A: {first}", f"B: {second}"]
        assert (report.as_dict()["first"], report.as_dict()["second"]) == (first, second)


@pytest.mark.parametrize("scored", ["compare", "predictions"])
def test_a_ranking_is_not_compared_with_a_layer_without_scores(tmp_path, scored):
    scene = scene_of(tmp_path, "town", SHIFTED, TRUTH)
    ranked = tmp_path / "ranked.gpkg"
    write_footprints(ranked, Footprints(SHIFTED, UTM, {"score": np.array([0.9, 0.8, 0.1])}))
    both = replace(replace(scene, compare=scene.predictions), **{scored: ranked})
    report = compare_scenes([both], COARSE)
    for name in ("ap", "ap50", "boundary_ap"):
        assert report.differences[name].first == report.differences[name].second
    side = {"compare": "A", "predictions": "B"}[scored]
    assert f"{side} lacks scores: for AP, all predictions of A and of B have one rank" in (
        report.text().splitlines()
    )
    assert "lacks" not in compare_scenes([replace(scene, compare=scene.predictions)], COARSE).text()


def test_comparing_needs_a_second_file_of_every_scene_before_any_is_read(tmp_path):
    missing = tmp_path / "missing.gpkg"
    there = SceneFiles(predictions=missing, truth=missing, compare=missing, name="there")
    bare = SceneFiles(predictions=missing, truth=missing)
    for scene, name in ((bare, "missing"), (replace(bare, name="hill"), "hill")):
        with pytest.raises(ConfigError, match=f"scene `{name}` has no second predictions"):
            compare_scenes([there, scene], COARSE)


def test_every_prediction_counts_whatever_was_joined_to_it(tmp_path):
    columns = {
        "osm_id": np.array(["1", None, None], dtype=object),
        "building": np.array(["yes", None, None], dtype=object),
    }
    joined, truth = tmp_path / "joined.gpkg", write(tmp_path / "truth.gpkg", TRUTH)
    write_footprints(joined, Footprints(SHIFTED, UTM, columns))
    report = score(joined, truth, COARSE)
    assert (report.figures["tp_50"], report.figures["fp_50"]) == (2, 1)
    assert score(truth, joined, COARSE).figures["tp_50"] == 1  # of labels, tags decide


def test_what_became_of_both_layers_is_told(tmp_path):
    bowtie = [(EAST + a, NORTH + b) for a, b in ((10, 10), (20, 20), (20, 10), (10, 20))]
    broken = write(tmp_path / "broken.gpkg", np.append(TRUTH[1:], [shapely.Polygon(bowtie)]))
    whole = write(tmp_path / "whole.gpkg", TRUTH)
    report = score(broken, whole, COARSE)
    line = "of 3 features 1 repaired, 1 split into several buildings"
    assert f"predictions: {line}" in report.text().splitlines()
    assert report.as_dict()["predictions"]["repaired"] == 1
    files = SceneFiles(predictions=whole, truth=whole, compare=broken, name="s")
    both = compare_scenes([files], COARSE)
    assert f"B: {line}" in both.text().splitlines()
    assert both.as_dict()["notes"] == [f"B: {line}"]


def test_what_became_of_layers_is_told_of_each_scene_in_every_form(tmp_path):
    bowtie = [(EAST + a, NORTH + b) for a, b in ((10, 10), (20, 20), (20, 10), (10, 20))]
    north = scene_of(tmp_path, "north", np.append(TRUTH[1:], [shapely.Polygon(bowtie)]), TRUTH)
    south = scene_of(tmp_path, "south", TRUTH, TRUTH)
    line = "of 3 features 1 repaired, 1 split into several buildings"
    page = tmp_path / "page.html"
    report = score_scenes([north, south], COARSE, page=page)
    assert report.asides == [f"north: predictions: {line}"]
    assert report.asides[0] in report.text().splitlines()
    assert line in page.read_text(encoding="utf-8")
    table = report.as_dict()
    assert "predictions" not in table
    assert table["scenes"]["north"]["predictions"]["repaired"] == 1
    assert table["scenes"]["south"]["labels"]["read"] == len(TRUTH)
    both = [replace(scene, compare=scene.predictions) for scene in (north, south)]
    assert compare_scenes(both, COARSE).notes == (f"north: A: {line}", f"north: B: {line}")


def test_layers_add_up_to_the_counts(tmp_path):
    halves = boxes((100, 100, 106, 108), (106, 100, 112, 108))
    found = np.concatenate([SHIFTED, halves])
    layers = tmp_path / "errors.gpkg"
    report = score_scenes([scene_of(tmp_path, "town", found, TRUTH)], COARSE, layers=layers)
    read = {
        name: read_footprints(f"{layers}|layername={name}")[0]
        for name in ("false", "missed", "matched", "split", "candidates", "truth")
    }
    counts = {name: len(layer) for name, layer in read.items()}
    assert counts["false"] == report.figures["fp_50"] == 2
    assert counts["missed"] == report.figures["fn_50"] == 0
    assert counts["matched"] == report.figures["tp_50"] == 3
    assert (counts["split"], counts["candidates"], counts["truth"]) == (1, 1, 3)
    assert sorted(read["false"].columns["cause"]) == ["alone", "split"]
    assert read["split"].columns["parts"].tolist() == [2]


def test_whom_to_thank_for_the_labels_reaches_every_report(tmp_path):
    thanks, found = "© A town's mappers", write(tmp_path / "p.gpkg", SHIFTED)
    for name in ("t.gpkg", "t.geojson"):
        write_footprints(tmp_path / name, Footprints(TRUTH, UTM), credit=thanks)
        files = SceneFiles(predictions=found, truth=tmp_path / name, compare=found, name="s")
        page = tmp_path / f"{name}.html"
        report = score_scenes([files], COARSE, page=page)
        assert f"labels: {thanks}" in report.text().splitlines()
        assert report.as_dict()["labels_credit"] == [thanks]
        assert "labels: © A town&#x27;s mappers" in page.read_text(encoding="utf-8")
        both = compare_scenes([files], COARSE)
        assert f"labels: {thanks}" in both.text().splitlines()
        assert both.as_dict()["labels_credit"] == [thanks]
    plain = SceneFiles(predictions=found, truth=write(tmp_path / "u.gpkg", TRUTH), name="s")
    assert "labels" not in score_scenes([plain], COARSE).text()

from __future__ import annotations

import numpy as np
import pytest
import shapely

from buildex.geo.blocks import Blocks
from buildex.geo.evidence import Evidence
from buildex.geo.figures import figures_for, values_of
from buildex.geo.published import pieces, published_detections, published_sums

IMAGES = Blocks.around(100.0, np.array([[50.0, 50], [150, 50], [250, 50]]))


def layer(*boxes: tuple[float, float, float, float]) -> np.ndarray:
    return np.array([shapely.box(*box) for box in boxes], dtype=object)


def figures(predictions: np.ndarray, truth: np.ndarray, ious: list[float]) -> dict[str, float]:
    found = pieces(predictions, np.linspace(1, 0.5, len(predictions)), IMAGES)
    real = pieces(truth, np.zeros(len(truth)), IMAGES)
    sums = dict(published_sums(found, real, np.array(ious)))
    zeros = {"published_hausdorff": np.zeros(3), "pairs": np.zeros(3)}
    ranked = {"published": published_detections(found, real, 3, ranked=True)}
    every = [f for f in figures_for((0.5,), published=True) if "published" in f.name]
    return {k: float(v[0]) for k, v in values_of(every, Evidence(sums | zeros, ranked)).items()}


def test_buildings_are_cut_into_images():
    cut = pieces(layer((90, 10, 120, 20), (10, 10, 20, 20)), np.array([0.9, 0.4]), IMAGES)
    assert cut.image.tolist() == [0, 0, 1]
    assert sorted(shapely.area(cut.polygons)[:2].tolist()) == [100, 100]
    assert shapely.area(cut.polygons)[2] == pytest.approx(200)
    assert sorted(cut.score.tolist()) == [0.4, 0.9, 0.9]


def test_published_polis_divides_by_one_too_many_and_leaves_out_perfect_images():
    truth = layer((10, 10, 20, 20), (110, 10, 120, 20))
    moved = layer((11, 10, 21, 20), (110, 10, 120, 20))
    # .5 m is .4 m there; the second image is perfect, so it does not count as 0.
    assert figures(moved, truth, [0.8, 1, np.nan])["polis_published_m"] == pytest.approx(0.4)


def test_published_polis_lets_a_prediction_serve_two_buildings():
    truth = layer((10, 10, 20, 20), (10, 12, 20, 22))
    one = layer((10, 10, 20, 21))
    # To the first: (2 x 1 / 5 + 0) / 2; to the second: (2 x 2 / 5 + 2 x 1 / 5) / 2.
    found = figures(one, truth, [0.9, np.nan, np.nan])
    assert found["polis_published_m"] == pytest.approx((0.2 + 0.6) / 2)


def test_published_c_iou_counts_empty_images_as_1():
    truth = layer((10, 10, 20, 20))
    found = figures(truth, truth, [1.0, np.nan, np.nan])
    assert found["c_iou_published"] == pytest.approx(1)
    l_shape = np.array(
        [shapely.Polygon([(10, 10), (20, 10), (20, 15), (15, 15), (15, 20), (10, 20)])],
        dtype=object,
    )
    half = figures(l_shape, truth, [0.75, np.nan, np.nan])["c_iou_published"]
    assert half == pytest.approx((0.75 * (1 - 2 / 10) + 1 + 1) / 3)


def test_images_without_truth_hide_false_positives_from_deepforest():
    truth = layer((10, 10, 20, 20))
    stray = layer((10, 10, 20, 20), (110, 10, 120, 20))
    found = figures(stray, truth, [1.0, 0.0, np.nan])
    assert (found["precision_published"], found["recall_published"]) == (1, 1)
    assert found["pixel_iou_published"] == 1
    missed = figures(layer((110, 10, 120, 20)), truth, [0.0, 0.0, np.nan])
    assert np.isnan(missed["precision_published"])
    assert missed["recall_published"] == 0


def test_shared_area_is_not_iou_for_deepforest():
    # The large box shares more area with the house than the small one that fits it, and
    # takes it; its IoU is too low, so nothing is found.
    truth = layer((10, 10, 20, 20))
    both = layer((10, 10, 19, 20), (0, 0, 60, 60))
    assert figures(both, truth, [0.1, np.nan, np.nan])["recall_published"] == 0


def test_only_the_best_hundred_of_an_image_count():
    x, y = np.meshgrid(np.arange(12) * 8.0 + 1, np.arange(12) * 8.0 + 1)
    truth = shapely.box(x.ravel(), y.ravel(), x.ravel() + 5, y.ravel() + 5)
    found = figures(truth, truth, [1.0, np.nan, np.nan])
    assert found["ar_published"] == pytest.approx(100 / 144)

from __future__ import annotations

import numpy as np
import shapely

from buildex.geo.blame import blame, merged_predictions, split_buildings
from buildex.geo.matching import inside, overlaps, pair

AREA = shapely.box(0, 0, 200, 200)


def layer(*boxes: tuple[float, float, float, float]) -> np.ndarray:
    return np.array([shapely.box(*box) for box in boxes], dtype=object)


def judged(predictions: np.ndarray, truth: np.ndarray):
    found = overlaps(predictions, truth)
    causes = blame(found, (shapely.area(predictions), shapely.area(truth)))
    return causes, pair(inside(predictions, AREA), inside(truth, AREA), 0.5, found)


def test_a_building_in_two_halves_is_split():
    causes, pairing = judged(layer((0, 0, 4.5, 10), (4.5, 0, 9, 10)), layer((0, 0, 10, 10)))
    assert causes.parts.tolist() == [2]
    assert causes.cause_p.tolist() == ["split", "split"]
    assert causes.cause_t.tolist() == ["split"]
    assert split_buildings(causes, pairing).tolist() == [0]
    assert merged_predictions(causes, pairing).tolist() == []


def test_a_prediction_over_two_houses_has_merged_them():
    causes, pairing = judged(layer((0, 0, 20, 10)), layer((0, 0, 9, 10), (11, 0, 20, 10)))
    assert causes.welded.tolist() == [2]
    assert causes.cause_p.tolist() == ["merged"]
    assert causes.cause_t.tolist() == ["merged", "merged"]
    assert merged_predictions(causes, pairing).tolist() == [0]
    assert split_buildings(causes, pairing).tolist() == []


def test_a_bad_drawing_is_neither_alone_nor_unlabelled():
    causes, _ = judged(layer((0, 0, 10, 10)), layer((6, 0, 16, 10)))
    assert causes.cause_p.tolist() == ["shape"]
    assert causes.cause_t.tolist() == ["shape"]
    assert causes.best_p.tolist() == [40 / 160]
    assert causes.unlabelled.tolist() == [False]


def test_what_stands_by_itself_is_alone():
    causes, _ = judged(layer((0, 0, 10, 10)), layer((50, 0, 60, 10)))
    assert causes.cause_p.tolist() == ["alone"]
    assert causes.cause_t.tolist() == ["alone"]
    assert causes.unlabelled.tolist() == [True]


def test_a_prediction_that_grazes_a_label_is_still_a_candidate():
    causes, _ = judged(
        layer((0, 0, 10, 10), (30, 0, 40, 10)), layer((8, 0, 18, 10), (37, 0, 47, 10))
    )
    assert causes.unlabelled.tolist() == [True, False]  # 20 and 30 % of them are labelled


def test_nothing_has_no_cause():
    causes, pairing = judged(layer(), layer())
    assert len(causes.cause_p) == len(causes.cause_t) == 0
    assert len(split_buildings(causes, pairing)) == 0

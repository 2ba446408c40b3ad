from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildex.geo.evidence import Evidence
from buildex.geo.figures import figures_for, values_of
from buildex.geo.measures import InstanceCounts, PixelCounts

COUNTS = st.integers(0, 1000)
PIXELS = ("pixel_iou", "pixel_precision", "pixel_recall", "pixel_f1", "pixel_iou_classes")
BUILDINGS = ("precision_50", "recall_50", "f1_50", "matched_iou_50")


def values(names: tuple[str, ...], **sums: float) -> list[float]:
    """Figures of one block of ground with these sums."""
    chosen = {figure.name: figure for figure in figures_for((0.5,))}
    evidence = Evidence({name: np.array([float(value)]) for name, value in sums.items()}, {})
    found = values_of([chosen[name] for name in names], evidence)
    return [float(found[name][0]) for name in names]


def of_pixels(tp: int, fp: int, fn: int, tn: int) -> list[float]:
    return values(PIXELS, px_tp=tp, px_fp=fp, px_fn=fn, px_tn=tn)


def of_buildings(tp: int, fp: int, fn: int, ious: float = 0.0) -> list[float]:
    return values(BUILDINGS, **{"tp_0.5": tp, "fp_0.5": fp, "fn_0.5": fn, "iou_0.5": ious})


def test_figures_of_pixels_by_hand():
    f1, classes = 2 * 0.75 * 0.6 / (0.75 + 0.6), (6 / 12 + 88 / 94) / 2
    assert of_pixels(6, 2, 4, 88) == pytest.approx([6 / 12, 6 / 8, 6 / 10, f1, classes])


def test_figures_of_buildings_by_hand():
    assert of_buildings(3, 1, 2, 2.4) == pytest.approx([3 / 4, 3 / 5, 6 / 9, 0.8])


def test_nothing_to_find_and_nothing_found_is_no_number_but_for_the_ground():
    *of_building, classes = of_pixels(0, 0, 0, 100)
    assert all(math.isnan(value) for value in [*of_building, *of_buildings(0, 0, 0)])
    assert classes == 1
    assert of_pixels(100, 0, 0, 0)[-1] == 1  # nor is there a mean where there is no ground


def test_what_is_false_counts_where_there_is_no_truth():
    iou, precision, recall, f1, classes = of_pixels(0, 5, 0, 95)
    assert (iou, precision, f1, classes) == (0, 0, 0, 0.95 / 2)
    assert math.isnan(recall)
    precision, recall, f1, _ = of_buildings(0, 3, 0)
    assert (precision, f1) == (0, 0)
    assert math.isnan(recall)


def test_what_is_missed_counts_where_nothing_is_predicted():
    precision, *others = of_buildings(0, 0, 4)
    assert math.isnan(precision)
    assert others[:2] == [0, 0]


@given(COUNTS, COUNTS, COUNTS, COUNTS, st.floats(0, 1))
def test_figures_are_the_measures_of_the_same_counts(tp, fp, fn, tn, iou):
    pixels, found = PixelCounts(tp, fp, fn, tn), InstanceCounts(tp, fp, fn, tp * iou)
    known = [pixels.iou, pixels.precision, pixels.recall, pixels.f1]
    assert of_pixels(tp, fp, fn, tn)[:4] == pytest.approx(known, nan_ok=True)
    known = [found.precision, found.recall, found.f1, found.mean_iou]
    assert of_buildings(tp, fp, fn, tp * iou) == pytest.approx(known, nan_ok=True)

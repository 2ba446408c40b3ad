from __future__ import annotations

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from buildex.geo.matching import overlaps
from buildex.geo.precision import (
    AP_IOUS,
    Candidates,
    Detections,
    Field,
    found_at,
    pooled,
)

# All, small, medium, large. No box of whole sides has such an area: width times height and the
# area of a polygon that was shifted differ in the last digit, and a bound must not hang on it.
AREAS = ((0.0, 1e10), (0.0, 30.5), (30.5, 70.5), (70.5, 1e10))
SIDES = st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(2, 12)] * 2)
SCENES = st.tuples(
    st.lists(SIDES, min_size=0, max_size=8),
    st.lists(st.tuples(SIDES, st.sampled_from([0.1, 0.5, 0.5, 0.9])), min_size=1, max_size=9),
    st.integers(-45, 45).map(lambda n: n / 64),  # exact: an IoU may be .5, and is in either then
)


def boxes(sides: np.ndarray) -> np.ndarray:
    """x, y, width, height (N, 4) as polygons."""
    x, y, w, h = sides.reshape(-1, 4).T
    return shapely.box(x, y, x + w, y + h) if len(sides) else np.empty(0, dtype=object)


def detections(truth, found, scores, area=AREAS[0], ranked=True) -> Detections:
    predictions, real = boxes(found), boxes(truth)
    pairs = overlaps(predictions, real)
    field = Field(
        scores,
        shapely.area(predictions),
        np.zeros(len(predictions), dtype=bool),
        shapely.area(real),
        np.zeros(len(real), dtype=bool),
    ).of_size(*area)
    flags = found_at(field, Candidates(pairs.i, pairs.j, pairs.iou))
    truths = np.array([float((~field.ignored).sum())])
    return Detections(*flags, scores, np.zeros(len(scores), dtype=int), truths, ranked)


def reference(images) -> tuple[np.ndarray, np.ndarray]:
    """Precision (10, 101, 4) and recall (10, 4) by pycocotools, without its limit of 100."""
    coco, rows, notes = COCO(), [], []
    for image, (truth, found, scores) in enumerate(images, start=1):
        for box in truth:
            notes.append(
                {
                    "id": len(notes) + 1, "image_id": image, "category_id": 1, "iscrowd": 0,
                    "bbox": box.tolist(), "area": float(box[2] * box[3]),
                }
            )  # fmt: skip
        rows += [[image, *box, score, 1] for box, score in zip(found, scores, strict=True)]
    coco.dataset = {
        "info": {},
        "images": [{"id": n + 1} for n in range(len(images))],
        "categories": [{"id": 1}],
        "annotations": notes,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(np.array(rows, dtype=float)), "bbox")
        judge.params.areaRng = [list(area) for area in AREAS]
        judge.params.areaRngLbl = ["all", "small", "medium", "large"]
        judge.params.maxDets = [1, 10, 10_000]
        judge.evaluate()
        judge.accumulate()
    return judge.eval["precision"][:, :, 0, :, 2], judge.eval["recall"][:, 0, :, 2]


def arrays(scene):
    truth, found, shift = scene
    sides = np.array([box for box, _ in found], dtype=float) + np.array([shift, 0, 0, 0])
    scores = np.array([score for _, score in found])
    return np.array(truth, dtype=float).reshape(-1, 4), sides, scores


@given(SCENES)
@settings(max_examples=150, deadline=None)
def test_average_precision_is_pycocotools_of_any_boxes(scene):
    truth, found, scores = arrays(scene)
    precision, recall = reference([(truth, found, scores)])
    for k, area in enumerate(AREAS):
        summary = detections(truth, found, scores, area).summary()
        own = np.nan_to_num(summary.precision, nan=-1.0), np.nan_to_num(summary.recall, nan=-1.0)
        assert own[0] == pytest.approx(precision[:, :, k], abs=1e-6)
        assert own[1] == pytest.approx(recall[:, k], abs=1e-6)


@given(st.lists(SCENES, min_size=2, max_size=4))
@settings(max_examples=40, deadline=None)
def test_scenes_pool_as_the_images_of_pycocotools_do(scenes):
    images = [arrays(scene) for scene in scenes]
    precision, _ = reference(images)
    for k, area in enumerate(AREAS):
        summary = pooled([detections(*image, area) for image in images]).summary()
        assert np.nan_to_num(summary.precision, nan=-1.0) == pytest.approx(
            precision[:, :, k], abs=1e-6
        )


def test_average_precision_by_hand():
    # Two true buildings; the best score finds one exactly, the second nothing, the third the
    # other at an IoU of 8 / 10.
    truth = np.array([[0, 0, 10, 10], [50, 0, 10, 10]], dtype=float)
    found = np.array([[0, 0, 10, 10], [80, 0, 10, 10], [50, 0, 8, 10]], dtype=float)
    summary = detections(truth, found, np.array([0.9, 0.8, 0.7])).summary()
    # Precision is 1 to a recall of .5 (51 points), then 2/3 (50 points) up to IoU .80.
    both, one = (51 + 50 * 2 / 3) / 101, 51 / 101
    assert summary.ap_at(0) == pytest.approx(both)
    assert summary.ap_at(9) == pytest.approx(one)
    assert summary.ap == pytest.approx((7 * both + 3 * one) / 10)
    assert summary.ar == pytest.approx((7 * 1 + 3 * 0.5) / 10)


def test_a_dense_town_is_not_truncated_at_a_hundred():
    x = np.arange(150.0) * 20
    truth = np.stack([x, 0 * x, 0 * x + 10, 0 * x + 10], axis=1)
    assert detections(truth, truth, np.linspace(1, 0, 150)).summary().ap == pytest.approx(1)


def test_without_truth_there_is_no_precision_and_without_predictions_it_is_0():
    box, none = np.array([[0.0, 0, 10, 10]]), np.empty((0, 4))
    assert np.isnan(detections(none, box, np.ones(1)).summary().ap)
    empty = detections(box, none, np.empty(0)).summary()
    assert (empty.ap, empty.ar) == (0, 0)
    assert np.isnan(detections(none, none, np.empty(0)).summary().ar)


def test_without_scores_all_predictions_have_one_rank():
    truth = np.array([[0, 0, 10, 10], [50, 0, 10, 10]], dtype=float)
    found = np.array([[80, 0, 10, 10], [0, 0, 10, 10]], dtype=float)
    for order in ([0, 1], [1, 0]):
        summary = detections(truth, found[order], np.zeros(2), ranked=False).summary()
        # One point: precision .5 at a recall of .5, whatever the order in the file.
        assert summary.ap == pytest.approx(0.5 * 51 / 101)
    assert detections(truth, truth, np.zeros(2), ranked=False).summary().ap == 1


def test_a_scene_without_predictions_leaves_the_scores_of_the_others():
    truth = np.array([[0, 0, 10, 10], [50, 0, 10, 10]], dtype=float)
    found = np.array([[0, 0, 10, 10], [80, 0, 10, 10], [50, 0, 10, 10]], dtype=float)
    town = detections(truth, found, np.array([0.9, 0.8, 0.7]))
    ground = detections(truth[:0], found[:0], np.empty(0), ranked=False)
    for parts in ([town, ground], [ground, town]):
        assert pooled(parts).ranked
        assert pooled(parts).summary().ap == pytest.approx(town.summary().ap)
    unscored = detections(truth, found, np.zeros(3), ranked=False)
    assert not pooled([town, unscored]).ranked


def test_weights_are_blocks_counted_so_many_times():
    rng = np.random.default_rng(3)
    parts = []
    for _ in range(4):
        truth = np.column_stack([rng.uniform(0, 60, (6, 2)), rng.uniform(4, 9, (6, 2))])
        found = truth + rng.normal(0, 0.8, truth.shape)
        parts.append(detections(truth, found, rng.random(6)))
    together = pooled(parts)
    weights = np.array([[2.0, 0, 1, 3], [1, 1, 1, 1]])
    drawn = list(together.summaries(weights))
    copies = pooled([parts[k] for k in (0, 0, 2, 3, 3, 3)]).summary()
    assert drawn[0].precision == pytest.approx(copies.precision)
    assert drawn[0].recall == pytest.approx(copies.recall)
    assert drawn[1].precision == pytest.approx(together.summary().precision)


def test_false_predictions_after_all_others_change_no_draw():
    rng = np.random.default_rng(4)
    truth = np.column_stack([np.arange(1000) * 20.0, np.zeros(1000), np.full((1000, 2), 10.0)])
    found = truth + rng.normal(0, 0.6, truth.shape)
    stray = truth[:600] + np.array([0, 500, 0, 0])
    scores = np.concatenate([rng.uniform(0.5, 1, 1000), rng.uniform(0, 0.5, 600)])
    alone = detections(truth, found, scores[:1000])
    more = detections(truth, np.concatenate([found, stray]), scores)
    blocks = np.arange(1600) % 40
    truths = np.full(40, 25.0)
    pair = [replace(d, block=blocks[: len(d.score)], truths=truths) for d in (alone, more)]
    weights = rng.multinomial(40, np.full(40, 1 / 40), size=20).astype(float)
    first, second = ([s.ap for s in d.summaries(weights)] for d in pair)
    assert second == pytest.approx(first, abs=1e-12)
    (same,) = more.summaries(np.ones((1, 1)))
    assert same.ap == more.summary().ap


def test_the_curve_is_the_precision_at_one_iou():
    truth = np.array([[0, 0, 10, 10]], dtype=float)
    found = np.array([[0, 0, 8, 10]], dtype=float)
    every = detections(truth, found, np.ones(1))
    assert every.curve(0) == pytest.approx(np.ones(101))
    assert every.curve(int(np.argmin(np.abs(AP_IOUS - 0.9)))).tolist() == [0.0] * 101

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from buildex.geo import views
from buildex.geo.calibration import IDENTITY, Calibration
from buildex.geo.instances import Found, RoiMaps
from buildex.geo.keypoints import RoiCodec
from buildex.geo.rings import bounds
from buildex.geo.views import VIEWS, Looking, Maps, View, box_ious, shrunk, together, weighed

CODEC = RoiCodec()
SIZE = 512
ALL = [*VIEWS[1], View(1.0, True), View(0.6875, True), View(0.5)]
HOUSE = np.array([[100.0, 80], [220, 80], [220, 200], [163, 200], [163, 151], [100, 151]])


def found(*rows):
    table = np.array(rows, float).reshape(-1, 5)
    return Found(table[:, :4], table[:, 4])


def test_a_view_has_a_side_that_networks_take():
    assert [view.side(512) for view in VIEWS[1]] == [512, 384]
    assert VIEWS[1][1].side(128) == 96
    assert View(0.1).side(64) == 32


@given(st.sampled_from(ALL), st.floats(-40, 500), st.floats(-40, 500), st.floats(1, 90))
def test_boxes_go_to_a_view_and_back(view, x, y, side):
    boxes = np.array([[x, y, x + side, y + side / 2]])
    assert view.back(view.into(boxes, SIZE), SIZE) == pytest.approx(boxes, abs=1e-9)


@pytest.mark.parametrize("view", ALL)
def test_a_box_lies_in_a_view_where_its_pixels_do(view):
    image, valid = np.zeros((SIZE, SIZE, 3), np.uint8), np.zeros((SIZE, SIZE), bool)
    image[64:128, 32:96] = 200
    valid[64:128, 32:96] = True  # sides of all views divide into these bounds
    side = view.side(SIZE)
    shown, ground = view.show(image, valid)
    x0, y0, x1, y1 = view.into(np.array([[32, 64, 96, 128]]), SIZE)[0].round().astype(int)
    here = np.zeros((side, side), bool)
    here[y0:y1, x0:x1] = True
    assert (ground == here).all()
    assert shown.shape == (side, side, 3)
    inner, outer = np.zeros_like(here), np.zeros_like(here)
    inner[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] = True
    outer[y0 - 1 : y1 + 1, x0 - 1 : x1 + 1] = True
    assert (shown[inner] == 200).all()
    assert not shown[~outer].any()


@pytest.mark.parametrize("view", ALL)
def test_maps_of_a_view_are_those_of_the_tile(view):
    frame = CODEC.frames(np.array([bounds((HOUSE,))]))
    ring = view.into(np.hstack([HOUSE, HOUSE]), SIZE)[:, :2]
    there = CODEC.encode((ring,), view.into(frame, SIZE)[0])
    here = CODEC.encode((HOUSE,), frame[0])
    maps = view.straight(Maps(there.mask[None], there.heatmap[None], there.offset[None]))
    assert maps.masks[0] == pytest.approx(here.mask, abs=1e-5)
    ours, _ = CODEC.decode(maps.heatmaps[0], maps.offsets[0], frame[0])
    assert len(ours) == len(HOUSE)
    assert np.abs(ours[:, None] - HOUSE[None]).max(axis=2).min(axis=1).max() < 1e-3


@pytest.mark.parametrize("side", [352, 256, 96, 511])
def test_a_smaller_picture_is_the_one_that_pillow_makes(side):
    image = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    theirs = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
    assert np.abs(shrunk(image, side).astype(int) - np.asarray(theirs)).max() <= 1


def test_three_pixels_of_six_by_hand():
    row = np.array([10, 20, 30, 40, 50, 60], np.uint8)
    image = np.repeat(np.repeat(row[None, :, None], 6, axis=0), 3, axis=2)
    # Triangle of half width 2 around 1, 3 and 5: weights 1, 3, 3, 1 of 8; 3, 3, 1 of 7 at ends.
    assert shrunk(image, 3)[1, :, 0].tolist() == [17, 35, 53]


def test_what_both_looks_see_has_the_mean_of_their_scores_and_boxes():
    one, two = found([0, 0, 10, 10, 0.9]), found([1, 0, 11, 10, 0.3])
    both = together([one, two], 0.6)
    assert both.scores.tolist() == pytest.approx([0.6])
    assert both.boxes[0].tolist() == pytest.approx([0.25, 0, 10.25, 10])


def test_what_one_look_alone_sees_has_half_its_score():
    one = found([0, 0, 10, 10, 0.9], [50, 50, 60, 60, 0.8])
    two = found([0, 0, 10, 10, 0.7], [90, 90, 99, 99, 0.5])
    both = together([one, two], 0.6)
    assert both.scores.tolist() == pytest.approx([0.8, 0.4, 0.25])
    assert both.boxes[:, 0].tolist() == [0, 50, 90]


def test_a_box_is_joined_with_one_of_another_look_only_and_once():
    one = found([0, 0, 10, 10, 0.9], [0, 0, 10, 8, 0.8])
    two = found([0, 0, 10, 9, 0.6])
    both = together([one, two], 1.0)
    assert both.scores.tolist() == pytest.approx([0.75, 0.4])
    assert len(together([one, two], 0.6).scores) == 1


def test_one_look_is_left_as_it_is():
    one = found([0, 0, 10, 10, 0.9], [0, 0, 10, 10, 0.8])
    assert together([one], 0.6) is one


@settings(max_examples=50)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_looks_agree_whatever_their_order(a, b, seed):
    chance = np.random.default_rng(seed)

    def some(count):
        corner = chance.uniform(0, 60, (count, 2))
        rows = np.column_stack([corner, corner + chance.uniform(5, 30, (count, 2))])
        return Found(rows, np.sort(chance.uniform(0.05, 1, count))[::-1])

    looks = [some(a), some(b)]
    least = chance.uniform(0, 1)
    wanted, begun = together(looks, 0.6), together(looks, 0.6, least)
    likely = [one.scores >= least for one in (wanted, begun)]
    assert begun.scores[likely[1]].tolist() == wanted.scores[likely[0]].tolist()
    assert begun.boxes[likely[1]].tolist() == wanted.boxes[likely[0]].tolist()
    ours, theirs = together(looks, 0.6), together(looks[::-1], 0.6)
    assert ours.scores == pytest.approx(theirs.scores)
    assert ours.boxes == pytest.approx(theirs.boxes)
    assert (np.diff(ours.scores) <= 0).all()
    assert len(ours.scores) <= a + b
    if a + b:
        highest = max(one.scores.max(initial=0) for one in looks)
        assert highest / 2 - 1e-9 <= ours.scores[0] <= highest + 1e-9
    off = box_ious(ours.boxes, ours.boxes) - np.eye(len(ours.scores))
    assert (off <= 0.6 + 1e-9).all()


class Painter:
    """Looks at tiles on each of which the house is, drawn as a view shows it; notes questions."""

    def __init__(self, view, scores):
        self.view, self.asked = view, []
        box = view.into(np.array([bounds((HOUSE,))]), SIZE)
        self.found = [Found(box[:1] if s else box[:0], np.array([s] if s else [])) for s in scores]

    def __call__(self, least):
        self.asked.append(least)
        return self

    def maps(self, frames):
        ring = self.view.into(np.hstack([HOUSE, HOUSE]), SIZE)[:, :2]
        drawn = [CODEC.encode((ring,), frame) for some in frames for frame in some]
        parts = ([getattr(one, name) for one in drawn] for name in ("mask", "heatmap", "offset"))
        return Maps(*(np.stack(part) for part in parts))


def looked(score, *painters, calibration=IDENTITY):
    looking = Looking(CODEC, SIZE, 0.6, 100, calibration)
    return looking.instances([(painter.view, painter) for painter in painters], score)


def test_instances_are_what_all_views_draw_of_what_they_agree_on():
    one, two = Painter(VIEWS[1][0], [0.9, 0.9, 0.0]), Painter(VIEWS[1][1], [0.7, 0.0, 0.8])
    first, second, third = looked(0.45, one, two)
    assert first.scores == pytest.approx([0.8])
    assert second.scores == pytest.approx([0.45])
    assert len(third.scores) == 0  # the first look alone finds
    here = CODEC.encode((HOUSE,), first.frames[0])
    assert first.masks[0] == pytest.approx(here.mask, abs=1e-5)
    points, _ = CODEC.decode(first.heatmaps[0], first.offsets[0], first.frames[0])
    assert len(points) == len(HOUSE)
    assert np.abs(points[:, None] - HOUSE[None]).max(axis=2).min(axis=1).max() < 1.5
    assert all(part.dtype == np.float32 for part in first)


def test_where_the_first_look_finds_nothing_no_other_is_asked():
    one, two = Painter(View(), [0.0, 0.0]), Painter(VIEWS[1][1], [0.9, 0.9])
    assert [len(maps.scores) for maps in looked(0.1, one, two)] == [0, 0]
    assert (len(one.asked), len(two.asked)) == (1, 0)


def test_a_weak_box_does_not_take_the_place_of_a_strong_one():
    one = found([0, 0, 100, 100, 0.95])
    two = found([0, 0, 100, 80, 0.9], [0, 0, 95, 100, 0.06])
    assert together([one, two], 1.0).scores[0] == pytest.approx(0.925)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
def test_a_threshold_leaves_out_and_changes_nothing_else(seed, score):
    chance = np.random.default_rng(seed)
    seen = []
    for count in chance.integers(1, 7, 2):
        corner = chance.uniform(0, 12, (count, 2))
        boxes = np.column_stack([corner, corner + chance.uniform(40, 60, (count, 2))])
        seen.append(Found(boxes, np.sort(chance.uniform(0.05, 1, count))[::-1]))

    def answer(threshold):
        def look(view, found, least):  # a network leaves out what scores less than it is asked for
            kept = found.scores >= least
            painter = Painter(view, [])
            painter.found = [Found(view.into(found.boxes[kept], SIZE), found.scores[kept])]
            return painter

        looks = [(v, partial(look, v, f)) for v, f in zip(VIEWS[1], seen, strict=True)]
        return Looking(CODEC, SIZE, 1.0, 100).instances(looks, threshold)[0]

    everything, some = answer(0.0), answer(score)
    kept = everything.scores >= score
    assert some.scores == pytest.approx(everything.scores[kept], abs=1e-6)
    assert some.frames == pytest.approx(everything.frames[kept], abs=1e-3)


def test_chances_are_averaged_and_looks_are_asked_in_the_network_s_scores():
    steep = Calibration(4.0, -0.5)
    one, two = Painter(VIEWS[1][0], [0.8]), Painter(VIEWS[1][1], [0.6])
    (maps,) = looked(0.7, one, two, calibration=steep)
    assert maps.scores == pytest.approx([steep.chances(np.array([0.8, 0.6])).mean()])
    assert one.asked == [pytest.approx(steep.scores(np.array([0.4]))[0])]
    (maps,) = looked(0.7, Painter(View(), [0.8]), calibration=steep)
    assert maps.scores == pytest.approx(steep.chances(np.array([0.8])))


def test_no_more_instances_are_kept_than_the_network_may_find():
    one = Painter(View(), [0.9])
    one.found = [found(*([60 * k, 0, 60 * k + 50, 50, 0.9 - 0.1 * k] for k in range(5)))]
    (maps,) = Looking(CODEC, SIZE, 0.6, 3).instances([(View(), one)], 0.1)
    assert maps.scores == pytest.approx([0.9, 0.8, 0.7])


class Counter:
    """Finds so many boxes in each tile; draws each frame as its own number. Notes how many."""

    def __init__(self, *counts):
        self.drawn = []
        self.found = [
            found(*([9 * k, 0, 9 * k + 8, 8, 0.9 - 0.01 * k] for k in range(n))) for n in counts
        ]

    def __call__(self, least):
        return self

    def maps(self, frames):
        self.drawn.append(sum(map(len, frames)))
        ends = np.concatenate([some[:, 2] + 100 * k for k, some in enumerate(frames)])
        masks = np.tile(ends[:, None, None], (1, 8, 8))
        return Maps(masks, masks, np.stack([masks, masks], axis=1))


def test_many_frames_are_drawn_in_portions_and_each_comes_back_to_its_tile(monkeypatch):
    whole, portioned = Counter(3, 0, 4), Counter(3, 0, 4)
    looking = Looking(CODEC, SIZE, 0.6, 100)
    expected = looking.instances([(View(), whole)], 0.1)
    monkeypatch.setattr(views, "AT_ONCE", 2)
    answers = looking.instances([(View(), portioned)], 0.1)
    assert (whole.drawn, portioned.drawn) == ([7], [2, 2, 2, 1])
    for mine, true in zip(answers, expected, strict=True):
        assert all((a == b).all() for a, b in zip(mine, true, strict=True))
        assert mine.masks[:, 0, 0] % 100 == pytest.approx(mine.frames[:, 2])


def test_what_a_network_that_looks_once_says_is_weighed_too():
    none = np.zeros((2, 8, 8), np.float32)
    frames, scores = np.arange(8, dtype=np.float32).reshape(2, 4), np.float32([0.7, 0.45])
    maps = RoiMaps(frames, scores, none, none, np.zeros((2, 2, 8, 8), np.float32))
    steep = Calibration(4.0, -0.5)
    chances = steep.chances(np.array([0.7, 0.45]))
    assert weighed(maps, steep, 0.0).scores == pytest.approx(chances)
    kept = weighed(maps, steep, float(chances[1]) + 0.01)
    assert kept.frames.tolist() == frames[:1].tolist()
    assert len(kept.masks) == 1

from __future__ import annotations

import numpy as np
import pytest

from buildex.geo.rings import bounds, fill
from buildex.nn.augment import NO_AUGMENT, Augment
from buildex.nn.batch import Crops, Sample, Shape, with_buildings, with_ground
from buildex.nn.clutter import lay, overgrow, paste, shade
from buildex.nn.settings import Feeding
from tests.nn.made import PaintedScene, rings_of

SIZE = 128
HERE = rings_of([[10, 10], [40, 10], [40, 40], [10, 40]])
THERE = rings_of([[70, 70], [100, 70], [100, 110], [70, 110]])
RED = np.array([255, 0, 0], np.uint8)


def ground(value=90):
    return np.full((SIZE, SIZE, 3), value, np.uint8)


def with_roof(rings):
    pixels = ground()
    pixels[fill(rings, SIZE, SIZE)] = RED
    return pixels


def shape_of(rings):
    return Shape(rings, tuple(np.ones(len(ring), bool) for ring in rings))


def put_down(seed, boxes=(), free=None):
    free = np.ones((SIZE, SIZE), bool) if free is None else free
    rng = np.random.default_rng(seed)
    return paste(ground(), free, boxes, with_roof(THERE), [THERE], rng)


@pytest.mark.parametrize("seed", range(8))
def test_a_building_is_put_down_with_its_own_pixels_where_it_says(seed):
    image, placed = put_down(seed)
    ((number, shift),) = placed
    roof = fill([ring + shift for ring in THERE], SIZE, SIZE)
    assert number == 0
    assert roof.sum() == 30 * 40  # all of it is inside
    assert (np.abs(image[roof].astype(int) - RED).max(axis=1) < 128).mean() > 0.9
    assert image[~roof, 0].max() < 200  # and nothing red beside it


def test_a_building_casts_a_shadow_that_darkens_the_ground():
    darkest = min(put_down(seed)[0][..., 1:].min() for seed in range(4))
    image, placed = put_down(0)
    roof = fill([ring + placed[0].shift for ring in THERE], SIZE, SIZE)
    assert darkest < 80
    assert (image[~roof] <= 172).all()


def test_there_is_no_room_on_another_building_nor_where_no_ground_is():
    assert put_down(1, boxes=[(0.0, 0.0, SIZE, SIZE)])[1] == []
    assert put_down(1, free=np.zeros((SIZE, SIZE), bool))[1] == []
    for seed in range(20):
        _, placed = put_down(seed, boxes=[bounds(HERE)])
        for one in placed:
            x0, y0, _, _ = bounds([ring + one.shift for ring in THERE])
            assert x0 >= 40 + 8 or y0 >= 40 + 8


def test_a_building_too_large_for_the_sample_is_left_out():
    huge = rings_of([[-5, 0], [SIZE + 5, 0], [SIZE + 5, 20], [-5, 20]])
    free = np.ones((SIZE, SIZE), bool)
    assert paste(ground(), free, [], ground(), [huge], np.random.default_rng(0))[1] == []


def test_a_sample_gets_whole_buildings_only_and_keeps_its_own():
    sample = Sample(ground(), np.ones((SIZE, SIZE), bool), (shape_of(HERE),))
    cut = Shape(THERE, (np.array([True, True, False, False]),))
    donor = Sample(with_roof(THERE), sample.valid, (cut,))
    rng = np.random.default_rng(2)
    assert len(with_buildings(sample, donor, rng).shapes) == 1
    both = with_buildings(sample, donor._replace(shapes=(shape_of(THERE),)), rng)
    assert both.shapes[0] is sample.shapes[0]
    assert fill(both.shapes[1].rings, SIZE, SIZE).sum() == 30 * 40


def test_shadows_only_darken():
    image = shade(ground(), np.random.default_rng(0))
    assert image.shape == (SIZE, SIZE, 3)
    assert image.max() <= 90
    assert image.min() < 80


def test_what_grows_over_comes_from_open_ground():
    pixels = with_roof(HERE)
    everywhere = np.ones((SIZE, SIZE), bool)
    chances = [np.random.default_rng(seed) for seed in range(12)]
    seen = [overgrow(pixels, everywhere, [bounds(HERE)], chance) for chance in chances]
    roof = fill(HERE, SIZE, SIZE)
    assert any((image[roof] != RED).any() for image in seen)  # over the roof, too
    assert all((image[~roof] == 90).all() for image in seen)  # but never a roof on the ground
    assert (pixels == with_roof(HERE)).all()  # the sample itself is not written to


def test_what_grows_over_is_never_what_shows_no_ground():
    pixels, shown = ground(), np.ones((SIZE, SIZE), bool)
    shown[:, : SIZE // 2] = False
    pixels[~shown] = 0
    chances = [np.random.default_rng(seed) for seed in range(20)]
    seen = [overgrow(pixels, shown, [], chance) for chance in chances]
    assert any((image[~shown] == 90).any() for image in seen)  # patches were put down
    assert all((image[shown] == 90).all() for image in seen)


def test_crops_hold_buildings_of_others_when_asked():
    plain = Feeding(size=SIZE, samples=4, seed=1, augment=NO_AUGMENT)
    pasting = Feeding(size=SIZE, samples=4, seed=1, augment=Augment(paste=1.0))
    scenes = [PaintedScene(houses=[[[100, 100], [130, 100], [130, 130], [100, 130]]])]
    assert max(len(Crops(scenes, plain)[k].shapes) for k in range(20)) == 1
    assert max(len(Crops(scenes, pasting)[k].shapes) for k in range(20)) == 2


def laid(seed, bare, free=None, boxes=()):
    free = np.ones((SIZE, SIZE), bool) if free is None else free
    blue = np.full((SIZE, SIZE, 3), (0, 0, 200), np.uint8)
    return lay(ground(), free, boxes, (blue, bare), [HERE], np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(6))
def test_ground_is_put_down_in_the_outline_of_a_building_without_a_shadow(seed):
    image = laid(seed, np.ones((SIZE, SIZE), bool))
    blue = image[..., 2] > 145
    assert blue.sum() == pytest.approx(30 * 30, rel=0.1)
    rows, columns = np.nonzero(blue)
    assert np.ptp(rows) in (29, 30)
    assert np.ptp(columns) in (29, 30)
    assert image.sum(axis=2).min() >= 200  # nothing is darker than what was put down


def test_no_ground_comes_from_where_buildings_stand_nor_goes_onto_them():
    everywhere, nowhere = np.ones((SIZE, SIZE), bool), np.zeros((SIZE, SIZE), bool)
    for nothing in (
        laid(0, nowhere), laid(0, everywhere, free=nowhere),
        laid(0, everywhere, boxes=[(0.0, 0.0, SIZE, SIZE)]),
    ):  # fmt: skip
        assert np.array_equal(nothing, ground())


def test_a_sample_with_another_s_ground_has_the_same_buildings():
    free = np.ones((SIZE, SIZE), bool)
    sample = Sample(with_roof(HERE), free, (shape_of(HERE),))
    donor = Sample(np.full((SIZE, SIZE, 3), (0, 0, 200), np.uint8), free, (shape_of(THERE),))
    new = with_ground(sample, donor, np.random.default_rng(3))
    assert new.shapes == sample.shapes
    inside = fill(HERE, SIZE, SIZE)
    assert np.array_equal(new.image[inside], sample.image[inside])
    assert not np.array_equal(new.image, sample.image)

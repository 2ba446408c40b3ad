from __future__ import annotations

import numpy as np
import pytest
import torch

from buildex.geo.boxes import PixelBox
from buildex.geo.rings import fill
from buildex.nn import batch as feeder
from buildex.nn.augment import NO_AUGMENT
from buildex.nn.batch import (
    Crops,
    EpochSampler,
    SceneTruth,
    ShareSampler,
    WholeTiles,
    collate,
    covering_box,
    visible,
    with_area,
)
from buildex.nn.settings import Feeding
from tests.nn.made import HOUSES, PaintedScene, rings_of

SIZE = 96
SQUARE = [[40, 40], [60, 40], [60, 60], [40, 60]]
UNMOVED = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def feeding(**changes):
    return Feeding(**{"size": SIZE, "samples": 4, "seed": 5, **changes})


def outlines(sample):
    return [shape.rings[0].tolist() for shape in sample.shapes]


def same(a, b):
    pixels = np.array_equal(a.image, b.image) and np.array_equal(a.valid, b.valid)
    return pixels and outlines(a) == outlines(b)


def test_a_sample_depends_on_the_seed_and_its_number_alone():
    scenes = [PaintedScene()]
    crops, again = Crops(scenes, feeding()), Crops(scenes, feeding())
    first = crops[3]
    assert same(first, again[3])
    assert same(first, crops[3])
    assert not same(first, crops[4])
    assert not same(first, Crops(scenes, feeding(seed=6))[3])


def test_epochs_never_use_a_number_twice_and_processes_share_them():
    seen = []
    for epoch in (0, 1):
        for rank in (0, 1, 2):
            sampler = EpochSampler(7, rank, 3)
            sampler.set_epoch(epoch)
            mine = list(sampler)
            assert len(mine) == len(sampler)
            seen += mine
    assert sorted(seen) == list(range(14))


def test_whole_tiles_are_shared_so_that_each_is_seen_once():
    shares = [list(ShareSampler(5, rank, 2)) for rank in (0, 1)]
    assert shares == [[0, 2, 4], [1, 3]]
    assert not hasattr(ShareSampler(5), "set_epoch")


def test_a_sample_s_buildings_lie_on_its_roofs():
    crops = Crops([PaintedScene()], feeding(augment=NO_AUGMENT))
    for index in range(5):
        sample = crops[index]
        for shape in sample.shapes:
            roof = fill(shape.rings, SIZE, SIZE)
            assert (sample.image[roof, 0] > 137).mean() > 0.9


def test_what_lies_beyond_the_scene_is_black_and_not_valid():
    crops = Crops([PaintedScene(side=64, houses=())], feeding(augment=NO_AUGMENT))
    sample = crops[0]
    assert not sample.valid.all()
    assert (sample.image[~sample.valid] == 0).all()
    assert sample.shapes == ()


def test_scenes_are_seen_by_their_weight():
    scenes = [PaintedScene("dhaka-1"), PaintedScene("kampala")]
    weights = {"dhaka-*": 0.25, "*": 1.0}
    assert Crops(scenes, feeding(scene_weights=weights)).chances.tolist() == [0.2, 0.8]
    assert feeding(scene_weights=weights).weight("dhaka-9") == 0.25
    assert feeding().weight("dhaka-9") == 1.0


def test_a_whole_tile_is_what_the_scene_shows():
    scene = PaintedScene()
    tiles = WholeTiles([scene])
    assert len(tiles) == 1
    assert np.array_equal(tiles[0].image, scene.pixels)
    assert len(tiles[0].shapes) == len(HOUSES)


def test_corners_on_pixels_that_nobody_sees_are_none():
    scene = PaintedScene(hidden=[np.s_[:30, :]])  # the upper part of the first house
    first = WholeTiles([scene])[0].shapes[0]
    assert first.rings[0].tolist() == HOUSES[0]
    assert first.corners[0].tolist() == [False, False, True, True]


def test_a_building_that_is_mostly_hidden_is_none():
    scene = PaintedScene(hidden=[np.s_[:50, :75]])
    shown = outlines(WholeTiles([scene])[0])
    assert HOUSES[0] not in shown
    assert HOUSES[2] in shown


def test_points_that_the_sample_s_edge_makes_are_no_corners():
    shape = visible(rings_of(SQUARE), 50, 96)
    assert shape is not None
    flags = dict(zip(map(tuple, shape.rings[0]), shape.corners[0], strict=True))
    assert flags == {(40, 40): True, (50, 40): False, (50, 60): False, (40, 60): True}


def test_a_corner_on_the_sample_s_very_edge_can_be_looked_up():
    truth = SceneTruth(PaintedScene(houses=[SQUARE]), "train")
    shapes = truth.shapes(PixelBox(0, 0, 60, 60), UNMOVED, np.ones((60, 60), bool))
    assert shapes[0].corners[0].all()


def test_a_line_is_no_building_and_no_hole():
    line = [[10.0, 10.0], [20.0, 20.0], [30.0, 30.0]]
    truth = SceneTruth(PaintedScene(houses=[SQUARE, line]), "train")
    assert len(truth.rings) == 1
    square, hole = (np.array(ring, dtype=float) for ring in (SQUARE, line))
    assert [len(ring) for ring in with_area((square, hole))] == [4]
    assert with_area((hole, square)) == ()


@pytest.mark.parametrize(("width", "there"), [(41, False), (42, False), (44, True), (96, True)])
def test_a_sliver_at_the_edge_is_no_building(width, there):
    assert (visible(rings_of(SQUARE), width, 96) is not None) == there


def test_a_building_outside_the_sample_is_not_visible():
    assert visible(rings_of(SQUARE), 30, 30) is None


def test_the_covering_box_holds_every_corner_of_the_sample():
    matrix = np.array([[0.6, -0.8, 10.0], [0.8, 0.6, -20.0]])
    box = covering_box(matrix, SIZE)
    inverse = np.linalg.inv(matrix[:, :2])
    for corner in ([0, 0], [SIZE, 0], [SIZE, SIZE], [0, SIZE]):
        x, y = inverse @ (corner - matrix[:, 2])
        assert box.x0 <= x <= box.x1
        assert box.y0 <= y <= box.y1


def test_a_batch_has_the_shapes_it_says():
    crops = Crops([PaintedScene()], feeding())
    empty = Crops([PaintedScene(houses=())], feeding())
    batch = collate([crops[0], empty[0]])
    assert batch.images.shape == (2, 3, SIZE, SIZE)
    assert batch.images.dtype == torch.uint8
    assert batch.valid.shape == (2, SIZE, SIZE)
    assert batch.boxes[0].shape == (len(batch.shapes[0]), 4)
    assert batch.boxes[1].shape == (0, 4)
    assert (batch.boxes[0] >= 0).all()
    assert (batch.boxes[0] <= SIZE).all()


def test_cuts_show_ground_where_there_is_some():
    # All but a corner of the scene is not valid: a cut around any point is mostly black.
    scene = PaintedScene(hidden=[np.s_[:, 100:], np.s_[100:, :]])
    crops = Crops([scene], feeding(augment=NO_AUGMENT))
    assert np.mean([crops[k].valid.mean() for k in range(40)]) > 0.3  # by chance alone: .15
    assert Crops([scene, PaintedScene()], feeding()).chances[0] == pytest.approx(
        0.152 / 1.152, abs=0.01
    )


def test_tiles_are_decoded_ahead_where_memory_bears_it(monkeypatch):
    class Watched(PaintedScene):
        decoded = 0

        def decode(self, split):
            self.decoded += 1

    scene = Watched()
    crops = Crops([scene], Feeding(size=64, samples=1))
    needed = 3 * scene.width * scene.height / feeder.DECODED
    for bytes_there, times in ((needed - 1, 0), (needed, 1)):
        monkeypatch.setattr(feeder, "memory", lambda there=bytes_there: there)
        crops.decode()
        assert scene.decoded == times


@pytest.mark.parametrize(
    ("devices", "hidden", "bytes_of_a_pixel"),
    [(1, (), 3), (4, (), 12), (1, (np.s_[:8],), 4)],  # each device has its own; a mask counts
)
def test_what_is_decoded_ahead_counts_devices_and_masks(
    monkeypatch, devices, hidden, bytes_of_a_pixel
):
    decoded = []
    scene = PaintedScene(hidden=hidden)
    scene.decode = decoded.append
    needed = bytes_of_a_pixel * scene.width * scene.height / feeder.DECODED
    crops = Crops([scene], Feeding(size=64, samples=1))
    for there, times in ((needed - 1, 0), (needed, 1)):
        monkeypatch.setattr(feeder, "memory", lambda there=there: there)
        crops.decode(devices)
        assert len(decoded) == times

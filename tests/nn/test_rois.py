from __future__ import annotations

import numpy as np
import pytest
import torch

from buildex.geo.keypoints import RoiCodec
from buildex.nn.batch import Shape
from buildex.nn.rois import sample_rois
from tests.nn.made import rings_of

CODEC = RoiCodec(cells=16)
CORNERS = [[[20, 20], [60, 20], [60, 50], [20, 50]], [[70, 70], [90, 70], [90, 90], [70, 90]]]
BOXES = torch.tensor([[20.0, 20, 60, 50], [70, 70, 90, 90]])
SHAPES = tuple(Shape(rings_of(points), (np.ones(4, bool),)) for points in CORNERS)


def found(*boxes):
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


def sample(detections, limit=6, seed=0, boxes=BOXES, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return sample_rois([boxes], [shapes], [detections], CODEC, limit, rng)


def test_every_building_has_a_frame_that_shows_most_of_it():
    truth = sample(found())
    assert len(truth.frames[0]) == 2
    assert (truth.maps.mask.sum(dim=(1, 2, 3)) > 0.25 * 16 * 16).all()


def test_detections_on_a_building_are_learnt_from_and_others_are_not():
    on_it, beside = [22.0, 18.0, 61.0, 52.0], [50.0, 20.0, 90.0, 50.0]
    truth = sample(found(on_it, beside))
    frames = truth.frames[0].tolist()
    assert pytest.approx(CODEC.frames(np.array(on_it))[0], abs=1e-4) in frames
    assert len(frames) == 3


def test_a_detection_learns_the_maps_of_its_own_building():
    box = [70.0, 70.0, 90.0, 90.0]
    truth = sample(found(box))
    frame = CODEC.frames(np.array(box))[0]
    target = CODEC.encode(SHAPES[1].rings, frame)
    assert np.array_equal(truth.maps.mask[-1, 0].numpy(), target.mask)
    assert np.array_equal(truth.maps.offset[-1].numpy(), target.offset)
    assert truth.maps.at[-1].sum() == 4


def test_the_best_detection_of_each_building_comes_before_the_second_of_any():
    crowd = found(*[[20.0 + 0.1 * i, 20.0, 60.0, 50.0] for i in range(30)], [71.0, 70, 90, 90])
    frames = sample(crowd, limit=4).frames[0].tolist()
    for best in ([20.0, 20, 60, 50], [71.0, 70, 90, 90]):
        assert pytest.approx(CODEC.frames(np.array(best))[0], abs=1e-4) in frames


def test_there_are_never_more_frames_than_asked_for_and_half_may_be_detections():
    crowd = found(*[[20.0 + 0.1 * i, 20.0, 60.0, 50.0] for i in range(30)])
    assert len(sample(crowd, limit=8).frames[0]) == 4 + 2
    assert len(sample(crowd, limit=3).frames[0]) == 3
    on_both = found([21.0, 20, 60, 50], [71.0, 70, 90, 90])
    assert len(sample(on_both, limit=8).frames[0]) == 2 + 2
    assert len(sample(on_both, limit=3).frames[0]) == 3
    frames = sample(on_both, limit=2).frames[0].tolist()
    best = [CODEC.frames(box[None].numpy())[0] for box in on_both]
    assert sum(pytest.approx(frame, abs=1e-4) in frames for frame in best) == 1


def test_images_of_a_batch_keep_their_own_detections():
    rng = np.random.default_rng(0)
    on_second = found([21.0, 20, 60, 50])
    found_in = [found(), on_second]
    truth = sample_rois([BOXES[1:], BOXES], [SHAPES[1:], SHAPES], found_in, CODEC, 6, rng)
    assert [len(frames) for frames in truth.frames] == [1, 3]
    assert truth.maps.mask.shape[0] == 4


def test_points_that_are_no_corners_are_not_learnt():
    hidden = [Shape(SHAPES[0].rings, (np.array([True, False, False, True]),))]
    truth = sample(found(), boxes=BOXES[:1], shapes=hidden)
    assert truth.maps.at.sum() == 2
    assert (truth.maps.heatmap == 1).sum() == 2


def test_an_image_without_buildings_gives_no_frame():
    truth = sample(found([0.0, 0.0, 9.0, 9.0]), boxes=torch.zeros(0, 4), shapes=())
    assert truth.frames[0].shape == (0, 4)
    assert truth.maps.mask.shape == truth.maps.at.shape == (0, 1, 16, 16)
    assert truth.maps.offset.shape == (0, 2, 16, 16)


def test_chance_is_the_generator_s():
    same, again, other = (sample(found(), seed=seed).frames[0] for seed in (1, 1, 2))
    assert torch.equal(same, again)
    assert not torch.equal(same, other)

"""What every system promises: shapes, gradients, independence of a batch, export, learning."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from buildex.card import PARTS, ModelCard, NetworkSpec
from buildex.errors import ConfigError
from buildex.geo.instances import RoiMaps
from buildex.geo.keypoints import RoiCodec
from buildex.nn.batch import WholeTiles, collate
from buildex.nn.module import TrainingModule
from buildex.nn.network import Network, new_network
from buildex.nn.segmenter import segment
from buildex.nn.settings import Learning
from buildex.nn.unet import UNet
from buildex.nn.validation import measures
from buildex.nn.weights import load_model, save_model
from tests.nn.made import HOUSES, ROI_SYSTEMS, SYSTEMS, PaintedScene, tiny_spec

SIDE, CELLS = 96, 16
NEIGHBOUR = [[50, 70], [86, 70], [86, 90], [50, 90]]
TWO = (HOUSES[0], NEIGHBOUR)
EVERY = [(name, None) for name in SYSTEMS] + [
    ("mask-rcnn-keypoint", "features"), ("fcos-keypoint", "features"),
    ("mask-rcnn-keypoint", "mask-only"), ("fcos-keypoint", "mask-only"),
]  # fmt: skip
FRAMES = torch.tensor([[8.0, 8.0, 60.0, 60.0], [30.0, 20.0, 90.0, 50.0]])
every_system = pytest.mark.parametrize(("architecture", "corners"), EVERY)


def spec(architecture, corners=None, **changes):
    return tiny_spec(CELLS, architecture=architecture, corners=corners, **changes)


def network(architecture, corners=None):
    torch.manual_seed(3)
    return new_network(spec(architecture, corners)).eval()


def batch(*houses, side=SIDE):
    scenes = [PaintedScene(f"{i}", some, side) for i, some in enumerate(houses)]
    return collate([WholeTiles([scene])[0] for scene in scenes])


@torch.inference_mode()
def numbers(net, images, valid) -> dict[str, torch.Tensor]:
    """Everything that a network says, by name; the first axis is the image's."""
    if isinstance(net, UNet):
        return net(images, valid)._asdict()
    pyramid, output = net(images, valid)
    count = len(images)
    said = dict(output.head) if net.spec.parts.detector == "fcos" else {
        "objectness": output.objectness, "deltas": output.deltas,
        "boxes": torch.cat(net.detector._look(pyramid, [FRAMES] * count), 1).view(count, -1),
    }  # fmt: skip
    maps = net.maps(pyramid, [FRAMES] * count)
    for name, values in maps._asdict().items():
        if values is not None:
            said[name] = values.view(count, len(FRAMES), *values.shape[1:])
    return said


@every_system
def test_every_system_says_what_its_spec_promises(architecture, corners):
    net, one = network(architecture, corners), batch(TWO, ())
    said = numbers(net, one.images, one.valid)
    if isinstance(net, UNet):
        assert {v.shape for v in said.values()} == {(2, 1, SIDE, SIDE)}
        return
    assert said["mask"].shape == (2, 2, 1, CELLS, CELLS)
    knows = net.spec.corners != "mask-only"
    assert ("heatmap" in said) == ("offset" in said) == knows
    if knows:
        assert said["offset"].shape == (2, 2, 2, CELLS, CELLS)


@every_system
def test_every_system_answers_with_roi_maps(architecture, corners):
    net, one = network(architecture, corners), batch(TWO, ())
    codec = RoiCodec(cells=CELLS)
    for maps in segment(net, one.images, one.valid, codec):
        count = len(maps.scores)
        assert maps.frames.shape == (count, 4)
        assert maps.masks.shape == (count, CELLS, CELLS)
        cells = 0 if net.spec.corners == "mask-only" and count else CELLS
        assert maps.heatmaps.shape == (count, cells, cells)
        assert maps.offsets.shape == (count, 2, cells, cells)
        assert (np.diff(maps.scores) <= 0).all()
        assert all(part.dtype == np.float32 for part in maps)


@every_system
def test_every_parameter_that_learns_has_a_gradient(architecture, corners):
    free = Learning(steps=10, rois=8, frozen_stages=0, freeze_depthwise=False)
    torch.manual_seed(0)
    learner = TrainingModule(new_network(spec(architecture, corners)), RoiCodec(cells=CELLS), free)
    sum(learner.losses(batch(TWO, TWO)).values()).backward()
    for name, parameter in learner.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("architecture", SYSTEMS)
def test_an_empty_batch_has_finite_losses_and_gradients(architecture):
    learner = TrainingModule(
        new_network(spec(architecture)), RoiCodec(cells=CELLS), Learning(steps=10)
    )
    losses = learner.losses(batch((), ()))
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    found = [p.grad for p in learner.parameters() if p.requires_grad]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in found)


@every_system
def test_an_image_alone_is_seen_as_among_others(architecture, corners):
    net, three = network(architecture, corners), batch(TWO, HOUSES[:1], ())
    among = numbers(net, three.images, three.valid)
    alone = numbers(net, three.images[1:2], three.valid[1:2])
    assert among.keys() == alone.keys()
    for name, values in alone.items():
        assert torch.allclose(among[name][1:2], values, atol=1e-4), name


@every_system
def test_what_was_exported_and_read_again_says_the_same(architecture, corners, tmp_path):
    net, one = network(architecture, corners), batch(TWO)
    for value in net.state_dict().values():  # as exact as a file is: half precision
        if value.is_floating_point():
            value.copy_(value.half())
    card = ModelCard(
        name="one", version="1", gsd=0.1, size=SIDE, network=net.spec, codec=RoiCodec(cells=CELLS)
    )
    save_model(net, card, tmp_path / "model")
    again, read = load_model(tmp_path / "model")
    assert read.network == net.spec
    assert type(again) is type(net)
    first, second = (numbers(n, one.images, one.valid) for n in (net, again))
    for name, values in first.items():
        assert torch.equal(values, second[name]), name


def test_what_pixels_hold_where_they_are_not_valid_changes_nothing_in_any_system():
    one = batch(TWO)
    seen = one.valid.clone()
    seen[:, :40] = False
    noisy = one.images.clone()
    noisy[:, :, :40] = 255 - noisy[:, :, :40]
    for name in SYSTEMS:
        net = network(name)
        first, second = (numbers(net, pixels, seen) for pixels in (one.images, noisy))
        assert all(torch.equal(first[key], second[key]) for key in first), name


@pytest.mark.parametrize("side", [100, 96, 130])
@pytest.mark.parametrize("architecture", SYSTEMS)
def test_tiles_of_any_size_are_answered(architecture, side):
    net, one = network(architecture), batch(TWO, side=side)
    (maps,) = segment(net, one.images, one.valid, RoiCodec(cells=CELLS))
    assert isinstance(maps, RoiMaps)
    if isinstance(net, UNet):
        assert net(one.images, one.valid).building.shape == (1, 1, side, side)


def test_parts_combine_and_nothing_is_there_twice():
    kinds = {name: network(name) for name in ROI_SYSTEMS}
    assert all(isinstance(net, Network) for net in kinds.values())
    detectors = {name: type(net.detector).__name__ for name, net in kinds.items()}
    assert detectors == {
        "fcos-keypoint": "FcosDetector", "center-mask": "FcosDetector",
        "mask-rcnn": "RcnnDetector", "mask-rcnn-keypoint": "RcnnDetector",
    }  # fmt: skip
    without = set(network("mask-rcnn-keypoint", "mask-only").state_dict())
    assert without == set(kinds["mask-rcnn"].state_dict())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"architecture": "mask-rcnn", "corners": "features"}, "`mask-rcnn` has no keypoints"),
        ({"architecture": "unet", "corners": "features-and-mask"}, "`unet` has no keypoints"),
        ({"pyramid_channels": 48}, "pyramid_channels is 48"),
        ({"roi_channels": 50}, "roi_channels is 50"),
        ({"roi_scale": 3}, "roi_scale is 3"),
        ({"decoder_channels": (32, 16)}, "decoder_channels is [32, 16]"),
        ({"decoder_channels": (32, 16, 8, 8, 0)}, "decoder_channels"),
        ({"architecture": "mask-rcnn", "anchor_strides": (8, 32)}, "anchor_strides is [8, 32]"),
        ({"architecture": "mask-rcnn", "anchor_strides": (2, 4)}, "anchor_strides"),
        ({"architecture": "mask-rcnn", "anchor_strides": ()}, "anchor_strides"),
        ({"architecture": "mask-rcnn", "anchor_sizes": (32, 64)}, "2 anchor_sizes for 5"),
        ({"architecture": "mask-rcnn", "anchor_ratios": (0.0, 1.0)}, "ratios [0.0, 1.0]"),
        ({"architecture": "mask-rcnn", "anchor_ratios": ()}, "ratios []"),
    ],
)
def test_parts_that_do_not_fit_are_refused_in_one_line(changes, says):
    with pytest.raises(ConfigError) as caught:
        NetworkSpec(**changes)
    assert says in caught.value.message
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_spec_says_its_architecture_s_own_scenario():
    own = {name: NetworkSpec(architecture=name).corners for name in SYSTEMS}
    keypoints = [name for name, parts in PARTS.items() if parts.keypoints]
    assert [n for n, corners in own.items() if corners == "features-and-mask"] == keypoints
    assert {own[name] for name in set(SYSTEMS) - set(keypoints)} == {"mask-only"}


def rectangles(rng, count=2):
    """Houses turned by some degrees, each in its half of a tile of 128 pixels."""
    houses = []
    for half in range(count):
        centre = np.array([64 + rng.uniform(-14, 14), 33 + 62 * half + rng.uniform(-3, 3)])
        sides = np.array([rng.uniform(34, 62), rng.uniform(26, 36)]) / 2
        angle = rng.uniform(-0.25, 0.25)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * sides
        houses.append((corners @ turn + centre).tolist())
    return tuple(houses)


STEPS = 80


@pytest.mark.slow
@pytest.mark.parametrize("architecture", SYSTEMS)
def test_eight_tiles_are_learnt_by_heart(architecture):
    """IoU of the polygons' pixels above .9 in 80 steps, by the same validation as in training."""
    rng = np.random.default_rng(5)
    tiles = batch(*(rectangles(rng) for _ in range(8)), side=128)
    learning = Learning(
        steps=STEPS, warmup=5, lr=6e-3, encoder_lr=1.0, mask_weight=1.0, rois=8,
        frozen_stages=0, freeze_depthwise=False, freeze_norms=False,
    )  # fmt: skip
    torch.manual_seed(0)
    small = tiny_spec(28, architecture=architecture)
    learner = TrainingModule(new_network(small), RoiCodec(cells=28), learning)
    found = learner.configure_optimizers()
    optimizer, schedule = found["optimizer"], found["lr_scheduler"]["scheduler"]
    for _ in range(learning.steps):
        optimizer.zero_grad()
        sum(learner.losses(tiles).values()).backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    learner.eval()
    learner.on_validation_epoch_start()
    learner.validation_step(tiles, 0)
    result = measures(learner._sums)
    assert result["iou"] > 0.9
    assert result["instance_f1"] > 0.9

"""First weights from elsewhere. Files have the layout of the real ones; no network is used."""

from __future__ import annotations

import os
import pickle
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from torch.nn import functional as F

from buildex.card import NetworkSpec
from buildex.errors import ModelError
from buildex.geo.keypoints import RoiCodec
from buildex.nn.fitting import new_module
from buildex.nn.network import new_network
from buildex.nn.pretrained import adopt, of_encoder, read_zoo_file, torchvision_state
from buildex.nn.settings import Learning

BLOCKS = (3, 4, 6, 3)  # of ResNet-50, in stages res2 .. res5
PYRAMID, ROI, BOX = 32, 32, 64  # the real file's are 256, 256, 1024
PLAIN = {
    "architecture": "mask-rcnn", "encoder": "resnet50.detectron2", "pyramid_channels": PYRAMID,
    "anchor_strides": (4, 8, 16, 32, 64), "roi_channels": ROI, "roi_convs": 4,
    "roi_norm": False, "box_channels": BOX,
}  # fmt: skip
MEAN_BGR = np.array([103.530, 116.280, 123.675], np.float32)


class Zoo(dict):
    """Makes the arrays of a Mask R-CNN R50-FPN of the model zoo, key by key."""

    def __init__(self, seed=0):
        super().__init__()
        self.rng = np.random.default_rng(seed)

    def conv(self, key, out, inputs, side, bias=False):
        shape = (out, inputs, side, side) if side else (out, inputs)
        values = self.rng.standard_normal(shape) * np.sqrt(1.5 / np.prod(shape[1:]))
        self[f"{key}.weight"] = values.astype(np.float32)
        if bias:
            self[f"{key}.bias"] = self.rng.standard_normal(out).astype(np.float32) * 0.1

    def norm(self, key, channels):
        for name, low, high in (("weight", 0.5, 1), ("bias", -0.2, 0.2), ("running_mean", -1, 1),
                                ("running_var", 0.5, 2)):  # fmt: skip
            self[f"{key}.norm.{name}"] = self.rng.uniform(low, high, channels).astype(np.float32)

    def unit(self, key, out, inputs, side):
        self.conv(key, out, inputs, side)
        self.norm(key, out)


def zoo():
    made = Zoo()
    made.unit("backbone.bottom_up.stem.conv1", 64, 3, 7)
    inputs = 64
    for stage, blocks in zip(range(2, 6), BLOCKS, strict=True):
        inner, out = 64 * 2 ** (stage - 2), 256 * 2 ** (stage - 2)
        for block in range(blocks):
            key = f"backbone.bottom_up.res{stage}.{block}"
            if block == 0:
                made.unit(f"{key}.shortcut", out, inputs, 1)
            made.unit(f"{key}.conv1", inner, inputs, 1)
            made.unit(f"{key}.conv2", inner, inner, 3)
            made.unit(f"{key}.conv3", out, inner, 1)
            inputs = out
        made.conv(f"backbone.fpn_lateral{stage}", PYRAMID, out, 1, bias=True)
        made.conv(f"backbone.fpn_output{stage}", PYRAMID, PYRAMID, 3, bias=True)
    rpn, heads = "proposal_generator.rpn_head", "roi_heads"
    made.conv(f"{rpn}.conv", PYRAMID, PYRAMID, 3, bias=True)
    made.conv(f"{rpn}.objectness_logits", 3, PYRAMID, 1, bias=True)
    made.conv(f"{rpn}.anchor_deltas", 12, PYRAMID, 1, bias=True)
    made["proposal_generator.anchor_generator.cell_anchors.0"] = np.zeros((3, 4), np.float32)
    made.conv(f"{heads}.box_head.fc1", BOX, PYRAMID * 49, 0, bias=True)
    made.conv(f"{heads}.box_head.fc2", BOX, BOX, 0, bias=True)
    made.conv(f"{heads}.box_predictor.cls_score", 81, BOX, 0, bias=True)
    made.conv(f"{heads}.box_predictor.bbox_pred", 320, BOX, 0, bias=True)
    for layer in range(1, 5):
        made.conv(f"{heads}.mask_head.mask_fcn{layer}", ROI, ROI, 3, bias=True)
    made["roi_heads.mask_head.deconv.weight"] = np.zeros((ROI, ROI, 2, 2), np.float32)
    made["roi_heads.mask_head.deconv.bias"] = np.zeros(ROI, np.float32)
    made.conv(f"{heads}.mask_head.predictor", 80, ROI, 1, bias=True)
    return dict(made)


@pytest.fixture(scope="module")
def arrays():
    return zoo()


@pytest.fixture(scope="module")
def zoo_file(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("zoo") / "model_final_a54504.pkl"
    with path.open("wb") as file:
        pickle.dump({"model": arrays, "__author__": "Detectron2 Model Zoo"}, file, protocol=2)
    return path


def reference(arrays, rgb):
    """Stages res2 .. res5 and levels P2 .. P5 as detectron2 computes them, from its keys.

    Input BGR, 0..255 less the mean; frozen norms; a bottleneck's stride in its first layer.
    """
    t = {key: torch.from_numpy(value) for key, value in arrays.items()}

    def unit(x, key, stride=1, padding=0):
        x = F.conv2d(x, t[f"{key}.weight"], stride=stride, padding=padding)
        scale = t[f"{key}.norm.weight"] * (t[f"{key}.norm.running_var"] + 1e-5).rsqrt()
        shift = t[f"{key}.norm.bias"] - t[f"{key}.norm.running_mean"] * scale
        return x * scale[None, :, None, None] + shift[None, :, None, None]

    x = rgb[:, [2, 1, 0]].float() - torch.from_numpy(MEAN_BGR).view(1, 3, 1, 1)
    x = unit(x, "backbone.bottom_up.stem.conv1", 2, 3).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    stages = []
    for stage, blocks in zip(range(2, 6), BLOCKS, strict=True):
        for block in range(blocks):
            key = f"backbone.bottom_up.res{stage}.{block}"
            stride = 2 if block == 0 and stage > 2 else 1
            y = unit(x, f"{key}.conv1", stride).relu()
            y = unit(unit(y, f"{key}.conv2", 1, 1).relu(), f"{key}.conv3")
            x = (y + (unit(x, f"{key}.shortcut", stride) if block == 0 else x)).relu()
        stages.append(x)
    levels, above = [], None
    for stage, x in zip(range(5, 1, -1), stages[::-1], strict=True):
        key = f"backbone.fpn_lateral{stage}"
        x = F.conv2d(x, t[f"{key}.weight"], t[f"{key}.bias"])
        above = x if above is None else x + F.interpolate(above, scale_factor=2.0)
        key = f"backbone.fpn_output{stage}"
        levels.append(F.conv2d(above, t[f"{key}.weight"], t[f"{key}.bias"], padding=1))
    return stages, levels[::-1]


@pytest.fixture(scope="module")
def from_zoo(zoo_file):
    network = new_network(NetworkSpec(**PLAIN)).eval()
    return network, adopt(network, str(zoo_file))


def pictures():
    return torch.randint(0, 256, (1, 3, 64, 64), generator=torch.manual_seed(4)).byte()


def close(found, expected):
    """Equal to single precision, measured against the largest value."""
    return (found - expected).abs().max() <= 2e-4 * expected.abs().max()


def test_a_zoo_network_sees_what_detectron2_s_sees(from_zoo, arrays):
    network, _ = from_zoo
    images = pictures()
    valid = torch.ones(1, 64, 64, dtype=torch.bool)
    stages, levels = reference(arrays, images)
    with torch.inference_mode():
        found = network.backbone.encoder(network.normalised(images, valid))[1:]
        pyramid = network.pyramid(images, valid)
    assert all(close(a, b) for a, b in zip(found, stages, strict=True))
    assert all(close(pyramid[f"p{k}"], level) for k, level in zip(range(2, 6), levels, strict=True))
    assert torch.equal(pyramid["p6"], pyramid["p5"][:, :, ::2, ::2])


def test_every_part_that_knows_no_class_is_taken(from_zoo, arrays):
    network, parts = from_zoo
    assert parts == ["encoder", "pyramid", "proposals", "box head", "mask branch"]
    state = network.state_dict()
    for theirs, ours in (
        ("proposal_generator.rpn_head.conv.weight", "detector.rpn.head.conv.0.0.weight"),
        ("proposal_generator.rpn_head.objectness_logits.bias", "detector.rpn.head.cls_logits.bias"),
        ("proposal_generator.rpn_head.anchor_deltas.weight", "detector.rpn.head.bbox_pred.weight"),
        ("roi_heads.box_head.fc1.weight", "detector.head.fc6.weight"),
        ("roi_heads.box_head.fc2.bias", "detector.head.fc7.bias"),
        ("roi_heads.mask_head.mask_fcn1.weight", "roi.mask.stack.0.weight"),
        ("roi_heads.mask_head.mask_fcn4.bias", "roi.mask.stack.6.bias"),
    ):
        assert np.array_equal(state[ours].numpy(), arrays[theirs]), ours


def test_parts_of_another_shape_are_left_alone_and_the_rest_is_taken(zoo_file):
    changed = NetworkSpec(**PLAIN | {"box_channels": 32, "roi_norm": True})
    network = new_network(changed)
    before = network.detector.head.fc6.weight.clone()
    assert adopt(network, str(zoo_file)) == ["encoder", "pyramid", "proposals"]
    assert torch.equal(network.detector.head.fc6.weight, before)


def test_other_systems_take_what_they_share_and_training_says_what_it_was(zoo_file):
    told = []
    spec = NetworkSpec(architecture="unet", encoder="resnet50.detectron2")
    module = new_module(spec, str(zoo_file), RoiCodec(), Learning(steps=1), told.append)
    assert told == ["from model_final_a54504.pkl: encoder"]
    assert module.network.spec == spec


def test_an_encoder_with_strides_elsewhere_is_refused(zoo_file):
    with pytest.raises(ModelError, match="strides in other places") as caught:
        adopt(new_network(NetworkSpec(**PLAIN | {"encoder": "resnet50.a1_in1k"})), str(zoo_file))
    assert "resnet50.detectron2" in caught.value.hint


def test_an_encoder_of_another_depth_is_refused(zoo_file):
    network = new_network(NetworkSpec(**PLAIN | {"encoder": "resnet26.detectron2"}))
    with pytest.raises(ModelError, match="another encoder's weights"):
        adopt(network, str(zoo_file))


@pytest.mark.parametrize(
    ("name", "says"),
    [("resnet18.detectron2", "bottlenecks"), ("efficientnet_lite2.detectron2", "bottlenecks")],
)
def test_only_bottlenecks_can_stride_first(name, says):
    with pytest.raises(ModelError, match=says):
        new_network(NetworkSpec(encoder=name))


def test_timm_has_no_weights_for_detectron2_s_encoders():
    with pytest.raises(ModelError, match="timm has no weights"):
        new_network(NetworkSpec(encoder="resnet50.detectron2"), "timm")


class Evil:
    """Would make a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(tmp_path):
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"model": {"a": Evil(tmp_path / "made")}}))
    with pytest.raises(ModelError, match=r"it names (posix|nt)\.mkdir"):
        read_zoo_file(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_arrays_are_read_whatever_the_pickle_s_protocol(tmp_path, protocol):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    key = "backbone.bottom_up.stem.conv1.weight"
    path = tmp_path / "weights.pkl"
    table = {"model": {key: values, "half": values.astype(np.float16), "steps": np.int64(3)}}
    path.write_bytes(pickle.dumps(table, protocol=protocol))
    found = read_zoo_file(path)
    assert set(found) == {key, "half"}
    assert found[key].numpy().tolist() == values.tolist()
    assert found["half"].dtype == torch.float32


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"weights", "is no file of weights"),
        (pickle.dumps([1, 2]), "holds no `model`"),
        (pickle.dumps({"model": {"conv1_w": np.zeros(3, np.float32)}}), "holds no Mask R-CNN"),
        (None, "no weights"),
    ],
)
def test_what_is_no_zoo_file_is_one_clear_error(tmp_path, content, says):
    path = tmp_path / "model.pkl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=says) as caught:
        read_zoo_file(path)
    assert caught.value.hint


@pytest.fixture
def offline(monkeypatch):
    """No weights can be fetched; those of a test may be put in their place by name."""
    there = {}

    def fetch(self, *_, **__):
        if self.name in there:
            return there[self.name]
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", fetch)
    return there


@pytest.mark.parametrize("name", ["maskrcnn_resnet50_fpn", "ResNet101_Weights.IMAGENET1K_V2"])
def test_without_a_network_torchvision_s_names_are_one_clear_error(offline, name):
    with pytest.raises(ModelError, match="cannot be fetched") as caught:
        torchvision_state(name)
    assert "--pretrained none" in caught.value.hint


@pytest.mark.parametrize("name", ["maskrcnn_resnet5", "ResNet101_Weights.MINE", "mine.weights"])
def test_unknown_first_weights_are_one_clear_error(name):
    with pytest.raises(ModelError, match="no first weights") as caught:
        torchvision_state(name)
    assert "maskrcnn_resnet50_fpn" in caught.value.hint


def same_pyramid(ours, theirs, names):
    """Whether our backbone answers as torchvision's; levels by our and their names."""
    images, valid = pictures(), torch.ones(1, 64, 64, dtype=torch.bool)
    with torch.inference_mode():
        found = ours.eval().pyramid(images, valid)
        expected = theirs.eval().backbone(ours.normalised(images, valid))
    return all(close(found[a], expected[b]) for a, b in names.items())


def test_torchvision_s_mask_rcnn_is_taken(offline):
    build = torchvision.models.detection.maskrcnn_resnet50_fpn
    theirs = build(weights=None, weights_backbone=None)
    offline["COCO_V1"] = theirs.state_dict()
    wide = {"pyramid_channels": 256, "roi_channels": 256, "box_channels": 1024}
    ours = new_network(NetworkSpec(**PLAIN | wide | {"encoder": "resnet50"}))
    parts = adopt(ours, "maskrcnn_resnet50_fpn")
    assert parts == ["encoder", "pyramid", "proposals", "box head", "mask branch"]
    assert same_pyramid(ours, theirs, {"p2": "0", "p3": "1", "p4": "2", "p5": "3", "p6": "pool"})
    features = torch.randn(2, 256, 14, 14)
    expected = theirs.roi_heads.mask_head(features)
    assert torch.allclose(ours.roi.mask.stack(features), expected, atol=1e-5)


def test_of_torchvision_s_second_mask_rcnn_what_is_made_otherwise_is_left_whole(offline):
    """Its heads are normalised and longer: a convolution of them alone is worth nothing."""
    build = torchvision.models.detection.maskrcnn_resnet50_fpn_v2
    offline["COCO_V1"] = build(weights=None, weights_backbone=None).state_dict()
    wide = {"pyramid_channels": 256, "roi_channels": 256, "box_channels": 1024}
    ours = new_network(NetworkSpec(**PLAIN | wide | {"encoder": "resnet50"}))
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    assert adopt(ours, "maskrcnn_resnet50_fpn_v2") == ["encoder"]
    changed = {key for key, value in ours.state_dict().items() if not value.equal(before[key])}
    assert {key.split(".")[1] for key in changed} == {"encoder"}


def test_a_part_that_needs_more_than_there_is_is_left_whole(zoo_file):
    network = new_network(NetworkSpec(**PLAIN | {"roi_convs": 5}))
    assert adopt(network, str(zoo_file)) == ["encoder", "pyramid", "proposals", "box head"]


def test_a_pyramid_with_more_levels_takes_those_that_there_are(zoo_file):
    spec = NetworkSpec(encoder="resnet50.detectron2", pyramid_channels=PYRAMID)
    assert adopt(new_network(spec), str(zoo_file)) == ["encoder", "pyramid"]


def test_torchvision_s_fcos_is_taken(offline):
    theirs = torchvision.models.detection.fcos_resnet50_fpn(weights=None, weights_backbone=None)
    offline["COCO_V1"] = theirs.state_dict()
    ours = new_network(NetworkSpec(encoder="resnet50", pyramid_channels=256))
    assert adopt(ours, "fcos_resnet50_fpn") == ["encoder", "pyramid", "FCOS towers"]
    levels = {"p3": "0", "p4": "1", "p5": "2", "p6": "p6", "p7": "p7"}  # it has no P2
    assert same_pyramid(ours, theirs, levels)
    tower, expected = ours.detector.fcos.head.regression_head, theirs.head.regression_head
    features = [torch.randn(1, 256, 4, 4)]
    for found, wanted in zip(tower(features), expected(features), strict=True):
        assert torch.equal(found, wanted)


def test_torchvision_s_resnets_are_taken_as_encoders(offline):
    theirs = torchvision.models.resnet50(weights=None)
    offline["IMAGENET1K_V2"] = theirs.state_dict()
    ours = new_network(NetworkSpec(architecture="unet", encoder="resnet50"))
    assert adopt(ours, "resnet50") == ["encoder"]
    last = ours.backbone.encoder.state_dict()["layer4.2.conv3.weight"]
    assert torch.equal(last, theirs.layer4[2].conv3.weight)


def test_what_is_an_encoder_s_alone_is_left_to_the_encoder(tmp_path):
    plain = tmp_path / "weights"
    plain.write_bytes(b"")
    assert all(map(of_encoder, ("", "timm", "missing.safetensors", str(plain))))
    assert not any(map(of_encoder, ("resnet50", "model.pkl")))

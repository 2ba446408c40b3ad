from __future__ import annotations

import dataclasses

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from buildex.card import NetworkSpec
from buildex.errors import ConfigError, ModelError
from buildex.nn.backbone import (
    Stages,
    create_encoder,
    freeze,
    freeze_statistics,
    normalisation,
)
from buildex.nn.network import new_network
from buildex.nn.recipe import TrainConfig
from tests.nn.made import SMALLEST


@pytest.fixture
def weights(tmp_path):
    """A file of encoder weights, all 0.25."""
    state = create_encoder(SMALLEST).state_dict()
    path = tmp_path / "encoder.safetensors"
    save_file({k: torch.full_like(v, 0.25) for k, v in state.items()}, path)
    return path


def test_an_encoder_takes_its_weights_from_a_file(weights):
    encoder = create_encoder(SMALLEST, str(weights))
    assert all((p == 0.25).all() for p in encoder.parameters())


def test_weights_of_another_encoder_are_refused(weights):
    with pytest.raises(ModelError, match="holds another encoder's weights") as caught:
        create_encoder("test_resnet", str(weights))
    assert "--encoder" in caught.value.hint


@pytest.mark.parametrize("change", ["one less", "one more"])
def test_keys_must_fit_exactly(weights, change):
    state = load_file(weights)
    if change == "one less":
        del state["conv_stem.weight"]
    else:
        state["head.weight"] = torch.zeros(3)
    save_file(state, weights)
    with pytest.raises(ModelError, match="holds another encoder's weights"):
        create_encoder(SMALLEST, str(weights))


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(ModelError, match="no encoder weights"):
        create_encoder(SMALLEST, str(tmp_path / "missing.safetensors"))
    (tmp_path / "text.safetensors").write_text("not weights")
    with pytest.raises(ModelError, match="not a safetensors file"):
        create_encoder(SMALLEST, str(tmp_path / "text.safetensors"))


@pytest.mark.parametrize("name", ["resnet_of_mine", "resnet50.of_mine"])
@pytest.mark.parametrize("pretrained", ["", "timm"])
def test_an_unknown_encoder_is_refused(name, pretrained):
    with pytest.raises(ModelError, match=f"no encoder `{name}`") as caught:
        new_network(NetworkSpec(encoder=name), pretrained)
    assert "timm.list_models" in caught.value.hint


def test_without_a_network_one_line_says_what_else_there_is(monkeypatch):
    def offline(*_, **__):
        raise OSError("Temporary failure\n\n  in name resolution")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ModelError, match="Temporary failure in name resolution") as caught:
        create_encoder(TrainConfig().encoder, TrainConfig().pretrained)
    assert "--pretrained FILE.safetensors" in caught.value.hint
    assert "\n" not in str(caught.value)


def fetched(monkeypatch, path):
    """Let timm find the weights of all encoders in a file."""
    known = timm.get_pretrained_cfg

    def local(name, *others, **options):
        config = known(name, *others, **options)
        there = config is not None and config.has_weights
        return dataclasses.replace(config, file=str(path)) if there else config

    monkeypatch.setattr(timm, "get_pretrained_cfg", local)


def test_the_default_encoder_has_the_default_weights(monkeypatch, tmp_path):
    """They are TensorFlow's, by another name; its keys and shapes are ours."""
    usual = TrainConfig()
    theirs = timm.create_model(f"tf_{usual.encoder}", features_only=True).state_dict()
    save_file({k: torch.full_like(v, 0.25) for k, v in theirs.items()}, tmp_path / "w.safetensors")
    fetched(monkeypatch, tmp_path / "w.safetensors")
    encoder = create_encoder(usual.encoder, usual.pretrained)
    assert all((p == 0.25).all() for p in encoder.parameters())


@pytest.mark.parametrize("name", ["efficientnet_es_pruned_of_mine", "efficientnet_b6"])
def test_weights_that_do_not_exist_are_no_matter_of_the_network(name):
    with pytest.raises(ModelError) as caught:
        create_encoder(name, "timm")
    known = timm.is_model(name)
    assert ("timm has no weights" in caught.value.message) == known
    assert ("network" in caught.value.hint) != known


def norms(encoder):
    return {part.eps for part in encoder.modules() if isinstance(part, nn.BatchNorm2d)}


@pytest.mark.parametrize(
    ("name", "mean", "epsilon"),
    [
        ("efficientnet_lite0", 0.485, 1e-5),  # has weights of its own
        ("efficientnet_lite2", 0.5, 1e-3),
        ("tf_efficientnet_lite0", 0.5, 1e-3),
        ("resnet18", 0.485, 1e-5),
    ],
)
def test_encoders_run_as_their_weights_were_trained(name, mean, epsilon):
    assert normalisation(name)[0][0] == mean
    assert norms(create_encoder(name)) == {epsilon}


def test_an_encoder_that_timm_does_not_know_has_a_scale_all_the_same():
    assert len(normalisation("an_encoder_that_timm_does_not_know")[1]) == 3


@pytest.mark.parametrize("name", ["test_vit", "swin_tiny_patch4_window7_224"])
def test_an_encoder_without_a_pyramid_is_refused(name):
    with pytest.raises(ModelError, match="no pyramid") as caught:
        create_encoder(name)
    assert "convolutional" in caught.value.hint


def test_trying_an_encoder_leaves_no_trace():
    encoder = create_encoder(SMALLEST)
    assert encoder.training
    seen = [part for part in encoder.modules() if isinstance(part, nn.BatchNorm2d)]
    assert all(int(part.num_batches_tracked) == 0 for part in seen)


def test_features_of_whole_pixels_are_no_stage():
    stages = Stages("vgg11")
    assert stages.strides == [2, 4, 8, 16, 32]
    shapes = [tuple(f.shape[1:3]) for f in stages(torch.zeros(1, 3, 64, 64))]
    assert shapes == [(c, 64 // s) for c, s in zip(stages.channels, stages.strides, strict=True)]


def learning(encoder):
    return {name for name, p in encoder.named_parameters() if p.requires_grad}


def test_frozen_stages_do_not_learn_and_later_ones_do():
    encoder = create_encoder(SMALLEST)
    stages = encoder.feature_info.module_name()
    freeze(encoder, 2, depthwise=False)
    last = [name for name in learning(create_encoder(SMALLEST)) if name.startswith(stages[-1])]
    assert not any(name.startswith(stages[1]) for name in learning(encoder))
    assert "conv_stem.weight" not in learning(encoder)
    assert set(last) <= learning(encoder)


def test_more_stages_than_there_are_cannot_be_frozen():
    encoder = create_encoder(SMALLEST)
    there = len(encoder.feature_info.get_dicts())
    with pytest.raises(ConfigError, match=f"{there + 1} frozen stages") as caught:
        freeze(encoder, there + 1, depthwise=False)
    assert str(there) in caught.value.hint


def test_depthwise_kernels_can_be_frozen_alone():
    encoder = create_encoder(SMALLEST)
    freeze(encoder, 0, depthwise=True)
    kernels = {name for name, p in encoder.named_parameters() if p.ndim == 4 and p.shape[1] == 1}
    assert kernels
    assert learning(encoder) == {name for name, _ in encoder.named_parameters()} - kernels


def test_frozen_statistics_stay_while_scale_and_shift_learn():
    norm = nn.BatchNorm2d(3)
    model = nn.Sequential(nn.Conv2d(3, 3, 1), norm).train()
    freeze_statistics(model)
    model(torch.randn(4, 3, 8, 8)).sum().backward()
    assert norm.running_mean.tolist() == [0, 0, 0]
    assert norm.weight.grad is not None
    assert model.training


@pytest.mark.parametrize(
    ("name", "stages", "first", "later"),
    [
        ("resnet18", 1, "conv1.", "layer1."),  # its first stage is a ReLU
        ("resnet18", 2, "layer1.", "layer2."),
        ("convnext_atto", 1, "stages_0.", "stages_1."),  # timm's name of it is stages.0
    ],
)
def test_stages_are_frozen_whatever_timm_calls_them(name, stages, first, later):
    encoder = create_encoder(name)
    freeze(encoder, stages, depthwise=False)
    assert not any(one.startswith(first) for one in learning(encoder))
    every = {one for one, _ in encoder.named_parameters() if one.startswith(later)}
    assert every
    assert every <= learning(encoder)

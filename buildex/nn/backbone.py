"""From images to a pyramid of features: an encoder by its timm name, and an FPN on top.

Level Pk has stride 2^k: P2 .. P5 come from the encoder's strides 4 .. 32, P6 and P7 from
two strided convolutions more (Lin et al. 2017; Tian et al. 2019). Where nothing looks at
P7, P6 is P5 subsampled, as in Mask R-CNN (Lin et al. 2017, section 4.1).
Shapes: B images of height H and width W, D channels on every level.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models.resnet import Bottleneck
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from buildex.card import STRIDES, NetworkSpec
from buildex.errors import ConfigError, ModelError

LEVELS = ("p2", "p3", "p4", "p5", "p6", "p7")
STRIDE_FIRST = ".detectron2"  # a tag of an encoder's name
# Encoders that run as those of TensorFlow's training, whose weights they take: the tensors are the
# same, and what pads them is not. Whatever weights timm has one day, models keep their pixels.
LENT = tuple(f"efficientnet_lite{size}" for size in (1, 2, 3, 4))
LENT_EPSILON = 1e-3  # of batch norms that TensorFlow trained
CHECK_NAME = "check the name with timm.list_models(), its tag with timm.list_pretrained()"
BLANK = 64  # side in pixels of what an encoder is tried with
Pyramid = OrderedDict[str, Tensor]
Triple = tuple[float, float, float]
IMAGENET: tuple[Triple, Triple] = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def create_encoder(name: str, pretrained: str = "") -> nn.Module:
    """A timm encoder that answers with its features at strides 2 .. 32.

    Args:
        name: its timm name; with the tag `.detectron2` a ResNet whose bottlenecks stride in
            their first convolution, as the weights of detectron2's model zoo want it.
        pretrained: empty for random weights, `timm` for those that timm downloads, or the
            path of a safetensors file whose keys fit exactly.

    Raises:
        ModelError: for an unknown encoder, one without a pyramid, or weights that cannot be had.
    """
    plain = name.removesuffix(STRIDE_FIRST)
    options: dict[str, Any] = {"features_only": True, "pretrained": pretrained == "timm"}
    if plain in LENT:
        options |= {"bn_eps": LENT_EPSILON, "pretrained_cfg": _origin(plain)}
    if pretrained == "timm":
        _check_weights(name, plain)
    try:
        encoder: nn.Module = timm.create_model(plain, **options)
    except Exception as error:  # timm, its hub client and sockets raise many kinds
        reason = " ".join(str(error).split())  # some speak in paragraphs
        raise ModelError(
            f"no encoder `{name}` with {pretrained or 'random'} weights: {reason}",
            hint=f"{CHECK_NAME}; without a network give "
            "`--pretrained FILE.safetensors` or `--pretrained none`",
        ) from error
    _check_stages(encoder, name)
    if plain != name:
        stride_first(encoder, name)
    if pretrained not in ("", "timm"):
        load_encoder(encoder, Path(pretrained))
    return encoder


def _origin(name: str) -> Any:
    """What timm knows of an encoder's weights: size, mean, where they lie; None of none.

    Raises:
        ModelError: for a tag that it does not know.
    """
    try:
        return timm.get_pretrained_cfg(f"tf_{name}" if name in LENT else name)
    except RuntimeError as error:
        raise ModelError(f"no encoder `{name}`: {error}", hint=CHECK_NAME) from None


def _check_weights(name: str, plain: str) -> None:
    """Whether timm has weights for an encoder that it knows.

    Raises:
        ModelError: if it has none, which no network would mend.
    """
    if plain == name and (not timm.is_model(name) or getattr(_origin(name), "has_weights", False)):
        return
    other = f"use `--encoder {plain}`" if plain != name else "choose another `--encoder`"
    raise ModelError(
        f"timm has no weights for `{name}`",
        hint=f"{other}, give a file of them, or `--pretrained none`",
    )


def _check_stages(encoder: nn.Module, name: str) -> None:
    """Whether an encoder's features make a pyramid of images of any size.

    Raises:
        ModelError: if not, as those of most transformers.
    """
    info: Any = encoder.feature_info
    wanted = [(c, BLANK // s) for c, s in zip(info.channels(), info.reduction(), strict=True)]
    learns = encoder.training
    try:
        with torch.no_grad():
            found = [tuple(f.shape[1:3]) for f in encoder.eval()(torch.zeros(1, 3, BLANK, BLANK))]
    except Exception:  # each refuses a size that it was not made for in its own way
        found = []
    encoder.train(learns)
    if found != wanted or tuple(info.reduction()[-4:]) != STRIDES[:4]:
        raise ModelError(
            f"`{name}` gives no pyramid of features with strides 4, 8, 16 and 32",
            hint="use a convolutional encoder, such as efficientnet_lite2 or resnet50",
        )


def stride_first(encoder: nn.Module, name: str) -> None:
    """Move the stride of a ResNet's bottlenecks from their 3x3 to their first 1x1 convolution.

    So He et al. (2016) had it; timm and torchvision do not. The weights have one shape.

    Raises:
        ModelError: for an encoder without bottlenecks.
    """
    bottlenecks = [part for part in encoder.modules() if isinstance(part, Bottleneck)]
    if not bottlenecks:
        raise ModelError(
            f"no encoder `{name}`: detectron2's encoders are ResNets of bottlenecks",
            hint="use resnet50.detectron2 or resnet101.detectron2",
        )
    for part in bottlenecks:
        first, second = part.conv1, part.conv2
        first.stride, second.stride = second.stride, first.stride


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Fill an encoder from a safetensors file with strict keys.

    Raises:
        ModelError: if the file is missing, damaged, or of another encoder.
    """
    try:
        encoder.load_state_dict(load_file(path), strict=True)
    except FileNotFoundError:
        raise ModelError(f"no encoder weights `{path}`", hint="check the path") from None
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"`{path}` is not a safetensors file: {error}", hint="fetch it again"
        ) from None
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise ModelError(
            f"`{path}` holds another encoder's weights: {first}",
            hint="choose the encoder with `--encoder`",
        ) from None


def normalisation(name: str) -> tuple[Triple, Triple]:
    """Mean and standard deviation (R, G, B; of values 0..1) that an encoder was trained with.

    Raises:
        ModelError: for a tag that timm does not know.
    """
    if name.endswith(STRIDE_FIRST):
        return IMAGENET  # what its stem is converted to, see `nn.pretrained`
    config = _origin(name)
    if config is None:
        return IMAGENET
    (r, g, b), (r_std, g_std, b_std) = config.mean, config.std
    return (r, g, b), (r_std, g_std, b_std)


class ImageNetwork(nn.Module):
    """What every network has: its shape, an encoder in `backbone`, and how pixels go in."""

    mean: Tensor
    std: Tensor
    backbone: Backbone | Stages

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        mean, std = normalisation(spec.encoder)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def normalised(self, images: Tensor, valid: Tensor) -> Tensor:
        """uint8 RGB (B, 3, H, W) as the encoder wants it; what is not valid becomes the mean."""
        scaled = (images.float() / 255 - self.mean) / self.std
        scaled = scaled * valid[:, None].to(scaled.dtype)
        return scaled.contiguous(memory_format=torch.channels_last)


class Stages(nn.Module):
    """An encoder's features at all its strides from 2, without a pyramid."""

    def __init__(self, encoder: str, pretrained: str = "") -> None:
        super().__init__()
        self.encoder = create_encoder(encoder, pretrained)
        info: Any = self.encoder.feature_info
        self._first = sum(stride < 2 for stride in info.reduction())
        self.channels: list[int] = info.channels()[self._first :]
        self.strides: list[int] = info.reduction()[self._first :]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) to the features of each stride, the finest first."""
        stages: list[Tensor] = self.encoder(images)[self._first :]
        return stages


class Backbone(nn.Module):
    """Encoder and feature pyramid.

    Args:
        encoder: the encoder's timm name.
        channels: D.
        pretrained: see `create_encoder`.
        top: stride of the last level that is wanted, at least.
    """

    def __init__(self, encoder: str, channels: int, pretrained: str = "", top: int = 128) -> None:
        super().__init__()
        self.encoder = create_encoder(encoder, pretrained)
        info: Any = self.encoder.feature_info
        self._first = info.reduction().index(4)
        beyond = LastLevelP6P7(channels, channels) if top > 64 else LastLevelMaxPool()
        self.pyramid = FeaturePyramidNetwork(info.channels()[self._first :], channels, beyond)

    def forward(self, images: Tensor) -> Pyramid:
        """Normalised images (B, 3, H, W) to levels `p2` .. `p7`, each (B, D, H / 2^k, W / 2^k)."""
        stages = self.encoder(images)[self._first :]
        named = OrderedDict(zip(LEVELS, stages, strict=False))
        levels = self.pyramid(named)
        return OrderedDict(zip(LEVELS, levels.values(), strict=False))


def freeze_statistics(module: nn.Module) -> None:
    """Let every batch norm use its running statistics; its scale and shift still learn.

    Small batches have poor statistics. Call it after each `module.train()`.
    """
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()


def freeze(encoder: nn.Module, stages: int, depthwise: bool) -> None:
    """Keep parts of an encoder as they are; what is frozen costs no backward pass.

    Args:
        encoder: of `create_encoder`.
        stages: its first stages (the first has stride 2, the second 4, ...).
        depthwise: its depthwise kernels, whose gradient takes a third of a step on a CPU.

    Raises:
        ConfigError: if it has not as many stages.
    """
    info: Any = encoder.feature_info
    there = info.get_dicts()
    if stages > len(there):
        raise ConfigError(
            f"{stages} frozen stages, the encoder has {len(there)}",
            hint=f"use `--frozen-stages {len(there)}` or less",
        )
    first = _parameters_until(encoder, there[stages - 1]["module"]) if stages else 0
    for index, parameter in enumerate(encoder.parameters()):
        one_channel = parameter.ndim == 4 and parameter.shape[1] == 1
        if index < first or (depthwise and one_channel):
            parameter.requires_grad_(False)


def _parameters_until(encoder: nn.Module, stage: str) -> int:
    """How many parameters an encoder has up to the end of a stage, which may have none itself.

    Raises:
        ConfigError: if there is no module of that name.
    """
    flat = stage.replace(".", "_")  # as timm names them where it puts stages side by side
    count, reached = 0, False
    for name, module in encoder.named_modules():
        within = any(f"{name}.".startswith(f"{one}.") for one in (stage, flat))
        if reached and not within:
            return count
        reached = reached or within
        count += len(list(module.parameters(recurse=False)))
    if not reached:
        raise ConfigError(
            f"this encoder's stage `{stage}` cannot be frozen", hint="use `--frozen-stages 0`"
        )
    return count

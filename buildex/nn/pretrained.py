"""First weights that were made elsewhere: torchvision's models, detectron2's model zoo.

Each source has a key map into our names. What it knows is taken part by part (encoder, pyramid,
proposals, box head, mask branch, FCOS towers): a part is taken whole, where both have the same
tensors, or left as it is; of the pyramid, each level that the file has. Layers that say which of
COCO's classes something is have no use here, nor has what follows the mask's convolutions, which is
narrower here.
"""

from __future__ import annotations

import codecs
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor

from buildex.errors import ModelError
from buildex.nn.backbone import IMAGENET, STRIDE_FIRST, ImageNetwork

State = dict[str, Tensor]
Rule = tuple[str, str | Callable[[re.Match[str]], str]]  # a whole key, what becomes of it
NO_USE = ""  # what becomes of a key that is known and not taken
ENCODER = "backbone.encoder."
PYRAMID = "backbone.pyramid."
CLASSES = "detector.fcos.head.classification_head.cls_logits."  # begun anew
PARTS = {
    ENCODER: "encoder", PYRAMID: "pyramid", "detector.rpn.": "proposals",
    "detector.head.": "box head", "detector.fcos.": "FCOS towers", "roi.mask.stack.": "mask branch",
}  # fmt: skip


def _level(kind: str, first: int) -> Callable[[re.Match[str]], str]:
    """A pyramid's level, counted from `first` in the file, in our name."""
    return lambda found: f"{PYRAMID}{kind}_blocks.{int(found[1]) - first}.0.{found[2]}"


def _mask_layer(first: int) -> Callable[[re.Match[str]], str]:
    """A convolution of the mask branch; between two stands a ReLU, which has no tensors."""
    return lambda found: f"roi.mask.stack.{2 * (int(found[1]) - first)}.{found[2]}"


# Keys of a Mask R-CNN of detectron2: ResNet stages res2 .. res5, pyramid levels 2 .. 5.
DETECTRON2: Sequence[Rule] = (
    (r"backbone\.bottom_up\.stem\.(.+)", rf"{ENCODER}\1"),
    (r"backbone\.bottom_up\.res(\d)\.(.+)", lambda m: f"{ENCODER}layer{int(m[1]) - 1}.{m[2]}"),
    (r"(.+)\.conv(\d)\.norm\.(\w+)", r"\1.bn\2.\3"),
    (r"(.+)\.shortcut\.norm\.(\w+)", r"\1.downsample.1.\2"),
    (r"(.+)\.shortcut\.weight", r"\1.downsample.0.weight"),
    (r"backbone\.fpn_lateral(\d)\.(\w+)", _level("inner", 2)),
    (r"backbone\.fpn_output(\d)\.(\w+)", _level("layer", 2)),
    (r"proposal_generator\.rpn_head\.conv\.(\w+)", r"detector.rpn.head.conv.0.0.\1"),
    (r"proposal_generator\.rpn_head\.objectness_logits\.(\w+)", r"detector.rpn.head.cls_logits.\1"),
    (r"proposal_generator\.rpn_head\.anchor_deltas\.(\w+)", r"detector.rpn.head.bbox_pred.\1"),
    (r"roi_heads\.box_head\.fc1\.(\w+)", r"detector.head.fc6.\1"),
    (r"roi_heads\.box_head\.fc2\.(\w+)", r"detector.head.fc7.\1"),
    (r"roi_heads\.mask_head\.mask_fcn(\d)\.(\w+)", _mask_layer(1)),
    (r"roi_heads\.mask_head\.(?:deconv|predictor)\.\w+", NO_USE),
)
# Keys of torchvision's Mask R-CNN and FCOS, of its older files too, and of its ResNets.
TORCHVISION: Sequence[Rule] = (
    (r"((?:conv1|bn1|layer\d)\..+)", rf"{ENCODER}\1"),
    (r"backbone\.body\.(.+)", rf"{ENCODER}\1"),
    (r"backbone\.fpn\.inner_blocks\.(\d)\.(?:0\.)?(\w+)", _level("inner", 0)),
    (r"backbone\.fpn\.layer_blocks\.(\d)\.(?:0\.)?(\w+)", _level("layer", 0)),
    (r"backbone\.fpn\.extra_blocks\.(.+)", rf"{PYRAMID}extra_blocks.\1"),
    (r"rpn\.head\.conv\.(?:0\.0\.)?(\w+)", r"detector.rpn.head.conv.0.0.\1"),
    (r"rpn\.head\.(cls_logits|bbox_pred)\.(\w+)", r"detector.rpn.head.\1.\2"),
    (r"roi_heads\.box_head\.(fc\d)\.(\w+)", r"detector.head.\1.\2"),
    (r"roi_heads\.mask_head\.(\d)\.0\.(\w+)", _mask_layer(0)),
    (r"roi_heads\.mask_head\.mask_fcn(\d)\.(\w+)", _mask_layer(1)),
    (r"head\.((?:classification|regression)_head\.conv\..+)", r"detector.fcos.head.\1"),
    (r"head\.regression_head\.(bbox_\w+\.\w+)", r"detector.fcos.head.regression_head.\1"),
    (r"head\.classification_head\.cls_logits\.\w+", NO_USE),
)


def of_encoder(source: str) -> bool:
    """Whether first weights are an encoder's alone, which `backbone.create_encoder` loads."""
    a_file = source.endswith(".safetensors") or Path(source).is_file()
    return source in ("", "timm") or (a_file and not source.endswith(".pkl"))


def adopt(network: ImageNetwork, source: str) -> list[str]:
    """Give a network the first weights of a source.

    Args:
        network: takes what fits.
        source: path of a `.pkl` of detectron2's model zoo, or the name of a torchvision model
            (`maskrcnn_resnet50_fpn`) or of its weights (`ResNet101_Weights.IMAGENET1K_V2`).

    Returns:
        The parts that were taken.

    Raises:
        ModelError: if the weights cannot be had, or are of another encoder.
    """
    encoder = network.spec.encoder
    if source.endswith(".pkl"):
        _check_strides(source, encoder)
        state = from_detectron2(read_zoo_file(Path(source)))
    else:
        state = from_torchvision(torchvision_state(source))
    return _take(network, state, source)


def _check_strides(source: str, encoder: str) -> None:
    if not encoder.endswith(STRIDE_FIRST):
        raise ModelError(
            f"`{source}` is of a network with strides in other places than `{encoder}`",
            hint=f"use `--encoder {encoder.split('.')[0]}{STRIDE_FIRST}`",
        )


def _take(network: ImageNetwork, state: State, source: str) -> list[str]:
    own = network.state_dict()
    taken: State = {}
    parts = []
    for prefix, name in PARTS.items():
        part = {key: value for key, value in state.items() if key.startswith(prefix)}
        fits = all(key in own and own[key].shape == part[key].shape for key in part)
        if part and fits and _needed(own, prefix, part) <= set(part):
            taken.update(part)
            parts.append(name)
    lacking = _needed(own, ENCODER, state) - set(taken)
    if lacking:
        raise ModelError(
            f"`{source}` holds another encoder's weights: nothing for "
            f"`{min(lacking).removeprefix(ENCODER)}` of `{network.spec.encoder}`",
            hint="choose the encoder with `--encoder`",
        )
    network.load_state_dict({**own, **taken}, strict=True)
    return parts


def _needed(own: Iterable[str], prefix: str, given: Iterable[str]) -> set[str]:
    """Our keys of a part without which it is not whole.

    Not every pyramid has every level: of each that is given, all of it is needed.
    """
    keys = {key for key in own if key.startswith(prefix) and not key.startswith(CLASSES)}
    if prefix == PYRAMID:
        levels = {_level_of(key) for key in given}
        keys = {key for key in keys if _level_of(key) in levels}
    return {key for key in keys if not key.endswith("num_batches_tracked")}


def _level_of(key: str) -> tuple[str, ...]:
    """A pyramid's block, as in backbone.pyramid.inner_blocks.0."""
    return tuple(key.split(".")[:4])


def _renamed(state: Mapping[str, Tensor], rules: Sequence[Rule]) -> State:
    """The tensors that rules know, by our names; none of a part that has more than they know."""
    names = {key: _renamed_key(key, rules) for key in state}
    strangers = [key for key, new in names.items() if new == key]
    known: State = {}
    for prefix in PARTS:
        part = {key: new for key, new in names.items() if new.startswith(prefix)}
        place = _place_of(part)
        if not (place and any(key.startswith(place) for key in strangers)):
            known |= {new: state[key] for key, new in part.items()}
    return known


def _place_of(keys: Iterable[str]) -> str:
    """Where some keys of a file lie together, as in `rpn.head.`; empty if nowhere."""
    steps = zip(*(key.split(".") for key in keys), strict=False)
    shared = takewhile(lambda step: len(set(step)) == 1, steps)
    return "".join(f"{step[0]}." for step in shared)


def _renamed_key(key: str, rules: Sequence[Rule]) -> str:
    """What rules make of a key, each of what those before made of it."""
    for pattern, replacement in rules:
        key = re.sub(rf"^{pattern}$", replacement, key)
    return key


def from_detectron2(state: Mapping[str, Tensor]) -> State:
    """A Mask R-CNN of detectron2's model zoo (R50-FPN, R101-FPN) in our names.

    Its input is BGR with values 0..255 less the mean; ours is RGB, divided by 255 and by a
    standard deviation, too. The first convolution takes up the difference, exactly. Its batch
    norms are frozen: `--freeze-norms` keeps them so.
    """
    ours = _renamed(state, DETECTRON2)
    stem = f"{ENCODER}conv1.weight"
    if stem in ours:
        std = torch.tensor(IMAGENET[1])
        ours[stem] = ours[stem].flip(1) * (255 * std)[None, :, None, None]
    return ours


def from_torchvision(state: Mapping[str, Tensor]) -> State:
    """A ResNet, Mask R-CNN or FCOS of torchvision in our names; its input is ours."""
    ours = _renamed(state, TORCHVISION)
    inner = [key for key in ours if key.startswith(f"{PYRAMID}inner") and key.endswith("weight")]
    missing = 4 - len(inner)  # FCOS has no P2
    if not inner or not missing:
        return ours
    pattern = rf"^({re.escape(PYRAMID)}\w+_blocks)\.(\d)\."
    return {
        re.sub(pattern, lambda m: f"{m[1]}.{int(m[2]) + missing}.", key): value
        for key, value in ours.items()
    }


def torchvision_state(name: str) -> Mapping[str, Tensor]:
    """The weights of a torchvision model, by its name or theirs; downloaded if need be.

    Raises:
        ModelError: if there are none of that name, or they cannot be fetched.
    """
    models = torchvision.models
    try:
        weights = models.get_weight(name) if "." in name else models.get_model_weights(name).DEFAULT
    except (ValueError, KeyError, AttributeError):
        raise ModelError(
            f"no first weights `{name}`",
            hint="use timm, none, a .safetensors or .pkl file, or the name of a model of "
            "torchvision such as maskrcnn_resnet50_fpn",
        ) from None
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network; a file that is not what it should be
        raise ModelError(
            f"`{name}` cannot be fetched: {error}",
            hint="without a network give a file, or `--pretrained none`",
        ) from error
    return state


class _Arrays(pickle.Unpickler):
    """Reads arrays and plain containers, and refuses everything else a pickle may name."""

    _known: Mapping[str, Any] = {
        "_reconstruct": np.zeros(1).__reduce__()[0],
        "_frombuffer": np.zeros(1).__reduce_ex__(5)[0],
        "scalar": np.float32(1).__reduce__()[0],
        "ndarray": np.ndarray,
        "dtype": np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle names, where it is on the list."""
        if module.split(".")[0] == "numpy" and name in self._known:
            return self._known[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("_codecs", "encode"):  # how old pickles write bytes
            return codecs.encode
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def read_zoo_file(path: Path) -> State:
    """The tensors of a `.pkl` of detectron2's model zoo: {"model": {key: array}, ...}.

    Nothing in the file is run: whatever is not an array or a plain container is refused.

    Raises:
        ModelError: if the file is missing or is not such a one.
    """
    hint = "give a Mask R-CNN of detectron2's model zoo, such as its R50-FPN or R101-FPN"
    try:
        with path.open("rb") as file:
            table = _Arrays(file, encoding="latin1").load()
    except FileNotFoundError:
        raise ModelError(f"no weights `{path}`", hint="check the path") from None
    except Exception as error:  # a damaged pickle raises almost anything
        raise ModelError(f"`{path}` is no file of weights: {error}", hint=hint) from None
    arrays = table.get("model") if isinstance(table, dict) else None
    if not isinstance(arrays, dict):
        raise ModelError(f"`{path}` holds no `model`", hint=hint)
    tensors = {
        str(key): torch.from_numpy(np.array(value, dtype=np.float32))
        for key, value in arrays.items()
        if isinstance(value, np.ndarray) and value.dtype.kind == "f"
    }
    if "backbone.bottom_up.stem.conv1.weight" not in tensors:
        raise ModelError(f"`{path}` holds no Mask R-CNN of detectron2", hint=hint)
    return tensors

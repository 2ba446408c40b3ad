"""What a model says of itself: the shape of its network, and everything beside its weights.

A model is a folder. `model.toml` in it is its card; the weights lie beside, as safetensors for
torch (`nn.weights`) and as ONNX graphs for other runtimes (`nn.export`, `runtime`). Free of
torch, so that a model can be listed, opened and used without it.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from buildex.config import from_table, read_toml, to_toml
from buildex.errors import ConfigError, ModelError
from buildex.geo.keypoints import RoiCodec

Architecture = Literal["fcos-keypoint", "mask-rcnn", "mask-rcnn-keypoint", "center-mask", "unet"]
Corners = Literal["mask-only", "features", "features-and-mask"]
STRIDES = (4, 8, 16, 32, 64, 128)  # of the pyramid's levels, P2 to P7
CANDIDATES = {"fcos": 4096, "rcnn": 1000}  # of a level: FCOS takes all of P3 of 512 pixels
FORMAT = 1
UNCALIBRATED = (1.0, 0.0)  # slope and offset that leave scores as they are
CARD, WEIGHTS = "model.toml", "model.safetensors"


class Parts(NamedTuple):
    """What a system is put together from."""

    detector: Literal["fcos", "rcnn", ""]  # none: a network that answers for every pixel
    attention: bool  # CenterMask's, in the mask branch
    keypoints: bool  # whether a keypoint branch may stand beside the mask


PARTS: dict[Architecture, Parts] = {
    "fcos-keypoint": Parts("fcos", attention=False, keypoints=True),
    "mask-rcnn": Parts("rcnn", attention=False, keypoints=False),
    "mask-rcnn-keypoint": Parts("rcnn", attention=False, keypoints=True),
    "center-mask": Parts("fcos", attention=True, keypoints=False),
    "unet": Parts("", attention=False, keypoints=False),
}


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """What decides the network's tensors: a weight file fits exactly one.

    Attributes:
        architecture: which parts are joined, see `PARTS`.
        corners: what the keypoint branch sees (the paper's three scenarios, its table 4);
            with `mask-only` there is no such branch. None, for the architecture's own, is
            filled in.
        encoder: the encoder's timm name.
        pyramid_channels: channels of every pyramid level.
        detector_convs: 3x3 convolutions in each tower of FCOS.
        anchor_sizes: sides of Mask R-CNN's anchors in pixels, one for each stride.
        anchor_strides: of the levels that they stand on, each twice the one before.
        anchor_ratios: heights by widths of the anchors.
        proposals: boxes per image that go on to Mask R-CNN's box head.
        proposal_overlap: box IoU above which the weaker of two proposals is dropped.
        box_channels: width of Mask R-CNN's box head.
        roi_channels: channels of a frame's features.
        roi_cells: cells along the side of a frame's features.
        roi_scale: how many times as many cells the maps have, along each side.
        roi_convs: 3x3 convolutions of each branch.
        roi_norm: whether these are normalised by groups of channels.
        decoder_channels: of U-Net's decoder at strides 16, 8, 4, 2 and 1.
        candidates: points or anchors of a level, the best, that boxes are chosen from; 0, for as
            many as suit the detector (`CANDIDATES`), is filled in.
        score: detections below it are dropped.
        overlap: box IoU above which the weaker of two detections is dropped.
        detections: kept per image; the densest towns have some 350 buildings in a tile. Mask R-CNN
            finds no more than `proposals`.

    Raises:
        ConfigError: for parts that do not fit together.
    """

    architecture: Architecture = "fcos-keypoint"
    corners: Corners | None = None
    encoder: str = "efficientnet_lite2"
    pyramid_channels: int = 128
    detector_convs: int = 4
    anchor_sizes: tuple[int, ...] = (32, 64, 128, 256, 512)
    anchor_strides: tuple[int, ...] = (8, 16, 32, 64, 128)
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    proposals: int = 256
    proposal_overlap: float = 0.7
    box_channels: int = 256
    roi_channels: int = 64
    roi_cells: int = 28
    roi_scale: int = 2
    roi_convs: int = 3
    roi_norm: bool = True
    decoder_channels: tuple[int, ...] = (128, 96, 64, 32, 16)
    candidates: int = 0
    score: float = 0.05
    overlap: float = 0.6
    detections: int = 1000

    def __post_init__(self) -> None:
        usual = CANDIDATES.get(self.parts.detector, 0)
        object.__setattr__(self, "candidates", self.candidates or usual)
        own: Corners = "features-and-mask" if self.parts.keypoints else "mask-only"
        object.__setattr__(self, "corners", self.corners or own)
        if self.corners != "mask-only" and not self.parts.keypoints:
            raise ConfigError(
                f"`{self.architecture}` has no keypoints, so corners cannot be `{self.corners}`",
                hint="use `mask-rcnn-keypoint` or `fcos-keypoint`, or leave `corners` out",
            )
        self._check_channels()
        if self.parts.detector == "rcnn":
            self._check_anchors()

    @property
    def parts(self) -> Parts:
        """What the system is put together from."""
        return PARTS[self.architecture]

    def larger(self, times: float) -> NetworkSpec:
        """The same for images of so many times the side: they show more buildings."""
        counts = {name: getattr(self, name) for name in ("candidates", "proposals", "detections")}
        more = {name: math.ceil(count * times**2) for name, count in counts.items()}
        return dataclasses.replace(self, **more)

    @property
    def top_stride(self) -> int:
        """Stride of the last level of the pyramid that something looks at."""
        return self.anchor_strides[-1] if self.parts.detector == "rcnn" else STRIDES[-1]

    def _check_channels(self) -> None:
        if self.parts.detector == "fcos" and self.pyramid_channels % 32:
            raise ConfigError(
                f"pyramid_channels is {self.pyramid_channels}",
                hint="FCOS normalises 32 groups of them: use a multiple of 32",
            )
        if self.roi_scale not in (1, 2):
            raise ConfigError(f"roi_scale is {self.roi_scale}", hint="use 1 or 2")
        if self.roi_channels < 2 or not in_groups(self.roi_channels, self.roi_channels // 2):
            raise ConfigError(f"roi_channels is {self.roi_channels}", hint="use a multiple of 16")
        if len(self.decoder_channels) != 5 or not in_groups(*self.decoder_channels):
            raise ConfigError(
                f"decoder_channels is {list(self.decoder_channels)}",
                hint="use five multiples of 8, for strides 16, 8, 4, 2 and 1",
            )

    def _check_anchors(self) -> None:
        strides, sizes = self.anchor_strides, self.anchor_sizes
        runs = {STRIDES[i:j] for i in range(len(STRIDES)) for j in range(i + 1, len(STRIDES) + 1)}
        if strides not in runs:
            raise ConfigError(
                f"anchor_strides is {list(strides)}",
                hint=f"use some of {', '.join(map(str, STRIDES))} that follow one another",
            )
        if len(sizes) != len(strides):
            raise ConfigError(
                f"there are {len(sizes)} anchor_sizes for {len(strides)} anchor_strides",
                hint="give one size for each stride",
            )
        if not self.anchor_ratios or min(*self.anchor_ratios, *sizes) <= 0:
            raise ConfigError(
                f"anchors are of sizes {list(sizes)} and ratios {list(self.anchor_ratios)}",
                hint="use numbers above 0",
            )


def in_groups(*channels: int) -> bool:
    """Whether group norm can normalise so many channels by eights, see `heads.conv_stack`."""
    return all(count > 0 and count % max(1, count // 8) == 0 for count in channels)


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Everything beside the weights that makes a model usable and its making repeatable.

    Attributes:
        name: the model's name.
        version: its version.
        gsd: metres per pixel of its input.
        size: side of its input in pixels.
        network: its shape.
        codec: how its maps are drawn.
        score: instances below it are left out, unless the user says otherwise; as the
            network says it.
        calibration: slope and offset that make chances of the scores of a look (`geo.calibration`).
        views: how often it looks at each tile (`geo.views`), unless the user says otherwise.
        mean: of the input's values 0..1, R, G, B; for the reader, the encoder decides.
        std: standard deviation of the same.
        provenance: who made it of what: version, commit, seed, data, hardware, hours, steps.
        validation: the measures of its best validation.
    """

    name: str
    version: str
    gsd: float
    size: int
    network: NetworkSpec
    codec: RoiCodec
    score: float = 0.5
    calibration: tuple[float, float] = UNCALIBRATED
    views: int = 1
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        slope, offset = self.calibration
        if not (0 < slope < math.inf and math.isfinite(offset)):
            raise ConfigError(
                f"calibration is {list(self.calibration)}",
                hint="use a slope above 0 and an offset, as `benchmarks/calibrate.py` writes them",
            )


def card_text(card: ModelCard) -> str:
    """The card as `model.toml` holds it."""
    return to_toml({"format": FORMAT, **dataclasses.asdict(card)})


def read_card(folder: Path) -> ModelCard:
    """Read `model.toml` of a model folder.

    Raises:
        ModelError: if it is missing, damaged, or of another format version.
    """
    path = Path(folder) / CARD
    if not path.is_file():
        raise ModelError(
            f"`{folder}` is no model: it has no `{CARD}`",
            hint="name a folder that `buildex train` wrote, or a released model",
        )
    try:
        table = read_toml(path)
        found = table.pop("format", None)
        if found != FORMAT:
            raise ModelError(
                f"`{folder}` has model format {found}, this buildex reads {FORMAT}",
                hint="use the buildex that wrote it, or train it again",
            )
        table["network"] = from_table(NetworkSpec, table.get("network", {}), "[network]")
        table["codec"] = from_table(RoiCodec, table.get("codec", {}), "[codec]")
        return from_table(ModelCard, table, f"`{path}`")
    except ConfigError as error:
        raise ModelError(f"`{path}` is damaged: {error.message}", hint=error.hint) from None

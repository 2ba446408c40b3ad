"""Models that are ready to predict, and pictures of what they drew.

Two runtimes stand behind one protocol: a model's graphs, which need no torch (`runtime`), and
torch (`nn`), which a GPU needs. Each is imported when it is chosen.
"""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from buildex.card import STRIDES, ModelCard, read_card
from buildex.errors import ConfigError, ModelError
from buildex.geo.calibration import IDENTITY, Calibration
from buildex.geo.views import VIEWS
from buildex.io.preview import PREDICTED, write_preview
from buildex.io.vector import read_footprints
from buildex.io.zoo import DEFAULT_MODEL, digest, find_model
from buildex.predicting.settings import Segmenter

Runtime = Literal["auto", "onnx", "torch"]
RUNTIMES: tuple[Runtime, ...] = ("auto", "onnx", "torch")
Precision = Literal["auto", "int8", "bf16", "fp32"]
PRECISIONS: tuple[Precision, ...] = ("auto", "int8", "bf16", "fp32")
MULTIPLE = STRIDES[-1]  # pixels; the side of a tile is so many, or some times as many


@dataclass(frozen=True)
class OpenModel:
    """A model that is ready to predict, with the name and version to sign its work with.

    Attributes:
        segmenter: the network.
        name: the model's name.
        version: its version.
        digest: SHA-256 of its files.
        runtime: what computes: onnx or torch.
        precision: in what: int8, bf16 or fp32.
        views: how often it looks at each tile.
        calibrated: whether its scores are chances, where its card says how.
        tile_size: side in pixels of the tiles that it sees.
    """

    segmenter: Segmenter
    name: str
    version: str
    digest: str = ""
    runtime: Runtime = "auto"
    precision: Precision = "auto"
    views: int = 1
    calibrated: bool = True
    tile_size: int = 0

    @property
    def identity(self) -> str:
        """On what its answers depend on one machine, to the last digit: files, and what computes.

        What surrounds heads in integers is as precise as the processor makes it, which is not told.
        """
        raw = "" if self.calibrated else " raw"
        how = f"{self.runtime} {self.precision} {self.views} {self.tile_size}"
        return f"{self.digest} {how}{raw}"


def open_model(
    name: str | None = None,
    device: str = "auto",
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    views: int | None = None,
    *,
    tile_size: int | None = None,
    calibrated: bool = True,
) -> OpenModel:
    """Load a model by name or path; the default one if no name is given.

    Args:
        name: of a released model, or a model's folder.
        device: auto, cpu, cuda or mps.
        runtime: auto takes the model's graphs on a CPU, and torch on a GPU or where the
            model has no graphs.
        precision: auto is the fastest that the model and the processor have; fp32 draws the
            same everywhere, but for rounding.
        views: how often each tile is looked at (`geo.views.VIEWS`); else as the model's card says.
        tile_size: side in pixels of the tiles that it sees, a multiple of `MULTIPLE`; else that of
            those it was taught on (docs/decisions/0025).
        calibrated: whether scores are chances, where its card knows how; else as the
            network says them.

    Raises:
        ModelError: if it is unknown, damaged, or of another version, or needs torch.
        ConfigError: if the device is not there, or cannot do this, or for views or tiles that it
            cannot have.
    """
    folder = find_model(name or DEFAULT_MODEL)
    card = read_card(folder)
    looks, size = _looks(card, views), _side(card, tile_size)
    meaning = Calibration(*card.calibration) if calibrated else IDENTITY
    # Imported here: either takes seconds or is not installed.
    from buildex.runtime.segmenter import OnnxSegmenter, has_graphs

    chosen = runtime if runtime != "auto" else _runtime_for(device, has_graphs(folder))
    if chosen == "onnx":
        if device not in ("auto", "cpu"):
            raise ConfigError(f"graphs do not run on `{device}`", hint="use `--runtime torch`")
        graphs = OnnxSegmenter(folder, precision, views=looks, calibration=meaning, size=size)
        what = graphs.precision, looks, calibrated, size
        return OpenModel(graphs, card.name, card.version, digest(folder), chosen, *what)
    if find_spec("torch") is None:
        raise ModelError(
            f"`{folder}` has no graphs, and without them it needs torch"
            if not has_graphs(folder) else "this needs torch, which is not installed",
            hint="pip install 'buildex[train]'",
        )  # fmt: skip
    if precision == "int8":
        raise ConfigError("torch does not run in int8", hint="use `--runtime onnx`, or bf16")
    from buildex.nn.segmenter import load_segmenter

    network = load_segmenter(folder, device, precision, looks, meaning, size)
    how = network.precision, looks, calibrated, size
    return OpenModel(network, card.name, card.version, digest(folder), chosen, *how)


def _looks(card: ModelCard, asked: int | None) -> int:
    """How often a model looks at each tile."""
    looks = card.views if asked is None else asked
    if not 1 <= looks <= len(VIEWS):
        raise ConfigError(f"views is {looks}", hint=f"use 1 to {len(VIEWS)}")
    if looks > 1 and not card.network.parts.detector:
        raise ConfigError(f"`{card.name}` answers for every pixel", hint="use `--views 1`")
    return looks


def _side(card: ModelCard, asked: int | None) -> int:
    """The side of the tiles that a model sees."""
    if asked is None:
        return card.size
    if asked < MULTIPLE or asked % MULTIPLE:
        raise ConfigError(
            f"tiles of {asked} pixels do not suit a network", hint=f"use a multiple of {MULTIPLE}"
        )
    return asked


def _runtime_for(device: str, graphs: bool) -> Runtime:
    """The runtime that is fastest where a model has graphs, or torch."""
    if not graphs or device not in ("auto", "cpu"):
        return "torch"
    if device == "cpu" or find_spec("torch") is None or not _maybe_gpu():
        return "onnx"
    from buildex.nn.device import choose_device

    return "onnx" if choose_device().type == "cpu" else "torch"


def _maybe_gpu() -> bool:
    """Whether a GPU may be here: torch, which knows, takes seconds to ask."""
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    nvidia = Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None
    return apple or nvidia or Path("/dev/kfd").exists()


@dataclass(frozen=True)
class ModelOpener:
    """Opens a model on another machine, or in another process, and knows it by its digest.

    Attributes:
        name: the model's name, or the path of its folder, the same on all machines.
        device: where it is to run there.
        digest: SHA-256 of its files.
        runtime: what computes there: the same as here.
        precision: in what: the same as here.
        views: how often it looks at each tile: as often as here.
        calibrated: whether its scores are chances: as here.
        tile_size: side of the tiles that it sees: as here; None for its own.
    """

    name: str
    device: str
    digest: str
    runtime: Runtime
    precision: Precision = "auto"
    views: int = 1
    calibrated: bool = True
    tile_size: int | None = None

    @classmethod
    def of(cls, name: str | None, device: str, opened: OpenModel) -> ModelOpener:
        """What opens the like of a model that `open_model` opened."""
        name = name or DEFAULT_MODEL
        is_folder = find_model(name) == Path(name)
        name = str(Path(name).absolute()) if is_folder else name
        asked = opened.runtime, opened.precision, opened.views, opened.calibrated
        return cls(name, device, opened.digest, *asked, opened.tile_size or None)

    def __call__(self) -> Segmenter:
        """The segmenter.

        Raises:
            ModelError: if the model is not there, or is another one.
        """
        asked = self.device, self.runtime, self.precision, self.views
        opened = open_model(self.name, *asked, tile_size=self.tile_size, calibrated=self.calibrated)
        if opened.digest != self.digest:
            raise ModelError(
                f"model `{self.name}` is another one than on the machine that asks",
                hint="copy the same model folder everywhere",
            )
        return opened.segmenter


def draw_preview(path: Path, mosaic_path: str, footprints: Path, crs: str | None = None) -> None:
    """Draw a layer that was written over its mosaic, as a PNG."""
    drawn, _ = read_footprints(footprints)
    write_preview(path, mosaic_path, [(drawn, PREDICTED)], crs=crs)

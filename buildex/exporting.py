"""Write a model as ONNX graphs, and check that they say what torch says."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from buildex.card import CARD, WEIGHTS, ModelCard
from buildex.errors import ModelError, OutputError
from buildex.geo.tiles import cover
from buildex.io.raster import Mosaic
from buildex.io.zoo import DEFAULT_MODEL, find_model
from buildex.runtime.graphs import Graph
from buildex.runtime.segmenter import CLOSER, DENSE, INT8, ROI

if TYPE_CHECKING:
    from buildex.nn.export import Part

CALIBRATING = 6  # tiles of each raster
_Tile = tuple[NDArray[np.uint8], NDArray[np.bool_]]  # pixels (H, W, 3) and which are ground
TOLERANCE = 1e-3  # of the largest number of an answer, and of 1 where that is less


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how well it agrees.

    Attributes:
        model: name and version.
        files: the graphs.
        mib: their size together.
        difference: the largest between graphs and torch, in single precision, as a share of
            the largest number of an answer (of 1 where that is less).
        tiles: on which they were compared.
    """

    model: str
    files: tuple[str, ...]
    mib: float
    difference: float
    tiles: str

    def text(self) -> str:
        """For people."""
        return (
            f"{self.model}: {', '.join(self.files)}, {self.mib:.1f} MiB\n"
            f"like torch to {self.difference:.1e} on {self.tiles}; {TOLERANCE:g} is allowed"
        )

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return dataclasses.asdict(self) | {"tolerance": TOLERANCE}


def export(
    model: str | None = None,
    folder: Path | None = None,
    *,
    mosaic: str | None = None,
    int8: Sequence[str] = (),
    overwrite: bool = False,
) -> ExportReport:
    """Write the graphs of a model, checked against torch.

    Args:
        model: name or folder; the default model if none is given.
        folder: where to, with the model's card, so that it is a model, too; by default the
            model's own folder, where graphs that are there already are replaced.
        mosaic: raster of which two tiles are compared; else tiles of noise and squares.
        int8: rasters whose tiles say how large the numbers get that become integers, for a graph
            with heads in int8; without any there is no such graph.
        overwrite: whether a folder that is not empty may be used, and whether heads in integers
            beside the model may be lost.

    Raises:
        ModelError: if the model cannot be read or written as graphs, or these do not agree.
        OutputError: if the folder cannot be used.
        ModuleNotFoundError: without torch.
    """
    source = find_model(model or DEFAULT_MODEL)
    own = folder is None or folder.resolve() == source.resolve()
    target = source if folder is None else folder
    _check(target, own or overwrite)
    if own and not (int8 or overwrite) and (target / INT8).exists():
        raise OutputError(
            f"`{target}` has heads in integers, which would be lost",
            hint="measure them again with `--int8 MOSAIC`, or add `--overwrite`, or name a folder",
        )
    from buildex.nn.export import example_tiles, parts_of, write_graphs
    from buildex.nn.weights import load_model

    network, card = load_model(source)
    image, valid = example_tiles(card.size)
    if mosaic is not None:
        image, valid = _real_tiles(mosaic, card.size, card.gsd)
    measured = [tile for path in int8 for tile in _tiles(path, card.size, card.gsd, CALIBRATING)]
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".graphs-", dir=target) as place:
            files = write_graphs(network, card, Path(place))
            parts = parts_of(network, image, valid)
            worst = _worst(_difference(part, Path(place) / f"{part.name}.onnx") for part in parts)
            if not worst <= TOLERANCE:
                raise ModelError(
                    f"the graphs of {card.name} are off by {worst:.2g}, {TOLERANCE:g} is allowed",
                    hint="predict with `--runtime torch`",
                )
            if int8:
                files.append(_with_integers(Path(place), card, measured))
            mib = sum(file.stat().st_size for file in files) / 2**20
            stale = {DENSE, CLOSER, ROI, INT8} if own else {DENSE, CLOSER, ROI, INT8, WEIGHTS}
            for name in stale - {file.name for file in files}:
                (target / name).unlink(missing_ok=True)  # of another model
            for file in files:
                file.replace(target / file.name)
        if not own:
            shutil.copyfile(source / CARD, target / CARD)
    except OSError as error:
        raise OutputError(f"cannot write to `{target}`: {error}", hint="name another") from None
    names = tuple(str(target / file.name) for file in files)
    shown = Path(mosaic).name if mosaic else "made tiles"
    return ExportReport(f"{card.name} {card.version}", names, mib, worst, shown)


def _check(folder: Path, may_hold: bool) -> None:
    """Whether graphs may be written into a folder."""
    if folder.suffix == ".onnx":
        raise OutputError(f"`{folder}` is one file, a model is several", hint="name a folder")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"`{folder}` is a file", hint="name a folder")
    if not may_hold and folder.is_dir() and any(folder.iterdir()):
        raise OutputError(f"`{folder}` is not empty", hint="add `--overwrite`, or name another")


def _difference(part: Part, path: Path) -> float:
    """How far a graph's answers are off at most, as a share of the largest number of each.

    NaN where an answer is no number.
    """
    given = {name: value.numpy() for name, value in part.inputs.items()}
    found = Graph(path, precision="fp32")(given)
    shares = []
    for name, answer in part.answers().items():
        true = answer.numpy()
        if found[name].shape != true.shape:
            return float("inf")
        off = np.abs(found[name] - true).max(initial=0)
        shares.append(off / max(1, np.abs(true).max(initial=0)))
    return _worst(shares)


def _worst(shares: Iterable[float]) -> float:
    """The largest of some numbers; NaN, which Python's `max` may pass over, if one of them is."""
    return float(np.max(list(shares), initial=0.0))


def _with_integers(folder: Path, card: ModelCard, tiles: Sequence[_Tile]) -> Path:
    """The last part of the dense graph in integers, beside the whole."""
    from buildex.nn.quantize import quantize

    if not card.network.parts.detector:
        raise ModelError(f"{card.name} is no detector", hint="leave `--int8` out")
    quantize(folder / DENSE, tiles, folder / INT8)
    return folder / INT8


def _real_tiles(path: str, size: int, gsd: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """The two tiles of a mosaic that show most ground: images and validity."""
    image, valid = zip(*_tiles(path, size, gsd, 2), strict=True)
    return np.stack(image), np.stack(valid)


def _tiles(path: str, size: int, gsd: float, count: int) -> list[_Tile]:
    """Of tiles all over a mosaic those that show most ground."""
    with Mosaic.open(path, gsd=gsd) as mosaic:
        places = list(cover(mosaic.grid, size, 0))
        tiles = [mosaic.read(place.box) for place in places[:: max(1, len(places) // (8 * count))]]
    tiles.sort(key=lambda tile: -int(tile[1].sum()))
    return tiles[:count]

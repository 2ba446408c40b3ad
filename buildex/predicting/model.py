"""Models that are ready to predict, and pictures of what they drew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from buildex.errors import ModelError
from buildex.io.preview import PREDICTED, write_preview
from buildex.io.vector import read_footprints
from buildex.io.zoo import DEFAULT_MODEL, digest, find_model
from buildex.predicting.settings import Segmenter


@dataclass(frozen=True)
class OpenModel:
    """A model that is ready to predict, with the name and version to sign its work with.

    Attributes:
        segmenter: the network.
        name: the model's name.
        version: its version.
        digest: SHA-256 of its files.
    """

    segmenter: Segmenter
    name: str
    version: str
    digest: str = ""


def open_model(name: str | None = None, device: str = "auto") -> OpenModel:
    """Load a model by name or path; the default one if no name is given.

    Raises:
        ModelError: if it is unknown, damaged, or of another version.
    """
    folder = find_model(name or DEFAULT_MODEL)
    # Imported here: only this runtime needs torch.
    from buildex.nn.segmenter import load_segmenter

    segmenter = load_segmenter(folder, device)
    return OpenModel(segmenter, segmenter.name, segmenter.version, digest(folder))


@dataclass(frozen=True)
class ModelOpener:
    """Opens a model on another machine, or in another process, and knows it by its digest.

    Attributes:
        name: the model's name, or the path of its folder, the same on all machines.
        device: where it is to run there.
        digest: SHA-256 of its files.
    """

    name: str
    device: str
    digest: str

    @classmethod
    def of(cls, name: str | None, device: str, opened: OpenModel) -> ModelOpener:
        """What opens the like of a model that `open_model` opened."""
        name = name or DEFAULT_MODEL
        is_folder = find_model(name) == Path(name)
        return cls(str(Path(name).absolute()) if is_folder else name, device, opened.digest)

    def __call__(self) -> Segmenter:
        """The segmenter.

        Raises:
            ModelError: if the model is not there, or is another one.
        """
        opened = open_model(self.name, self.device)
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

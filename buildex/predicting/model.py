"""Models that are ready to predict, and pictures of what they drew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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


def draw_preview(path: Path, mosaic_path: str, footprints: Path, crs: str | None = None) -> None:
    """Draw a layer that was written over its mosaic, as a PNG."""
    drawn, _ = read_footprints(footprints)
    write_preview(path, mosaic_path, [(drawn, PREDICTED)], crs=crs)

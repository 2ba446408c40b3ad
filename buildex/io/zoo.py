"""Where released models lie, and how a name becomes a folder.

A model is a folder with `model.toml` and its weights. Searched in this order: a path as
given; `$BUILDEX_MODELS`; `models/` beside the package (a clone); `share/buildex/models` in a
folder above the package (an installed wheel: in an environment, for a user, or elsewhere).
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from buildex.errors import ModelError

DEFAULT_MODEL = "drone-lite2"
CARD = "model.toml"
COMPUTES = (CARD, "*.safetensors", "*.onnx")  # what else is in the folder changes no answer
PLACES = slice(2, 6)  # above this file: `site-packages`, and up to where its `lib` lies


def find_model(name: str = DEFAULT_MODEL) -> Path:
    """The folder of a model, by name or path.

    Raises:
        ModelError: if there is no such model.
    """
    path = Path(name)
    if (path / CARD).is_file():
        return path
    for shelf in shelves():
        if (shelf / name / CARD).is_file():
            return shelf / name
    if path.exists():
        raise ModelError(
            f"`{name}` is not a model: it holds no `{CARD}`",
            hint="give the `model` folder of a training run",
        )
    known = ", ".join(f"`{model}`" for model in model_names()) or "none"
    raise ModelError(
        f"unknown model `{name}`",
        hint=f"known models: {known}; or give the path of a model folder",
    )


def digest(folder: Path) -> str:
    """SHA-256 of what a model computes with: two of one name and version are told apart."""
    total = hashlib.sha256()
    for path in sorted(path for pattern in COMPUTES for path in folder.glob(pattern)):
        total.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def model_names() -> list[str]:
    """Names of the models that can be found, sorted."""
    return sorted({card.parent.name for shelf in shelves() for card in shelf.glob(f"*/{CARD}")})


def shelves() -> list[Path]:
    """Folders that may hold models, in the order of search."""
    own = os.environ.get("BUILDEX_MODELS")
    clone = Path(__file__).resolve().parents[2] / "models"
    above = list(Path(__file__).absolute().parents)[PLACES]
    installed = [place / "share" / "buildex" / "models" for place in above]
    return [*([Path(own)] if own else []), clone, *installed]

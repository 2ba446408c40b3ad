"""Model folders: `model.safetensors` (half precision, strict keys) and `model.toml`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from buildex.config import from_table, read_toml, to_toml
from buildex.errors import ConfigError, ModelError
from buildex.geo.keypoints import RoiCodec
from buildex.nn.network import Network, new_network
from buildex.nn.settings import NetworkSpec
from buildex.nn.unet import UNet

FORMAT = 1
# What a network may answer otherwise with the same weights.
CHOICES = ("score", "overlap", "detections", "proposals", "proposal_overlap")
WEIGHTS, CARD = "model.safetensors", "model.toml"


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
        score: instances below it are left out, unless the user says otherwise.
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
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)


def save_model(network: Network | UNet, card: ModelCard, folder: Path) -> None:
    """Write a model folder; files that are there already are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in network.state_dict().items()
    }
    table: dict[str, Any] = {"format": FORMAT, **dataclasses.asdict(card)}
    table["mean"], table["std"] = network.mean.flatten().tolist(), network.std.flatten().tolist()
    weights, text = folder / f".{WEIGHTS}.part", folder / f".{CARD}.part"
    save_file(state, weights)
    text.write_text(to_toml(table), encoding="utf-8")
    weights.replace(folder / WEIGHTS)
    text.replace(folder / CARD)


def load_model(folder: Path) -> tuple[Network | UNet, ModelCard]:
    """Read a model folder; the network is in single precision, on the CPU, for evaluation.

    Raises:
        ModelError: if the folder is no model, damaged, or of another version.
    """
    card = read_card(folder)
    network = new_network(card.network)
    try:
        state = load_file(folder / WEIGHTS)
        network.load_state_dict(state, strict=True)
    except FileNotFoundError:
        raise ModelError(f"`{folder}` has no `{WEIGHTS}`", hint="copy the folder again") from None
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"`{folder / WEIGHTS}` is damaged: {error}", hint="copy or download it again"
        ) from None
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise ModelError(
            f"`{folder / WEIGHTS}` does not fit its `{CARD}`: {first}",
            hint="copy both files of one model",
        ) from None
    return network.to(torch.float32).eval(), card


def start_from(network: Network | UNet, folder: Path) -> None:
    """Give a network the weights of a model, to go on from: fine-tuning.

    Raises:
        ModelError: if the model cannot be read, or is of another make.
    """
    other, card = load_model(folder)
    chosen = {name: getattr(network.spec, name) for name in CHOICES}
    if replace(card.network, **chosen) != network.spec:
        raise ModelError(
            f"`{folder}` is of another make: {card.network}",
            hint="train with the same `--model` and `--encoder`",
        )
    network.load_state_dict(other.state_dict(), strict=True)


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

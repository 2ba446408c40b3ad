"""Model folders: `model.safetensors` (half precision, strict keys) and `model.toml`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from buildex.card import CARD, WEIGHTS, ModelCard, card_text, read_card
from buildex.errors import ModelError, OutputError
from buildex.nn.network import Network, new_network
from buildex.nn.unet import UNet

# What a network may answer otherwise with the same weights.
CHOICES = ("candidates", "score", "overlap", "detections", "proposals", "proposal_overlap")


def save_model(network: Network | UNet, card: ModelCard, folder: Path) -> None:
    """Write a model folder; files that are there already are replaced.

    Raises:
        OutputError: if it cannot be written; nothing half-written is left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in network.state_dict().items()
    }
    mean, std = tuple(network.mean.flatten().tolist()), tuple(network.std.flatten().tolist())
    weights, text = folder / f".{WEIGHTS}.part", folder / f".{CARD}.part"
    try:
        save_file(state, weights)
        text.write_text(card_text(replace(card, mean=mean, std=std)), encoding="utf-8")
        shutil.copymode(text, weights)  # safetensors hides its files from others
        for graph in folder.glob("*.onnx"):  # of the weights that were here before
            graph.unlink()
        weights.replace(folder / WEIGHTS)
        text.replace(folder / CARD)
    except (OSError, SafetensorError) as error:  # safetensors words a full disk in its own way
        for part in (weights, text):
            part.unlink(missing_ok=True)
        raise OutputError(
            f"`{folder}` cannot be written: {error}", hint="make room, then go on with `--resume`"
        ) from error


def load_model(folder: Path, size: int = 0) -> tuple[Network | UNet, ModelCard]:
    """Read a model folder; the network is in single precision, on the CPU, for evaluation.

    Args:
        folder: of the model.
        size: side of the images that it is to see; 0 for that of those it was taught on.

    Raises:
        ModelError: if the folder is no model, damaged, or of another version.
    """
    card = read_card(folder)
    network = new_network(card.network.larger((size or card.size) / card.size))
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
    _check_scale(network, card, folder)
    return network.to(torch.float32).eval(), card


def _check_scale(network: Network | UNet, card: ModelCard, folder: Path) -> None:
    """Whether pixels go in as they did when a model was trained, where its card says how.

    Raises:
        ModelError: if not: another version knew its encoder otherwise.
    """
    for said, now in ((card.mean, network.mean), (card.std, network.std)):
        if said and not torch.allclose(torch.tensor(said), now.flatten(), atol=1e-3):
            raise ModelError(
                f"`{folder}` was trained on pixels of another scale than"
                f" `{card.network.encoder}` takes now",
                hint="predict with its graphs by `--runtime onnx`, or train it again",
            )


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

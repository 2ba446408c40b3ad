"""A network between two: the mean of the weights of a model and of what went on from it.

    python benchmarks/mean_of_weights.py BEFORE AFTER OUT --name drone-lite2 --version 6

BEFORE and AFTER are model folders (or names) of one make; OUT gets AFTER's card, with what it was
made of and without what was measured on it (`benchmarks/calibrate.py` measures anew), and `--share`
times the weights of BEFORE (of statistics of batch norms, too). What a network had learnt and what
it learnt since lie in one valley, and between them it is better in towns that neither has seen
(docs/decisions/0023; Wortsman et al. 2022, Robust fine-tuning of zero-shot models). `buildex train
--init-share` keeps such a share while it trains.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from buildex.card import CARD, UNCALIBRATED, ModelCard
from buildex.errors import BuildexError, ModelError, OutputError
from buildex.io.zoo import find_model
from buildex.nn.network import Network
from buildex.nn.unet import UNet
from buildex.nn.weights import load_model, save_model


def main() -> None:
    """Read two, write one."""
    parser = argparse.ArgumentParser(description="The mean of two networks' weights.")
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the first, 0 to 1")
    parser.add_argument("--name", help="in place of the second's")
    parser.add_argument("--version", help="likewise")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT")
    given = parser.parse_args()
    if not 0 <= given.share <= 1:
        parser.error(f"--share is {given.share}; use 0 to 1")
    if (given.out / CARD).exists() and not given.overwrite:
        raise OutputError(
            f"`{given.out}` is a model already", hint="add --overwrite, or name another"
        )
    before, after = find_model(given.before), find_model(given.after)
    network, card = between(before, after, given.share)
    names = {key: getattr(given, key) or getattr(card, key) for key in ("name", "version")}
    save_model(network, replace(card, **names), given.out)


def between(before: Path, after: Path, share: float) -> tuple[Network | UNet, ModelCard]:
    """The network `share` of whose weights are one model's, the rest the other's.

    Raises:
        ModelError: if one cannot be read, or they are not of one make.
    """
    (one, first), (other, second) = load_model(before), load_model(after)
    if (first.network, first.codec) != (second.network, second.codec):
        raise ModelError(
            f"`{before}` and `{after}` are of two makes", hint="take models that went on as one"
        )
    theirs = one.state_dict()
    other.load_state_dict(
        {
            name: torch.lerp(value, theirs[name], share) if value.is_floating_point() else value
            for name, value in other.state_dict().items()
        }
    )
    made = {"mean_of": f"{share:g} of {first.name} version {first.version}"}
    card = replace(
        second, provenance=second.provenance | made, score=ModelCard.score,
        calibration=UNCALIBRATED, validation={},
    )  # fmt: skip
    return other, card


if __name__ == "__main__":
    try:
        main()
    except BuildexError as error:
        raise SystemExit(f"mean_of_weights: {error}") from None

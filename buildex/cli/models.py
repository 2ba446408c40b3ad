"""`buildex models`: which models there are, what they are made of, what they cost."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, get_args

import click

from buildex.card import PARTS, Architecture, NetworkSpec
from buildex.cli.console import result
from buildex.errors import ModelError
from buildex.io.zoo import DEFAULT_MODEL, find_model, model_names

if TYPE_CHECKING:
    from buildex.nn.costs import Costs

SYSTEMS: tuple[str, ...] = get_args(Architecture)
DETECTORS = {"fcos": "FCOS", "rcnn": "Mask R-CNN's proposals and box head", "": ""}
UNTRAINED = 512  # pixels of the tile that a system without weights is measured on


@click.group(
    "models",
    invoke_without_command=True,
    epilog="Example: buildex models info drone-lite2",
)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the released models and the systems that can be trained; `info` tells more of one."""
    if context.invoked_subcommand is None:
        models = [_card(name) for name in model_names()]
        table = {"models": models, "systems": list(SYSTEMS)}
        result(_listed(models), table, as_json)


@command.command("info", epilog="Example: buildex models info mask-rcnn --encoder resnet101")
@click.argument("model", default=DEFAULT_MODEL)
@click.option("--encoder", default=None, help="Encoder of a system that is not trained yet.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--repeat", default=3, show_default=True, help="Runs, of which the fastest counts.")
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
def info(model: str, encoder: str | None, device: str, repeat: int, as_json: bool) -> None:
    """Say what MODEL is made of, and count and measure what it costs per tile.

    MODEL is a released model's name, a model's folder, or one of the systems, which is then
    built with random weights: fcos-keypoint, mask-rcnn, mask-rcnn-keypoint, center-mask, unet.
    """
    # Imported here: torch takes seconds.
    from buildex.nn.costs import costs_of
    from buildex.nn.device import choose_device, hardware, use_bf16
    from buildex.nn.network import new_network
    from buildex.nn.weights import load_model

    if model in SYSTEMS:
        options = {"encoder": encoder} if encoder else {}
        spec = NetworkSpec(architecture=model, **options)  # type: ignore[arg-type]
        network, size, told = new_network(spec), UNTRAINED, {"name": model, "trained": False}
    elif encoder:
        raise ModelError(f"`{model}` has its encoder", hint="leave out `--encoder`")
    else:
        network, card = load_model(find_model(model))
        spec, size = card.network, card.size
        told = {"name": card.name, "trained": True, "version": card.version, "gsd": card.gsd}
    place = choose_device(device)
    bf16 = use_bf16(place)
    costs = costs_of(network, size, place, bf16, max(repeat, 1))
    where = f"{hardware(place)}, {'bf16' if bf16 else 'fp32'}"
    table = {
        **told, "network": dataclasses.asdict(spec), **dataclasses.asdict(costs),
        "hardware": where,
    }  # fmt: skip
    result(_described(told, spec, costs, where), table, as_json)


def _card(name: str) -> dict[str, Any]:
    """What the list says of a released model."""
    from buildex.card import read_card

    card = read_card(find_model(name))
    return {
        "name": card.name, "version": card.version, "architecture": card.network.architecture,
        "encoder": card.network.encoder, "gsd": card.gsd, "size": card.size,
        "validation": card.validation,
    }  # fmt: skip


def _listed(models: list[dict[str, Any]]) -> str:
    lines = ["released, ready to predict:"]
    for model in models:
        lines.append(
            f"  {model['name']} {model['version']}: {model['architecture']} on "
            f"{model['encoder']}, tiles of {model['size']} pixels of {model['gsd']:g} m"
        )
    lines += ["", "to be trained (`buildex train --model`):"]
    for name in SYSTEMS:
        parts = PARTS[name]  # type: ignore[index]
        branches = "keypoints and mask" if parts.keypoints else "mask"
        attention = " with spatial attention" if parts.attention else ""
        made = f"{DETECTORS[parts.detector]}; {branches}{attention}"
        if not parts.detector:
            made = "building and boundary of every pixel, watershed"
        lines.append(f"  {name:<19} {made}")
    return "\n".join(lines)


def _described(told: dict[str, Any], spec: NetworkSpec, costs: Costs, where: str) -> str:
    version = f" {told['version']}" if told["trained"] else ", random weights"
    buildings = f" with {costs.buildings} buildings" if spec.parts.detector else ""
    return (
        f"{told['name']}{version}: {spec.architecture} on {spec.encoder}, corners {spec.corners}\n"
        f"parameters     {costs.parameters / 1e6:.2f} million\n"
        f"multiply-adds  {costs.multiply_adds / 1e9:.2f} thousand million per tile of "
        f"{costs.size} x {costs.size} pixels{buildings}\n"
        f"seconds        {costs.seconds:.3f} per tile ({where})"
    )

"""Train networks that have not seen one of the towns; needs no geographic library.

    python benchmarks/left_out_training.py WORK --datasets DATASET... \
        --pretrained ../shared/weights/efficientnet_lite2_imagenet_encoder.safetensors \
        --config benchmarks/left_out.toml --steps 350

DATASET are folders that `buildex tile` made of all training scenes, and rendered ones if wanted. Of
the town that is left out no tile is learnt from, nothing of it chooses weights: the last (averaged)
weights are taken, so datasets with tiles of the split `val` are refused. WORK/TOWN/run/model is
what comes out; the town `none` leaves nothing out. They run one after the other; `--at-once` of
them are processes of their own, side by side, which a GPU serves by turns, and of which one that
fails does not stop the others. Runs that are complete are kept, others go on. `--hours` ends every
run by the clock, but that of `--first-steps`. `leave_one_town_out.py` scores what lies in WORK: a
machine with a GPU needs only what `buildex train` needs. `--after WORK` goes on from the networks
of another WORK, town by town.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from buildex.card import read_card
from buildex.cli.console import say, track
from buildex.config import from_table, read_toml
from buildex.errors import BuildexError, ConfigError, DatasetError, ModelError
from buildex.io.dataset import Dataset
from buildex.nn.recipe import TrainConfig
from buildex.nn.settings import VAL
from buildex.training import can_go_on, train

TOWNS: Mapping[str, Sequence[str]] = {
    "kampala": ("kampala",),
    "catanduanes": ("catanduanes",),
    "zanzibar": ("zanzibar", "zanzibar-val"),
    "banepa": ("banepa-centre", "banepa-south-1", "banepa-south-2"),
}
NONE = "none"
# Scene weights of rendered towns alone, as `make_model.py` names them.
RENDERED = {"town-*": 1.0, "yards-*": 0.5, "terraces-*": 0.5, "roadsides-*": 0.5, "*": 0.0}


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The options that all scripts here share."""
    parser.add_argument("work", type=Path)
    parser.add_argument("--datasets", type=Path, nargs="+", required=True)
    parser.add_argument("--towns", nargs="+", choices=[*TOWNS, NONE], default=list(TOWNS))
    parser.add_argument("--config", type=Path, help="TOML of settings, as of `buildex train`")
    parser.add_argument("--pretrained", default="timm", help="as of `buildex train`")
    parser.add_argument("--init", help="a model to start from, as of `buildex train`")
    parser.add_argument(
        "--after", type=Path, help="another WORK: each town's network of it is gone on with"
    )
    parser.add_argument("--first-steps", type=int, default=0, help="on rendered towns alone")
    parser.add_argument(
        "--first-hours", type=float, default=0.0, help="that end these by the clock"
    )
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--hours", type=float, default=0.0, help="as of `buildex train`")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1, help="that cut samples, of each run")
    parser.add_argument("--device", default="auto")
    return parser


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description="Train without a town.")
    arguments(parser)
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side")
    given = parser.parse_args()
    begun = begin(given)
    if given.at_once > 1:
        side_by_side(given, begun)
    else:
        for town in given.towns:
            run_of(town, begun, given)


def begin(given: argparse.Namespace) -> dict[str, object]:
    """What every town's training starts from: an encoder, or a network that learnt before."""
    if given.after:
        if given.init or given.first_steps or given.after.resolve() == given.work.resolve():
            raise ConfigError(
                "--after names what all towns begin with",
                hint="leave --init and --first-steps out, and let it be another WORK",
            )
        return {"pretrained": "none"}  # and each from its own
    if given.init:
        return {"pretrained": "none", "init": given.init}
    encoder: dict[str, object] = {"pretrained": given.pretrained}
    if not given.first_steps:
        return encoder
    first = argparse.Namespace(**{**vars(given), "hours": given.first_hours})
    model = trained(given.work / "rendered", RENDERED, given.first_steps, encoder, first)
    return {"pretrained": "none", "init": str(model)}


def side_by_side(given: argparse.Namespace, begun: Mapping[str, object]) -> None:
    """One process for each town, `--at-once` of them at a time.

    Raises:
        SystemExit: if one fails.
    """
    common = [
        "--datasets", *map(str, given.datasets), "--steps", str(given.steps),
        "--hours", str(given.hours), "--batch-size", str(given.batch_size),
        "--workers", str(given.workers), "--device", given.device,
    ]  # fmt: skip
    common += ["--config", str(given.config)] if given.config else []
    common += ["--after", str(given.after)] if given.after else []
    first = "init" if "init" in begun else "pretrained"
    common += [f"--{first}", str(begun[first])]

    def start(town: str) -> int:
        command = [sys.executable, __file__, str(given.work), *common, "--towns", town]
        with (given.work / f"{town}.log").open("w", encoding="utf-8") as log:
            return subprocess.run(command, stdout=log, stderr=log, check=False).returncode

    given.work.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(given.at_once) as pool:
        codes = dict(zip(given.towns, pool.map(start, given.towns), strict=True))
    broken = [town for town, code in codes.items() if code]
    if broken:
        raise SystemExit(
            f"left_out_training: {', '.join(broken)} failed, see the .log in {given.work}"
        )


def run_of(town: str, begun: Mapping[str, object], given: argparse.Namespace) -> Path:
    """The model folder of the run without a town; trained if it is not there yet."""
    settings = read_toml(given.config) if given.config else {}
    weights = weights_without(TOWNS.get(town, ()), settings.get("scene_weights", {}))
    if given.after:
        begun = {**begun, "init": str(given.after / town / "run" / "model")}
    return trained(given.work / town / "run", weights, given.steps, begun, given)


def trained(
    run: Path, weights: Mapping[str, float], steps: int, begun: Mapping[str, object],
    given: argparse.Namespace,
) -> Path:  # fmt: skip
    """The model folder of a run that sees scenes by weight; goes on with one begun before."""
    if (run / "model" / "model.toml").is_file():
        check_nothing_chose(run)
        return run / "model"
    check_nothing_chooses(given.datasets)
    settings = read_toml(given.config) if given.config else {}
    settings |= {
        "datasets": given.datasets, "output": run, "scene_weights": dict(weights), **begun,
        "steps": steps, "hours": given.hours,
        "batch_size": given.batch_size, "workers": given.workers,
        "samples_per_epoch": steps * given.batch_size, "device": given.device, "graphs": False,
        "resume": can_go_on(run), "overwrite": True,
    }  # fmt: skip
    return train(from_table(TrainConfig, settings), track=track, tell=say).model


def check_nothing_chose(run: Path) -> None:
    """Whether a run that is kept ended with its last weights.

    Raises:
        ModelError: if its model was validated, so that something may have chosen the weights.
    """
    if read_card(run / "model").validation:
        raise ModelError(
            f"`{run}` is of a training whose weights a validation chose",
            hint="remove it, or name another WORK",
        )


def check_nothing_chooses(datasets: Sequence[Path]) -> None:
    """Whether the last weights will be taken: scene weights say what is learnt, not what validates.

    Raises:
        DatasetError: if one has tiles to validate on.
    """
    for path in datasets:
        if any(scene.tiles(VAL) for scene in Dataset.open(path).scenes):
            raise DatasetError(
                f"`{path}` has tiles of the split `{VAL}`, which would choose the weights",
                hint="leave it out, or make it again with `buildex tile --split train`",
            )


def weights_without(unseen: Sequence[str], weights: Mapping[str, float]) -> dict[str, float]:
    """Weights of scenes, some never seen: the first glob that fits counts, so they come first."""
    others = {glob: weight for glob, weight in weights.items() if glob not in unseen}
    return dict.fromkeys(unseen, 0.0) | others


if __name__ == "__main__":
    try:
        main()
    except BuildexError as error:
        raise SystemExit(f"left_out_training: {error}") from None

"""How good the method is in a town it has never seen: train without it, score on it.

    python benchmarks/leave_one_town_out.py WORK --datasets DATASET... --data ../shared/data \
        --pretrained ../shared/weights/efficientnet_lite2_imagenet_encoder.safetensors \
        --config benchmarks/left_out.toml --first-steps 400 --steps 350

What is not there yet is trained first (`left_out_training.py`, which may have run on a machine with
a GPU: put its WORK here). Of each town that is left out no tile is learnt from, nothing of it
chooses weights or threshold: the last (averaged) weights are taken, and `--threshold` is the same
for all. `--first-steps` of all four are one and the same: they see rendered towns alone. The
drawing goes through predict's and score's own paths. Interrupted, the same command goes on;
WORK/TOWN/at-T holds figures, layers and an overlay of each scene for threshold T, with `--views N`
WORK/TOWN/at-T-views-N; what another network drew there, or this one otherwise, is drawn again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from left_out_training import NONE, TOWNS, arguments, begin, run_of

from buildex.card import read_card
from buildex.cli.console import say, track
from buildex.errors import BuildexError
from buildex.predicting import OpenModel, PredictConfig, draw_preview, open_model, predict
from buildex.scoring import ScoreConfig, score

Figures = Mapping[str, Mapping[str, float | None]]  # of each scene of a town
FIGURES = {
    "pixel_iou": "IoU", "f1_50": "F1", "precision_50": "precision", "recall_50": "recall",
    "polis_m": "PoLiS m", "vertex_ratio": "vertices", "square_predicted": "square",
    "square_true": "square, labels",
}  # fmt: skip


def main() -> None:
    """Train and score what is missing, print the table."""
    parser = arguments(argparse.ArgumentParser(description="Train without a town, score on it."))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--threshold", type=float, default=0.45, help="the same for all towns")
    parser.add_argument("--views", type=int, help="how often a tile is looked at, see predict")
    parser.add_argument("--tile-size", type=int, help="side of a tile, see predict")
    given = parser.parse_args()
    scenes = {path.parent.name: path.parent for path in given.data.glob("*/*/mosaic.tif")}
    rows: dict[str, Figures] = {}
    begun = begin(given)
    for town in (town for town in given.towns if town != NONE):
        network = str(run_of(town, begun, given))
        model = open_model(network, given.device, views=given.views, tile_size=given.tile_size)
        own = [scenes[name] for name in TOWNS[town]]
        rows[town] = figures_of(town, own, model, given)
        made = read_card(given.work / town / "run" / "model").provenance
        print(
            f"{town}: {made['steps']} steps from {made['init'] or 'an encoder'}, {made['hardware']}"
        )
    print()
    print(table(rows))


def drawn_in(given: argparse.Namespace, town: str) -> Path:
    """Where what is drawn of a town is kept: by what decides it, beside the network."""
    asked = {"tiles": given.tile_size, "views": given.views}
    how = "".join(f"-{name}-{number}" for name, number in asked.items() if number is not None)
    folder: Path = given.work / town / f"at-{given.threshold:g}{how}"
    return folder


def figures_of(
    town: str, scenes: Sequence[Path], model: OpenModel, given: argparse.Namespace
) -> Figures:
    """Figures of a town; those that are there, if this very network drew them, as it would now."""
    folder = drawn_in(given, town)
    done = folder / "figures.json"
    found: dict[str, Any] = json.loads(done.read_text(encoding="utf-8")) if done.is_file() else {}
    if found.get("drawn by") != model.identity:
        say(f"without {town}")
        folder.mkdir(parents=True, exist_ok=True)
        scored = left_out(town, scenes, model, folder, given.threshold)
        found = {"drawn by": model.identity, "scenes": scored}
        done.write_text(json.dumps(found, indent=2), encoding="utf-8")
    scenes_found: Figures = found["scenes"]
    return scenes_found


def left_out(
    town: str, scenes: Sequence[Path], model: OpenModel, folder: Path, threshold: float
) -> Figures:
    """Figures of each of a town's scenes, drawn into a folder by one that has not seen the town."""
    figures: dict[str, Mapping[str, float | None]] = {}
    config = PredictConfig(threshold=threshold, overwrite=True, restart=True)
    for scene in scenes:
        out = folder / f"{scene.name}.gpkg"
        figures[scene.name] = drawn_and_scored(
            scene, scene / "aoi.geojson", out, model, config, town
        )
    return figures


def drawn_and_scored(
    scene: Path, area: Path, out: Path, model: OpenModel, config: PredictConfig, version: str
) -> Mapping[str, float | None]:
    """Figures of what a model draws of a scene, in an area of it; layer and overlay stay."""
    mosaic = str(scene / "mosaic.tif")
    predict(mosaic, out, model.segmenter, config, model=(model.name, version), track=track)
    draw_preview(out.with_suffix(".png"), mosaic, out)
    report = score(out, scene / "buildings.geojson", ScoreConfig(), area)
    figures: Mapping[str, float | None] = report.as_dict()["figures"]
    return figures


def table(rows: Mapping[str, Figures]) -> str:
    """A line for each scene, and the mean over towns of the means over their scenes."""
    means = {
        name: mean([mean([s[name] for s in scenes.values()]) for scenes in rows.values()])
        for name in FIGURES
    }
    return "\n".join([*lines("scene", rows), line("mean over towns", "", means)])


def lines(second: str, rows: Mapping[str, Figures]) -> list[str]:
    """The head of a table, and a line for each town and what it has of the second column."""
    head = ["| town | " + " | ".join([second, *FIGURES.values()]) + " |"]
    head.append("|---|---" + "|---" * len(FIGURES) + "|")
    return head + [
        line(town, name, figures)
        for town, scenes in rows.items()
        for name, figures in scenes.items()
    ]


def line(town: str, name: str, figures: Mapping[str, float | None]) -> str:
    """A line of a table."""
    return f"| {town} | {name} | " + " | ".join(shown(figures[one]) for one in FIGURES) + " |"


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of what is known."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def shown(value: float | None) -> str:
    """Three decimals, or a dash."""
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    try:
        main()
    except BuildexError as error:
        raise SystemExit(f"leave_one_town_out: {error}") from None

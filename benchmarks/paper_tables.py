"""The paper's tables 2, 3 and 4 on our data: every system learns for as long, from the same.

    python benchmarks/paper_tables.py WORK --datasets TRAIN RENDERED VAL \
        --scene ../shared/data/val/zanzibar-val \
        --pretrained ../shared/weights/efficientnet_lite2_imagenet_encoder.safetensors \
        --config benchmarks/drone_lite2.toml

The datasets are folders that `buildex tile` made (those that `benchmarks/make_model.py` leaves), of
which one at least has tiles of the split `val`. Every system is trained with the same budget,
samples and seeds, then draws the scene by predict's own path and is scored as `buildex score` does
it. `--effects` also measures what each difference between the paper's settings and ours does,
one by one, on our own system. Interrupted, the same command goes on where it stopped: what is
finished lies in WORK as JSON. `--write docs/paper.md` fills in the places that are marked there.

With a GPU: --preset paper --encoder resnet101 --pretrained timm --size 512 --steps 20000.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from buildex.cli.console import say, track
from buildex.config import from_table, read_toml
from buildex.errors import BuildexError, DatasetError
from buildex.geo.boxes import PixelBox
from buildex.geo.grouping import GroupingMethod
from buildex.geo.instances import RoiMaps, Tile
from buildex.io.dataset import Dataset
from buildex.nn.costs import costs_of
from buildex.nn.device import choose_device, hardware, use_bf16
from buildex.nn.history import read_rows
from buildex.nn.presets import PAPER, PRESETS
from buildex.nn.recipe import TrainConfig
from buildex.nn.segmenter import load_segmenter
from buildex.nn.settings import VAL
from buildex.nn.weights import load_model
from buildex.predicting import PredictConfig, Segmenter, predict
from buildex.scoring import ScoreConfig, score
from buildex.training import can_go_on, train

Table = Mapping[str, Any]
OURS = "fcos-keypoint"
SYSTEMS: Mapping[str, Table] = {
    "mask-rcnn": {"model": "mask-rcnn"},
    "unet": {"model": "unet"},
    "mask-rcnn-keypoint": {"model": "mask-rcnn-keypoint"},
    "center-mask": {"model": "center-mask"},
    "fcos-keypoint": {"model": "fcos-keypoint"},
    "keypoint-only": {"model": "mask-rcnn-keypoint", "corners": "features"},
}


def of_paper(*names: str) -> Table:
    """The paper's values of some settings."""
    return {name: PAPER[name] for name in names}


# What the paper does otherwise than we, by the names of the places in docs/paper.md.
EFFECTS: Mapping[str, Table] = {
    "roi-cells": of_paper("cells", "roi_scale"),
    "margin": of_paper("margin"),
    "branches": of_paper("roi_norm", "roi_convs"),
    "nms": of_paper("overlap"),
    "dice": of_paper("dice"),
    "heatmap-mean": of_paper("heatmap_mean"),
    "optimiser": of_paper(
        "optimiser", "lr", "encoder_lr", "weight_decay", "schedule", "warmup", "clip"
    ),
    "average": of_paper("average"),
    "augment": of_paper("scale_low", "scale_high", "turn", "light", "degrade", "paste", "lay"),
    "freezing": of_paper("freeze_depthwise", "freeze_norms"),
}
# Rows of a table: what the paper calls it, our system, the paper's mIoU in percent, F1, SSIM.
TABLES: Mapping[str, Sequence[tuple[str, str, tuple[float, ...]]]] = {
    "table 2": (
        ("Mask R-CNN", "mask-rcnn", (61.4, 0.634, 0.678)),
        ("U-Net", "unet", (61.9, 0.641, 0.681)),
        ("Proposed", "mask-rcnn-keypoint", (62.6, 0.650, 0.692)),
    ),
    "table 3": (
        ("Mask R-CNN", "mask-rcnn", (61.4, 0.634, 0.678)),
        ("Mask R-CNN + Keypoints", "mask-rcnn-keypoint", (62.6, 0.650, 0.692)),
        ("CenterMask (FCOS + segm)", "center-mask", (67.6, 0.711, 0.733)),
        ("FCOS + Keypoints", "fcos-keypoint", (68.1, 0.720, 0.736)),
    ),
    "table 4": (
        ("Mask only", "mask-rcnn", (61.4, 0.634)),
        ("Keypoint only", "keypoint-only", (61.8, 0.644)),
        ("Mask + Keypoint", "mask-rcnn-keypoint", (62.6, 0.650)),
    ),
}
HEAD = (
    "| model | mIoU paper | ours | F1 paper | ours | SSIM paper | ours | instance F1 | PoLiS m "
    "| vertices / true | million parameters | s per tile |\n" + "|---" * 12 + "|"
)


def main() -> None:
    """Read the arguments, train and score what is missing, print the tables."""
    given = arguments()
    settings = common(given)
    runs = {name: SYSTEMS[name] for name in given.systems}
    if given.effects:
        runs |= {OURS: SYSTEMS[OURS]}
        runs |= {f"effect-{name}": {**SYSTEMS[OURS], **paper} for name, paper in EFFECTS.items()}
    check_validation(given.datasets)
    check_settings(given.work, {**settings, "scene": given.scene.name, "runs": dict(SYSTEMS)})
    for seed in given.seeds:
        for name, own in runs.items():
            done = given.work / f"{name}-{seed}" / "figures.json"
            if not done.is_file():
                say(f"{name}, seed {seed}")
                done.parent.mkdir(parents=True, exist_ok=True)
                figures = measured(done.parent, {**settings, **own, "seed": seed}, given)
                beside = done.with_suffix(".part")
                beside.write_text(json.dumps(figures, indent=2), encoding="utf-8")
                beside.replace(done)
    found = gathered(given.work, given.seeds)
    blocks = {name: table(name, found, given.grouping) for name in TABLES}
    blocks["conditions"] = conditions(found, settings)
    effects = {name: effect(name, found, given.grouping) for name in (*EFFECTS, "grouping")}
    for name, text in blocks.items():
        print(f"\n{name}\n\n{text}")
    for name, text in effects.items():
        print(f"effect of {name}: {text}")
    if given.write:
        fill(given.write, blocks, effects)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="The paper's tables on our data.")
    parser.add_argument("work", type=Path)
    parser.add_argument("--datasets", type=Path, nargs="+", required=True)
    parser.add_argument("--scene", type=Path, required=True, help="mosaic, buildings and aoi")
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--effects", action="store_true", help="measure the differences, too")
    parser.add_argument("--preset", choices=list(PRESETS), help="settings under all the others")
    parser.add_argument("--config", type=Path, help="TOML of more settings, e.g. scene weights")
    parser.add_argument("--encoder", default="efficientnet_lite2")
    parser.add_argument("--pretrained", default="timm", help="as of `buildex train`")
    parser.add_argument("--steps", type=int, default=250, help="optimiser steps of each system")
    parser.add_argument("--seconds", type=float, help="as many seconds instead, measured before")
    parser.add_argument("--size", type=int, default=384, help="pixels of a crop")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--grouping", default="contour", help="of the tables' polygons")
    parser.add_argument("--write", type=Path, help="fill the marked places of this document")
    return parser.parse_args()


def common(given: argparse.Namespace) -> dict[str, Any]:
    """The settings that all systems share."""
    names = ("encoder", "pretrained", "steps", "size", "batch_size", "workers", "device")
    table: dict[str, Any] = {"warmup": 100, "average": 0.99}
    table |= PRESETS[given.preset] if given.preset else {}
    table |= read_toml(given.config) if given.config else {}
    table |= {name: getattr(given, name) for name in names}
    table["warmup"] = min(table["warmup"], given.steps // 5)
    table.pop("samples_per_epoch", None)  # one epoch, whatever the file says
    table |= {"datasets": [str(path) for path in given.datasets], "save_every": 25}
    return table | {"seconds": given.seconds}


def check_validation(datasets: Sequence[Path]) -> None:
    """Whether validation can choose each system's weights and threshold.

    Raises:
        DatasetError: if there is nothing to validate on.
    """
    scenes = (scene for path in datasets for scene in Dataset.open(path).scenes)
    if not any(scene.tiles(VAL) for scene in scenes):
        raise DatasetError(
            f"no dataset has tiles of the split `{VAL}`",
            hint="add one made with `buildex tile --split val`, such as VAL of `make_model.py`",
        )


def check_settings(work: Path, settings: Table) -> None:
    """Stop where the folder holds figures that were made otherwise."""
    path = work / "settings.json"
    text = json.dumps(settings, indent=2, sort_keys=True)
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{work} holds figures of other settings: name another folder")
    work.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def measured(folder: Path, settings: Table, given: argparse.Namespace) -> dict[str, Any]:
    """Train one system, or go on with it, and score what it draws."""
    table = {name: value for name, value in settings.items() if name != "seconds"}
    if settings["seconds"]:
        table["steps"] = steps_within(settings["seconds"], folder, table)
    run = folder / "run"
    resume = can_go_on(run)
    report = train(configured(table, run, resume=resume), track=track, tell=say)
    network, card = load_model(report.model)
    place = choose_device(given.device)
    costs = costs_of(network, card.size, place, use_bf16(place))
    segmenter = Remembering(load_segmenter(report.model, given.device))
    groupings: tuple[GroupingMethod, ...] = get_args(GroupingMethod)
    return {
        "settings": {name: str(value) for name, value in table.items()},
        "steps": report.steps, "seconds": round(report.hours * 3600, 1), "best": report.best,
        "commit": card.provenance["commit"], "hardware": hardware(place),
        "parameters": costs.parameters, "multiply_adds": costs.multiply_adds,
        "seconds_per_tile": costs.seconds,
        "figures": {name: scored(segmenter, given.scene, folder, name) for name in groupings},
    }  # fmt: skip


def configured(table: Table, run: Path, **changes: Any) -> TrainConfig:
    """A training run with one validation, at its end."""
    whole = {"samples_per_epoch": table["steps"] * table["batch_size"], "log_every": 10}
    return from_table(
        TrainConfig, {**whole, **table, "output": str(run), "overwrite": True, **changes}
    )


def steps_within(seconds: float, folder: Path, table: Table, probe: int = 12) -> int:
    """How many steps a system makes in so many seconds, by a short run of it; noted once."""
    note = folder / "steps.json"
    if note.is_file():
        return int(json.loads(note.read_text(encoding="utf-8")))
    short = {**table, "steps": probe, "log_every": probe // 3}
    run = folder / "probe"
    train(configured(short, run, samples_per_epoch=probe * table["batch_size"]), tell=say)
    rows = [row for row in read_rows(run / "metrics.csv") if row["train/loss"]]
    taken = float(rows[-1]["seconds"]) - float(rows[0]["seconds"])
    steps = max(1, int(seconds * (probe - probe // 3) / taken))
    note.write_text(json.dumps(steps), encoding="utf-8")
    return steps


class Remembering:
    """A segmenter that looks at each tile once, however often it is asked."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter, self.seen = segmenter, dict[PixelBox, RoiMaps]()
        self.size, self.gsd = segmenter.size, segmenter.gsd
        self.codec, self.threshold = segmenter.codec, segmenter.threshold

    def __call__(self, tiles: Sequence[Tile], score: float = 0.0) -> list[RoiMaps]:
        """What the segmenter said or says; `score` is the same every time."""
        new = [tile for tile in tiles if tile.box not in self.seen]
        if new:
            boxes = [tile.box for tile in new]
            self.seen.update(zip(boxes, self.segmenter(new, score), strict=True))
        return [self.seen[tile.box] for tile in tiles]


def scored(
    segmenter: Segmenter, scene: Path, folder: Path, grouping: GroupingMethod
) -> dict[str, float | None]:
    """Every figure of a scene as a model draws it."""
    out = folder / f"{grouping}.gpkg"
    config = PredictConfig(grouping=grouping, overwrite=True)
    predict(str(scene / "mosaic.tif"), out, segmenter, config, track=track)
    truth, area = scene / "buildings.geojson", scene / "aoi.geojson"
    figures: dict[str, float | None] = score(out, truth, ScoreConfig(), area).as_dict()["figures"]
    return figures


def gathered(work: Path, seeds: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    """What is finished: system to one entry for each seed."""
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in seeds:
        for path in sorted(work.glob(f"*-{seed}/figures.json")):
            name = path.parent.name.removesuffix(f"-{seed}")
            found.setdefault(name, []).append(json.loads(path.read_text(encoding="utf-8")))
    return found


def over_seeds(entries: Sequence[Table], pick: Callable[[Table], Any], form: str) -> str:
    """Mean over seeds, with the standard deviation where there are several; `-` for nothing."""
    values = [pick(entry) for entry in entries]
    values = [value for value in values if value is not None]
    if not values:
        return "-"
    mean = format(statistics.fmean(values), form)
    return mean if len(values) < 2 else f"{mean} ± {format(statistics.stdev(values), form)}"


def table(name: str, found: Mapping[str, Sequence[Table]], grouping: str) -> str:
    """One of the paper's tables, its figures and ours."""
    lines = [HEAD]
    for label, system, paper in TABLES[name]:
        entries = found.get(system, ())

        def cell(
            figure: str, form: str, entries: Sequence[Table] = entries, factor: float = 1
        ) -> str:
            def pick(entry: Table) -> float | None:
                value = entry["figures"][grouping][figure]
                return None if value is None else value * factor

            return over_seeds(entries, pick, form)

        cells = (
            label, f"{paper[0]:.1f}", cell("pixel_iou", ".1f", factor=100), f"{paper[1]:.3f}",
            cell("pixel_f1", ".3f"), f"{paper[2]:.3f}" if len(paper) > 2 else "",
            cell("ssim", ".3f"), cell("f1_50", ".3f"), cell("polis_m", ".2f"),
            cell("vertex_ratio", ".2f"),
            over_seeds(entries, lambda entry: entry["parameters"] / 1e6, ".2f"),
            over_seeds(entries, lambda entry: entry["seconds_per_tile"], ".2f"),
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def conditions(found: Mapping[str, Sequence[Table]], settings: Table) -> str:
    """How the figures came about."""
    entries = [entry for some in found.values() for entry in some]
    if not entries:
        return "nothing is measured yet"
    commits = ", ".join(sorted({entry["commit"][:10] for entry in entries}))
    machines = " or ".join(sorted({entry["hardware"] for entry in entries}))
    seeds = ", ".join(sorted({entry["settings"]["seed"] for entry in entries}))
    steps = sorted({entry["steps"] for entry in entries})
    seconds = [entry["seconds"] for entry in entries]
    shown = f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
    return (
        f"Encoder {settings['encoder']}, crops of {settings['size']} pixels, {shown} steps of "
        f"{settings['batch_size']}, seeds {seeds}; {min(seconds):.0f} to {max(seconds):.0f} s of "
        f"training each, on {machines}; commit {commits}; {time.strftime('%Y-%m-%d')}."
    )


def effect(name: str, found: Mapping[str, Sequence[Table]], grouping: str) -> str | None:
    """What the paper's way changes: means of the differences over common seeds; None without."""
    ours = by_seed(found.get(OURS, ()))
    theirs = ours if name == "grouping" else by_seed(found.get(f"effect-{name}", ()))
    other = "paper" if name == "grouping" else grouping
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    parts = []
    for figure, word, form in (
        ("pixel_iou", "IoU", "+.3f"), ("f1_50", "F1", "+.3f"), ("polis_m", "PoLiS m", "+.2f"),
        ("vertex_ratio", "vertices", "+.2f"),
    ):  # fmt: skip
        pairs = [
            (a["figures"][other][figure], b["figures"][grouping][figure])
            for a, b in ((theirs[seed], ours[seed]) for seed in seeds)
        ]
        known = [a - b for a, b in pairs if a is not None and b is not None]
        parts.append(f"{word} {format(statistics.fmean(known), form) if known else '-'}")
    return ", ".join(parts)


def by_seed(entries: Sequence[Table]) -> dict[str, Table]:
    """Entries by the seed that they were trained with."""
    return {entry["settings"]["seed"]: entry for entry in entries}


def fill(document: Path, blocks: Mapping[str, str], effects: Mapping[str, str | None]) -> None:
    """Put tables and effects where the document's marks say; what was not measured stays."""
    text = document.read_text(encoding="utf-8")
    for name, block in blocks.items():
        text = replaced(text, f"<!-- {name} -->", f"<!-- end of {name} -->", f"\n{block}\n")
    for name, words in effects.items():
        if words is not None:
            text = replaced(text, f"<!-- effect {name} -->", "<!-- end -->", words)
    document.write_text(text, encoding="utf-8")


def replaced(text: str, start: str, end: str, content: str) -> str:
    """What stands between two marks, replaced; all else as it was."""
    pattern = f"({re.escape(start)}).*?({re.escape(end)})"
    if not re.search(pattern, text, re.S):
        raise SystemExit(f"the document has no place `{start} ... {end}`")
    return re.sub(pattern, lambda found: f"{found[1]}{content}{found[2]}", text, flags=re.S)


if __name__ == "__main__":
    try:
        main()
    except BuildexError as error:
        raise SystemExit(f"paper_tables: {error}") from None

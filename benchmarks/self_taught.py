"""What a network learns from its own drawing of a town that it has not seen, without any label.

    python benchmarks/self_taught.py WORK --data ../shared/data --threshold .5

WORK is that of `leave_one_town_out.py`: WORK/TOWN/run/model has not seen TOWN. It draws the town's
first scene with two looks down to `--unsure`; what has `--sure` is learnt, what lies between by
nobody, the rest is ground (`buildex predict --views 2`, `buildex tile --sure`, `buildex train
--preset adapt --init WORK/TOWN/run/model`). Then both networks draw the town's scenes with one look
and are scored. No label of the town is learnt from; the pixels of its first scene are. `--sure` and
`--unsure` were chosen on Kampala's labels. WORK/TOWN/self-taught-... keeps drawing, dataset, run,
layers, overlays and figures; interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from adapting import adapted, folder_of, kept
from leave_one_town_out import Figures, drawn_and_scored, lines
from left_out_training import TOWNS

from buildex.cli.console import say, track
from buildex.errors import BuildexError
from buildex.io.zoo import digest, find_model
from buildex.predicting import PredictConfig, open_model, predict
from buildex.tiling import TileConfig, tile


def main() -> None:
    """Draw, learn and score what is missing, print the table."""
    parser = argparse.ArgumentParser(description="What a town teaches without labels.")
    parser.add_argument("work", type=Path, help="that of leave_one_town_out.py")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--towns", nargs="+", choices=list(TOWNS), default=list(TOWNS))
    parser.add_argument("--sure", type=float, default=0.5, help="score of what is learnt")
    parser.add_argument(
        "--unsure", type=float, default=0.3, help="score of what is not learnt as ground"
    )
    parser.add_argument("--threshold", type=float, default=0.5, help="the same for all towns")
    parser.add_argument("--steps", type=int, default=160, help="in place of the preset's")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    print("\n".join(lines("scene, network", {t: figures_of(t, given) for t in given.towns})))


def figures_of(town: str, given: argparse.Namespace) -> Figures:
    """Figures of a town's scenes before and after; those that are there already as they are.

    Raises:
        ModelError: if there is no network that has not seen the town.
    """
    before = find_model(str(given.work / town / "run" / "model"))
    kind = f"self-taught-{given.sure:g}-{given.unsure:g}"
    work = folder_of(given.work / town, digest(before), kind, given.steps)
    done = work / f"figures-{given.threshold:g}.json"

    def made() -> Figures:
        after = adapted(own(town, before, work, given), before, work / "run", given)
        config = PredictConfig(threshold=given.threshold, overwrite=True, restart=True)
        figures = {}
        scenes = {path.parent.name: path.parent for path in given.data.glob("*/*/mosaic.tif")}
        for scene in (scenes[name] for name in TOWNS[town]):
            for name, model in (("before", before), ("after", after)):
                out = work / f"{scene.name}-{name}-{given.threshold:g}.gpkg"
                figures[f"{scene.name}, {name}"] = drawn_and_scored(
                    scene, scene / "aoi.geojson", out, open_model(str(model), given.device),
                    config, name,
                )  # fmt: skip
        return figures

    return kept(done, made)


def own(town: str, before: Path, work: Path, given: argparse.Namespace) -> Path:
    """The dataset of what a network is sure of in a town."""
    dataset, layer = work / "dataset", work / f"seen-{given.unsure:g}.gpkg"
    if (dataset / "dataset.json").is_file():
        return dataset
    scene = given.data / "train" / TOWNS[town][0]
    mosaic = str(scene / "mosaic.tif")
    if not layer.is_file():
        model = open_model(str(before), given.device, views=2)
        config = PredictConfig(threshold=given.unsure)
        say(predict(mosaic, layer, model.segmenter, config, track=track).text())
    cut = TileConfig(sure=given.sure, negatives=1.0, name=(scene.name,))
    say(tile([mosaic], [layer], dataset, cut, track).text())
    return dataset


if __name__ == "__main__":
    try:
        main()
    except BuildexError as error:
        raise SystemExit(f"self_taught: {error}") from None

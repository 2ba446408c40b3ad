"""The released model's keypoint polygons against a U-Net with the same encoder.

    python benchmarks/against_unet.py WORK --datasets TRAIN RENDERED VAL \
        --scenes ../shared/data/val/zanzibar-val ../shared/data/misaligned/nairobi-*

The U-Net begins with the encoder that the released model has learnt, and is trained further
by the budget of `unet.toml`; validation chooses its weights and threshold, as for the released
model. Both draw the scenes as `buildex predict` does, each at its own threshold; the figures
are of all scenes together, with intervals, and of their paired difference. What is there
already in WORK, by the same networks, is not made again. The datasets are those that
`make_model.py` leaves.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file

from buildex.cli.console import say, track
from buildex.config import from_table, read_toml
from buildex.io.scene_list import SceneFiles
from buildex.io.zoo import DEFAULT_MODEL, find_model
from buildex.nn.pretrained import ENCODER
from buildex.predicting import PredictConfig, open_model, predict
from buildex.scoring import ScoreConfig, compare_scenes, score_scenes
from buildex.training import TrainConfig, can_go_on, train


def main() -> None:
    """Train what is missing, draw, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--datasets", type=Path, nargs="+", required=True)
    parser.add_argument("--scenes", type=Path, nargs="+", required=True)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    unet = trained(given.work, given.datasets)
    keypoints = [drawn(given.work, scene, find_model(DEFAULT_MODEL)) for scene in given.scenes]
    pixels = [drawn(given.work, scene, unet) for scene in given.scenes]
    config = ScoreConfig()
    for name, layers in (("keypoints", keypoints), ("U-Net", pixels)):
        print(f"\n{name}\n{score_scenes(files(given.scenes, layers), config).text()}")
    print(f"\n{compare_scenes(files(given.scenes, keypoints, pixels), config).text()}")


def trained(work: Path, datasets: Sequence[Path]) -> Path:
    """The U-Net's folder."""
    run, encoder = work / "unet", work / "encoder.safetensors"
    if not (run / "model" / "model.toml").is_file():
        weights = load_file(find_model(DEFAULT_MODEL) / "model.safetensors")
        own = {k.removeprefix(ENCODER): v for k, v in weights.items() if k.startswith(ENCODER)}
        save_file(own, encoder)
        table = {
            **read_toml(Path(__file__).with_name("unet.toml")),
            "datasets": list(datasets),
            "output": run,
            "pretrained": str(encoder),
            "graphs": False,
            "resume": can_go_on(run),
            "overwrite": True,
        }
        say(train(from_table(TrainConfig, table), track=track, tell=say).text())
    return run / "model"


def drawn(work: Path, scene: Path, model: Path) -> Path:
    """The layer of a scene by a model."""
    opened = open_model(str(model))
    signed = opened.name, opened.version
    how = f"{opened.digest[:8]}-{opened.runtime}-{opened.precision}"
    layer = work / f"{scene.name}-{opened.name}-{opened.version}-{how}.gpkg"
    if not layer.is_file():
        mosaic, config = str(scene / "mosaic.tif"), PredictConfig()
        report = predict(
            mosaic, layer, opened.segmenter, config, model=signed, digest=opened.identity
        )
        say(report.text())
    return layer


def files(
    scenes: Sequence[Path], first: Sequence[Path], second: Sequence[Path] | None = None
) -> list[SceneFiles]:
    """What `buildex score --scenes` would read from a list."""
    return [
        SceneFiles(
            name=scene.name,
            predictions=first[k],
            truth=scene / "buildings.geojson",
            aoi=scene / "aoi.geojson",
            compare=None if second is None else second[k],
        )
        for k, scene in enumerate(scenes)
    ]


if __name__ == "__main__":
    main()

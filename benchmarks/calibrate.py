"""What a model's scores mean, from a scene with labels that it has not learnt from.

    python benchmarks/calibrate.py models/drone-lite2 --write \
        --scene ../shared/data/val/zanzibar-val

Draws the scene down to low scores, on the pixels on which `buildex predict` shows it to the model,
compares the buildings with the labels (IoU .5, as `buildex score` does), fits Platt's logistic, and
shows how often buildings of each score were right. `--write` puts the two numbers and a threshold
into the model's card: `--threshold .5` then keeps what is right more often than not. All are of one
look at each tile. The threshold that is taken without one is the chance of half the best F1: with
it F1 is best where chances are what they say (Lipton, Elkan and Naryanaswamy 2014), and it hangs
less on single buildings than the score with the best F1 here.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from buildex.card import CARD, card_text, read_card
from buildex.geo.calibration import Calibration, calibrated
from buildex.geo.matching import inside, pair
from buildex.io.vector import read_area, read_footprints
from buildex.predicting import PredictConfig, Segmenter, buildings_of, look, open_model
from buildex.predicting.opening import opened

LOWEST = 0.25  # score down to which buildings are drawn
BANDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def main() -> None:
    """Fit, show, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--scene", type=Path, required=True, help="mosaic, buildings and aoi")
    parser.add_argument("--write", action="store_true", help="put it into the model's card")
    given = parser.parse_args()
    found, threshold = fitted(given.model, given.scene)
    if given.write:
        write(given.model, found, threshold)


def fitted(folder: Path, scene: Path) -> tuple[Calibration, float]:
    """What the scores of a model's folder mean, and the threshold to take; shown as it is found.

    Raises:
        SystemExit: if it draws nothing.
    """
    model = open_model(str(folder), views=1, calibrated=False)
    scores, right, labels = detections(model.segmenter, scene)
    if not len(scores):
        raise SystemExit(f"calibrate: `{folder}` draws nothing of score {LOWEST} or more there")
    found = calibrated(scores, right)
    print(f"{len(scores)} buildings from score {LOWEST}, {right.mean():.0%} of them right; {found}")
    chances = found.chances(scores)
    for low, high in itertools.pairwise(BANDS):
        mine = (chances >= low) & (chances < high)
        if mine.any():
            share = right[mine].mean()
            print(f"chance {low:.1f} to {high:.1f}: {mine.sum()} buildings, {share:.2f} right")
    f1 = best_f1(scores, right, labels)
    threshold = float(found.scores(np.array([f1 / 2]))[0])
    print(f"best F1 {f1:.3f}; its half is the chance of a score of {threshold:.3f}")
    return found, round(threshold, 3)


def detections(
    segmenter: Segmenter, scene: Path
) -> tuple[NDArray[np.float64], NDArray[np.bool_], int]:
    """Raw scores of buildings inside the area, whether each was right, and how many labels."""
    config = PredictConfig(threshold=LOWEST)
    with opened(str(scene / "mosaic.tif"), config, segmenter.gsd) as mosaic:
        drawn = buildings_of(look(mosaic, segmenter, config), config)
    truth, _ = read_footprints(scene / "buildings.geojson", target_crs=drawn.crs)
    area = read_area(scene / "aoi.geojson", drawn.crs)
    pairing = pair(inside(drawn.polygons, area), inside(truth.polygons, area), 0.5)
    right = np.zeros(len(drawn.polygons), dtype=bool)
    right[pairing.predictions] = True
    counted = pairing.judged | right
    labels = int((pairing.counted).sum())
    return drawn.numbers("score")[counted], right[counted], labels


def best_f1(scores: NDArray[np.float64], right: NDArray[np.bool_], labels: int) -> float:
    """F1 from the score on from which it is best."""
    hits = np.cumsum(right[np.argsort(-scores, kind="stable")])
    return float((2 * hits / (np.arange(1, len(hits) + 1) + labels)).max())


def write(model: Path, found: Calibration, threshold: float) -> None:
    """Put calibration and threshold into the model's card."""
    card = read_card(model)
    numbers = (round(found.slope, 4), round(found.offset, 4))
    card = dataclasses.replace(card, calibration=numbers, score=threshold)
    (model / CARD).write_text(card_text(card), encoding="utf-8")


if __name__ == "__main__":
    main()

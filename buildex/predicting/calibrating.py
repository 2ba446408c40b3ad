"""A segmenter whose scores are chances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from buildex.geo.calibration import Calibration
from buildex.geo.instances import RoiMaps, Tile
from buildex.predicting.settings import Segmenter


class Calibrated:
    """Another segmenter, its scores mapped to the chance that a building is right.

    Attributes:
        size: as the other's.
        gsd: as the other's.
        codec: as the other's.
        threshold: the chance that the other's threshold stands for.
    """

    def __init__(self, segmenter: Segmenter, calibration: Calibration) -> None:
        self.size, self.gsd, self.codec = segmenter.size, segmenter.gsd, segmenter.codec
        self.threshold = float(calibration.chances(np.array([segmenter.threshold]))[0])
        self._segmenter, self._calibration = segmenter, calibration

    def __call__(self, tiles: Sequence[Tile], score: float = 0.0) -> list[RoiMaps]:
        """What the other says; `score` and the scores of the answers are chances."""
        raw = float(self._calibration.scores(np.array([score]))[0]) if score > 0 else 0.0
        return [self._mapped(maps) for maps in self._segmenter(tiles, raw)]

    def _mapped(self, maps: RoiMaps) -> RoiMaps:
        chances = self._calibration.chances(maps.scores.astype(np.float64))
        return maps._replace(scores=chances.astype(np.float32))

"""A run of `predict` to be killed: an oracle on a small mosaic, slow, one line for each batch.

    python -m tests.killed MOSAIC OUTPUT [--pause SECONDS] [--limit BYTES] [OPTION=VALUE ...]

With `--limit` no file may grow beyond so many bytes, as on a full disk. Errors are worded as
the command does.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely

from buildex.cli.console import word
from buildex.errors import BuildexError, ModelError
from buildex.geo.footprints import to_rings
from buildex.geo.keypoints import RoiCodec
from buildex.geo.oracle import Oracle
from buildex.predicting import PredictConfig, predict


def houses(side: int = 600) -> list[shapely.Polygon]:
    """Rows of touching houses and loose ones, over a square of `side` pixels."""
    rng = np.random.default_rng(1)
    out = []
    for y in range(20, side - 60, 70):
        for x in range(20, side - 60, 50):
            w = 50 if rng.random() < 0.5 else rng.uniform(25, 42)
            out.append(shapely.box(x, y, x + w, y + rng.uniform(25, 60)))
    return out


class Slow:
    """An oracle that takes its time and says that it works."""

    def __init__(self, pause: float) -> None:
        self._oracle = Oracle([to_rings(house) for house in houses()], size=128)
        self._pause = pause
        self.size, self.gsd, self.threshold = 128, 0.10, 0.5
        self.codec = RoiCodec()

    def __call__(self, tiles, score=0.0):
        time.sleep(self._pause)
        print("batch", flush=True)
        return self._oracle(tiles, score)


@dataclass(frozen=True)
class SlowOpener:
    """Opens a `Slow` on a worker; with `flag`, the first that works there dies, once.

    With `refused` it says that there is none.
    """

    pause: float = 0.0
    flag: str = ""
    refused: bool = False

    def __call__(self):
        if self.refused:
            raise ModelError("no model here", hint="copy it")
        return Mortal(self.pause, Path(self.flag)) if self.flag else Slow(self.pause)


class Mortal(Slow):
    """Dies by a signal in its third batch, as long as its flag is not there."""

    def __init__(self, pause: float, flag: Path) -> None:
        super().__init__(pause)
        self._flag, self._batches = flag, 0

    def __call__(self, tiles, score=0.0):
        self._batches += 1
        if self._batches == 3 and not self._flag.exists():
            self._flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(tiles, score)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("mosaic")
    parser.add_argument("output", type=Path)
    parser.add_argument("--pause", type=float, default=0.02)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("options", nargs="*")
    given = parser.parse_args()
    if given.limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (given.limit, given.limit))
    options = {name: eval(value) for name, value in (o.split("=") for o in given.options)}
    config = PredictConfig(overlap=48, **options)
    try:
        report = predict(given.mosaic, given.output, Slow(given.pause), config, model=("slow", "1"))
    except BuildexError as error:
        print(word(error), file=sys.stderr)
        return 1
    print(f"resumed {report.resumed} of {report.tiles}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

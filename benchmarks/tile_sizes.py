"""Seconds that a mosaic takes by the side of the tiles that the model sees, in turns.

    python benchmarks/tile_sizes.py ../shared/data/val/zanzibar-val/mosaic.tif
    python benchmarks/tile_sizes.py MOSAIC --sizes 512 1024 --rounds 3 --clock cpu

All are drawn in one process, one after another in every round, by the whole of `predict`: reading,
network, geometry and writing. Larger tiles share less of their ground with neighbours. `--clock
cpu` counts processor seconds: on a machine that has much else to do these are steadier.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from buildex.errors import BuildexError
from buildex.predicting import PredictConfig, open_model, predict

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    """Draw the mosaic in each round with tiles of each side; print a table."""
    parser = argparse.ArgumentParser(description="Seconds by the side of tiles.")
    parser.add_argument("mosaic")
    parser.add_argument("--model", default=None)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    given = parser.parse_args()
    clock = CLOCKS[given.clock]
    models = {size: open_model(given.model, tile_size=size) for size in given.sizes}
    seconds: dict[int, list[float]] = {size: [] for size in models}
    drawn = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.rounds + 1):  # the first warms up
            for size, model in models.items():
                out = Path(folder) / f"{number}-{size}.gpkg"
                started = clock()
                drawn[size] = predict(given.mosaic, out, model.segmenter, PredictConfig())
                if number:
                    seconds[size].append(clock() - started)
    first = median(seconds[given.sizes[0]])
    print(f"| tile | tiles | buildings | {given.clock} seconds | of {given.sizes[0]}'s |")
    print("|---|---|---|---|---|")
    for size, report in drawn.items():
        taken = median(seconds[size])
        print(
            f"| {size} | {report.tiles} | {report.buildings} | {taken:.1f} | {taken / first:.2f} |"
        )


if __name__ == "__main__":
    try:
        main()
    except BuildexError as error:
        raise SystemExit(f"tile_sizes: {error}") from None

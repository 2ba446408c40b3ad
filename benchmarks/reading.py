"""How fast tiles are read, against `rio warp` on the same grid; and at the overlap of predict.

    python benchmarks/reading.py ../shared/data/train/zanzibar/mosaic.tif

Both bring the mosaic to its working grid (10 cm, metric CRS) by the same resampling with one
thread, in turns; medians of the rounds. `rio warp` writes one uncompressed file, the reader
hands over tiles of 512 pixels with their validity. Processor seconds of this process, in which
both run: neither's start counts. The file lies in the system's cache, and all is imported: a first
round that warms both does not count.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rasterio.rio.main import main_group

from buildex.geo.tiles import cover
from buildex.io.raster import Mosaic, small_cache


def main() -> None:
    """Print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mosaic", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs: dict[str, Callable[[], object]] = {
            "rio warp": lambda: rio(given.mosaic, Path(folder) / "warped.tif"),
            "tiles, no overlap": lambda: tiles(given.mosaic, 0),
            "tiles, overlap of 128": lambda: tiles(given.mosaic, 128),
        }
        spent: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(given.rounds + 1):
            for name, run in runs.items():
                before = time.process_time()
                run()
                if number:
                    spent[name].append(time.process_time() - before)
    base = float(np.median(spent["rio warp"]))
    for name, seconds in spent.items():
        middle = float(np.median(seconds))
        print(f"{name:<24}{middle:>7.2f} s {middle / base:>6.2f} x")
    count = tiles(given.mosaic, 128)
    print(f"{count} tiles, {count / float(np.median(spent['tiles, overlap of 128'])):.0f} a second")


def tiles(path: Path, overlap: int) -> int:
    """Read all tiles; how many there are."""
    with small_cache(), Mosaic.open(path) as mosaic:
        places = cover(mosaic.grid, 512, overlap)
        for place in places:
            mosaic.read(place.box)
        return len(places)


def rio(path: Path, out: Path) -> None:
    """`rio warp` to the working grid, as the command does it, without starting another Python."""
    with Mosaic.open(path) as mosaic:
        grid, how = mosaic.grid, "average" if mosaic.native_gsd < mosaic.grid.gsd else "cubic"
    low, high = grid.to_ground(np.array([[0.0, grid.height], [grid.width, 0.0]])).tolist()
    command = ["warp", str(path), str(out), "--dst-crs", grid.crs, "--res", str(grid.gsd)]
    command += ["--dst-bounds", *map(str, (*low, *high)), "--resampling", how]
    command += ["--threads", "1", "--overwrite", "--co", "compress=none", "--co", "photometric=rgb"]
    main_group(command, standalone_mode=False)


if __name__ == "__main__":
    main()

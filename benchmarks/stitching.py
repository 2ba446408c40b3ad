"""How fast sightings become buildings, and how much of the mosaic is held meanwhile.

    python benchmarks/stitching.py                       # 20 000 buildings
    python benchmarks/stitching.py --buildings 1000000

A made town of houses, rows and halls under tiles of 512 pixels that share 128. Every tile
sees what lies in it, each with its own error, cut where the tile ends. Rows of tiles are
handed to the stitcher one after the other; only its own time counts (CPU seconds of this
process), not the making of the town.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator

import numpy as np
import shapely

from buildex.geo.sightings import Sightings
from buildex.geo.stitch import Stitcher
from buildex.geo.tiles import Cover

PLOT = 200.0  # pixels from one house to the next
HALL = 0.01  # share of halls, 60 to 90 m long


def main() -> None:
    """Print one line of figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--buildings", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=0, help="houses in a row; a square by default")
    given = parser.parse_args()
    cols = given.width or round(given.buildings**0.5)
    rows = -(-given.buildings // cols)
    cover = Cover(int(cols * PLOT), int(rows * PLOT), 512, 128)
    stitcher = Stitcher()
    seconds = seen = found = most = joined = 0.0
    for row, sightings in enumerate(sightings_by_row(cover, cols)):
        started = time.process_time()
        whole = stitcher.add(sightings, settled=cover.box(row + 1, 0).y0)
        seconds += time.process_time() - started
        seen, found, joined = seen + len(sightings), found + len(whole), joined + whole.joined.sum()
        most = max(most, stitcher.open)
    started = time.process_time()
    last = stitcher.finish()
    seconds += time.process_time() - started
    found, joined = found + len(last), joined + last.joined.sum()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{cols * rows} buildings, seen {seen:.0f} times: {found:.0f} found, {joined:.0f} joined, "
        f"{seconds:.1f} s; at most {most:.0f} sightings open, peak {peak:.0f} MiB"
    )


def sightings_by_row(cover: Cover, cols: int) -> Iterator[Sightings]:
    """What each row of tiles sees; one row of houses at a time is made."""
    made: dict[int, np.ndarray] = {}
    for row in range(cover.rows):
        y0, y1 = cover.box(row, 0).y0, cover.box(row, 0).y1
        near = range(max(0, int(y0 // PLOT) - 1), -(-min(y1, cover.height) // int(PLOT)))
        made = {k: made[k] if k in made else houses(k, cols) for k in near}
        yield seen_by_row(cover, row, np.concatenate(list(made.values())))


def houses(row: int, cols: int) -> np.ndarray:
    """One row of quads, 4 m to 19 m; every hundredth is a hall (over its neighbours' plots)."""
    rng = np.random.default_rng((7, row))
    centres = np.stack([(np.arange(cols) + 0.5) * PLOT, np.full(cols, (row + 0.5) * PLOT)], axis=1)
    half = rng.uniform(20, 95, (cols, 2))
    hall = rng.random(cols) < HALL
    half[hall, 0] = rng.uniform(300, 450, hall.sum())
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=float)
    lean = rng.uniform(-0.04, 0.04, cols)
    corners = half[:, None] * signs
    corners[..., 1] += lean[:, None] * corners[..., 0]
    keep = ~beside_hall(hall)
    return shapely.polygons((centres[:, None] + corners)[keep])


def beside_hall(hall: np.ndarray) -> np.ndarray:
    """Plots that a neighbour's hall covers."""
    wide = np.zeros(len(hall), dtype=bool)
    for shift in (1, 2, 3, 4):
        wide[shift:] |= hall[:-shift]
    for shift in (1, 2, 3):
        wide[:-shift] |= hall[shift:]
    return wide


def seen_by_row(cover: Cover, row: int, truth: np.ndarray) -> Sightings:
    """The parts of buildings in each tile of a row, every corner off by about a pixel."""
    rng = np.random.default_rng((11, row))
    tiles = [cover.box(row, col) for col in range(cover.cols)]
    boxes = np.array([(b.x0, b.y0, b.x1, b.y1) for b in tiles], dtype=float)
    owned = [cover.core(row, col) for col in range(cover.cols)]
    cores = np.array([(c.x0, c.y0, c.x1, c.y1) for c in owned], dtype=float)
    which, tile = shapely.STRtree(shapely.box(*boxes.T)).query(truth)
    order = np.lexsort((which, tile))
    which, tile = which[order], tile[order]
    corners = shapely.get_coordinates(truth).reshape(-1, 5, 2)[which, :4]
    noisy = shapely.polygons(corners + rng.normal(0, 0.8, corners.shape))
    noisy = shapely.intersection(noisy, shapely.box(*boxes[tile].T))
    kept = (shapely.get_type_id(noisy) == 3) & (shapely.area(noisy) > 60)
    noisy, tile = noisy[kept], tile[kept]
    reach = shapely.bounds(noisy)
    inner = np.array([0, row, cover.cols - 1, cover.rows - 1])
    cut = (tile > 0) & (reach[:, 0] - boxes[tile, 0] < 2)
    cut |= (row > 0) & (reach[:, 1] - boxes[tile, 1] < 2)
    cut |= (tile < inner[2]) & (boxes[tile, 2] - reach[:, 2] < 2)
    cut |= (row < inner[3]) & (boxes[tile, 3] - reach[:, 3] < 2)
    scores, edge = rng.uniform(0.5, 1, len(noisy)), np.zeros(len(noisy), dtype=bool)
    return Sightings(noisy, scores, np.ones(len(noisy)), boxes[tile], cores[tile], cut, edge)


if __name__ == "__main__":
    main()

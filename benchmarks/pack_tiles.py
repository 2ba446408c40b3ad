"""A dataset small enough to be carried: the same folder with its tiles as lossy WebP.

    python benchmarks/pack_tiles.py WORK/train CARRIED/train --quality 92
    python benchmarks/pack_tiles.py WORK/rendered CARRIED/rendered --quality 74

So the third stage of models/drone-lite2 was fed on a GPU machine that takes 64 MiB: 81 MiB of real
tiles became 14, 215 of rendered ones 11. The tiles keep their names, which `buildex train` reads by
content; the hashes in `dataset.json` stay those of the tiles before, so that a model's provenance
names the dataset that can be made again.
"""

from __future__ import annotations

import argparse
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

from buildex.cli.console import say, track

IMAGES = "images"  # the folder of a dataset's tiles


def main() -> None:
    """Copy a dataset, its tiles packed."""
    parser = argparse.ArgumentParser(description="Copy a dataset with its tiles as lossy WebP.")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quality", type=int, default=92, help="1 to 100")
    given = parser.parse_args()
    if not (given.dataset / "dataset.json").is_file():
        raise SystemExit(f"pack_tiles: `{given.dataset}` is no dataset; make one: `buildex tile`")
    if given.out.exists():
        raise SystemExit(f"pack_tiles: `{given.out}` exists; name another folder")
    shutil.copytree(given.dataset, given.out, ignore=shutil.ignore_patterns(IMAGES))
    tiles = sorted(path for path in (given.dataset / IMAGES).rglob("*") if path.is_file())
    work = partial(packed, dataset=given.dataset, out=given.out, quality=given.quality)
    with ProcessPoolExecutor() as pool:
        sizes = list(track(pool.map(work, tiles, chunksize=8), total=len(tiles), label="packing"))
    before = sum(path.stat().st_size for path in tiles)
    say(f"{len(tiles)} tiles, {before / 2**20:.1f} MiB before and {sum(sizes) / 2**20:.1f} now")


def packed(tile: Path, *, dataset: Path, out: Path, quality: int) -> int:
    """Write one tile as WebP under the name that it has; its bytes."""
    to = out / tile.relative_to(dataset)
    to.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(tile) as image:
        image.convert("RGB").save(to, "WEBP", quality=quality, method=4)
    return to.stat().st_size


if __name__ == "__main__":
    main()

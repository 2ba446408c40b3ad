"""How long it takes to cut training samples, and to draw what is to be learnt from them.

    python benchmarks/feeding.py DATASET...

DATASET are folders that `buildex tile` made. Processor seconds, medians of several rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from buildex.geo.keypoints import RoiCodec
from buildex.geo.rings import bounds
from buildex.io.dataset import Dataset
from buildex.nn.augment import Augment
from buildex.nn.batch import Crops
from buildex.nn.settings import Feeding
from buildex.nn.targets import draw


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    scenes = [scene for path in given.datasets for scene in Dataset.open(path).scenes]
    augment = Augment(scale_low=0.6, scale_high=1.6, paste=0.4)
    crops = Crops(scenes, Feeding(size=512, samples=given.samples, augment=augment))
    seconds = timed(crops.decode)
    print(f"decode all tiles once: {seconds:.1f} s")
    count = range(given.samples)
    rounds = [
        timed(lambda r=r: [crops[r * given.samples + i] for i in count])
        for r in range(given.rounds)
    ]
    print(f"cut a sample: {1000 * statistics.median(rounds) / given.samples:.1f} ms")
    shapes = [shape for i in count for shape in crops[i].shapes]
    codec = RoiCodec()
    frames = codec.frames(np.array([bounds(shape.rings) for shape in shapes]))
    one_by_one, at_once = [], []
    for _ in range(given.rounds):
        one_by_one.append(
            timed(
                lambda: [
                    codec.encode(s.rings, f, s.corners) for s, f in zip(shapes, frames, strict=True)
                ]
            )
        )
        at_once.append(timed(lambda: drawn(shapes, frames, codec)))
    for name, rounds in (("one by one, numpy", one_by_one), ("at once, torch", at_once)):
        each = 1000 * statistics.median(rounds) / len(shapes)
        print(f"draw {len(shapes)} frames {name}: {each:.2f} ms each")


def drawn(shapes: list, frames: np.ndarray, codec: RoiCodec) -> None:
    """Draw all frames, a hundred at a time."""
    for start in range(0, len(shapes), 100):
        some = shapes[start : start + 100]
        rings, corners = [s.rings for s in some], [s.corners for s in some]
        draw(codec.sketch(rings, frames[start : start + 100], corners), codec, torch.device("cpu"))


def timed(work: Callable[[], object]) -> float:
    """Seconds of processor time of some work."""
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
